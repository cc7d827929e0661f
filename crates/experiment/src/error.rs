use assay_checkpoint::CheckpointError;
use assay_decoder::DecoderError;
use assay_record::RecordError;
use assay_trace::TraceError;

/// Why an experiment has no result on a model.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The model's files.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The pass.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// Recording.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A recording lacks what is asked of it.
    #[error("{error}; it was asked for by {experiment}")]
    Recording {
        /// What it lacks.
        error: Box<TraceError>,
        /// Who asked.
        experiment: String,
    },
    /// Records and prompts.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The tensor library refused.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// The model cannot be measured so.
    #[error("{model}: {reason}")]
    Unsuitable {
        /// The model.
        model: String,
        /// What it lacks.
        reason: String,
    },
    /// A measure has no value.
    #[error("{model}, prompt {prompt}, layer {layer}: {reason}")]
    Measure {
        /// The model.
        model: String,
        /// The prompt's id.
        prompt: String,
        /// The layer, 0-based.
        layer: usize,
        /// What went wrong.
        reason: String,
    },
    /// A statistic has no value.
    #[error("{what}: {reason}")]
    Statistic {
        /// The statistic and the data.
        what: String,
        /// What went wrong.
        reason: String,
    },
}
