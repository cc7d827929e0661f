//! GPT-2 (Radford et al. 2019): sequential blocks, learned positions, weight
//! matrices stored [in, out].

use assay_checkpoint::DecoderConfig;
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::{Block, NONE, Outside};
use crate::DecoderError;
use crate::parts::attention::{Attention, Qkv};
use crate::parts::linear::Linear;
use crate::parts::load::{Load, TensorKind};
use crate::parts::mlp::Plain;
use crate::parts::norm::Norm;
use crate::pass::Pass;

pub(crate) const OUTSIDE: Outside = Outside {
    embed: "transformer.wte",
    pos_embed: "transformer.wpe",
    final_norm: "transformer.ln_f",
    ..NONE
};

pub(crate) struct Gpt2Block {
    ln1: Norm,
    ln2: Norm,
    c_attn: Linear, // d_model -> 3 * d_model
    n_heads: usize,
    d_head: usize,
    attention: Attention,
    mlp: Plain,
}

impl Gpt2Block {
    pub(crate) fn load(
        from: &Load,
        config: &DecoderConfig,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let name = |rest: &str| format!("transformer.h.{layer}.{rest}");
        let (d, d_mlp) = (config.d_model, config.d_mlp);
        let conv1d =
            |rest: &str, shape| from.linear_of(&name(rest), shape, true, TensorKind::InOut);
        Ok(Self {
            ln1: Norm::load(from, &name("ln_1"), config)?,
            ln2: Norm::load(from, &name("ln_2"), config)?,
            c_attn: conv1d("attn.c_attn", (d, 3 * d))?,
            n_heads: config.n_heads,
            d_head: config.d_head,
            attention: Attention::new(config, layer, conv1d("attn.c_proj", (d, d))?),
            mlp: Plain::new(
                conv1d("mlp.c_fc", (d, d_mlp))?,
                conv1d("mlp.c_proj", (d_mlp, d))?,
                config.activation,
            ),
        })
    }

    fn qkv(&self, x: &Tensor) -> Result<Qkv, DecoderError> {
        let (rows, _) = x.dims2()?;
        // Columns are (qkv, head, d_head): Q of all heads, then K, then V.
        let shape = (rows, 3 * self.n_heads, self.d_head);
        let fused = self.c_attn.forward(x)?.reshape(shape)?;
        let part = |i: usize| fused.narrow(1, i * self.n_heads, self.n_heads);
        Ok(Qkv {
            q: part(0)?,
            k: part(1)?,
            v: part(2)?,
        })
    }
}

impl Block for Gpt2Block {
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError> {
        let x = pass.block(layer, BlockSite::ResidPre, x)?;
        let h = self.ln1.first(pass, layer, &x)?;
        let attn_out = self.attention.forward(pass, layer, self.qkv(&h)?)?;
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
