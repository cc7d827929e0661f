//! GPT-J (Wang & Komatsuzaki 2021): attention and MLP read one norm of x side
//! by side; neighbouring dimensions are rotated together. Phi 1 to 2 (Gunasekar
//! et al. 2023) is the same block under other names, with rotated halves and
//! biases everywhere.

use assay_checkpoint::{Architecture, DecoderConfig};
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::{Block, NONE, Outside, shared_norm};
use crate::DecoderError;
use crate::parts::attention::Attention;
use crate::parts::load::Load;
use crate::parts::mlp::Plain;
use crate::parts::norm::Norm;
use crate::parts::projections::Projections;
use crate::pass::Pass;

pub(crate) const PHI: Outside = Outside {
    embed: "model.embed_tokens",
    final_norm: "model.final_layernorm",
    ..NONE
};

/// Names of a block's tensors, behind the block's own.
struct Names {
    block: &'static str,
    ln: &'static str,
    attention: &'static str,
    out: &'static str,
    mlp: (&'static str, &'static str),
}

const GPTJ_NAMES: Names = Names {
    block: "transformer.h",
    ln: "ln_1",
    attention: "attn",
    out: "attn.out_proj",
    mlp: ("mlp.fc_in", "mlp.fc_out"),
};

const PHI_NAMES: Names = Names {
    block: "model.layers",
    ln: "input_layernorm",
    attention: "self_attn",
    out: "self_attn.dense",
    mlp: ("mlp.fc1", "mlp.fc2"),
};

pub(crate) struct GptJBlock {
    ln: Norm,
    qkv: Projections,
    attention: Attention,
    mlp: Plain,
}

impl GptJBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let names = match config.architecture {
            Architecture::Phi => PHI_NAMES,
            _ => GPTJ_NAMES,
        };
        let name = |rest: &str| format!("{}.{layer}.{rest}", names.block);
        let (d, d_z) = (config.d_model, config.n_heads * config.d_head);
        let out = from.linear(&name(names.out), (d_z, d), config.out_bias)?;
        let mlp = (&*name(names.mlp.0), &*name(names.mlp.1));
        Ok(Self {
            ln: Norm::load(from, &name(names.ln), config)?,
            qkv: Projections::load(from, &name(names.attention), config)?,
            attention: Attention::new(config, layer, out),
            mlp: Plain::load(from, mlp, config)?,
        })
    }
}

impl Block for GptJBlock {
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let h = self.ln.first(pass, layer, &x)?;
        let attn_out = self.attention.forward(pass, layer, self.qkv.forward(&h)?)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, attn_out)?;
        let h = shared_norm(pass, layer, &self.ln, &x, h)?;
        let mlp_out = self.mlp.forward(pass, layer, &h)?;
        let mlp_out = pass.block(layer, BlockSite::MlpOut, mlp_out)?;
        pass.block(layer, BlockSite::ResidPost, ((attn_out + mlp_out)? + x)?)
    }

    fn sublayer_inputs(&self, x: &Tensor, mlp_in: &Tensor) -> Result<[Tensor; 2], DecoderError> {
        Ok([self.ln.forward(x)?, self.ln.forward(mlp_in)?])
    }

    fn mlp_out_weight(&self) -> Result<Tensor, DecoderError> {
        self.mlp.out_weight()
    }
}
