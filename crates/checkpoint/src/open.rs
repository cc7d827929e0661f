use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::DecoderConfig;
use crate::error::CheckpointError;
use crate::gguf::{Gguf, ROPE_FACTORS};
use crate::tokenizer::TextTokenizer;
use crate::weights::{Table, Weights};
use crate::{hf_config, safetensors_header, torch};

/// A model's files, opened: config, weights, and the tokenizer if there is one.
pub struct Checkpoint {
    /// Everything but the weights.
    pub config: DecoderConfig,
    /// The weights, read as they are asked for.
    pub weights: Arc<Weights>,
    /// Absent for models that take token ids only.
    pub tokenizer: Option<TextTokenizer>,
}

/// A file with its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileHash {
    /// Name without folder.
    pub name: String,
    /// Lower-case hex.
    pub sha256: String,
}

impl Checkpoint {
    /// Opens a folder as Hugging Face lays it out (config.json; one
    /// model.safetensors or an index with its shards, or else the same as
    /// pytorch_model.bin; tokenizer.json if any), a folder with one GGUF file,
    /// or a GGUF file.
    ///
    /// # Errors
    /// A file that is missing, truncated or not what its name says; a field
    /// or a family that is not supported.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        if path.is_file() {
            return Self::open_gguf(path);
        }
        let config_path = path.join("config.json");
        if config_path.exists() {
            return Self::open_folder(path, &config_path);
        }
        let entries = std::fs::read_dir(path).map_err(CheckpointError::io(path))?;
        let mut ggufs: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "gguf"))
            .collect();
        match (ggufs.pop(), ggufs.pop()) {
            (Some(one), None) => Self::open_gguf(&one),
            (Some(_), Some(_)) => Err(CheckpointError::Missing {
                path: path.to_path_buf(),
                what: "single model: it holds several GGUF files".to_owned(),
                hint: "name one of them",
            }),
            (None, _) => Err(CheckpointError::Missing {
                path: path.to_path_buf(),
                what: "config.json and no GGUF file".to_owned(),
                hint: "give a model's folder or a GGUF file",
            }),
        }
    }

    fn open_gguf(path: &Path) -> Result<Self, CheckpointError> {
        let gguf = Gguf::open(path)?;
        let tokenizer = TextTokenizer::from_gguf(path, &gguf.metadata)?;
        let weights = Weights::new(gguf.table);
        // It is part of the config by now.
        weights.skip(ROPE_FACTORS);
        Ok(Self {
            config: gguf.config,
            weights: Arc::new(weights),
            tokenizer,
        })
    }

    fn open_folder(folder: &Path, config_path: &Path) -> Result<Self, CheckpointError> {
        let text =
            std::fs::read_to_string(config_path).map_err(CheckpointError::io(config_path))?;
        let config = hf_config::parse(&text, config_path)?;
        let mut table = Table::new(folder);
        match weight_files(folder)? {
            (Format::Safetensors, files) => {
                for file in files {
                    safetensors_header::add(&mut table, &file).map(|_| ())?;
                }
            }
            (Format::Torch, files) => {
                for file in files {
                    torch::add(&mut table, &file)?;
                }
            }
        }
        let tokenizer_path = folder.join("tokenizer.json");
        let tokenizer = if tokenizer_path.exists() {
            Some(TextTokenizer::from_file(&tokenizer_path)?)
        } else {
            None
        };
        Ok(Self {
            config,
            weights: Arc::new(Weights::new(table)),
            tokenizer,
        })
    }
}

/// How a folder's weights are stored.
enum Format {
    Safetensors,
    Torch,
}

/// The one file of the weights, or the shards that its index names;
/// safetensors where there are both formats.
fn weight_files(folder: &Path) -> Result<(Format, Vec<PathBuf>), CheckpointError> {
    const NAMES: [(Format, &str, &str); 2] = [
        (
            Format::Safetensors,
            "model.safetensors",
            "model.safetensors.index.json",
        ),
        (
            Format::Torch,
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ),
    ];
    for (format, single, index) in NAMES {
        let (single, index) = (folder.join(single), folder.join(index));
        if single.exists() {
            return Ok((format, vec![single]));
        }
        if index.exists() {
            return Ok((format, shards(folder, &index)?));
        }
    }
    Err(CheckpointError::Missing {
        path: folder.to_path_buf(),
        what: NAMES
            .map(|(_, single, index)| format!("{single}, no {index}"))
            .join(", no "),
        hint: "fetch the model's weights",
    })
}

/// The files that an index of shards names.
fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let malformed = |reason: String| CheckpointError::Malformed {
        path: index.to_path_buf(),
        kind: "index of shards",
        reason,
    };
    let text = std::fs::read_to_string(index).map_err(CheckpointError::io(index))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
    let Some(map) = value.get("weight_map").and_then(|m| m.as_object()) else {
        return Err(malformed("field weight_map is missing".to_owned()));
    };
    let mut shards = Vec::new();
    for (tensor, shard) in map {
        let plain = shard
            .as_str()
            .filter(|s| !s.is_empty() && !s.contains(['/', '\\']) && !matches!(*s, "." | ".."));
        let Some(name) = plain else {
            return Err(malformed(format!(
                "the shard of {tensor} is {shard}, not a file name"
            )));
        };
        let shard = folder.join(name);
        if !shard.exists() {
            return Err(CheckpointError::Missing {
                path: folder.to_path_buf(),
                what: format!("shard {name}, which its index names"),
                hint: "fetch the model again",
            });
        }
        shards.push(shard);
    }
    if shards.is_empty() {
        return Err(malformed("it names no shard".to_owned()));
    }
    shards.sort();
    shards.dedup();
    Ok(shards)
}

/// SHA-256 of a file, in lower-case hex.
///
/// # Errors
/// The file cannot be read.
pub fn hash_file(path: &Path) -> Result<String, CheckpointError> {
    let mut file = std::fs::File::open(path).map_err(CheckpointError::io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) => return Err(CheckpointError::io(path)(e)),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
