//! GPT-NeoX (Black et al. 2022): Pythia, StableLM-alpha. Parallel residual
//! unless the config says otherwise; two norms in a block either way.

use assay_checkpoint::{BlockKind, DecoderConfig};
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
    embed: "gpt_neox.embed_in",
    final_norm: "gpt_neox.final_layer_norm",
    unembed: "embed_out",
    ..NONE
};

pub(crate) struct NeoXBlock {
    ln1: Norm,
    ln2: Norm,
    qkv: Fused,
    attention: Attention,
    mlp: Plain,
    block: BlockKind,
}

impl NeoXBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("gpt_neox.layers.{layer}.{rest}");
        let d = config.d_model;
        let qkv = name("attention.query_key_value");
        let out = from.linear(&name("attention.dense"), (d, d), config.out_bias)?;
        let mlp = (&*name("mlp.dense_h_to_4h"), &*name("mlp.dense_4h_to_h"));
        Ok(Self {
            ln1: Norm::load(from, &name("input_layernorm"), config)?,
            ln2: Norm::load(from, &name("post_attention_layernorm"), config)?,
            qkv: Fused::load(from, &qkv, config)?,
            attention: Attention::new(config, layer, out),
            mlp: Plain::load(from, mlp, config)?,
            block: config.block,
        })
    }

    fn mlp(&self, pass: &mut Pass, layer: usize, x: &Tensor) -> Result<Tensor, DecoderError> {
        let mlp_in = pass.block(layer, BlockSite::MlpIn, x.clone())?;
        let h = self.ln2.second(pass, layer, &mlp_in)?;
        let mlp_out = self.mlp.forward(pass, layer, &h)?;
        pass.block(layer, BlockSite::MlpOut, mlp_out)
    }
}

impl Block for NeoXBlock {
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let h = self.ln1.first(pass, layer, &x)?;
        let attn_out = self.attention.forward(pass, layer, self.qkv.forward(&h)?)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, attn_out)?;
        let resid_post = match self.block {
            BlockKind::Parallel => {
                let mlp_out = self.mlp(pass, layer, &x)?;
                // In the order in which transformers adds them.
                ((mlp_out + attn_out)? + x)?
            }
            BlockKind::Sequential => {
                let resid_mid = pass.block(layer, BlockSite::ResidMid, (attn_out + x)?)?;
                let mlp_out = self.mlp(pass, layer, &resid_mid)?;
                (mlp_out + resid_mid)?
            }
        };
        pass.block(layer, BlockSite::ResidPost, resid_post)
    }

    fn sublayer_inputs(&self, x: &Tensor, mlp_in: &Tensor) -> Result<[Tensor; 2], DecoderError> {
        Ok([self.ln1.forward(x)?, self.ln2.forward(mlp_in)?])
    }

    fn mlp_out_weight(&self) -> Result<Tensor, DecoderError> {
        self.mlp.out_weight()
    }
}
