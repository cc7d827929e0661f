//! LLaMA (Touvron et al. 2023): sequential blocks, RMSNorm, rotary positions,
//! grouped key/value heads, gated MLP. SmolLM2 is one; Mistral adds a window,
//! Qwen2 biases of Q, K and V, Qwen3 norms of Q and K; Gemma 1 is one too, with
//! gains stored from 1 and a scaled embedding.

use assay_checkpoint::DecoderConfig;
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::{Block, NONE, Outside, Readers};
use crate::DecoderError;
use crate::parts::attention::{Attention, HeadNorm};
use crate::parts::load::Load;
use crate::parts::mlp::Gated;
use crate::parts::norm::Norm;
use crate::parts::projections::Projections;
use crate::pass::Pass;

pub(crate) const OUTSIDE: Outside = Outside {
    embed: "model.embed_tokens",
    final_norm: "model.norm",
    ..NONE
};

pub(crate) struct LlamaBlock {
    ln1: Norm,
    ln2: Norm,
    qkv: Projections,
    attention: Attention,
    mlp: Gated,
}

impl LlamaBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        Ok(Self {
            ln1: Norm::load(from, &name("input_layernorm"), config)?,
            ln2: Norm::load(from, &name("post_attention_layernorm"), config)?,
            qkv: Projections::load(from, &name("self_attn"), config)?,
            attention: attention(from, config, layer)?,
            mlp: Gated::load(from, &name("mlp"), config)?,
        })
    }
}

/// `self_attn` from the projections on, as Gemma has it too.
pub(super) fn attention(
    from: &Load,
    config: &DecoderConfig,
    layer: usize,
) -> Result<Attention, DecoderError> {
    let name = |rest: &str| format!("model.layers.{layer}.self_attn.{rest}");
    let shape = (config.n_heads * config.d_head, config.d_model);
    let out = from.linear(&name("o_proj"), shape, config.out_bias)?;
    let head_norm = |which: &str| -> Result<HeadNorm, DecoderError> {
        let norm = Norm::of_width(from, &name(which), config, config.d_head)?;
        Ok(HeadNorm::shared(norm))
    };
    let qk_norm = match config.qk_norm {
        Some(_) => Some((head_norm("q_norm")?, head_norm("k_norm")?)),
        None => None,
    };
    Ok(Attention::new(config, layer, out).with_qk_norm(qk_norm))
}

impl Block for LlamaBlock {
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let h = self.ln1.first(pass, layer, &x)?;
        let attn_out = self.attention.forward(pass, layer, self.qkv.forward(&h)?)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, attn_out)?;
        let resid_mid = pass.block(layer, BlockSite::ResidMid, (x + attn_out)?)?;
        let mlp_in = pass.block(layer, BlockSite::MlpIn, resid_mid.clone())?;
        let h = self.ln2.second(pass, layer, &mlp_in)?;
        let mlp_out = self.mlp.forward(pass, layer, &h)?;
        let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
        pass.block(layer, BlockSite::ResidPost, (resid_mid + mlp_out)?)
    }

    fn sublayer_inputs(&self, x: &Tensor, mlp_in: &Tensor) -> Result<[Tensor; 2], DecoderError> {
        Ok([self.ln1.forward(x)?, self.ln2.forward(mlp_in)?])
    }

    fn mlp_out_weight(&self) -> Result<Tensor, DecoderError> {
        self.mlp.out_weight()
    }

    fn readers(&self) -> Result<Option<Readers>, DecoderError> {
        let [q, k, v] = self.qkv.weights()?;
        let [gate, up] = self.mlp.in_weights()?;
        Ok(Some(Readers {
            attn_gain: self.ln1.gain(),
            q,
            k,
            v,
            qk_gains: self.attention.qk_gains(),
            mlp_gain: self.ln2.gain(),
            gate,
            up,
        }))
    }
}
