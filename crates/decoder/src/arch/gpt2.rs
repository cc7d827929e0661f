//! GPT-2 (Radford et al. 2019): sequential blocks, learned positions, weight
//! matrices stored [in, out].

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
    embed: "wte.weight",
    pos_embed: Some("wpe.weight"),
    final_norm: "ln_f",
    unembed: "lm_head.weight",
};

pub(crate) struct Gpt2Block {
    ln1: Norm,
    ln2: Norm,
    c_attn: Linear, // d_model -> 3 * d_model
    c_proj: Linear, // d_model -> d_model
    up: Linear,     // d_model -> d_mlp
    down: Linear,   // d_mlp -> d_model
    activation: Activation,
    n_heads: usize,
    d_head: usize,
}

impl Gpt2Block {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("h.{layer}.{rest}");
        let (d, d_mlp) = (config.d_model, config.d_mlp);
        let linear =
            |rest: &str, shape| Linear::load(from, &name(rest), shape, true, Stored::InOut);
        Ok(Self {
            ln1: Norm::load(from, &name("ln_1"), config)?,
            ln2: Norm::load(from, &name("ln_2"), config)?,
            c_attn: linear("attn.c_attn", (d, 3 * d))?,
            c_proj: linear("attn.c_proj", (d, d))?,
            up: linear("mlp.c_fc", (d, d_mlp))?,
            down: linear("mlp.c_proj", (d_mlp, d))?,
            activation: config.activation,
            n_heads: config.n_heads,
            d_head: config.d_head,
        })
    }

    fn attention(&self, pass: &mut Pass, layer: usize, x: &Tensor) -> Result<Tensor, DecoderError> {
        let (scale, normalized) = (
            BlockSite::Ln1Scale.at(layer),
            BlockSite::Ln1Normalized.at(layer),
        );
        let x = self.ln1.hooked(pass, x, scale, normalized)?;
        let rows = x.dim(0)?;
        // Columns are (qkv, head, d_head): Q of all heads, then K, then V.
        let fused = self
            .c_attn
            .forward(&x)?
            .reshape((rows, 3 * self.n_heads, self.d_head))?;
        let part = |i: usize| fused.narrow(1, i * self.n_heads, self.n_heads);
        let q = pass.block(layer, BlockSite::Q, part(0)?)?;
        let k = pass.block(layer, BlockSite::K, part(1)?)?;
        let v = pass.block(layer, BlockSite::V, part(2)?)?;
        let z = attend(pass, layer, &Qkv { q, k, v })?;
        let z = pass.block(layer, BlockSite::Z, z)?;
        project(pass, layer, &z, &self.c_proj)
    }
}

impl Block for Gpt2Block {
    fn forward(
        &self,
        pass: &mut Pass,
        layer: usize,
        x: Tensor,
        _: Option<&Rotary>,
    ) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let attn_out = self.attention(pass, layer, &x)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, attn_out)?;
        let resid_mid = pass.block(layer, BlockSite::ResidMid, (attn_out + x)?)?;
        let (scale, normalized) = (
            BlockSite::Ln2Scale.at(layer),
            BlockSite::Ln2Normalized.at(layer),
        );
        let h = self.ln2.hooked(pass, &resid_mid, scale, normalized)?;
        let mlp_out = mlp::plain(pass, layer, &h, (&self.up, self.activation, &self.down))?;
        let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
        pass.block(layer, BlockSite::ResidPost, (resid_mid + mlp_out)?)
    }

    fn mlp_out_weight(&self) -> &Tensor {
        self.down.weight()
    }
}
