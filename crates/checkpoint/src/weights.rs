use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::safetensors::{Load, MmapedSafetensors};
use candle_core::{DType, Device, Tensor};

use crate::error::{CheckpointError, plain};
use crate::gguf::{Gguf, ROPE_FACTORS};
use crate::safetensors_header;

/// The tensors of a model under their Hugging Face names.
pub struct Weights {
    /// The file, or the folder of shards: for messages.
    path: PathBuf,
    source: Source,
    /// Names asked for, to find weights that the config has no place for.
    used: Mutex<BTreeSet<String>>,
    /// Part of every name in the file that the decoder's names lack, for
    /// example "transformer." in some GPT-2 files.
    prefix: String,
}

enum Source {
    Safetensors(MmapedSafetensors),
    Gguf(Box<Gguf>),
}

impl Weights {
    /// Maps safetensors files into memory. A truncated or damaged header is an
    /// error that names the file.
    pub(crate) fn safetensors(path: &Path, files: &[PathBuf]) -> Result<Self, CheckpointError> {
        let mut homes: BTreeMap<String, &PathBuf> = BTreeMap::new();
        for file in files {
            // One by one first, so that the message names the file.
            safetensors_header::check(file)?;
            let malformed = |reason: String| CheckpointError::Malformed {
                path: file.clone(),
                kind: "safetensors file",
                reason,
            };
            // SAFETY: the map is read only; a file changed by someone else
            // while it is mapped is undefined, as for every reader of maps.
            let one = unsafe { MmapedSafetensors::new(file) }
                .map_err(|e| malformed(format!("its header is refused: {}", plain(e))))?;
            for (name, _) in one.tensors() {
                if let Some(other) = homes.insert(name.clone(), file) {
                    let other = other.display();
                    return Err(malformed(format!(
                        "tensor {name} is in two files, here and {other}"
                    )));
                }
            }
        }
        // SAFETY: as above.
        let map =
            unsafe { MmapedSafetensors::multi(files) }.map_err(|e| CheckpointError::Malformed {
                path: path.to_path_buf(),
                kind: "set of safetensors files",
                reason: plain(e).to_string(),
            })?;
        let prefix = ["transformer.", ""]
            .into_iter()
            .find(|p| map.get(&format!("{p}wte.weight")).is_ok())
            .unwrap_or("")
            .to_owned();
        Ok(Self {
            path: path.to_path_buf(),
            source: Source::Safetensors(map),
            used: Mutex::new(BTreeSet::new()),
            prefix,
        })
    }

    pub(crate) fn gguf(gguf: Gguf) -> Self {
        let path = gguf.path.clone();
        Self {
            path,
            source: Source::Gguf(Box::new(gguf)),
            used: Mutex::new(BTreeSet::from([ROPE_FACTORS.to_owned()])),
            prefix: String::new(),
        }
    }

    /// Is there a tensor of this name?
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.shape(&self.stored_name(name)).is_some()
    }

    /// The tensor `name` with `shape`, converted to `dtype`, on `device`.
    ///
    /// # Errors
    /// No such tensor, another shape than the config calls for, NaN or
    /// infinite elements, a storage type that cannot be read.
    pub fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, CheckpointError> {
        let stored = self.stored_name(name);
        let found = self
            .shape(&stored)
            .ok_or_else(|| CheckpointError::NoTensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
            })?;
        if found != shape {
            return Err(CheckpointError::Shape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found,
            });
        }
        let failed = CheckpointError::candle(&self.path, name);
        let tensor = match &self.source {
            Source::Safetensors(map) => map
                .get(&stored)
                .and_then(|view| view.load(&Device::Cpu))
                .and_then(|t| t.to_dtype(dtype)),
            Source::Gguf(gguf) => Ok(gguf.tensor(&stored)?).and_then(|t| t.to_dtype(dtype)),
        }
        .map_err(failed)?;
        self.check_finite(name, &tensor)?;
        if let Ok(mut used) = self.used.lock() {
            used.insert(stored);
        }
        tensor
            .to_device(device)
            .map_err(CheckpointError::candle(&self.path, name))
    }

    /// Checks that no weights are left over: a file with more layers than its
    /// config says is not the model that the config describes. Buffers that
    /// old files carry (masks, rotary frequencies) are no weights.
    ///
    /// # Errors
    /// Names the first tensor that was never asked for.
    pub fn check_all_used(&self) -> Result<(), CheckpointError> {
        const BUFFERS: [&str; 4] = [
            ".attn.bias",
            ".attn.masked_bias",
            ".attention.bias",
            ".attention.masked_bias",
        ];
        let used = match self.used.lock() {
            Ok(used) => used.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        };
        let left = self.names().into_iter().find(|name| {
            !used.contains(name)
                && !BUFFERS.iter().any(|b| name.ends_with(b))
                && !name.ends_with("rotary_emb.inv_freq")
        });
        match left {
            Some(tensor) => Err(CheckpointError::UnusedTensor {
                path: self.path.clone(),
                tensor,
            }),
            None => Ok(()),
        }
    }

    /// Marks a tensor as accounted for without loading it: a tied unembedding
    /// that the file stores a second time.
    pub fn skip(&self, name: &str) {
        if let Ok(mut used) = self.used.lock() {
            used.insert(self.stored_name(name));
        }
    }

    /// Number of stored parameters, buffers included.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        match &self.source {
            Source::Safetensors(map) => {
                let tensors = map.tensors();
                let sizes = tensors.iter().map(|(_, view)| view.shape());
                sizes.map(|s| s.iter().product::<usize>() as u64).sum()
            }
            Source::Gguf(gguf) => gguf.parameters(),
        }
    }

    /// How most tensors are stored: "F16", "BF16", "Q4_1"….
    #[must_use]
    pub fn stored(&self) -> String {
        match &self.source {
            Source::Safetensors(map) => {
                let mut counts: BTreeMap<String, usize> = BTreeMap::new();
                for (_, view) in map.tensors() {
                    *counts.entry(format!("{:?}", view.dtype())).or_default() += 1;
                }
                let most = counts.into_iter().max_by_key(|(_, n)| *n);
                most.map_or_else(|| "empty".to_owned(), |(name, _)| name)
            }
            Source::Gguf(gguf) => gguf.stored(),
        }
    }

    /// The file, or the folder of shards.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn stored_name(&self, name: &str) -> String {
        // The unembedding stands outside the prefix in every file that has one.
        if self.prefix.is_empty() || name == "lm_head.weight" {
            name.to_owned()
        } else {
            format!("{}{name}", self.prefix)
        }
    }

    fn shape(&self, stored: &str) -> Option<Vec<usize>> {
        match &self.source {
            Source::Safetensors(map) => Some(map.get(stored).ok()?.shape().to_vec()),
            Source::Gguf(gguf) => gguf.shape(stored),
        }
    }

    fn names(&self) -> Vec<String> {
        match &self.source {
            Source::Safetensors(map) => {
                let mut names: Vec<_> = map.tensors().into_iter().map(|(n, _)| n).collect();
                names.sort();
                names
            }
            Source::Gguf(gguf) => gguf.names(),
        }
    }

    fn check_finite(&self, name: &str, tensor: &Tensor) -> Result<(), CheckpointError> {
        let failed = |e| CheckpointError::candle(&self.path, name)(e);
        // A sum that is finite has finite terms only; the reverse need not
        // hold (overflow), so only then are the elements looked at.
        let sum = tensor
            .sum_all()
            .and_then(|s| s.to_dtype(DType::F64))
            .and_then(|s| s.to_scalar::<f64>())
            .map_err(failed)?;
        if sum.is_finite() {
            return Ok(());
        }
        let values = tensor
            .flatten_all()
            .and_then(|t| t.to_dtype(DType::F64))
            .and_then(|t| t.to_vec1::<f64>())
            .map_err(failed)?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(index) => Err(CheckpointError::NotFinite {
                path: self.path.clone(),
                tensor: name.to_owned(),
                index,
                value: values[index],
            }),
            None => Ok(()),
        }
    }
}
