//! GPT-Neo (Black et al. 2021): GPT-2's blocks with a projection each for Q,
//! K and V, unscaled scores, and a window in every other block.

use assay_checkpoint::DecoderConfig;
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::Block;
use crate::DecoderError;
use crate::parts::attention::Attention;
use crate::parts::load::Load;
use crate::parts::mlp::Plain;
use crate::parts::norm::Norm;
use crate::parts::projections::Projections;
use crate::pass::Pass;

pub(crate) struct NeoBlock {
    ln1: Norm,
    ln2: Norm,
    qkv: Projections,
    attention: Attention,
    mlp: Plain,
}

impl NeoBlock {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("transformer.h.{layer}.{rest}");
        let (d, d_z) = (config.d_model, config.n_heads * config.d_head);
        let out = name("attn.attention.out_proj");
        let out = from.linear(&out, (d_z, d), config.out_bias)?;
        let mlp = (&*name("mlp.c_fc"), &*name("mlp.c_proj"));
        Ok(Self {
            ln1: Norm::load(from, &name("ln_1"), config)?,
            ln2: Norm::load(from, &name("ln_2"), config)?,
            qkv: Projections::load(from, &name("attn.attention"), config)?,
            attention: Attention::new(config, layer, out),
            mlp: Plain::load(from, mlp, config)?,
        })
    }
}

impl Block for NeoBlock {
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let h = self.ln1.first(pass, layer, &x)?;
        let attn_out = self.attention.forward(pass, layer, self.qkv.forward(&h)?)?;
        let attn_out = pass.block(layer, BlockSite::AttnOut, attn_out)?;
        let resid_mid = pass.block(layer, BlockSite::ResidMid, (attn_out + x)?)?;
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
