use assay_checkpoint::DecoderConfig;
use candle_core::Tensor;

use super::attention::Qkv;
use super::linear::Linear;
use super::load::Load;
use crate::DecoderError;

/// Projections to queries, keys and values, a matrix each.
pub(crate) struct Projections {
    q: Linear, // d_model -> n_heads * d_head
    k: Linear, // d_model -> n_kv_heads * d_head
    v: Linear, // d_model -> n_kv_heads * d_head
    d_head: usize,
}

impl Projections {
    /// Loads `{name}.q_proj`, `.k_proj` and `.v_proj`.
    pub(crate) fn load(
        from: &Load,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, DecoderError> {
        let projection = |which: &str, heads: usize| {
            let shape = (config.d_model, heads * config.d_head);
            from.linear(&format!("{name}.{which}_proj"), shape, config.qkv_bias)
        };
        Ok(Self {
            q: projection("q", config.n_heads)?,
            k: projection("k", config.n_kv_heads)?,
            v: projection("v", config.n_kv_heads)?,
            d_head: config.d_head,
        })
    }

    /// What reads, [out, d_model] each: q, k, v.
    pub(crate) fn weights(&self) -> Result<[Tensor; 3], DecoderError> {
        let rows = |linear: &Linear| -> Result<Tensor, DecoderError> { Ok(linear.weight()?.t()?) };
        Ok([rows(&self.q)?, rows(&self.k)?, rows(&self.v)?])
    }

    /// x [rows, d_model] -> q [rows, head, d_head]; k, v [rows, kv_head, d_head].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Qkv, DecoderError> {
        let heads = |projection: &Linear| -> Result<Tensor, DecoderError> {
            let y = projection.forward(x)?;
            let (rows, width) = y.dims2()?;
            Ok(y.reshape((rows, width / self.d_head, self.d_head))?)
        };
        Ok(Qkv {
            q: heads(&self.q)?,
            k: heads(&self.k)?,
            v: heads(&self.v)?,
        })
    }
}

/// One matrix for queries, keys and values, whose rows are (kv_head, query
/// heads of its group then K then V, d_head): GPT-NeoX and BLOOM, where every
/// group holds one query head, and Falcon, where it may hold all of them. Not
/// (qkv, head, d_head): erratum E5.
pub(crate) struct Fused {
    qkv: Linear, // d_model -> (n_heads + 2 * n_kv_heads) * d_head
    n_heads: usize,
    n_kv_heads: usize,
    d_head: usize,
}

impl Fused {
    /// Loads the matrix of this name.
    pub(crate) fn load(
        from: &Load,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, DecoderError> {
        let width = (config.n_heads + 2 * config.n_kv_heads) * config.d_head;
        Ok(Self {
            qkv: from.linear(name, (config.d_model, width), config.qkv_bias)?,
            n_heads: config.n_heads,
            n_kv_heads: config.n_kv_heads,
            d_head: config.d_head,
        })
    }

    /// x [rows, d_model] -> q [rows, head, d_head]; k, v [rows, kv_head, d_head].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Qkv, DecoderError> {
        let (rows, _) = x.dims2()?;
        let group = self.n_heads / self.n_kv_heads;
        let shape = (rows, self.n_kv_heads, group + 2, self.d_head);
        let fused = self.qkv.forward(x)?.reshape(shape)?;
        let q = match group {
            // A view: what follows reads it by its strides.
            1 => fused.narrow(2, 0, 1)?.squeeze(2)?,
            _ => {
                let shape = (rows, self.n_heads, self.d_head);
                fused.narrow(2, 0, group)?.reshape(shape)?
            }
        };
        Ok(Qkv {
            q,
            k: fused.narrow(2, group, 1)?.squeeze(2)?,
            v: fused.narrow(2, group + 1, 1)?.squeeze(2)?,
        })
    }
}
