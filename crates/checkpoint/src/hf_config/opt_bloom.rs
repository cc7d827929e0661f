//! OPT and BLOOM.

use super::{Sizes, activation, head_width, only, plain};
use crate::config::{Activation, Architecture, DecoderConfig, NormPlace, Position};
use crate::error::CheckpointError;
use crate::fields::Fields;

pub(super) fn opt(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    only(fields, &[("layer_norm_elementwise_affine", true)])?;
    let d_model = fields.count("hidden_size")?;
    let sizes = Sizes {
        n_layers: fields.layers("num_hidden_layers")?,
        d_model,
        n_heads: fields.count("num_attention_heads")?,
        d_mlp: fields.count("ffn_dim")?,
        vocab: fields.count("vocab_size")?,
        context: fields.count("max_position_embeddings")?,
        // torch's LayerNorm as OPT builds it: the config has no field for it.
        norm_eps: 1e-5,
    };
    let d_head = head_width(fields, "num_attention_heads", d_model, sizes.n_heads)?;
    let before = fields.flag("do_layer_norm_before", true)?;
    let removed = fields.flag("_remove_final_layer_norm", false)?;
    let bias = fields.flag("enable_bias", true)?;
    let position = Position::Learned { offset: 2 };
    let act = activation(fields, "activation_function")?;
    Ok(DecoderConfig {
        norm_place: if before {
            NormPlace::Pre
        } else {
            NormPlace::Post
        },
        final_norm: before && !removed,
        d_embed: fields.count_opt("word_embed_proj_dim")?.unwrap_or(d_model),
        tied: fields.flag("tie_word_embeddings", true)?,
        qkv_bias: bias,
        out_bias: bias,
        mlp_bias: bias,
        ..plain(fields, Architecture::Opt, sizes, d_head, position, act)?
    })
}

/// BLOOM has no longest prompt: ALiBi goes on. What it was trained with, 2048
/// tokens (BigScience 2022), is in `seq_length` if the config names it.
const BLOOM_CONTEXT: usize = 2048;

pub(super) fn bloom(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    only(
        fields,
        &[
            ("apply_residual_connection_post_layernorm", false),
            ("slow_but_exact", false),
        ],
    )?;
    let d_model = match fields.count_opt("n_embed")? {
        Some(width) => width,
        None => fields.count("hidden_size")?,
    };
    let count = |old: &str, new: &str| match fields.count_opt(old)? {
        Some(n) => Ok(n),
        None => fields.count(new),
    };
    let sizes = Sizes {
        n_layers: match fields.has("n_layer") {
            true => fields.layers("n_layer")?,
            false => fields.layers("num_hidden_layers")?,
        },
        d_model,
        n_heads: count("n_head", "num_attention_heads")?,
        d_mlp: 4 * d_model,
        vocab: fields.count("vocab_size")?,
        context: fields.count_opt("seq_length")?.unwrap_or(BLOOM_CONTEXT),
        norm_eps: fields.positive("layer_norm_epsilon")?,
    };
    let d_head = head_width(fields, "n_head", d_model, sizes.n_heads)?;
    // BLOOM's own GELU is the tanh form, and no field names it.
    let (position, act) = (Position::Alibi, Activation::GeluTanh);
    Ok(DecoderConfig {
        embed_norm: true,
        tied: fields.flag("tie_word_embeddings", true)?,
        ..plain(fields, Architecture::Bloom, sizes, d_head, position, act)?
    })
}
