use std::path::PathBuf;

use assay_checkpoint::CheckpointError;
use assay_decoder::DecoderError;
use assay_hook_site::HookSite;

/// What can go wrong in recording or reading a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The pass failed.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// The tensor library refused.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// A pattern that matches nothing in this model.
    #[error("{pattern:?} matches no hook site of this {model_type} model")]
    NoSuchSite {
        /// The pattern, or a site's name.
        pattern: String,
        /// The model's type.
        model_type: String,
    },
    /// A site that exists and was not passed.
    #[error("hook site {site} was not reached: the pass did not run that part of the model")]
    NotReached {
        /// Where.
        site: HookSite,
    },
    /// A site that was not recorded.
    #[error("the trace does not hold {site}; record it")]
    NotRecorded {
        /// Where.
        site: HookSite,
    },
    /// A prompt that the trace does not have.
    #[error("the trace holds {prompts} prompts and prompt {index} is asked for")]
    NoSuchPrompt {
        /// Which one.
        index: usize,
        /// How many there are.
        prompts: usize,
    },
    /// A file of a recording.
    #[error(transparent)]
    Checkpoint(Box<CheckpointError>),
    /// A recording that is not what it should be.
    #[error("the recording {} {reason}", .folder.display())]
    Recording {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A site that a recording lacks.
    #[error("the recording {} has no {site} for prompt {prompt}", .folder.display())]
    NotInRecording {
        /// Its folder.
        folder: PathBuf,
        /// The site.
        site: HookSite,
        /// The prompt's id.
        prompt: String,
    },
    /// A function of the logits that has no gradient.
    #[error("the objective {reason}; give a scalar made from the logits")]
    Objective {
        /// What is wrong with it.
        reason: String,
    },
    /// A type too short for gradients.
    #[error(
        "gradients are not taken in f16, in which small ones vanish: ask for --dtype f32 or bf16"
    )]
    ShortGradients,
    /// A gradient was cut on the way back.
    #[error("no gradient reaches {site}: some operation after it cannot be gone back through")]
    NoGradient {
        /// Where.
        site: HookSite,
    },
    /// The file could not be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl From<CheckpointError> for TraceError {
    fn from(error: CheckpointError) -> Self {
        TraceError::Checkpoint(Box::new(error))
    }
}
