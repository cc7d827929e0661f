use assay_checkpoint::{BlockKind, Checkpoint, NormKind, Position};
use assay_record::ModelFacts;

/// What the config and the decoder that runs it say about a model.
pub(crate) fn facts(checkpoint: &Checkpoint) -> ModelFacts {
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
        block: match config.block {
            BlockKind::Parallel => "parallel",
            BlockKind::Sequential => "sequential",
        }
        .to_owned(),
        norm: match config.norm {
            NormKind::LayerNorm => "LayerNorm, pre",
            NormKind::RmsNorm => "RMSNorm, pre",
        }
        .to_owned(),
        position: match &config.position {
            Position::Rotary(rope) if rope.dim == config.d_head => "rotary".to_owned(),
            Position::Rotary(rope) => format!("rotary, {} of {}", rope.dim, config.d_head),
            Position::Learned { .. } => "learned".to_owned(),
            Position::Alibi => "ALiBi".to_owned(),
        },
        parameters: checkpoint.weights.parameters(),
        stored: checkpoint.weights.stored(),
    }
}
