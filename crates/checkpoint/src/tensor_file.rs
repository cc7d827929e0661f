use std::collections::BTreeMap;
use std::path::Path;

use crate::weights::Table;
use crate::{CheckpointError, Weights, safetensors_header};

/// A safetensors file of tensors that are no model.
pub struct TensorFile {
    /// The tensors, read as they are asked for.
    pub tensors: Weights,
    /// The words in its header.
    pub words: BTreeMap<String, String>,
}

impl TensorFile {
    /// Opens a file, reading its header only.
    ///
    /// # Errors
    /// A file that cannot be read, is truncated, or is no safetensors file.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let mut table = Table::new(path);
        let words = safetensors_header::add(&mut table, path)?;
        Ok(Self {
            tensors: Weights::new(table),
            words,
        })
    }
}
