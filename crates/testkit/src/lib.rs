//! Seeded models of a few thousand parameters, written as Hugging Face or
//! llama.cpp lay them out, for tests that need a model's files.
//!
//! A [`TinyModel`] says what the model is; [`write_hf`] and [`write_gguf`]
//! write the same weights in either layout. The weights come from a ChaCha
//! stream per tensor and from nothing else, so the same specification gives
//! the same bytes everywhere.

mod config;
mod error;
mod gguf;
mod hf;
mod spec;
mod tensors;
mod text;

pub use config::config_json;
pub use error::TestkitError;
pub use gguf::{gguf_metadata, write_gguf, write_gguf_with};
pub use hf::{write_config, write_hf, write_hf_with};
pub use spec::{Architecture, Text, TinyModel};
pub use tensors::{Tensors, tensors, tensors_of};
pub use text::{tokenizer, tokenizer_parts};
