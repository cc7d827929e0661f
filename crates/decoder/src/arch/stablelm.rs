//! StableLM (Bellagente et al. 2024): LLaMA's parts with LayerNorm and a share
//! of the dimensions rotated; some have parallel blocks with one norm, some a
//! norm for every head of Q and K.

use assay_checkpoint::{BlockKind, DecoderConfig, NormKind};
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::{Block, shared_norm};
use crate::DecoderError;
use crate::parts::attention::{Attention, HeadNorm};
use crate::parts::load::{Load, TensorKind};
use crate::parts::mlp::Gated;
use crate::parts::norm::Norm;
use crate::parts::projections::Projections;
use crate::pass::Pass;

pub(crate) struct StableLmBlock {
    ln1: Norm,
    /// None where attention and MLP read one norm side by side.
    ln2: Option<Norm>,
    qkv: Projections,
    attention: Attention,
    mlp: Gated,
}

impl StableLmBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        let shape = (config.n_heads * config.d_head, config.d_model);
        let out = from.linear(&name("self_attn.o_proj"), shape, config.out_bias)?;
        let head_norm = |which: &str, heads: usize| {
            per_head(from, &name(&format!("self_attn.{which}")), config, heads)
        };
        let qk_norm = match config.qk_norm {
            Some(_) => Some((
                head_norm("q_layernorm", config.n_heads)?,
                head_norm("k_layernorm", config.n_kv_heads)?,
            )),
            None => None,
        };
        Ok(Self {
            ln1: Norm::load(from, &name("input_layernorm"), config)?,
            ln2: match config.block {
                BlockKind::Parallel => None,
                BlockKind::Sequential => {
                    Some(Norm::load(from, &name("post_attention_layernorm"), config)?)
                }
            },
            qkv: Projections::load(from, &name("self_attn"), config)?,
            attention: Attention::new(config, layer, out).with_qk_norm(qk_norm),
            mlp: Gated::load(from, &name("mlp"), config)?,
        })
    }
}

/// A LayerNorm without bias for each head.
fn per_head(
    from: &Load,
    name: &str,
    config: &DecoderConfig,
    heads: usize,
) -> Result<HeadNorm, DecoderError> {
    let gain = |head: usize| {
        let name = format!("{name}.norms.{head}.weight");
        from.wide_tensor(&name, &[config.d_head], TensorKind::Gain)
    };
    let gains = (0..heads).map(gain).collect::<Result<Vec<_>, _>>()?;
    let ones = Tensor::ones(config.d_head, from.wide_dtype(), from.device)?;
    let norm = Norm::new(NormKind::LayerNorm, config.norm_eps, ones, None);
    Ok(HeadNorm::per_head(norm, Tensor::stack(&gains, 0)?))
}

impl Block for StableLmBlock {
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let h = self.ln1.first(pass, layer, &x)?;
        let attn_out = self.attention.forward(pass, layer, self.qkv.forward(&h)?)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, attn_out)?;
        let resid_post = match &self.ln2 {
            None => {
                let h = shared_norm(pass, layer, &self.ln1, &x, h)?;
                let mlp_out = self.mlp.forward(pass, layer, &h)?;
                let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
                ((x + attn_out)? + mlp_out)?
            }
            Some(ln2) => {
                let resid_mid = pass.block(layer, BlockSite::ResidMid, (x + attn_out)?)?;
                let mlp_in = pass.block(layer, BlockSite::MlpIn, resid_mid.clone())?;
                let h = ln2.second(pass, layer, &mlp_in)?;
                let mlp_out = self.mlp.forward(pass, layer, &h)?;
                let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
                (resid_mid + mlp_out)?
            }
        };
        pass.block(layer, BlockSite::ResidPost, resid_post)
    }

    fn sublayer_inputs(&self, x: &Tensor, mlp_in: &Tensor) -> Result<[Tensor; 2], DecoderError> {
        let ln2 = self.ln2.as_ref().unwrap_or(&self.ln1);
        Ok([self.ln1.forward(x)?, ln2.forward(mlp_in)?])
    }

    fn mlp_out_weight(&self) -> Result<Tensor, DecoderError> {
        self.mlp.out_weight()
    }
}
