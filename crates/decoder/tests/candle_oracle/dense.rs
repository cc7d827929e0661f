//! Families whose weights candle reads as safetensors name them.
//!
//! candle's windows hold one key more than transformers': its masks hide key j
//! from query i where j + window < i, transformers' where i - j >= window
//! (masking_utils.py, sliding_window_overlay). Its configs are given a window
//! less by one.

use candle_transformers::models::{
    falcon, gemma, gemma2, gemma3, llama, mistral, phi, qwen2, qwen3, stable_lm,
};
use serde_json::{Value, from_value, json};

use super::{CONTEXT, Oracle, VOCAB, check, with};
use candle_core::{DType, Device, Result};
use candle_nn::VarBuilder;

/// What LLaMA and its descendants share: 6 heads, and the width of a head does
/// not follow from that of the residual stream where `head_dim` says so.
fn gated(model_type: &str, hidden: usize, kv_heads: usize) -> Value {
    json!({
        "model_type": model_type,
        "vocab_size": VOCAB,
        "hidden_size": hidden,
        "intermediate_size": 70,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": CONTEXT,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": false,
    })
}

fn llama(weights: VarBuilder, config: &Value) -> Result<Oracle> {
    let config: llama::LlamaConfig = from_value(config.clone()).unwrap();
    let config = config.into_config(false);
    let model = llama::Llama::load(weights, &config)?;
    Ok(Box::new(move |ids| {
        let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu)?;
        model.forward(ids, 0, &mut cache)
    }))
}

#[test]
fn llama_for_every_number_of_key_value_heads_tied_and_untied() {
    for kv_heads in [1, 2, 3, 6] {
        for tied in [true, false] {
            let config = with(
                gated("llama", 60, kv_heads),
                json!({ "tie_word_embeddings": tied }),
            );
            let name = format!("llama, {kv_heads} key/value heads, tied: {tied}");
            check(&name, &config, |w| llama(w, &config));
        }
    }
}

/// Nine frequencies, of which some are kept, some blended and some divided.
#[test]
fn llama3_rope_scaling() {
    let config = with(
        gated("llama", 108, 2),
        json!({ "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }}),
    );
    check("llama3 scaling", &config, |w| llama(w, &config));
}

/// candle's Mistral with a window as in [`self`].
fn window_less_one(config: &Value) -> Value {
    match config["sliding_window"].as_u64() {
        Some(window) => with(config.clone(), json!({ "sliding_window": window - 1 })),
        None => config.clone(),
    }
}

#[test]
fn mistral_with_and_without_a_window() {
    for window in [json!(null), json!(7), json!(2)] {
        let config = with(
            gated("mistral", 40, 2),
            json!({ "head_dim": 10, "sliding_window": window }),
        );
        check(&format!("mistral, window {window}"), &config, |w| {
            let candle: mistral::Config = from_value(window_less_one(&config)).unwrap();
            let mut model = mistral::Model::new(&candle, w)?;
            Ok(Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids, 0)
            }))
        });
    }
}

/// candle's Qwen2 applies its window to every block whatever
/// `use_sliding_window` and `max_window_layers` say: either no block has one
/// (it is as long as the context) or all have.
#[test]
fn qwen2_with_and_without_windows() {
    for (window, tied) in [(CONTEXT + 1, true), (CONTEXT + 1, false), (9, false)] {
        let config = with(
            gated("qwen2", 84, 2),
            json!({
                "tie_word_embeddings": tied,
                "sliding_window": window,
                "use_sliding_window": window <= CONTEXT,
                "max_window_layers": 0,
            }),
        );
        let name = format!("qwen2, window {window}, tied: {tied}");
        check(&name, &config, |w| {
            let candle: qwen2::Config = from_value(window_less_one(&config)).unwrap();
            let mut model = qwen2::ModelForCausalLM::new(&candle, w)?;
            Ok(Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids, 0)
            }))
        });
    }
}

/// candle's Qwen3 has no windows.
#[test]
fn qwen3_with_and_without_biases() {
    for (bias, tied, kv_heads) in [(false, true, 3), (true, false, 1)] {
        let config = with(
            gated("qwen3", 40, kv_heads),
            json!({
                "head_dim": 10,
                "attention_bias": bias,
                "tie_word_embeddings": tied,
                "sliding_window": null,
                "use_sliding_window": false,
                "max_window_layers": 3,
            }),
        );
        let name = format!("qwen3, bias: {bias}, tied: {tied}");
        check(&name, &config, |w| {
            let candle: qwen3::Config = from_value(config.clone()).unwrap();
            let mut model = qwen3::ModelForCausalLM::new(&candle, w)?;
            Ok(Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids, 0)
            }))
        });
    }
}

/// What Gemma 2 and 3 share. candle scales scores by the width of a head and
/// does not read `query_pre_attn_scalar`: it is that width here.
fn gemma(model_type: &str, kv_heads: usize, caps: Option<(f64, f64)>) -> Value {
    with(
        gated(model_type, 40, kv_heads),
        json!({
            "head_dim": 10,
            "query_pre_attn_scalar": 10,
            "attention_bias": false,
            "hidden_activation": "gelu_pytorch_tanh",
            "tie_word_embeddings": true,
            "attn_logit_softcapping": caps.map(|c| c.0),
            "final_logit_softcapping": caps.map(|c| c.1),
        }),
    )
}

#[test]
fn gemma_for_one_and_for_several_key_value_heads() {
    for (kv_heads, bias) in [(1, false), (3, true)] {
        let config = with(
            gated("gemma", 60, kv_heads),
            json!({
                "attention_bias": bias,
                "head_dim": 14,
                "hidden_act": "gelu_pytorch_tanh",
                "tie_word_embeddings": true,
            }),
        );
        let name = format!("gemma, {kv_heads} key/value heads, bias: {bias}");
        check(&name, &config, |w| {
            let candle: gemma::Config = from_value(config.clone()).unwrap();
            let mut model = gemma::Model::new(false, &candle, w)?;
            Ok(Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids, 0)
            }))
        });
    }
}

/// candle's Gemma 2 gives every block the window, not every second one: no
/// block has one here, or all have. The caps are small enough to bend.
#[test]
fn gemma2_with_caps_and_windows() {
    for (window, caps, bias) in [
        (CONTEXT + 1, Some((2.0, 5.0)), false),
        (7, Some((50.0, 30.0)), true),
        (CONTEXT + 1, None, false),
    ] {
        let config = with(
            gemma("gemma2", 2, caps),
            json!({
                "attention_bias": bias,
                "sliding_window": window,
                "layer_types": vec!["sliding_attention"; 3],
            }),
        );
        let name = format!("gemma2, window {window}, caps {caps:?}, bias: {bias}");
        check(&name, &config, |w| {
            let candle: gemma2::Config = from_value(window_less_one(&config)).unwrap();
            let mut model = gemma2::Model::new(false, &candle, w)?;
            Ok(Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids, 0)
            }))
        });
    }
}

/// candle's Gemma 3 fails in a global block with more than one key/value head
/// ("slice-set only supports contiguous tensors": its cache is handed a
/// transposed view), so models with more have only local blocks.
#[test]
fn gemma3_with_local_and_global_blocks() {
    for (pattern, kv_heads, caps) in [
        (2, 1, None),
        (3, 1, Some((2.0, 5.0))),
        (6, 3, None),
        (6, 6, Some((50.0, 30.0))),
    ] {
        let config = with(
            gemma("gemma3_text", kv_heads, caps),
            json!({
                "num_hidden_layers": 4,
                "rope_theta": 1000000.0,
                "rope_local_base_freq": 100.0,
                "sliding_window": 7,
                "sliding_window_pattern": pattern,
            }),
        );
        let name = format!("gemma3, every {pattern}th block global, caps {caps:?}");
        check(&name, &config, |w| {
            let candle: gemma3::Config = from_value(window_less_one(&config)).unwrap();
            let mut model = gemma3::Model::new(false, &candle, w)?;
            Ok(Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids, 0)
            }))
        });
    }
}

/// candle's Falcon is that of 7b: its `validate` refuses the new form. It takes
/// GELU's tanh form where Falcon has the exact one (transformers'
/// modeling_falcon.py, `get_activation(config.activation)`, "gelu"), so that is
/// asked for here; without `multi_query` it reads as many key/value heads as
/// `n_head_kv`, which it calls unsupported but for which the sums are right.
#[test]
fn falcon_in_its_old_forms() {
    for (multi_query, parallel, bias) in [
        (true, true, false),
        (true, false, true),
        (false, true, true),
        (false, false, false),
    ] {
        let config = json!({
            "model_type": "falcon",
            "vocab_size": VOCAB,
            "hidden_size": 42,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "layer_norm_epsilon": 1e-5,
            "activation": "gelu_new",
            "new_decoder_architecture": false,
            "multi_query": multi_query,
            "parallel_attn": parallel,
            "bias": bias,
            "alibi": false,
            "tie_word_embeddings": false,
            "max_position_embeddings": CONTEXT,
        });
        let name = format!("falcon, multi-query: {multi_query}, parallel: {parallel}");
        check(&name, &config, |w| {
            let candle = falcon::Config {
                vocab_size: VOCAB,
                hidden_size: 42,
                num_hidden_layers: 3,
                num_attention_heads: 3,
                n_head_kv: (!multi_query).then_some(3),
                multi_query,
                parallel_attn: parallel,
                bias,
                ..falcon::Config::default()
            };
            let mut model = falcon::Falcon::load(w, candle)?;
            Ok(Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids)
            }))
        });
    }
}

/// 72 wide in 6 heads of 12, 40% of them rotated.
fn layer_norms(model_type: &str, kv_heads: usize, act: &str) -> Value {
    json!({
        "model_type": model_type,
        "vocab_size": VOCAB,
        "hidden_size": 72,
        "intermediate_size": 50,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": CONTEXT,
        "hidden_act": act,
        "layer_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.34,
        "tie_word_embeddings": false,
        "qk_layernorm": false,
        "use_cache": false,
    })
}

#[test]
fn phi_with_grouped_heads() {
    for (kv_heads, act) in [(6, "gelu_new"), (2, "gelu_new"), (1, "gelu")] {
        let config = layer_norms("phi", kv_heads, act);
        let name = format!("phi, {kv_heads} key/value heads, {act}");
        check(&name, &config, |w| {
            let candle: phi::Config = from_value(config.clone()).unwrap();
            let mut model = phi::Model::new(&candle, w)?;
            Ok(Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids)
            }))
        });
    }
}

/// candle's StableLM has neither norms of queries and keys nor parallel blocks.
#[test]
fn stablelm_with_and_without_biases() {
    for (kv_heads, bias) in [(6, false), (3, true)] {
        let config = with(
            layer_norms("stablelm", kv_heads, "silu"),
            json!({ "use_qkv_bias": bias }),
        );
        let name = format!("stablelm, {kv_heads} key/value heads, bias: {bias}");
        check(&name, &config, |w| {
            let candle: stable_lm::Config = from_value(config.clone()).unwrap();
            let mut model = stable_lm::Model::new(&candle, w)?;
            Ok(Box::new(move |ids| model.forward(ids, 0)))
        });
    }
}
