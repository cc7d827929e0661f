//! GPT-2, GPT-J, GPT-Neo and GPT-NeoX.

use serde_json::Value;

use super::{RopeDefaults, Sizes, activation, head_width, only, plain, rope};
use crate::config::{
    Architecture, BlockKind, DecoderConfig, Position, Rope, RopePairs, RopeScaling,
};
use crate::error::CheckpointError;
use crate::fields::Fields;

pub(super) fn gpt_neox(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let sizes = Sizes {
        n_layers: fields.layers("num_hidden_layers")?,
        d_model: fields.count("hidden_size")?,
        n_heads: fields.count("num_attention_heads")?,
        d_mlp: fields.count("intermediate_size")?,
        vocab: fields.count("vocab_size")?,
        context: fields.count("max_position_embeddings")?,
        norm_eps: fields.positive("layer_norm_eps")?,
    };
    let d_head = head_width(fields, "num_attention_heads", sizes.d_model, sizes.n_heads)?;
    let defaults = RopeDefaults {
        base: 10_000.0,
        share: 0.25,
        names: ("rotary_emb_base", "rotary_pct"),
    };
    let position = Position::Rotary(rope(fields, d_head, &defaults)?);
    let act = activation(fields, "hidden_act")?;
    let bias = fields.flag("attention_bias", true)?;
    let parallel = fields.flag("use_parallel_residual", true)?;
    Ok(DecoderConfig {
        block: if parallel {
            BlockKind::Parallel
        } else {
            BlockKind::Sequential
        },
        tied: fields.flag("tie_word_embeddings", false)?,
        qkv_bias: bias,
        out_bias: bias,
        ..plain(fields, Architecture::GptNeoX, sizes, d_head, position, act)?
    })
}

/// The sizes under the names of GPT-2 and GPT-J.
fn openai_sizes(fields: &Fields) -> Result<Sizes, CheckpointError> {
    let d_model = fields.count("n_embd")?;
    Ok(Sizes {
        n_layers: fields.layers("n_layer")?,
        d_model,
        n_heads: fields.count("n_head")?,
        d_mlp: fields.count_opt("n_inner")?.unwrap_or(4 * d_model),
        vocab: fields.count("vocab_size")?,
        context: fields.count("n_positions")?,
        norm_eps: fields.positive("layer_norm_epsilon")?,
    })
}

pub(super) fn gpt2(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    only(
        fields,
        &[
            ("scale_attn_weights", true),
            ("scale_attn_by_inverse_layer_idx", false),
            ("add_cross_attention", false),
        ],
    )?;
    let sizes = openai_sizes(fields)?;
    let d_head = head_width(fields, "n_head", sizes.d_model, sizes.n_heads)?;
    let position = Position::Learned { offset: 0 };
    let act = activation(fields, "activation_function")?;
    Ok(DecoderConfig {
        tied: fields.flag("tie_word_embeddings", true)?,
        ..plain(fields, Architecture::Gpt2, sizes, d_head, position, act)?
    })
}

pub(super) fn gptj(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    only(fields, &[("scale_attn_weights", true), ("rotary", true)])?;
    let sizes = openai_sizes(fields)?;
    let d_head = head_width(fields, "n_head", sizes.d_model, sizes.n_heads)?;
    let position = Position::Rotary(Rope {
        dim: fields.count_opt("rotary_dim")?.unwrap_or(d_head),
        base: 10_000.0,
        scaling: RopeScaling::None,
        pairs: RopePairs::Neighbours,
    });
    let act = activation(fields, "activation_function")?;
    Ok(DecoderConfig {
        block: BlockKind::Parallel,
        shared_norm: true,
        tied: fields.flag("tie_word_embeddings", false)?,
        unembed_bias: true,
        qkv_bias: false,
        out_bias: false,
        ..plain(fields, Architecture::GptJ, sizes, d_head, position, act)?
    })
}

pub(super) fn gpt_neo(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let d_model = fields.count("hidden_size")?;
    let sizes = Sizes {
        n_layers: fields.layers("num_layers")?,
        d_model,
        n_heads: fields.count("num_heads")?,
        d_mlp: fields
            .count_opt("intermediate_size")?
            .unwrap_or(4 * d_model),
        vocab: fields.count("vocab_size")?,
        context: fields.count("max_position_embeddings")?,
        norm_eps: fields.positive("layer_norm_epsilon")?,
    };
    let d_head = head_width(fields, "num_heads", d_model, sizes.n_heads)?;
    let windows = neo_windows(fields, sizes.n_layers)?;
    let position = Position::Learned { offset: 0 };
    let act = activation(fields, "activation_function")?;
    Ok(DecoderConfig {
        windows,
        // GPT-Neo does not divide its scores by sqrt(d_head).
        score_scale: 1.0,
        tied: fields.flag("tie_word_embeddings", true)?,
        qkv_bias: false,
        ..plain(fields, Architecture::GptNeo, sizes, d_head, position, act)?
    })
}

/// `attention_types`: a list of [[kinds], repetitions].
fn neo_windows(fields: &Fields, n_layers: usize) -> Result<Vec<Option<usize>>, CheckpointError> {
    const FIELD: &str = "attention_types";
    let wrong = |what: String| fields.error(FIELD, what);
    let window = fields.count_opt("window_size")?.unwrap_or(256);
    let Some(types) = fields.value(FIELD) else {
        return Err(wrong("is missing".to_owned()));
    };
    let parsed: Result<Vec<(Vec<String>, usize)>, _> = serde_json::from_value(Value::clone(types));
    let types = parsed.map_err(|_| wrong(format!("is {types}, not a list of [[kinds], times]")))?;
    let mut windows = Vec::new();
    for (kinds, times) in types {
        // A repetition beyond the layers is wrong whatever it repeats; the
        // bound keeps a hostile one from taking memory.
        for _ in 0..times.min(n_layers + 1) {
            for kind in &kinds {
                windows.push(match kind.as_str() {
                    "global" => None,
                    "local" => Some(window),
                    other => return Err(wrong(format!("holds {other:?}, not global or local"))),
                });
            }
            if windows.len() > n_layers {
                break;
            }
        }
    }
    if windows.len() != n_layers {
        let found = windows.len();
        return Err(wrong(format!(
            "describes {found} layers, and num_layers is {n_layers}"
        )));
    }
    Ok(windows)
}
