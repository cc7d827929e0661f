//! GPT-NeoX (Black et al. 2022): Pythia, StableLM-alpha. Parallel residual
//! unless the config says otherwise; two norms in a block either way.

use assay_checkpoint::{Activation, BlockKind, DecoderConfig};
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
    embed: "gpt_neox.embed_in.weight",
    pos_embed: None,
    final_norm: "gpt_neox.final_layer_norm",
    unembed: "embed_out.weight",
};

pub(crate) struct NeoXBlock {
    ln1: Norm,
    ln2: Norm,
    query_key_value: Linear, // d_model -> 3 * d_model
    dense: Linear,           // d_model -> d_model
    up: Linear,              // d_model -> d_mlp
    down: Linear,            // d_mlp -> d_model
    activation: Activation,
    block: BlockKind,
    n_heads: usize,
    d_head: usize,
}

impl NeoXBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("gpt_neox.layers.{layer}.{rest}");
        let (d, d_mlp) = (config.d_model, config.d_mlp);
        let linear =
            |rest: &str, shape, bias| Linear::load(from, &name(rest), shape, bias, Stored::OutIn);
        let bias = config.attention_bias;
        Ok(Self {
            ln1: Norm::load(from, &name("input_layernorm"), config)?,
            ln2: Norm::load(from, &name("post_attention_layernorm"), config)?,
            query_key_value: linear("attention.query_key_value", (d, 3 * d), bias)?,
            dense: linear("attention.dense", (d, d), bias)?,
            up: linear("mlp.dense_h_to_4h", (d, d_mlp), config.mlp_bias)?,
            down: linear("mlp.dense_4h_to_h", (d_mlp, d), config.mlp_bias)?,
            activation: config.activation,
            block: config.block,
            n_heads: config.n_heads,
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
        let rows = x.dim(0)?;
        // Rows are (head, qkv, d_head), not (qkv, head, d_head): erratum E5.
        let fused =
            self.query_key_value
                .forward(&x)?
                .reshape((rows, self.n_heads, 3 * self.d_head))?;
        let part = |i: usize| fused.narrow(2, i * self.d_head, self.d_head);
        let q = pass.block(layer, BlockSite::Q, part(0)?)?;
        let k = pass.block(layer, BlockSite::K, part(1)?)?;
        let v = pass.block(layer, BlockSite::V, part(2)?)?;
        let (q, k) = match rotary {
            Some(rotary) => (rotary.apply(&q)?, rotary.apply(&k)?),
            None => (q, k),
        };
        let q = pass.block(layer, BlockSite::RotQ, q)?;
        let k = pass.block(layer, BlockSite::RotK, k)?;
        let z = attend(pass, layer, &Qkv { q, k, v })?;
        let z = pass.block(layer, BlockSite::Z, z)?;
        project(pass, layer, &z, &self.dense)
    }

    fn mlp(&self, pass: &mut Pass, layer: usize, x: &Tensor) -> Result<Tensor, DecoderError> {
        let (scale, normalized) = (
            BlockSite::Ln2Scale.at(layer),
            BlockSite::Ln2Normalized.at(layer),
        );
        let x = self.ln2.hooked(pass, x, scale, normalized)?;
        mlp::plain(pass, layer, &x, (&self.up, self.activation, &self.down))
    }
}

impl Block for NeoXBlock {
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
        let resid_post = match self.block {
            BlockKind::Parallel => {
                let mlp_out = self.mlp(pass, layer, &x)?;
                let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
                // In the order in which transformers adds them.
                ((mlp_out + attn_out)? + x)?
            }
            BlockKind::Sequential => {
                let resid_mid = pass.block(layer, BlockSite::ResidMid, (attn_out + x)?)?;
                let mlp_out = self.mlp(pass, layer, &resid_mid)?;
                let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
                (mlp_out + resid_mid)?
            }
        };
        pass.block(layer, BlockSite::ResidPost, resid_post)
    }

    fn mlp_out_weight(&self) -> &Tensor {
        self.down.weight()
    }
}
