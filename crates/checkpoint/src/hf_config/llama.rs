//! LLaMA and its descendants: Mistral, Qwen2, Qwen3, Gemma 1 to 3.

use super::{RopeDefaults, Sizes, activation, head_width, only, plain, rope, rope_scaling};
use crate::config::{
    Architecture, DecoderConfig, NormKind, NormPlace, Position, QkNorm, Rope, RopePairs,
};
use crate::error::CheckpointError;
use crate::fields::Fields;

/// What all of them share; `head_dim` is the family's own if the field is
/// missing, or else d_model / heads.
fn base(
    fields: &Fields,
    architecture: Architecture,
    head_dim: Option<usize>,
    act_field: &str,
) -> Result<DecoderConfig, CheckpointError> {
    let sizes = Sizes {
        n_layers: fields.layers("num_hidden_layers")?,
        d_model: fields.count("hidden_size")?,
        n_heads: fields.count("num_attention_heads")?,
        d_mlp: fields.count("intermediate_size")?,
        vocab: fields.count("vocab_size")?,
        context: fields.count_opt("max_position_embeddings")?.unwrap_or(2048),
        norm_eps: fields.positive("rms_norm_eps")?,
    };
    let n_heads = sizes.n_heads;
    let d_head = match fields.count_opt("head_dim")?.or(head_dim) {
        Some(width) => width,
        None => head_width(fields, "num_attention_heads", sizes.d_model, n_heads)?,
    };
    let position = Position::Rotary(rope(fields, d_head, &ROPE)?);
    let act = activation(fields, act_field)?;
    Ok(DecoderConfig {
        n_kv_heads: fields.count_opt("num_key_value_heads")?.unwrap_or(n_heads),
        norm: NormKind::RmsNorm,
        tied: fields.flag("tie_word_embeddings", false)?,
        qkv_bias: false,
        out_bias: false,
        mlp_bias: false,
        ..plain(fields, architecture, sizes, d_head, position, act)?
    })
}

const ROPE: RopeDefaults = RopeDefaults {
    base: 10_000.0,
    share: 1.0,
    names: ("rope_theta", "partial_rotary_factor"),
};

pub(super) fn llama(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let bias = fields.flag("attention_bias", false)?;
    Ok(DecoderConfig {
        qkv_bias: bias,
        out_bias: bias,
        mlp_bias: fields.flag("mlp_bias", false)?,
        ..base(fields, Architecture::Llama, None, "hidden_act")?
    })
}

pub(super) fn mistral(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let config = base(fields, Architecture::Llama, None, "hidden_act")?;
    let window = fields.count_opt("sliding_window")?;
    Ok(DecoderConfig {
        windows: vec![window; config.n_layers],
        ..config
    })
}

pub(super) fn qwen2(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let config = base(fields, Architecture::Llama, None, "hidden_act")?;
    Ok(DecoderConfig {
        windows: qwen_windows(fields, config.n_layers)?,
        qkv_bias: true,
        ..config
    })
}

pub(super) fn qwen3(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let config = base(fields, Architecture::Llama, Some(128), "hidden_act")?;
    let bias = fields.flag("attention_bias", false)?;
    Ok(DecoderConfig {
        windows: qwen_windows(fields, config.n_layers)?,
        qk_norm: Some(QkNorm::Shared),
        qkv_bias: bias,
        out_bias: bias,
        ..config
    })
}

fn qwen_windows(fields: &Fields, n_layers: usize) -> Result<Vec<Option<usize>>, CheckpointError> {
    if !fields.flag("use_sliding_window", false)? {
        return Ok(vec![None; n_layers]);
    }
    // 0 is a value here: every block has a window.
    let first = match fields.number_opt("max_window_layers")? {
        Some(first) if first >= 0.0 && first.fract() == 0.0 => first as usize,
        Some(other) => {
            let reason = format!("is {other}, not a whole number of layers");
            return Err(fields.error("max_window_layers", reason));
        }
        None => 28,
    };
    windows(fields, n_layers, 4096, |layer| layer >= first)
}

/// A window for the blocks that `layer_types` calls sliding or, where it is
/// missing, for those that `slides` says.
fn windows(
    fields: &Fields,
    n_layers: usize,
    width: usize,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>, CheckpointError> {
    const FIELD: &str = "layer_types";
    let width = fields.count_opt("sliding_window")?.unwrap_or(width);
    let sliding: Vec<bool> = match fields.value(FIELD) {
        None => (0..n_layers).map(slides).collect(),
        Some(value) => {
            let kinds = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let kinds = kinds.iter().map(|kind| match kind.as_str() {
                Some("sliding_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                _ => {
                    let reason = format!("holds {kind}, not sliding_attention or full_attention");
                    Err(fields.error(FIELD, reason))
                }
            });
            kinds.collect::<Result<_, _>>()?
        }
    };
    if sliding.len() != n_layers {
        let found = sliding.len();
        let reason = format!("lists {found} layers, and num_hidden_layers is {n_layers}");
        return Err(fields.error(FIELD, reason));
    }
    Ok(sliding.into_iter().map(|s| s.then_some(width)).collect())
}

/// Gemma 1: LLaMA's blocks with Gemma's gains, activation and embedding.
pub(super) fn gemma1(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    only(fields, &[("use_bidirectional_attention", false)])?;
    let config = base(fields, Architecture::Llama, Some(256), "hidden_act")?;
    let bias = fields.flag("attention_bias", false)?;
    Ok(DecoderConfig {
        gain_from_one: true,
        embed_scale: (config.d_model as f64).sqrt(),
        tied: fields.flag("tie_word_embeddings", true)?,
        qkv_bias: bias,
        out_bias: bias,
        ..config
    })
}

fn gemma(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    only(fields, &[("use_bidirectional_attention", false)])?;
    let act = match fields.value("hidden_activation") {
        Some(_) => "hidden_activation",
        None => "hidden_act",
    };
    let config = base(fields, Architecture::Gemma, Some(256), act)?;
    let bias = fields.flag("attention_bias", false)?;
    let scalar = fields.positive_opt("query_pre_attn_scalar")?;
    Ok(DecoderConfig {
        gain_from_one: true,
        norm_place: NormPlace::Sandwich,
        score_scale: 1.0 / scalar.unwrap_or(256.0).sqrt(),
        embed_scale: (config.d_model as f64).sqrt(),
        tied: fields.flag("tie_word_embeddings", true)?,
        qkv_bias: bias,
        out_bias: bias,
        ..config
    })
}

pub(super) fn gemma2(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let config = gemma(fields)?;
    // Absent means the published value; null means none.
    let cap = |field: &str, absent: f64| match fields.has(field) {
        true => fields.positive_opt(field),
        false => Ok(Some(absent)),
    };
    Ok(DecoderConfig {
        windows: windows(fields, config.n_layers, 4096, |layer| layer % 2 == 0)?,
        score_cap: cap("attn_logit_softcapping", 50.0)?,
        logit_cap: cap("final_logit_softcapping", 30.0)?,
        ..config
    })
}

pub(super) fn gemma3(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let config = gemma(fields)?;
    let pattern = fields.count_opt("sliding_window_pattern")?.unwrap_or(6);
    let d_head = config.d_head;
    let (global, local) = gemma3_ropes(fields, d_head)?;
    Ok(DecoderConfig {
        windows: windows(fields, config.n_layers, 4096, |layer| {
            (layer + 1) % pattern != 0
        })?,
        qk_norm: Some(QkNorm::Shared),
        position: Position::Rotary(global),
        local_rope: Some(local),
        score_cap: fields.positive_opt("attn_logit_softcapping")?,
        logit_cap: fields.positive_opt("final_logit_softcapping")?,
        ..config
    })
}

/// RoPE of the global and of the local blocks: `rope_parameters` per kind
/// (transformers 5), or `rope_theta`, `rope_scaling` and
/// `rope_local_base_freq` (transformers 4; the scaling is the global one's).
fn gemma3_ropes(fields: &Fields, d_head: usize) -> Result<(Rope, Rope), CheckpointError> {
    let plain = |base: f64| Rope {
        dim: d_head,
        base,
        scaling: crate::config::RopeScaling::None,
        pairs: RopePairs::Halves,
    };
    let kinds = match fields.object("rope_parameters")? {
        Some(parameters) => (
            parameters.object("full_attention")?,
            parameters.object("sliding_attention")?,
        ),
        None => (None, None),
    };
    if let (Some(full), Some(sliding)) = kinds {
        let read = |kind: &Fields| -> Result<Rope, CheckpointError> {
            Ok(Rope {
                scaling: rope_scaling(kind)?,
                ..plain(kind.positive("rope_theta")?)
            })
        };
        return Ok((read(&full)?, read(&sliding)?));
    }
    let defaults = RopeDefaults {
        base: 1_000_000.0,
        ..ROPE
    };
    let local = fields.positive_opt("rope_local_base_freq")?;
    Ok((
        rope(fields, d_head, &defaults)?,
        plain(local.unwrap_or(10_000.0)),
    ))
}
