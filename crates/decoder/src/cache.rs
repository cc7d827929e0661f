use assay_checkpoint::DecoderConfig;
use candle_core::Tensor;

use crate::DecoderError;

/// Keys and values of the tokens that went before, for decoding token by
/// token. One per batch of prompts; [`crate::Decoder::extend`] fills it.
pub struct KvCache {
    layers: Vec<Vec<Kept>>, // [layer][prompt]
}

/// One prompt's keys and values in one block.
#[derive(Default)]
struct Kept {
    /// [kv_head, capacity, d_head] each, of which the first `len` are filled.
    tensors: Option<(Tensor, Tensor)>,
    len: usize,
}

impl KvCache {
    /// An empty cache for some prompts of a model.
    #[must_use]
    pub fn new(config: &DecoderConfig, prompts: usize) -> Self {
        let layer = || (0..prompts).map(|_| Kept::default()).collect();
        Self {
            layers: (0..config.n_layers).map(|_| layer()).collect(),
        }
    }

    /// Number of tokens kept of each prompt.
    #[must_use]
    pub fn lengths(&self) -> Vec<usize> {
        // The last block's: a pass that failed on the way has not filled it.
        let last = self.layers.last();
        last.map_or_else(Vec::new, |l| l.iter().map(|kept| kept.len).collect())
    }

    /// Keeps only the prompts of these numbers, in this order.
    pub(crate) fn keep(&mut self, prompts: &[usize]) {
        for layer in &mut self.layers {
            let mut all: Vec<Option<Kept>> = layer.drain(..).map(Some).collect();
            *layer = prompts.iter().filter_map(|p| all[*p].take()).collect();
        }
    }

    /// Adds k and v [kv_head, T, d_head] of new tokens of a prompt; gives all
    /// of its keys and values, [kv_head, past + T, d_head] each.
    pub(crate) fn extend(
        &mut self,
        layer: usize,
        prompt: usize,
        k: &Tensor,
        v: &Tensor,
    ) -> Result<(Tensor, Tensor), DecoderError> {
        let kept = &mut self.layers[layer][prompt];
        let (kv_heads, new, d_head) = k.dims3()?;
        let len = kept.len + new;
        let room = |t: &Option<(Tensor, Tensor)>| t.as_ref().map_or(Ok(0), |(k, _)| k.dim(1));
        if room(&kept.tensors)? < len {
            // Half as much again, so that growing costs a constant per token.
            let capacity = (len + len / 2).max(64);
            let shape = (kv_heads, capacity, d_head);
            let grown = || Tensor::zeros(shape, k.dtype(), k.device());
            let (new_k, new_v) = (grown()?, grown()?);
            if let Some((old_k, old_v)) = &kept.tensors
                && kept.len > 0
            {
                let filled = |t: &Tensor| t.narrow(1, 0, kept.len)?.contiguous();
                new_k.slice_set(&filled(old_k)?, 1, 0)?;
                new_v.slice_set(&filled(old_v)?, 1, 0)?;
            }
            kept.tensors = Some((new_k, new_v));
        }
        let Some((all_k, all_v)) = &kept.tensors else {
            return Ok((k.clone(), v.clone()));
        };
        all_k.slice_set(&k.contiguous()?, 1, kept.len)?;
        all_v.slice_set(&v.contiguous()?, 1, kept.len)?;
        kept.len = len;
        Ok((all_k.narrow(1, 0, len)?, all_v.narrow(1, 0, len)?))
    }
}
