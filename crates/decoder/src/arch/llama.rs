//! LLaMA (Touvron et al. 2023): sequential blocks, RMSNorm, rotary positions,
//! grouped key/value heads, gated MLP. SmolLM2 is one.

use assay_checkpoint::{Activation, DecoderConfig};
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::{Block, Outside};
use crate::DecoderError;
use crate::parts::attention::{Qkv, attend, project};
use crate::parts::linear::{Linear, Load, Stored};
use crate::parts::mlp;
use crate::parts::norm::Norm;
use crate::parts::rotary::Rotary;
use crate::pass::Pass;

pub(crate) const OUTSIDE: Outside = Outside {
    embed: "model.embed_tokens.weight",
    pos_embed: None,
    final_norm: "model.norm",
    unembed: "lm_head.weight",
};

pub(crate) struct LlamaBlock {
    ln1: Norm,
    ln2: Norm,
    q_proj: Linear,    // d_model -> n_heads * d_head
    k_proj: Linear,    // d_model -> n_kv_heads * d_head
    v_proj: Linear,    // d_model -> n_kv_heads * d_head
    o_proj: Linear,    // n_heads * d_head -> d_model
    gate_proj: Linear, // d_model -> d_mlp
    up_proj: Linear,   // d_model -> d_mlp
    down_proj: Linear, // d_mlp -> d_model
    activation: Activation,
    d_head: usize,
}

impl LlamaBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        let (d, d_mlp) = (config.d_model, config.d_mlp);
        let q = config.n_heads * config.d_head;
        let kv = config.n_kv_heads * config.d_head;
        let attention = |rest: &str, shape| {
            let name = name(&format!("self_attn.{rest}"));
            Linear::load(from, &name, shape, config.attention_bias, Stored::OutIn)
        };
        let mlp = |rest: &str, shape| {
            let name = name(&format!("mlp.{rest}"));
            Linear::load(from, &name, shape, config.mlp_bias, Stored::OutIn)
        };
        Ok(Self {
            ln1: Norm::load(from, &name("input_layernorm"), config)?,
            ln2: Norm::load(from, &name("post_attention_layernorm"), config)?,
            q_proj: attention("q_proj", (d, q))?,
            k_proj: attention("k_proj", (d, kv))?,
            v_proj: attention("v_proj", (d, kv))?,
            o_proj: attention("o_proj", (q, d))?,
            gate_proj: mlp("gate_proj", (d, d_mlp))?,
            up_proj: mlp("up_proj", (d, d_mlp))?,
            down_proj: mlp("down_proj", (d_mlp, d))?,
            activation: config.activation,
            d_head: config.d_head,
        })
    }

    fn attention(
        &self,
        pass: &mut Pass,
        layer: usize,
        x: &Tensor,
        rotary: Option<&Rotary>,
    ) -> Result<Tensor, DecoderError> {
        let (scale, normalized) = (
            BlockSite::Ln1Scale.at(layer),
            BlockSite::Ln1Normalized.at(layer),
        );
        let x = self.ln1.hooked(pass, x, scale, normalized)?;
        let heads = |projection: &Linear| -> Result<Tensor, DecoderError> {
            let y = projection.forward(&x)?;
            let (rows, width) = y.dims2()?;
            Ok(y.reshape((rows, width / self.d_head, self.d_head))?)
        };
        let q = pass.block(layer, BlockSite::Q, heads(&self.q_proj)?)?;
        let k = pass.block(layer, BlockSite::K, heads(&self.k_proj)?)?;
        let v = pass.block(layer, BlockSite::V, heads(&self.v_proj)?)?;
        let (q, k) = match rotary {
            Some(rotary) => (rotary.apply(&q)?, rotary.apply(&k)?),
            None => (q, k),
        };
        let q = pass.block(layer, BlockSite::RotQ, q)?;
        let k = pass.block(layer, BlockSite::RotK, k)?;
        let z = attend(pass, layer, &Qkv { q, k, v })?;
        let z = pass.block(layer, BlockSite::Z, z)?;
        project(pass, layer, &z, &self.o_proj)
    }
}

impl Block for LlamaBlock {
    fn forward(
        &self,
        pass: &mut Pass,
        layer: usize,
        x: Tensor,
        rotary: Option<&Rotary>,
    ) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let attn_out = self.attention(pass, layer, &x, rotary)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, attn_out)?;
        let resid_mid = pass.block(layer, BlockSite::ResidMid, (x + attn_out)?)?;
        let (scale, normalized) = (
            BlockSite::Ln2Scale.at(layer),
            BlockSite::Ln2Normalized.at(layer),
        );
        let h = self.ln2.hooked(pass, &resid_mid, scale, normalized)?;
        let parts = (
            &self.gate_proj,
            self.activation,
            &self.up_proj,
            &self.down_proj,
        );
        let mlp_out = mlp::gated(pass, layer, &h, parts)?;
        let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
        pass.block(layer, BlockSite::ResidPost, (resid_mid + mlp_out)?)
    }

    fn mlp_out_weight(&self) -> &Tensor {
        self.down_proj.weight()
    }
}
