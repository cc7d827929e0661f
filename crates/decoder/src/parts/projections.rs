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
