//! The forward pass, written to be looked into.
//!
//! All prompts of a pass are packed: linear layers run on
//! [total tokens, d], attention runs prompt by prompt. A prompt's bits do not
//! depend on its pack-mates, their order or the number of threads, provided
//! the matrix products have at least [`Pack::MIN_ROWS`] rows; shorter packs
//! are padded with rows of zeros that no hook sees.
//!
//! A block reads as its equation, one line a hook site. One file per
//! architecture under `arch/`, loader beside forward, over shared `parts/`.

mod arch;
mod blocks;
mod cache;
mod decoder;
mod ends;
mod error;
mod generate;
mod pack;
mod parts;
mod pass;
mod variables;

pub use arch::Readers;
pub use cache::KvCache;
pub use decoder::{Arithmetic, Decoder, Placement, Residency, memory, tensors};
pub use error::DecoderError;
pub use generate::{StepHooks, greedy, greedy_with};
pub use pack::Pack;
pub use parts::load::{TensorKind, TensorSpec};
pub use parts::together::SCORES;
pub use pass::{Hooks, NoHooks};
pub use variables::Variables;
