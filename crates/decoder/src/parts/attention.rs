use assay_checkpoint::DecoderConfig;
use assay_hook_site::BlockSite;
use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::elementwise::{for_product, widened};
use super::linear::Linear;
use super::norm::Norm;
use super::score::{Rules, softmax};
use super::together::{self, MOST_SCORES};
use crate::DecoderError;
use crate::pack::pad_rows;
use crate::pass::Pass;

/// Queries, keys and values of a pack.
pub(crate) struct Qkv {
    pub(crate) q: Tensor, // [rows, head, d_head]
    pub(crate) k: Tensor, // [rows, kv_head, d_head]
    pub(crate) v: Tensor, // [rows, kv_head, d_head]
}

/// Attention from queries, keys and values on: QK norm, positions, scores,
/// pattern, mixing, and the projection out.
pub(crate) struct Attention {
    rules: Rules,
    qk_norm: Option<(HeadNorm, HeadNorm)>,
    out: Linear, // n_heads * d_head -> d_model
}

impl Attention {
    pub(crate) fn new(config: &DecoderConfig, layer: usize, out: Linear) -> Self {
        Self {
            rules: Rules::new(config, layer),
            qk_norm: None,
            out,
        }
    }

    /// With norms of queries and of keys.
    pub(crate) fn with_qk_norm(self, norms: Option<(HeadNorm, HeadNorm)>) -> Self {
        Self {
            qk_norm: norms,
            ..self
        }
    }

    /// Gains of the norms of queries and keys that all heads share, [d_head].
    pub(crate) fn qk_gains(&self) -> Option<[Tensor; 2]> {
        let (q, k) = self.qk_norm.as_ref()?;
        Some([q.norm.gain(), k.norm.gain()])
    }

    /// From the projections to what attention adds to the residual, before
    /// any post-norm: [rows, d_model].
    pub(crate) fn forward(
        &self,
        pass: &mut Pass,
        layer: usize,
        Qkv { q, k, v }: Qkv,
    ) -> Result<Tensor, DecoderError> {
        let q = pass.block(layer, BlockSite::Q, q)?;
        let k = pass.block(layer, BlockSite::K, k)?;
        let v = pass.block(layer, BlockSite::V, v)?;
        let (q, k) = match &self.qk_norm {
            Some((q_norm, k_norm)) => (q_norm.forward(&q)?, k_norm.forward(&k)?),
            None => (q, k),
        };
        let rotary = match &pass.local_rotary {
            Some(local) if self.rules.windowed() => Some(local),
            _ => pass.rotary.as_ref(),
        };
        let (q, k) = match rotary {
            Some(rotary) => {
                let (q, k) = (rotary.apply(&q)?, rotary.apply(&k)?);
                let q = pass.block(layer, BlockSite::RotQ, q)?;
                (q, pass.block(layer, BlockSite::RotK, k)?)
            }
            None => (q, k),
        };
        let z = self.mix(pass, layer, &Qkv { q, k, v })?;
        let z = pass.block(layer, BlockSite::Z, z)?;
        self.project(pass, layer, &z)
    }

    /// Causal attention, prompt by prompt: z [rows, head, d_head].
    fn mix(&self, pass: &mut Pass, layer: usize, qkv: &Qkv) -> Result<Tensor, DecoderError> {
        let squares =
            pass.wants(layer, BlockSite::AttnScores) || pass.wants(layer, BlockSite::Pattern);
        let pack = pass.pack;
        let alone = squares || pass.cache.is_some();
        if !alone && together::serves(&qkv.q, pack.segments())? {
            let z = together::mix(&self.rules, qkv, pack.segments(), MOST_SCORES)?;
            return pad_rows(&z, pack.rows());
        }
        let mut prompts = Vec::with_capacity(pack.segments().len());
        for (i, segment) in pack.segments().iter().enumerate() {
            let mut prompt = Prompt::new(qkv, segment.start, segment.len(), pack.past()[i])?;
            if let Some(cache) = &mut pass.cache {
                (prompt.k, prompt.v) = cache.extend(layer, i, &prompt.k, &prompt.v)?;
            }
            prompts.push(prompt);
        }
        let z: Vec<Tensor> = if squares {
            let mut z = Vec::with_capacity(prompts.len());
            for (i, prompt) in prompts.iter().enumerate() {
                let scores = self.rules.score(prompt.products()?, prompt.past)?;
                let scores = pass.square(layer, BlockSite::AttnScores, i, scores)?;
                // The hook may still hold the scores: softmax works on a copy.
                let pattern = softmax(scores.copy()?)?;
                let pattern = pass.square(layer, BlockSite::Pattern, i, pattern)?;
                z.push(prompt.mix_in_parts(&pattern)?);
            }
            z
        } else {
            // A thread takes a whole prompt, or a part of a long one.
            let parts = prompts.iter().map(Prompt::parts);
            let parts: Vec<Vec<Prompt>> = parts.collect::<Result<_, DecoderError>>()?;
            let mixed = |part: &Prompt| {
                let scores = self.rules.score(part.products()?, part.past)?;
                part.mix(&softmax(scores)?)
            };
            let z: Result<_, DecoderError> = match qkv.q.device().is_cpu() {
                true => parts.par_iter().flatten().map(mixed).collect(),
                // A GPU takes one thing after the other, whoever asks.
                false => parts.iter().flatten().map(mixed).collect(),
            };
            z?
        };
        pad_rows(&Tensor::cat(&z, 0)?, pack.rows())
    }

    /// attn_out from z, by way of each head's share where somebody looks at it.
    ///
    /// An edited share enters as its difference from the original, so that
    /// handing the original back changes nothing.
    fn project(&self, pass: &mut Pass, layer: usize, z: &Tensor) -> Result<Tensor, DecoderError> {
        let (rows, heads, width) = z.dims3()?;
        let direct = self.out.forward(&z.reshape((rows, heads * width))?)?;
        if !pass.wants(layer, BlockSite::Result) {
            return Ok(direct);
        }
        let d_model = direct.dim(1)?;
        let per_head = self
            .out
            .weight()?
            .contiguous()?
            .reshape((heads, width, d_model))?;
        let result = z
            .transpose(0, 1)?
            .contiguous()?
            .matmul(&per_head)?
            .transpose(0, 1)?
            .contiguous()?;
        let edited = pass.block(layer, BlockSite::Result, result.clone())?;
        Ok((direct + (edited - result)?.sum(1)?)?)
    }
}

/// Queries of a prompt that are scored at a time.
const MOST_QUERIES: usize = 256;

/// Parts of like length, none so short that its products would take another
/// path in the matrix library than long ones do: (first query, one past the
/// last) of each.
fn part_bounds(queries: usize) -> Vec<(usize, usize)> {
    let number = queries.div_ceil(MOST_QUERIES);
    let bound = |i: usize| i * queries / number;
    (0..number).map(|i| (bound(i), bound(i + 1))).collect()
}

/// One prompt's share of a layer's attention, grouped heads not repeated.
#[derive(Clone)]
struct Prompt {
    q: Tensor, // [kv_head, group * T, d_head]
    k: Tensor, // [kv_head, past + T, d_head]
    v: Tensor, // [kv_head, past + T, d_head]
    past: usize,
}

impl Prompt {
    fn new(qkv: &Qkv, start: usize, len: usize, past: usize) -> Result<Self, DecoderError> {
        let (_, heads, width) = qkv.q.dims3()?;
        let kv_heads = qkv.k.dim(1)?;
        let group = heads / kv_heads;
        let q = qkv.q.narrow(0, start, len)?;
        let q = if group == 1 {
            q.transpose(0, 1)?
        } else {
            q.reshape((len, kv_heads, group, width))?
                .permute((1, 2, 0, 3))?
                .reshape((kv_heads, group * len, width))?
        };
        Ok(Self {
            q,
            k: qkv.k.narrow(0, start, len)?.transpose(0, 1)?,
            v: qkv.v.narrow(0, start, len)?.transpose(0, 1)?,
            past,
        })
    }

    /// The prompt by some hundred queries at a time, each part with the keys
    /// up to its last query: a long prompt's square of scores is never whole
    /// in memory, and half of it is never computed.
    fn parts(&self) -> Result<Vec<Prompt>, DecoderError> {
        let (kv_heads, rows, width) = self.q.dims3()?;
        let queries = self.k.dim(1)? - self.past;
        if queries <= MOST_QUERIES {
            return Ok(vec![self.clone()]);
        }
        let q = self.q.reshape((kv_heads, rows / queries, queries, width))?;
        let part = |start: usize, end: usize| -> Result<Prompt, DecoderError> {
            let len = end - start;
            let keys = self.past + end;
            Ok(Prompt {
                q: q.narrow(2, start, len)?
                    .reshape((kv_heads, rows / queries * len, width))?,
                k: self.k.narrow(1, 0, keys)?,
                v: self.v.narrow(1, 0, keys)?,
                past: self.past + start,
            })
        };
        part_bounds(queries)
            .into_iter()
            .map(|(start, end)| part(start, end))
            .collect()
    }

    /// As [`Prompt::mix`], of a whole square and by the same products as the
    /// parts', so that looking at the square changes no bit. What an edit gave
    /// a query to see beyond its part's keys comes on top.
    fn mix_in_parts(&self, pattern: &Tensor) -> Result<Tensor, DecoderError> {
        let (_, queries, keys) = pattern.dims3()?;
        if queries <= MOST_QUERIES {
            return self.mix(pattern);
        }
        let mut z = Vec::new();
        for (start, end) in part_bounds(queries) {
            let rows = pattern.narrow(1, start, end - start)?;
            let columns = |from: usize, len: usize| -> Result<Tensor, DecoderError> {
                let v = self.v.narrow(1, from, len)?;
                let seen = rows.narrow(2, from, len)?.contiguous()?;
                Prompt { v, ..self.clone() }.mix(&seen)
            };
            let near = self.past + end;
            let mut part = columns(0, near)?;
            if near < keys {
                let beyond = rows.narrow(2, near, keys - near)?.abs()?.max_all()?;
                if beyond.to_dtype(DType::F64)?.to_scalar::<f64>()? != 0.0 {
                    part = (part + columns(near, keys - near)?)?;
                }
            }
            z.push(part);
        }
        Ok(Tensor::cat(&z, 0)?)
    }

    /// q kᵀ [head, T, past + T].
    fn products(&self) -> Result<Tensor, DecoderError> {
        let (kv_heads, rows, _) = self.q.dims3()?;
        let keys = self.k.dim(1)?;
        let queries = keys - self.past;
        let (q, k) = (widened(&self.q)?, widened(&self.k)?);
        let products = for_product(&q)?.matmul(&for_product(&k)?.transpose(1, 2)?)?;
        Ok(products.reshape((kv_heads * rows / queries, queries, keys))?)
    }

    /// pattern [head, T, past + T] times v: z [T, head, d_head].
    fn mix(&self, pattern: &Tensor) -> Result<Tensor, DecoderError> {
        let (heads, queries, keys) = pattern.dims3()?;
        let (kv_heads, _, width) = self.v.dims3()?;
        let z = pattern
            .reshape((kv_heads, heads / kv_heads * queries, keys))?
            .to_dtype(self.v.dtype())?
            .matmul(&for_product(&self.v)?)?
            .reshape((heads, queries, width))?;
        Ok(z.transpose(0, 1)?.contiguous()?)
    }
}

/// A norm over each head's dimensions.
pub(crate) struct HeadNorm {
    norm: Norm,
    /// [head, d_head], where each head has a gain of its own; of at least f32.
    gains: Option<Tensor>,
}

impl HeadNorm {
    /// With one gain [d_head] for all heads, which is the norm's.
    pub(crate) fn shared(norm: Norm) -> Self {
        Self { norm, gains: None }
    }

    /// With a gain for each head, beside a norm whose own are 1.
    pub(crate) fn per_head(norm: Norm, gains: Tensor) -> Self {
        Self {
            norm,
            gains: Some(gains),
        }
    }

    /// x [rows, head, d_head] -> the same, rounded once, after the gains.
    fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let (rows, heads, width) = x.dims3()?;
        let wide = widened(&x.reshape((rows * heads, width))?)?;
        let y = self.norm.forward(&wide)?.reshape((rows, heads, width))?;
        let y = match &self.gains {
            Some(gains) => y.broadcast_mul(gains)?,
            None => y,
        };
        Ok(y.to_dtype(x.dtype())?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_checkpoint::{Checkpoint, DecoderConfig};
    use candle_core::{DType, Device, Tensor};
    use serde_json::{Value, json};

    use super::{Prompt, Qkv, Rules, softmax, together};

    const HEADS: usize = 6;
    const WIDTH: usize = 4;

    fn config(fields: Value) -> DecoderConfig {
        let folder = tempfile::tempdir().unwrap();
        assay_testkit::write_config(folder.path(), &fields, 1, DType::F32).unwrap();
        Checkpoint::open(folder.path()).unwrap().config
    }

    /// Grouped heads, and a window and a cap in its first block.
    fn gemma2() -> DecoderConfig {
        config(json!({
            "model_type": "gemma2",
            "vocab_size": 10,
            "hidden_size": 8,
            "head_dim": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": HEADS,
            "num_key_value_heads": 2,
            "intermediate_size": 8,
            "max_position_embeddings": 16,
            "hidden_act": "gelu_pytorch_tanh",
            "rms_norm_eps": 1e-6,
            "rope_theta": 100.0,
            "sliding_window": 3,
            "query_pre_attn_scalar": WIDTH,
            "attn_logit_softcapping": 1.5,
        }))
    }

    /// Slopes by head and position.
    fn bloom() -> DecoderConfig {
        config(json!({
            "model_type": "bloom",
            "vocab_size": 10,
            "hidden_size": HEADS * WIDTH,
            "n_layer": 1,
            "n_head": HEADS,
            "seq_length": 16,
            "layer_norm_epsilon": 1e-5,
        }))
    }

    /// Prompts laid side by side get what each gets by itself, however many
    /// are taken at a time. In f64, where the bound of 1e-12 is some thousand
    /// roundings and a wrong mask, slope or head is not near it.
    #[test]
    fn prompts_side_by_side_attend_as_alone() {
        let segments = [0..3, 3..4, 4..11, 11..13];
        for (config, layer) in [(gemma2(), 0), (gemma2(), 1), (bloom(), 0)] {
            let rules = Rules::new(&config, layer);
            let drawn = |heads: usize| {
                // A row more than the prompts have: padding.
                let shape = (14, heads, WIDTH);
                Tensor::randn(0f64, 1.0, shape, &Device::Cpu).unwrap()
            };
            let kv_heads = config.n_kv_heads;
            let (q, k, v) = (drawn(HEADS), drawn(kv_heads), drawn(kv_heads));
            let qkv = Qkv { q, k, v };
            let alone = segments.iter().map(|s| {
                let prompt = Prompt::new(&qkv, s.start, s.len(), 0).unwrap();
                let scores = rules.score(prompt.products().unwrap(), 0).unwrap();
                prompt.mix(&softmax(scores).unwrap()).unwrap()
            });
            let alone = Tensor::cat(&alone.collect::<Vec<_>>(), 0).unwrap();
            // All at once, the last two together, each by itself.
            for most in [usize::MAX, HEADS * 2 * 49, 1] {
                let beside = together::mix(&rules, &qkv, &segments, most).unwrap();
                assert_eq!(beside.dims(), [13, HEADS, WIDTH]);
                let apart = (&beside - &alone).unwrap().abs().unwrap();
                let apart = apart.max_all().unwrap().to_scalar::<f64>().unwrap();
                assert!(apart < 1e-12, "layer {layer}, most {most}: {apart:e}");
            }
        }
    }
}
