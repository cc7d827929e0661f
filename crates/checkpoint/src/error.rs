use std::path::{Path, PathBuf};

/// What can be wrong with the files of a model.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's own word.
        source: std::io::Error,
    },
    /// A file that should be there is not.
    #[error("{path} has no {what}; {hint}")]
    Missing {
        /// The folder or file looked into.
        path: PathBuf,
        /// What is missing.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// A file is not what its name says.
    #[error("{path} is not a readable {kind}: {}", one_line(.reason))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        kind: &'static str,
        /// What is wrong, with the field or offset.
        reason: String,
    },
    /// A field of the config has a value that cannot be.
    #[error("{path}: field {field} {}", one_line(.reason))]
    Field {
        /// config.json or the GGUF file.
        path: PathBuf,
        /// Name of the field, or of the names tried.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A family that assay has no decoder for.
    #[error("{path}: model_type {model_type:?} is not supported; supported are {supported}")]
    UnknownModelType {
        /// config.json or the GGUF file.
        path: PathBuf,
        /// What it says.
        model_type: String,
        /// What would do.
        supported: String,
    },
    /// A tensor is missing.
    #[error("{path} has no tensor {tensor}, which its config calls for")]
    NoTensor {
        /// The file, or the folder of shards.
        path: PathBuf,
        /// Its name.
        tensor: String,
    },
    /// Config and weights disagree.
    #[error("shape mismatch in {tensor} of {path}, config: {expected:?}, file: {found:?}")]
    Shape {
        /// The file, or the folder of shards.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// From the config.
        expected: Vec<usize>,
        /// In the file.
        found: Vec<usize>,
    },
    /// Weights that the config has no place for.
    #[error("{path} holds tensor {}, which its config has no place for", one_line(.tensor))]
    UnusedTensor {
        /// The file, or the folder of shards.
        path: PathBuf,
        /// Its name.
        tensor: String,
    },
    /// Weights of a type that is not read.
    #[error(
        "tensor {tensor} of {path} is stored as {stored}; weights are read from \
         F16, BF16, F32, F64 and whole GGUF blocks"
    )]
    Encoding {
        /// The file, or the folder of shards.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// Storage type in the file's own words.
        stored: String,
    },
    /// NaN or infinite weights.
    #[error("tensor {tensor} of {path} holds {value} at index {index}: the file is damaged")]
    NotFinite {
        /// The file, or the folder of shards.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// Flat index of the first such element.
        index: usize,
        /// NaN or an infinity.
        value: f64,
    },
    /// A text that cannot be turned into tokens.
    #[error("cannot tokenize {text:?} with {path}: {}", one_line(.reason))]
    Tokenize {
        /// The tokenizer's file.
        path: PathBuf,
        /// The text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// The tensor library refused.
    #[error("tensor {tensor} of {path}: {source}")]
    Candle {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// candle's own word; boxed, because it is larger than all the rest.
        source: Box<candle_core::Error>,
    },
}

impl CheckpointError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
        let path = path.to_path_buf();
        move |source| CheckpointError::Io { path, source }
    }

    pub(crate) fn candle(
        path: &Path,
        tensor: &str,
    ) -> impl FnOnce(candle_core::Error) -> CheckpointError {
        let (path, tensor) = (path.to_path_buf(), tensor.to_owned());
        move |source| CheckpointError::Candle {
            path,
            tensor,
            source: Box::new(plain(source)),
        }
    }
}

/// Words of a file that are put into a message, such as a tensor's name, may
/// hold line ends and escape sequences of a terminal: they are shown as such.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// candle's error without the backtrace and the path that it may be wrapped
/// in: one line, to stand in a message that names the file itself.
pub(crate) fn plain(error: candle_core::Error) -> candle_core::Error {
    use candle_core::Error::{WithBacktrace, WithPath};
    match error {
        WithBacktrace { inner, .. } | WithPath { inner, .. } => plain(*inner),
        other => other,
    }
}
