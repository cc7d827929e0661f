use std::path::PathBuf;

/// What can be wrong with a golden file.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// The operating system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's own word.
        source: std::io::Error,
    },
    /// Not of the expected form.
    #[error("{path} is not a readable golden file: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        reason: String,
    },
    /// Writing failed, or a record lacks what is compared.
    #[error(transparent)]
    Record(#[from] assay_record::RecordError),
}
