use std::path::{Path, PathBuf};

use assay_decoder::DecoderError;

/// Why a model could not be trained, saved or taken up again.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// The tensor library refused.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// A gradient was cut on the way back.
    #[error("no gradient reaches {name}: some operation after it cannot be gone back through")]
    NoGradient {
        /// The parameter.
        name: String,
    },
    /// The loss or a gradient is not a number any more.
    #[error("the loss is {loss} at step {step}: lower the learning rate")]
    Diverged {
        /// Steps behind.
        step: u64,
        /// What it is.
        loss: f64,
    },
    /// A batch that no loss can be taken of.
    #[error("the batch {reason}")]
    Batch {
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer library refused.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// Its own words.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own word.
        source: std::io::Error,
    },
    /// A suite that is not well described.
    #[error("{path}: {reason}")]
    Suite {
        /// suite.toml, or the model's name.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file that holds something else.
    #[error("{path} is not the state of this run: {reason}")]
    State {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
}

impl TrainError {
    pub(crate) fn tokenizer(error: tokenizers::Error) -> Self {
        Self::Tokenizer {
            reason: error.to_string(),
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
