use anyhow::bail;
use assay_checkpoint::{BlockKind, Checkpoint, DecoderConfig, NormKind, NormPlace, Position};
use assay_decoder::{Arithmetic, Decoder, Placement, Residency, memory};
use assay_record::ModelFacts;
use assay_trace::{BlockFacts, MlpReads, NormSees, NormsStand, PositionEnters, observe};
use candle_core::{DType, Device};

/// The sizes of a model, from its config; what its blocks do is not known
/// before they run.
pub(crate) fn shape(checkpoint: &Checkpoint) -> ModelFacts {
    ModelFacts {
        parameters: checkpoint.weights.parameters(),
        stored: checkpoint.weights.stored(),
        ..sizes(&checkpoint.config)
    }
}

/// What a recording's config says of its model, in the same words; what its
/// blocks do cannot be seen. Parameters are those that the config calls for.
pub(crate) fn of_recording(config: &DecoderConfig) -> anyhow::Result<ModelFacts> {
    let norm = match config.norm {
        NormKind::LayerNorm => "LayerNorm",
        NormKind::RmsNorm => "RMSNorm",
    };
    let place = match config.norm_place {
        NormPlace::Pre => "pre",
        NormPlace::Post => "post",
        NormPlace::Sandwich => "sandwich",
    };
    let bytes = memory(config, DType::F32, Residency::Resident)?;
    Ok(ModelFacts {
        parameters: bytes / DType::F32.size_in_bytes() as u64,
        stored: "activations".to_owned(),
        block: match (config.block, config.shared_norm) {
            (BlockKind::Sequential, _) => "sequential",
            (BlockKind::Parallel, false) => "parallel",
            (BlockKind::Parallel, true) => "parallel, one norm",
        }
        .to_owned(),
        norm: format!("{norm}, {place}"),
        position: match &config.position {
            Position::Rotary(rope) => rotary(rope.dim, config.d_head),
            Position::Alibi => "ALiBi".to_owned(),
            Position::Learned { .. } => "learned".to_owned(),
        },
        ..sizes(config)
    })
}

fn rotary(dim: usize, d_head: usize) -> String {
    if dim == d_head {
        "rotary".to_owned()
    } else {
        format!("rotary, {dim} of {d_head}")
    }
}

fn sizes(config: &DecoderConfig) -> ModelFacts {
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
        parameters: 0,
        stored: String::new(),
    }
}

/// Sizes, and what the first and the last block are seen to do. Where the
/// rounding of a short type could be taken for a change, they are looked at in
/// f32, read from their files.
pub(crate) fn facts(checkpoint: &Checkpoint, decoder: &Decoder) -> anyhow::Result<ModelFacts> {
    let wide = match decoder.dtype() {
        DType::F16 | DType::BF16 => {
            let placement = Placement {
                dtype: DType::F32,
                devices: &[Device::Cpu],
                residency: Residency::Streamed,
                arithmetic: Arithmetic::Exact,
            };
            Some(Decoder::load_with(checkpoint, &placement, &mut |_, _| ())?)
        }
        _ => None,
    };
    let decoder = wide.as_ref().unwrap_or(decoder);
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
                rotary(rope.dim, checkpoint.config.d_head)
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
