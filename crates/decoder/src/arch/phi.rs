//! Phi 1 to 2 (Gunasekar et al. 2023): as GPT-J, attention and MLP read one
//! norm of x side by side; rotated halves, biases everywhere.

use assay_checkpoint::DecoderConfig;
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
    embed: "model.embed_tokens",
    final_norm: "model.final_layernorm",
    ..NONE
};

pub(crate) struct PhiBlock {
    ln: Norm,
    qkv: Projections,
    attention: Attention,
    mlp: Plain,
}

impl PhiBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        let (d, d_z) = (config.d_model, config.n_heads * config.d_head);
        let out = from.linear(&name("self_attn.dense"), (d_z, d), config.out_bias)?;
        let mlp = (&*name("mlp.fc1"), &*name("mlp.fc2"));
        Ok(Self {
            ln: Norm::load(from, &name("input_layernorm"), config)?,
            qkv: Projections::load(from, &name("self_attn"), config)?,
            attention: Attention::new(config, layer, out),
            mlp: Plain::load(from, mlp, config)?,
        })
    }
}

impl Block for PhiBlock {
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let h = self.ln.first(pass, layer, &x)?;
        let attn_out = self.attention.forward(pass, layer, self.qkv.forward(&h)?)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, attn_out)?;
        let mlp_out = self.mlp.forward(pass, layer, &h)?;
        let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
        pass.block(layer, BlockSite::ResidPost, ((attn_out + mlp_out)? + x)?)
    }

    fn mlp_out_weight(&self) -> Result<Tensor, DecoderError> {
        self.mlp.out_weight()
    }
}
