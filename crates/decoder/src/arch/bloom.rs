//! BLOOM (BigScience 2022): sequential blocks, ALiBi, a norm after the
//! embedding.

use assay_checkpoint::DecoderConfig;
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::{Block, NONE, Outside};
use crate::DecoderError;
use crate::parts::attention::Attention;
use crate::parts::load::Load;
use crate::parts::mlp::Plain;
use crate::parts::norm::Norm;
use crate::parts::projections::Fused;
use crate::pass::Pass;

pub(crate) const OUTSIDE: Outside = Outside {
    embed: "transformer.word_embeddings",
    embed_norm: "transformer.word_embeddings_layernorm",
    final_norm: "transformer.ln_f",
    ..NONE
};

pub(crate) struct BloomBlock {
    ln1: Norm,
    ln2: Norm,
    qkv: Fused,
    attention: Attention,
    mlp: Plain,
}

impl BloomBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("transformer.h.{layer}.{rest}");
        let d = config.d_model;
        let qkv = name("self_attention.query_key_value");
        let out = from.linear(&name("self_attention.dense"), (d, d), config.out_bias)?;
        let mlp = (&*name("mlp.dense_h_to_4h"), &*name("mlp.dense_4h_to_h"));
        Ok(Self {
            ln1: Norm::load(from, &name("input_layernorm"), config)?,
            ln2: Norm::load(from, &name("post_attention_layernorm"), config)?,
            qkv: Fused::load(from, &qkv, config)?,
            attention: Attention::new(config, layer, out),
            mlp: Plain::load(from, mlp, config)?,
        })
    }
}

impl Block for BloomBlock {
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
}
