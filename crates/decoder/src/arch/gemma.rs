//! Gemma 2 (2024) and Gemma 3 (2025): LLaMA's parts with norms before and
//! after attention and MLP; the windows, caps and QK norms are in the config.

use assay_checkpoint::DecoderConfig;
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::{Block, Readers, llama};
use crate::DecoderError;
use crate::parts::attention::Attention;
use crate::parts::load::Load;
use crate::parts::mlp::Gated;
use crate::parts::norm::Norm;
use crate::parts::projections::Projections;
use crate::pass::Pass;

pub(crate) struct GemmaBlock {
    ln1: Norm,
    ln1_post: Norm,
    ln2: Norm,
    ln2_post: Norm,
    qkv: Projections,
    attention: Attention,
    mlp: Gated,
}

impl GemmaBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        Ok(Self {
            ln1: Norm::load(from, &name("input_layernorm"), config)?,
            ln1_post: Norm::load(from, &name("post_attention_layernorm"), config)?,
            ln2: Norm::load(from, &name("pre_feedforward_layernorm"), config)?,
            ln2_post: Norm::load(from, &name("post_feedforward_layernorm"), config)?,
            qkv: Projections::load(from, &name("self_attn"), config)?,
            attention: llama::attention(from, config, layer)?,
            mlp: Gated::load(from, &name("mlp"), config)?,
        })
    }
}

impl Block for GemmaBlock {
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let h = self.ln1.first(pass, layer, &x)?;
        let attn = self.attention.forward(pass, layer, self.qkv.forward(&h)?)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, self.ln1_post.forward(&attn)?)?;
        let resid_mid = pass.block(layer, BlockSite::ResidMid, (x + attn_out)?)?;
        let mlp_in = pass.block(layer, BlockSite::MlpIn, resid_mid.clone())?;
        let h = self.ln2.second(pass, layer, &mlp_in)?;
        let mlp = self.mlp.forward(pass, layer, &h)?;
        let mlp_out = pass.block(layer, BlockSite::MlpOut, self.ln2_post.forward(&mlp)?)?;
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
