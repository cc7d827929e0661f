//! Falcon, StableLM and Phi: parallel blocks, with one norm or two.

use super::{RopeDefaults, Sizes, activation, head_width, only, plain, rope};
use crate::config::{Architecture, BlockKind, DecoderConfig, Position, QkNorm};
use crate::error::CheckpointError;
use crate::fields::Fields;

pub(super) fn falcon(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    only(fields, &[("alibi", false)])?;
    let d_model = fields.count("hidden_size")?;
    // The names that Falcon's first configs had.
    let count = |new: &str, old: &str| match fields.count_opt(new)? {
        Some(n) => Ok(n),
        None => fields.count(old),
    };
    let n_heads = count("num_attention_heads", "n_head")?;
    let sizes = Sizes {
        n_layers: match fields.has("num_hidden_layers") {
            true => fields.layers("num_hidden_layers")?,
            false => fields.layers("n_layer")?,
        },
        d_model,
        n_heads,
        d_mlp: fields.count_opt("ffn_hidden_size")?.unwrap_or(4 * d_model),
        vocab: fields.count("vocab_size")?,
        context: fields.count_opt("max_position_embeddings")?.unwrap_or(2048),
        norm_eps: fields.positive("layer_norm_epsilon")?,
    };
    let new = fields.flag("new_decoder_architecture", false)?;
    let parallel = new || fields.flag("parallel_attn", true)?;
    let n_kv_heads = if new {
        match fields.count_opt("num_kv_heads")? {
            Some(n) => n,
            None => fields.count_opt("n_head_kv")?.unwrap_or(n_heads),
        }
    } else if fields.flag("multi_query", true)? {
        1
    } else {
        n_heads
    };
    let norms = fields.count_opt("num_ln_in_parallel_attn")?;
    let norms = norms.unwrap_or(if new { 2 } else { 1 });
    if norms > 2 || (norms == 2 && !new && parallel) {
        let reason = format!("is {norms}, which this form of Falcon does not have");
        return Err(fields.error("num_ln_in_parallel_attn", reason));
    }
    let d_head = head_width(fields, "num_attention_heads", d_model, n_heads)?;
    let defaults = RopeDefaults {
        base: 10_000.0,
        share: 1.0,
        names: ("rope_theta", "partial_rotary_factor"),
    };
    let position = Position::Rotary(rope(fields, d_head, &defaults)?);
    let act = match fields.value("activation") {
        Some(_) => activation(fields, "activation")?,
        None => crate::config::Activation::GeluErf,
    };
    let bias = fields.flag("bias", false)?;
    Ok(DecoderConfig {
        n_kv_heads,
        block: kind(parallel),
        shared_norm: parallel && norms == 1,
        tied: fields.flag("tie_word_embeddings", true)?,
        qkv_bias: bias,
        out_bias: bias,
        mlp_bias: bias,
        ..plain(fields, Architecture::Falcon, sizes, d_head, position, act)?
    })
}

fn kind(parallel: bool) -> BlockKind {
    if parallel {
        BlockKind::Parallel
    } else {
        BlockKind::Sequential
    }
}

fn sizes(fields: &Fields) -> Result<Sizes, CheckpointError> {
    Ok(Sizes {
        n_layers: fields.layers("num_hidden_layers")?,
        d_model: fields.count("hidden_size")?,
        n_heads: fields.count("num_attention_heads")?,
        d_mlp: fields.count("intermediate_size")?,
        vocab: fields.count("vocab_size")?,
        context: fields.count("max_position_embeddings")?,
        norm_eps: fields.positive("layer_norm_eps")?,
    })
}

pub(super) fn stablelm(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    let sizes = sizes(fields)?;
    let n_heads = sizes.n_heads;
    let d_head = head_width(fields, "num_attention_heads", sizes.d_model, n_heads)?;
    let defaults = RopeDefaults {
        base: 10_000.0,
        share: 0.25,
        names: ("rope_theta", "partial_rotary_factor"),
    };
    let position = Position::Rotary(rope(fields, d_head, &defaults)?);
    let act = activation(fields, "hidden_act")?;
    let parallel = fields.flag("use_parallel_residual", false)?;
    let qk_norm = fields.flag("qk_layernorm", false)?;
    Ok(DecoderConfig {
        n_kv_heads: fields.count_opt("num_key_value_heads")?.unwrap_or(n_heads),
        block: kind(parallel),
        shared_norm: parallel,
        qk_norm: qk_norm.then_some(QkNorm::PerHead),
        tied: fields.flag("tie_word_embeddings", false)?,
        qkv_bias: fields.flag("use_qkv_bias", false)?,
        out_bias: false,
        mlp_bias: false,
        ..plain(fields, Architecture::StableLm, sizes, d_head, position, act)?
    })
}

pub(super) fn phi(fields: &Fields) -> Result<DecoderConfig, CheckpointError> {
    only(fields, &[("qk_layernorm", false)])?;
    let sizes = sizes(fields)?;
    let n_heads = sizes.n_heads;
    let d_head = match fields.count_opt("head_dim")? {
        Some(width) => width,
        None => head_width(fields, "num_attention_heads", sizes.d_model, n_heads)?,
    };
    let defaults = RopeDefaults {
        base: 10_000.0,
        share: 0.5,
        names: ("rope_theta", "partial_rotary_factor"),
    };
    let position = Position::Rotary(rope(fields, d_head, &defaults)?);
    let act = activation(fields, "hidden_act")?;
    Ok(DecoderConfig {
        n_kv_heads: fields.count_opt("num_key_value_heads")?.unwrap_or(n_heads),
        block: BlockKind::Parallel,
        shared_norm: true,
        tied: fields.flag("tie_word_embeddings", false)?,
        unembed_bias: true,
        ..plain(fields, Architecture::Phi, sizes, d_head, position, act)?
    })
}
