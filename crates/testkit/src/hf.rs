use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::{Value, json};

use crate::{Tensors, TestkitError, TinyModel, config_json, tensors, tensors_of, tokenizer};

/// Writes a model as Hugging Face lays it out: config.json, model.safetensors
/// or its shards with their index, and tokenizer.json if it has text. The
/// folder is made if it is not there.
///
/// # Errors
/// A specification that contradicts itself, or a file that cannot be written.
pub fn write_hf(folder: &Path, spec: &TinyModel) -> Result<(), TestkitError> {
    write_hf_with(folder, spec, &tensors(spec)?)
}

/// As [`write_hf`], with weights of the caller's making under their Hugging
/// Face names.
///
/// # Errors
/// As [`write_hf`].
pub fn write_hf_with(
    folder: &Path,
    spec: &TinyModel,
    tensors: &Tensors,
) -> Result<(), TestkitError> {
    fs::create_dir_all(folder).map_err(TestkitError::io(folder))?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(TestkitError::io(&path))
    };
    write("config.json", format!("{:#}\n", config_json(spec)))?;
    if let Some(tokenizer) = tokenizer(spec.text)? {
        let size = tokenizer.get_vocab_size(true);
        if size > spec.vocab {
            return Err(TestkitError::Spec(format!(
                "the tokenizer has {size} tokens and the vocabulary {}",
                spec.vocab
            )));
        }
        write("tokenizer.json", tokenizer.to_string(true)?)?;
    }
    let stored: Vec<(&str, Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), tensor.to_dtype(spec.storage)?)))
        .collect::<Result<_, TestkitError>>()?;
    if spec.shards <= 1 {
        return save(&folder.join("model.safetensors"), &stored);
    }
    let mut places = BTreeMap::new();
    for (i, part) in stored
        .chunks(stored.len().div_ceil(spec.shards))
        .enumerate()
    {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, spec.shards);
        places.extend(part.iter().map(|(name, _)| (*name, file.clone())));
        save(&folder.join(&file), part)?;
    }
    let bytes = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
    let total: usize = stored.iter().map(|(_, tensor)| bytes(tensor)).sum();
    let index = json!({"metadata": {"total_size": total}, "weight_map": places});
    write("model.safetensors.index.json", format!("{index:#}\n"))
}

/// Writes a model of any family that the decoder reads: this config.json, and
/// weights stored as `storage` that [`tensors_of`] makes for it.
///
/// # Errors
/// A config that the decoder refuses, or a file that cannot be written.
pub fn write_config(
    folder: &Path,
    config: &Value,
    seed: u64,
    storage: DType,
) -> Result<(), TestkitError> {
    fs::create_dir_all(folder).map_err(TestkitError::io(folder))?;
    let path = folder.join("config.json");
    fs::write(&path, format!("{config:#}\n")).map_err(TestkitError::io(&path))?;
    let stored: Vec<(String, Tensor)> = tensors_of(config, seed)?
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_dtype(storage)?)))
        .collect::<Result<_, TestkitError>>()?;
    let stored: Vec<(&str, Tensor)> = stored
        .iter()
        .map(|(n, t)| (n.as_str(), t.clone()))
        .collect();
    save(&folder.join("model.safetensors"), &stored)
}

fn save(path: &Path, tensors: &[(&str, Tensor)]) -> Result<(), TestkitError> {
    // The writer orders tensors by type and name, so the map's order is lost.
    let map = tensors.iter().cloned().collect();
    Ok(candle_core::safetensors::save(&map, path)?)
}
