use anyhow::bail;
use assay_checkpoint::{Checkpoint, Position};
use assay_decoder::Decoder;
use assay_record::ModelFacts;
use assay_trace::{BlockFacts, MlpReads, NormSees, NormsStand, PositionEnters, observe};

/// The sizes of a model, from its config; what its blocks do is not known
/// before they run.
pub(crate) fn shape(checkpoint: &Checkpoint) -> ModelFacts {
    let config = &checkpoint.config;
    ModelFacts {
        model_type: config.model_type.clone(),
        n_layers: config.n_layers,
        n_heads: config.n_heads,
        n_kv_heads: config.n_kv_heads,
        d_model: config.d_model,
        d_head: config.d_head,
        d_mlp: config.d_mlp,
        vocab: config.vocab,
        rho: config.n_heads as f64 / config.d_head as f64,
        block: String::new(),
        norm: String::new(),
        position: String::new(),
        parameters: checkpoint.weights.parameters(),
        stored: checkpoint.weights.stored(),
    }
}

/// Sizes, and what the first and the last block are seen to do.
pub(crate) fn facts(checkpoint: &Checkpoint, decoder: &Decoder) -> anyhow::Result<ModelFacts> {
    let n_layers = checkpoint.config.n_layers;
    let first = observe(decoder, 0)?;
    let last = observe(decoder, n_layers - 1)?;
    if first != last {
        bail!("the first block is {first:?} and the last {last:?}: one word cannot describe both");
    }
    let BlockFacts {
        mlp_reads,
        norms_stand,
        norm_sees,
        position,
    } = first;
    let norm = match norm_sees {
        NormSees::NoConstant => "LayerNorm",
        NormSees::Everything => "RMSNorm",
    };
    let place = match norms_stand {
        NormsStand::Before => "pre",
        NormsStand::AfterSums => "post",
        NormsStand::BeforeAndAfter => "sandwich",
    };
    Ok(ModelFacts {
        block: match mlp_reads {
            MlpReads::AfterAttention => "sequential",
            MlpReads::SameThroughOwnNorm => "parallel",
            MlpReads::SameThroughAttentionsNorm => "parallel, one norm",
        }
        .to_owned(),
        norm: format!("{norm}, {place}"),
        position: match (position, &checkpoint.config.position) {
            (PositionEnters::QueriesAndKeys, Position::Rotary(rope)) => {
                match (rope.dim, checkpoint.config.d_head) {
                    (dim, d_head) if dim == d_head => "rotary".to_owned(),
                    (dim, d_head) => format!("rotary, {dim} of {d_head}"),
                }
            }
            (PositionEnters::Scores, _) => "ALiBi".to_owned(),
            (PositionEnters::Embedding, _) => "learned".to_owned(),
            (seen, said) => {
                bail!("positions are seen to enter by {seen:?}, and the config says {said:?}")
            }
        },
        ..shape(checkpoint)
    })
}
