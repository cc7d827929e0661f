//! config.json as Hugging Face writes it, old and new: `rotary_pct` and
//! `rope_theta` at the top level (transformers 4) or under `rope_parameters`
//! (transformers 5).

mod falcon;
mod gpt;
mod llama;
mod opt_bloom;

use std::path::Path;

use serde_json::Value;

use crate::config::{
    Activation, Architecture, BlockKind, DecoderConfig, NormKind, NormPlace, Position, Rope,
    RopePairs, RopeScaling,
};
use crate::error::CheckpointError;
use crate::fields::Fields;

type Parse = fn(&Fields) -> Result<DecoderConfig, CheckpointError>;

/// `model_type` values with a decoder, the reader of their config, and what
/// they call key/value heads and the rotated share, for messages.
const SUPPORTED: [(&str, Parse, Names); 16] = [
    (
        "gpt_neox",
        gpt::gpt_neox,
        Names::new("num_attention_heads", "rotary_pct"),
    ),
    ("gpt2", gpt::gpt2, Names::new("n_head", "n_positions")),
    ("gptj", gpt::gptj, Names::new("n_head", "rotary_dim")),
    (
        "gpt_neo",
        gpt::gpt_neo,
        Names::new("num_heads", "window_size"),
    ),
    (
        "opt",
        opt_bloom::opt,
        Names::new("num_attention_heads", "max_position_embeddings"),
    ),
    ("bloom", opt_bloom::bloom, Names::new("n_head", "n_head")),
    (
        "llama",
        llama::llama,
        Names::new("num_key_value_heads", "head_dim"),
    ),
    (
        "mistral",
        llama::mistral,
        Names::new("num_key_value_heads", "head_dim"),
    ),
    (
        "qwen2",
        llama::qwen2,
        Names::new("num_key_value_heads", "head_dim"),
    ),
    (
        "qwen3",
        llama::qwen3,
        Names::new("num_key_value_heads", "head_dim"),
    ),
    (
        "gemma",
        llama::gemma1,
        Names::new("num_key_value_heads", "head_dim"),
    ),
    (
        "gemma2",
        llama::gemma2,
        Names::new("num_key_value_heads", "head_dim"),
    ),
    (
        "gemma3_text",
        llama::gemma3,
        Names::new("num_key_value_heads", "head_dim"),
    ),
    (
        "falcon",
        falcon::falcon,
        Names::new("num_kv_heads", "hidden_size"),
    ),
    (
        "stablelm",
        falcon::stablelm,
        Names::new("num_key_value_heads", "partial_rotary_factor"),
    ),
    (
        "phi",
        falcon::phi,
        Names::new("num_key_value_heads", "partial_rotary_factor"),
    ),
];

/// Reads the text of a config.json; `path` is for messages.
///
/// # Errors
/// No JSON object, a family without a decoder, a field that is missing or has
/// a value that cannot be.
pub fn parse(text: &str, path: &Path) -> Result<DecoderConfig, CheckpointError> {
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
    let Some((_, parse, names)) = SUPPORTED.iter().find(|(name, ..)| *name == model_type) else {
        return Err(CheckpointError::UnknownModelType {
            path: path.to_path_buf(),
            model_type: model_type.to_owned(),
            supported: SUPPORTED.each_ref().map(|(name, ..)| *name).join(", "),
        });
    };
    let config = parse(&fields)?;
    check(&config, &fields, names)?;
    Ok(config)
}

/// What a config calls the fields that [`check`] may have to name.
pub(crate) struct Names {
    pub(crate) kv_heads: &'static str,
    pub(crate) rotary: &'static str,
}

impl Names {
    pub(crate) const fn new(kv_heads: &'static str, rotary: &'static str) -> Self {
        Self { kv_heads, rotary }
    }
}

/// Bytes and operations of such a model still fit the numbers that they are
/// counted in.
const MOST_PARAMETERS: u128 = 1_000_000_000_000_000;

/// About how many there are, at the least.
fn parameters(config: &DecoderConfig) -> u128 {
    let [layers, width, heads, d_head, d_mlp, vocab] = [
        config.n_layers,
        config.d_model,
        config.n_heads,
        config.d_head,
        config.d_mlp,
        config.vocab,
    ]
    .map(|n| n as u128);
    width * (vocab + layers * (width + heads * d_head + 2 * d_mlp))
}

/// Relations that every family needs.
pub(crate) fn check(
    config: &DecoderConfig,
    fields: &Fields,
    names: &Names,
) -> Result<(), CheckpointError> {
    let parameters = parameters(config);
    if parameters > MOST_PARAMETERS {
        return Err(fields.error(
            "values",
            format!(
                "make a model of {:.1e} parameters, and none has above {MOST_PARAMETERS:e}",
                parameters as f64
            ),
        ));
    }
    if !config.n_heads.is_multiple_of(config.n_kv_heads) {
        return Err(fields.error(
            names.kv_heads,
            format!(
                "is {}, which does not divide the {} query heads",
                config.n_kv_heads, config.n_heads
            ),
        ));
    }
    let global = match &config.position {
        Position::Rotary(rope) => Some(rope),
        Position::Learned { .. } | Position::Alibi => None,
    };
    for rope in global.into_iter().chain(&config.local_rope) {
        let (dim, d_head) = (rope.dim, config.d_head);
        if dim == 0 || dim % 2 != 0 || dim > d_head {
            return Err(fields.error(
                names.rotary,
                format!(
                    "rotates {dim} of the {d_head} dimensions of a head, and pairs of them are needed"
                ),
            ));
        }
    }
    Ok(())
}

/// The sizes that every family has.
pub(crate) struct Sizes {
    pub(crate) n_layers: usize,
    pub(crate) d_model: usize,
    pub(crate) n_heads: usize,
    pub(crate) d_mlp: usize,
    pub(crate) vocab: usize,
    pub(crate) context: usize,
    pub(crate) norm_eps: f64,
}

/// The plain decoder of these sizes, from which a family states how it
/// differs: sequential blocks, LayerNorm before attention and before the MLP
/// and after the last block, as many key/value heads as query heads, no
/// windows, no caps, biases everywhere but at the unembedding, untied.
pub(crate) fn plain(
    fields: &Fields,
    architecture: Architecture,
    sizes: Sizes,
    d_head: usize,
    position: Position,
    activation: Activation,
) -> Result<DecoderConfig, CheckpointError> {
    Ok(DecoderConfig {
        architecture,
        model_type: fields
            .text(MODEL_TYPE.0)
            .or_else(|_| fields.text(MODEL_TYPE.1))?
            .to_owned(),
        n_layers: sizes.n_layers,
        d_model: sizes.d_model,
        n_heads: sizes.n_heads,
        n_kv_heads: sizes.n_heads,
        d_head,
        d_mlp: sizes.d_mlp,
        vocab: sizes.vocab,
        context: sizes.context,
        norm: NormKind::LayerNorm,
        norm_eps: sizes.norm_eps,
        gain_from_one: false,
        norm_place: NormPlace::Pre,
        shared_norm: false,
        final_norm: true,
        embed_norm: false,
        qk_norm: None,
        activation,
        block: BlockKind::Sequential,
        position,
        local_rope: None,
        windows: vec![None; sizes.n_layers],
        score_scale: 1.0 / (d_head as f64).sqrt(),
        score_cap: None,
        logit_cap: None,
        embed_scale: 1.0,
        d_embed: sizes.d_model,
        tied: false,
        unembed_bias: false,
        qkv_bias: true,
        out_bias: true,
        mlp_bias: true,
    })
}

/// Where config.json and where a GGUF names the family.
const MODEL_TYPE: (&str, &str) = ("model_type", "general.architecture");

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

/// Flags whose other value assay has no code for.
fn only(fields: &Fields, flags: &[(&str, bool)]) -> Result<(), CheckpointError> {
    for (flag, usual) in flags {
        if fields.flag(flag, *usual)? != *usual {
            return Err(fields.error(flag, format!("is {}, which is not supported", !usual)));
        }
    }
    Ok(())
}

/// What a family that leaves RoPE's fields out means by it.
struct RopeDefaults {
    base: f64,
    /// Share of a head's dimensions that is rotated.
    share: f64,
    /// Names of the base and of the share as transformers 4 writes them.
    names: (&'static str, &'static str),
}

/// RoPE of a head of `d_head` dimensions: `rope_parameters` (transformers 5)
/// or fields of their own and `rope_scaling` (transformers 4).
fn rope(fields: &Fields, d_head: usize, defaults: &RopeDefaults) -> Result<Rope, CheckpointError> {
    let parameters = fields.object("rope_parameters")?;
    let inner = |field: &str| {
        parameters
            .as_ref()
            .map_or(Ok(None), |r| r.positive_opt(field))
    };
    let base = match inner("rope_theta")? {
        Some(base) => Some(base),
        None => fields.positive_opt(defaults.names.0)?,
    };
    let share = match inner("partial_rotary_factor")? {
        Some(share) => Some(share),
        None => fields.positive_opt(defaults.names.1)?,
    };
    let scaling = match fields.object("rope_scaling")? {
        Some(scaling) => rope_scaling(&scaling)?,
        None => match &parameters {
            Some(parameters) => rope_scaling(parameters)?,
            None => RopeScaling::None,
        },
    };
    Ok(Rope {
        // Truncated, as transformers does: int(head_dim * factor).
        dim: (d_head as f64 * share.unwrap_or(defaults.share)) as usize,
        base: base.unwrap_or(defaults.base),
        scaling,
        pairs: RopePairs::Halves,
    })
}

/// The fields of `rope_scaling` or `rope_parameters`.
fn rope_scaling(scaling: &Fields) -> Result<RopeScaling, CheckpointError> {
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
