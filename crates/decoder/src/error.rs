use assay_checkpoint::CheckpointError;
use assay_hook_site::HookSite;

/// What can go wrong in a forward pass.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    /// Config and weights could not be read or do not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tensor library refused.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// A prompt that cannot be run.
    #[error("prompt {index} {reason}")]
    Prompt {
        /// Its number in the pack, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A hook refused, or gave back a tensor that does not fit.
    #[error("hook at {site}: {reason}")]
    Hook {
        /// Where.
        site: HookSite,
        /// What is wrong.
        reason: String,
    },
    /// Variables that do not make a model.
    #[error("the variables {reason}")]
    Variables {
        /// What is wrong.
        reason: String,
    },
    /// A placement without a device.
    #[error("a decoder needs at least one device, and none is given")]
    NoDevice,
    /// A cache that does not fit the pack, or is missing.
    #[error("the cache {reason}")]
    Cache {
        /// What is wrong.
        reason: String,
    },
    /// The thread that reads blocks ended early.
    #[error("block {layer} was not read: the thread that reads blocks has stopped")]
    Stream {
        /// The block waited for.
        layer: usize,
    },
    /// A residual stream of another length than the pack.
    #[error("the residual stream has {rows} rows and the pack {tokens} tokens")]
    Rows {
        /// Rows of the residual stream.
        rows: usize,
        /// Tokens of the pack.
        tokens: usize,
    },
    /// A range of blocks that the model does not have.
    #[error("blocks {start}..{end} are asked for and the model has {n_layers}")]
    Blocks {
        /// First block.
        start: usize,
        /// One past the last block.
        end: usize,
        /// What the model has.
        n_layers: usize,
    },
}
