//! config.json as Hugging Face writes it, old and new: `rotary_pct` and
//! `rope_theta` at the top level (transformers 4) or under `rope_parameters`
//! (transformers 5).

use std::path::Path;

use serde_json::Value;

use crate::config::{
    Activation, Architecture, BlockKind, DecoderConfig, NormKind, Position, RopeScaling,
};
use crate::error::CheckpointError;
use crate::fields::Fields;

/// `model_type` values with a decoder.
pub(crate) const SUPPORTED: [(&str, Architecture); 3] = [
    ("gpt_neox", Architecture::GptNeoX),
    ("gpt2", Architecture::Gpt2),
    ("llama", Architecture::Llama),
];

/// Reads a config.json; `path` is for messages.
pub(crate) fn parse(text: &str, path: &Path) -> Result<DecoderConfig, CheckpointError> {
    let value: Value = serde_json::from_str(text).map_err(|e| CheckpointError::Malformed {
        path: path.to_path_buf(),
        kind: "config.json",
        reason: e.to_string(),
    })?;
    let Value::Object(map) = &value else {
        return Err(CheckpointError::Malformed {
            path: path.to_path_buf(),
            kind: "config.json",
            reason: "it is not a JSON object".to_owned(),
        });
    };
    let fields = Fields::new(path, map);
    let model_type = fields.text("model_type")?;
    let Some((_, architecture)) = SUPPORTED.iter().find(|(name, _)| *name == model_type) else {
        return Err(CheckpointError::UnknownModelType {
            path: path.to_path_buf(),
            model_type: model_type.to_owned(),
            supported: SUPPORTED.map(|(name, _)| name).join(", "),
        });
    };
    let (config, rotary) = match architecture {
        Architecture::GptNeoX => (gpt_neox(&fields)?, "rotary_pct"),
        Architecture::Gpt2 => (gpt2(&fields)?, "n_positions"),
        Architecture::Llama => (llama(&fields)?, "head_dim"),
    };
    let names = Names {
        kv_heads: "num_key_value_heads",
        rotary,
    };
    check(&config, &fields, &names)?;
    Ok(config)
}

/// What a config calls the fields that [`check`] may have to name.
pub(crate) struct Names {
    pub(crate) kv_heads: &'static str,
    pub(crate) rotary: &'static str,
}

/// Relations that every family needs.
pub(crate) fn check(
    config: &DecoderConfig,
    fields: &Fields,
    names: &Names,
) -> Result<(), CheckpointError> {
    if !config.n_heads.is_multiple_of(config.n_kv_heads) {
        return Err(fields.error(
            names.kv_heads,
            format!(
                "is {}, which does not divide the {} query heads",
                config.n_kv_heads, config.n_heads
            ),
        ));
    }
    if let Position::Rotary { dim, .. } = config.position
        && (dim == 0 || dim % 2 != 0 || dim > config.d_head)
    {
        return Err(fields.error(
            names.rotary,
            format!(
                "rotates {dim} of the {} dimensions of a head, and pairs of them are needed",
                config.d_head
            ),
        ));
    }
    Ok(())
}

fn gpt_neox(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let d_model = fields.count("hidden_size")?;
    let n_heads = fields.count("num_attention_heads")?;
    let d_head = head_width(fields, "num_attention_heads", d_model, n_heads)?;
    let rope = fields.object("rope_parameters")?;
    let inner = |field: &str| rope.as_ref().map_or(Ok(None), |r| r.positive_opt(field));
    let base = match inner("rope_theta")? {
        Some(base) => base,
        None => fields.positive_opt("rotary_emb_base")?.unwrap_or(10_000.0),
    };
    let share = match inner("partial_rotary_factor")? {
        Some(share) => share,
        None => fields.positive_opt("rotary_pct")?.unwrap_or(0.25),
    };
    Ok(DecoderConfig {
        architecture: Architecture::GptNeoX,
        model_type: fields.text("model_type")?.to_owned(),
        n_layers: fields.count("num_hidden_layers")?,
        d_model,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: fields.count("intermediate_size")?,
        vocab: fields.count("vocab_size")?,
        context: fields.count("max_position_embeddings")?,
        norm: NormKind::LayerNorm,
        norm_eps: fields.positive("layer_norm_eps")?,
        activation: activation(fields, "hidden_act")?,
        block: if fields.flag("use_parallel_residual", true)? {
            BlockKind::Parallel
        } else {
            BlockKind::Sequential
        },
        position: Position::Rotary {
            // Truncated, as transformers does: int(head_dim * factor).
            dim: (d_head as f64 * share) as usize,
            base,
            scaling: rope_scaling(fields)?,
        },
        tied: fields.flag("tie_word_embeddings", false)?,
        attention_bias: fields.flag("attention_bias", true)?,
        mlp_bias: true,
    })
}

fn gpt2(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let d_model = fields.count("n_embd")?;
    let n_heads = fields.count("n_head")?;
    for (flag, usual) in [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("add_cross_attention", false),
    ] {
        if fields.flag(flag, usual)? != usual {
            return Err(fields.error(flag, format!("is {}, which is not supported", !usual)));
        }
    }
    Ok(DecoderConfig {
        architecture: Architecture::Gpt2,
        model_type: fields.text("model_type")?.to_owned(),
        n_layers: fields.count("n_layer")?,
        d_model,
        n_heads,
        n_kv_heads: n_heads,
        d_head: head_width(fields, "n_head", d_model, n_heads)?,
        d_mlp: fields.count_opt("n_inner")?.unwrap_or(4 * d_model),
        vocab: fields.count("vocab_size")?,
        context: fields.count("n_positions")?,
        norm: NormKind::LayerNorm,
        norm_eps: fields.positive("layer_norm_epsilon")?,
        activation: activation(fields, "activation_function")?,
        block: BlockKind::Sequential,
        position: Position::Learned,
        tied: fields.flag("tie_word_embeddings", true)?,
        attention_bias: true,
        mlp_bias: true,
    })
}

fn llama(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let d_model = fields.count("hidden_size")?;
    let n_heads = fields.count("num_attention_heads")?;
    let d_head = match fields.count_opt("head_dim")? {
        Some(width) => width,
        None => head_width(fields, "num_attention_heads", d_model, n_heads)?,
    };
    let rope = fields.object("rope_parameters")?;
    let base = match rope
        .as_ref()
        .map_or(Ok(None), |r| r.positive_opt("rope_theta"))?
    {
        Some(base) => base,
        None => fields.positive_opt("rope_theta")?.unwrap_or(10_000.0),
    };
    Ok(DecoderConfig {
        architecture: Architecture::Llama,
        model_type: fields.text("model_type")?.to_owned(),
        n_layers: fields.count("num_hidden_layers")?,
        d_model,
        n_heads,
        n_kv_heads: fields.count_opt("num_key_value_heads")?.unwrap_or(n_heads),
        d_head,
        d_mlp: fields.count("intermediate_size")?,
        vocab: fields.count("vocab_size")?,
        context: fields.count_opt("max_position_embeddings")?.unwrap_or(2048),
        norm: NormKind::RmsNorm,
        norm_eps: fields.positive("rms_norm_eps")?,
        activation: activation(fields, "hidden_act")?,
        block: BlockKind::Sequential,
        position: Position::Rotary {
            dim: d_head,
            base,
            scaling: rope_scaling(fields)?,
        },
        tied: fields.flag("tie_word_embeddings", false)?,
        attention_bias: fields.flag("attention_bias", false)?,
        mlp_bias: fields.flag("mlp_bias", false)?,
    })
}

pub(crate) fn head_width(
    fields: &Fields,
    heads_field: &str,
    d_model: usize,
    n_heads: usize,
) -> Result<usize, CheckpointError> {
    if d_model.is_multiple_of(n_heads) {
        Ok(d_model / n_heads)
    } else {
        Err(fields.error(
            heads_field,
            format!("is {n_heads}, which does not divide the width {d_model}"),
        ))
    }
}

fn activation(fields: &Fields, field: &str) -> Result<Activation, CheckpointError> {
    match fields.text(field)? {
        "gelu" => Ok(Activation::GeluErf),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "silu" | "swish" => Ok(Activation::Silu),
        "relu" => Ok(Activation::Relu),
        other => Err(fields.error(
            field,
            format!("is {other:?}; supported are gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, swish, relu"),
        )),
    }
}

/// `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5).
fn rope_scaling(fields: &Fields) -> Result<RopeScaling, CheckpointError> {
    let scaling = match fields.object("rope_scaling")? {
        Some(scaling) => scaling,
        None => match fields.object("rope_parameters")? {
            Some(parameters) => parameters,
            None => return Ok(RopeScaling::None),
        },
    };
    let kind = match scaling.value("rope_type") {
        Some(_) => scaling.text("rope_type")?,
        None => match scaling.value("type") {
            Some(_) => scaling.text("type")?,
            None => "default",
        },
    };
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear {
            factor: scaling.positive("factor")?,
        }),
        "llama3" => {
            let low = scaling.positive("low_freq_factor")?;
            let high = scaling.positive("high_freq_factor")?;
            if high <= low {
                let reason = format!("is {high}, not above low_freq_factor, which is {low}");
                return Err(scaling.error("high_freq_factor", reason));
            }
            Ok(RopeScaling::Llama3 {
                factor: scaling.positive("factor")?,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: scaling.positive("original_max_position_embeddings")?,
            })
        }
        other => Err(scaling.error(
            "rope_type",
            format!("is {other:?}; supported are default, linear, llama3"),
        )),
    }
}
