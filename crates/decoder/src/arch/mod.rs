//! One file per architecture: its tensors and its equation.

mod bloom;
mod falcon;
mod gemma;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod gptj;
mod llama;
mod opt;
mod stablelm;

use assay_checkpoint::{Architecture, DecoderConfig};
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use crate::DecoderError;
use crate::parts::load::Load;
use crate::parts::norm::Norm;
use crate::pass::Pass;

/// One block: residual in, residual out.
pub(crate) trait Block: Send + Sync {
    /// x [rows, d_model] -> [rows, d_model].
    fn forward(&self, pass: &mut Pass, layer: usize, x: Tensor) -> Result<Tensor, DecoderError>;

    /// What attention reads of a residual stream `x` and the MLP of `mlp_in`,
    /// both [rows, d_model]: each behind the norm before it, with gain and bias.
    fn sublayer_inputs(&self, x: &Tensor, mlp_in: &Tensor) -> Result<[Tensor; 2], DecoderError>;

    /// Rows that neurons write into the residual stream: [d_mlp, d_model].
    fn mlp_out_weight(&self) -> Result<Tensor, DecoderError>;

    /// The matrices that read the residual stream, where Q and K have one each
    /// behind a norm without bias; None in other families.
    fn readers(&self) -> Result<Option<Readers>, DecoderError> {
        Ok(None)
    }
}

/// The matrices through which a block reads the residual stream: each row is a
/// direction that, times the norm's gain, is read. Bias and rotation are apart.
#[derive(Debug, Clone)]
pub struct Readers {
    /// Gain of the norm before attention, [d_model].
    pub attn_gain: Tensor,
    /// [n_heads * d_head, d_model].
    pub q: Tensor,
    /// [n_kv_heads * d_head, d_model].
    pub k: Tensor,
    /// [n_kv_heads * d_head, d_model].
    pub v: Tensor,
    /// Gains of the norms of queries and of keys, [d_head] each, where the
    /// model has them.
    pub qk_gains: Option<[Tensor; 2]>,
    /// Gain of the norm before the MLP, [d_model].
    pub mlp_gain: Tensor,
    /// The gate that FFN avoidance is taken of, [d_mlp, d_model].
    pub gate: Tensor,
    /// The linear branch, [d_mlp, d_model].
    pub up: Tensor,
}

/// Names of what stands outside the blocks. A tensor that a config does not
/// call for may have a name here all the same.
pub(crate) struct Outside {
    /// `.weight` follows, as for all of them.
    pub(crate) embed: &'static str,
    pub(crate) pos_embed: &'static str,
    pub(crate) embed_norm: &'static str,
    /// Projections from the token embedding's width and back to it.
    pub(crate) project: (&'static str, &'static str),
    pub(crate) final_norm: &'static str,
    pub(crate) unembed: &'static str,
}

/// What a family without them calls the parts that only one family has.
const NONE: Outside = Outside {
    embed: "",
    pos_embed: "",
    embed_norm: "",
    project: ("", ""),
    final_norm: "",
    unembed: "lm_head",
};

pub(crate) fn outside(architecture: Architecture) -> Outside {
    match architecture {
        Architecture::GptNeoX => gpt_neox::OUTSIDE,
        Architecture::Gpt2 | Architecture::GptJ | Architecture::GptNeo => gpt2::OUTSIDE,
        Architecture::Opt => opt::OUTSIDE,
        Architecture::Bloom => bloom::OUTSIDE,
        Architecture::Llama | Architecture::Gemma | Architecture::StableLm => llama::OUTSIDE,
        Architecture::Falcon => falcon::OUTSIDE,
        Architecture::Phi => gptj::PHI,
    }
}

/// Does the architecture's MLP have a linear branch beside the gate?
pub(crate) fn gated(architecture: Architecture) -> bool {
    use Architecture::{Gemma, Llama, StableLm};
    matches!(architecture, Llama | Gemma | StableLm)
}

/// What the MLP of a parallel block reads where it shares attention's norm:
/// `h`, the norm of `x` that attention was given, and on top what an edit of
/// `MlpIn` changes of the norm, so that edits at the norm's own sites hold for
/// attention and MLP alike. The norm is taken again for such an edit only;
/// written as a difference taken off, one that changes nothing changes no bit.
fn shared_norm(
    pass: &mut Pass,
    layer: usize,
    norm: &Norm,
    x: &Tensor,
    h: Tensor,
) -> Result<Tensor, DecoderError> {
    let mlp_in = pass.block(layer, BlockSite::MlpIn, x.clone())?;
    if mlp_in.id() == x.id() {
        return Ok(h);
    }
    Ok((h - (norm.forward(x)? - norm.forward(&mlp_in)?)?)?)
}

pub(crate) fn load_block(
    from: &Load,
    config: &DecoderConfig,
    layer: usize,
) -> Result<Box<dyn Block>, DecoderError> {
    Ok(match config.architecture {
        Architecture::GptNeoX => Box::new(gpt_neox::NeoXBlock::load(from, config, layer)?),
        Architecture::Gpt2 => Box::new(gpt2::Gpt2Block::load(from, config, layer)?),
        Architecture::GptJ | Architecture::Phi => {
            Box::new(gptj::GptJBlock::load(from, config, layer)?)
        }
        Architecture::GptNeo => Box::new(gpt_neo::NeoBlock::load(from, config, layer)?),
        Architecture::Opt => Box::new(opt::OptBlock::load(from, config, layer)?),
        Architecture::Bloom => Box::new(bloom::BloomBlock::load(from, config, layer)?),
        Architecture::Llama => Box::new(llama::LlamaBlock::load(from, config, layer)?),
        Architecture::Gemma => Box::new(gemma::GemmaBlock::load(from, config, layer)?),
        Architecture::Falcon => Box::new(falcon::FalconBlock::load(from, config, layer)?),
        Architecture::StableLm => Box::new(stablelm::StableLmBlock::load(from, config, layer)?),
    })
}
