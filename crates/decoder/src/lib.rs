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
mod decoder;
mod error;
mod pack;
mod parts;
mod pass;

pub use decoder::Decoder;
pub use error::DecoderError;
pub use pack::Pack;
pub use pass::{Hooks, NoHooks};
