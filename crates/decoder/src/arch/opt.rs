//! OPT (Zhang et al. 2022): sequential blocks, learned positions from row 2
//! on. opt-350m has its norms after the sums, and embeds in a narrower space.

use assay_checkpoint::{DecoderConfig, NormPlace};
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::{Block, NONE, Outside};
use crate::DecoderError;
use crate::parts::attention::Attention;
use crate::parts::load::Load;
use crate::parts::mlp::Plain;
use crate::parts::norm::Norm;
use crate::parts::projections::Projections;
use crate::pass::Pass;

pub(crate) const OUTSIDE: Outside = Outside {
    embed: "model.decoder.embed_tokens",
    pos_embed: "model.decoder.embed_positions",
    project: ("model.decoder.project_in", "model.decoder.project_out"),
    final_norm: "model.decoder.final_layer_norm",
    ..NONE
};

pub(crate) struct OptBlock {
    ln1: Norm,
    ln2: Norm,
    qkv: Projections,
    attention: Attention,
    mlp: Plain,
    norm_place: NormPlace,
}

impl OptBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("model.decoder.layers.{layer}.{rest}");
        let (d, d_z) = (config.d_model, config.n_heads * config.d_head);
        let out = from.linear(&name("self_attn.out_proj"), (d_z, d), config.out_bias)?;
        let mlp = (&*name("fc1"), &*name("fc2"));
        Ok(Self {
            ln1: Norm::load(from, &name("self_attn_layer_norm"), config)?,
            ln2: Norm::load(from, &name("final_layer_norm"), config)?,
            qkv: Projections::load(from, &name("self_attn"), config)?,
            attention: Attention::new(config, layer, out),
            mlp: Plain::load(from, mlp, config)?,
            norm_place: config.norm_place,
        })
    }

    /// ln(x + attn(x)), then ln(mid + mlp(mid)).
    fn post_norm(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let attn_out = self.attention.forward(pass, layer, self.qkv.forward(&x)?)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, attn_out)?;
        let normed = self.ln1.first(pass, layer, &(x + attn_out)?)?;
        let resid_mid = pass.block(layer, BlockSite::ResidMid, normed)?;
        // No norm stands between: what the MLP itself reads.
        let mlp_in = pass.block(layer, BlockSite::MlpIn, resid_mid.clone())?;
        let mlp_out = self.mlp.forward(pass, layer, &mlp_in)?;
        let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
        let normed = self.ln2.second(pass, layer, &(resid_mid + mlp_out)?)?;
        pass.block(layer, BlockSite::ResidPost, normed)
    }
}

impl Block for OptBlock {
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        if self.norm_place == NormPlace::Post {
            return self.post_norm(pass, layer, x);
        }
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
        if self.norm_place == NormPlace::Post {
            return Ok([x.clone(), mlp_in.clone()]);
        }
        Ok([self.ln1.forward(x)?, self.ln2.forward(mlp_in)?])
    }

    fn mlp_out_weight(&self) -> Result<Tensor, DecoderError> {
        self.mlp.out_weight()
    }
}
