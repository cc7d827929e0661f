use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use assay_decoder::Pack;
use assay_hook_site::HookSite;
use candle_core::{DType, Device, Tensor};

use crate::TraceError;
use crate::recording::{SPECIAL, TOKENS};

/// Recorded activations of one pass.
pub struct Trace {
    pack: Pack,
    values: BTreeMap<HookSite, Value>,
}

pub(crate) enum Value {
    /// [tokens, …], all prompts end to end.
    Rows(Tensor),
    /// [head, query, key] of each prompt.
    Squares(Vec<Tensor>),
}

impl Trace {
    pub(crate) fn new(pack: Pack, values: BTreeMap<HookSite, Value>) -> Self {
        Self { pack, values }
    }

    /// The prompts of the pass.
    #[must_use]
    pub fn pack(&self) -> &Pack {
        &self.pack
    }

    /// Sites held, in order.
    pub fn sites(&self) -> impl Iterator<Item = HookSite> {
        self.values.keys().copied()
    }

    /// Activations of all prompts, [tokens, …].
    ///
    /// # Errors
    /// The site was not recorded, or is a square per prompt.
    pub fn rows(&self, site: HookSite) -> Result<&Tensor, TraceError> {
        match self.values.get(&site) {
            Some(Value::Rows(tensor)) => Ok(tensor),
            _ => Err(TraceError::NotRecorded { site }),
        }
    }

    /// Activations of one prompt: [T, …], or [head, query, key] at the square
    /// sites.
    ///
    /// # Errors
    /// The site was not recorded, or there is no such prompt.
    pub fn prompt(&self, site: HookSite, index: usize) -> Result<Tensor, TraceError> {
        let absent = || TraceError::NoSuchPrompt {
            index,
            prompts: self.pack.segments().len(),
        };
        match self.values.get(&site) {
            Some(Value::Rows(tensor)) => {
                let segment = self.pack.segments().get(index).ok_or_else(absent)?;
                Ok(tensor.narrow(0, segment.start, segment.len())?)
            }
            Some(Value::Squares(squares)) => squares.get(index).cloned().ok_or_else(absent),
            None => Err(TraceError::NotRecorded { site }),
        }
    }

    /// Writes the trace of a single prompt as safetensors: every site under
    /// its TransformerLens name, f32, with a batch axis of 1 in front, and the
    /// token ids as `tokens`, as [`crate::Recording`] reads them.
    ///
    /// # Errors
    /// The trace holds several prompts, or the file cannot be written.
    pub fn write_safetensors(&self, path: &Path, special_tokens: usize) -> Result<(), TraceError> {
        let prompts = self.pack.segments().len();
        if prompts != 1 {
            return Err(TraceError::NoSuchPrompt { index: 0, prompts });
        }
        let mut tensors = Vec::new();
        for site in self.values.keys() {
            let tensor = self.prompt(*site, 0)?;
            let tensor = tensor.to_dtype(DType::F32)?.unsqueeze(0)?.contiguous()?;
            tensors.push((site.to_string(), tensor));
        }
        let ids: Vec<i64> = self.pack.ids().iter().map(|id| i64::from(*id)).collect();
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        tensors.push((TOKENS.to_owned(), ids));
        let words = HashMap::from([(SPECIAL.to_owned(), special_tokens.to_string())]);
        let written = safetensors::serialize_to_file(tensors, Some(words), path);
        written.map_err(|e| TraceError::Write {
            path: path.to_path_buf(),
            reason: e.to_string(),
        })
    }
}
