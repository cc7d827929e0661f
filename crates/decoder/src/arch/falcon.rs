//! Falcon (Almazrouei et al. 2023): parallel blocks, with one norm (7b) or one
//! each for attention and MLP (40b), or sequential ones; few key/value heads.

use assay_checkpoint::{BlockKind, DecoderConfig};
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::{Block, NONE, Outside, shared_norm};
use crate::DecoderError;
use crate::parts::attention::Attention;
use crate::parts::load::Load;
use crate::parts::mlp::Plain;
use crate::parts::norm::Norm;
use crate::parts::projections::Fused;
use crate::pass::Pass;

pub(crate) const OUTSIDE: Outside = Outside {
    embed: "transformer.word_embeddings",
    final_norm: "transformer.ln_f",
    ..NONE
};

pub(crate) struct FalconBlock {
    ln1: Norm,
    /// None where attention and MLP read one norm side by side.
    ln2: Option<Norm>,
    qkv: Fused,
    attention: Attention,
    mlp: Plain,
    block: BlockKind,
}

impl FalconBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("transformer.h.{layer}.{rest}");
        let d = config.d_model;
        let qkv = name("self_attention.query_key_value");
        let out = from.linear(&name("self_attention.dense"), (d, d), config.out_bias)?;
        let (ln1, ln2) = match (config.block, config.shared_norm) {
            (BlockKind::Parallel, true) => ("input_layernorm", None),
            (BlockKind::Parallel, false) => ("ln_attn", Some("ln_mlp")),
            (BlockKind::Sequential, _) => ("input_layernorm", Some("post_attention_layernorm")),
        };
        let ln2 = ln2.map(|ln2| Norm::load(from, &name(ln2), config));
        let mlp = (&*name("mlp.dense_h_to_4h"), &*name("mlp.dense_4h_to_h"));
        Ok(Self {
            ln1: Norm::load(from, &name(ln1), config)?,
            ln2: ln2.transpose()?,
            qkv: Fused::load(from, &qkv, config)?,
            attention: Attention::new(config, layer, out),
            mlp: Plain::load(from, mlp, config)?,
            block: config.block,
        })
    }
}

impl Block for FalconBlock {
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let h = self.ln1.first(pass, layer, &x)?;
        let attn_out = self.attention.forward(pass, layer, self.qkv.forward(&h)?)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, attn_out)?;
        let resid_post = match self.block {
            BlockKind::Parallel => {
                let h = match &self.ln2 {
                    Some(ln2) => {
                        let mlp_in = pass.block(layer, BlockSite::MlpIn, x.clone())?;
                        ln2.second(pass, layer, &mlp_in)?
                    }
                    None => shared_norm(pass, layer, &self.ln1, &x, h)?,
                };
                let mlp_out = self.mlp.forward(pass, layer, &h)?;
                let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
                ((mlp_out + attn_out)? + x)?
            }
            BlockKind::Sequential => {
                let resid_mid = pass.block(layer, BlockSite::ResidMid, (attn_out + x)?)?;
                let mlp_in = pass.block(layer, BlockSite::MlpIn, resid_mid.clone())?;
                let h = match &self.ln2 {
                    Some(ln2) => ln2.second(pass, layer, &mlp_in)?,
                    None => mlp_in,
                };
                let mlp_out = self.mlp.forward(pass, layer, &h)?;
                let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
                (mlp_out + resid_mid)?
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
