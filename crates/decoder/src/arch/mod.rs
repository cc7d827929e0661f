//! One file per architecture: its tensors and its equation.

mod gpt2;
mod gpt_neox;
mod llama;

use assay_checkpoint::{Architecture, DecoderConfig};
use candle_core::Tensor;

use crate::DecoderError;
use crate::parts::linear::Load;
use crate::parts::rotary::Rotary;
use crate::pass::Pass;

/// One block: residual in, residual out.
pub(crate) trait Block: Send + Sync {
    /// x [rows, d_model] -> [rows, d_model].
    fn forward(
        &self,
        pass: &mut Pass,
        layer: usize,
        x: Tensor,
        rotary: Option<&Rotary>,
    ) -> Result<Tensor, DecoderError>;

    /// Rows that neurons write into the residual stream: [d_mlp, d_model].
    fn mlp_out_weight(&self) -> &Tensor;
}

/// Names of the tensors outside the blocks.
pub(crate) struct Outside {
    pub(crate) embed: &'static str,
    pub(crate) pos_embed: Option<&'static str>,
    pub(crate) final_norm: &'static str,
    pub(crate) unembed: &'static str,
}

pub(crate) fn outside(architecture: Architecture) -> Outside {
    match architecture {
        Architecture::GptNeoX => gpt_neox::OUTSIDE,
        Architecture::Gpt2 => gpt2::OUTSIDE,
        Architecture::Llama => llama::OUTSIDE,
    }
}

pub(crate) fn load_block(
    from: &Load,
    config: &DecoderConfig,
    layer: usize,
) -> Result<Box<dyn Block>, DecoderError> {
    Ok(match config.architecture {
        Architecture::GptNeoX => Box::new(gpt_neox::NeoXBlock::load(from, config, layer)?),
        Architecture::Gpt2 => Box::new(gpt2::Gpt2Block::load(from, config, layer)?),
        Architecture::Llama => Box::new(llama::LlamaBlock::load(from, config, layer)?),
    })
}
