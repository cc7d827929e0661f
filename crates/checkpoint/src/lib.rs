//! From the files of a model to what a decoder needs: a [`DecoderConfig`], the
//! [`Weights`] and a [`TextTokenizer`].
//!
//! Everything read here is data from strangers: every length is checked
//! against the file before memory is taken, and every error names the file
//! and the field or tensor.

mod config;
mod error;
mod fields;
mod gguf;
mod gguf_config;
mod gguf_header;
mod gguf_names;
mod hf_config;
mod open;
mod safetensors_header;
mod tensor_file;
mod tokenizer;
mod torch;
mod weights;

pub use config::{
    Activation, Architecture, BlockKind, DecoderConfig, NormKind, NormPlace, Position, QkNorm,
    Rope, RopePairs, RopeScaling,
};
pub use error::CheckpointError;
pub use hf_config::parse as parse_hf_config;
pub use open::{Checkpoint, FileHash, hash_file};
pub use tensor_file::TensorFile;
pub use tokenizer::{TextTokenizer, TokenIds};
pub use weights::Weights;
