use std::path::PathBuf;

/// Why a model could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TestkitError {
    /// The operating system refused.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's own word.
        source: std::io::Error,
    },
    /// The tensor library refused: a width that does not divide, or a
    /// quantized row that is not whole blocks.
    #[error("tiny model: {0}")]
    Candle(#[from] candle_core::Error),
    /// The tokenizer library refused.
    #[error("tiny tokenizer: {0}")]
    Tokenizer(#[from] tokenizers::Error),
    /// A config that the decoder refuses.
    #[error("tiny model: {0}")]
    Config(#[from] assay_checkpoint::CheckpointError),
    /// A config that the decoder has no tensors for.
    #[error("tiny model: {0}")]
    Decoder(#[from] assay_decoder::DecoderError),
    /// A specification that contradicts itself.
    #[error("tiny model: {0}")]
    Spec(String),
}

impl TestkitError {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> TestkitError {
        let path = path.to_path_buf();
        move |source| TestkitError::Io { path, source }
    }
}
