//! Small models of every family, drawn from a seed.
// Each test file takes what it needs of this.
#![allow(dead_code, clippy::unwrap_used)]

use assay_checkpoint::Checkpoint;
use assay_testkit::write_config;
use candle_core::DType;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Every `model_type` with a decoder.
pub(crate) const MODEL_TYPES: [&str; 16] = [
    "gpt_neox",
    "gpt2",
    "gptj",
    "gpt_neo",
    "opt",
    "bloom",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "falcon",
    "stablelm",
    "phi",
];

/// Sizes of a model.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) n_layers: usize,
    pub(crate) n_heads: usize,
    /// Divides `n_heads`; families with as many as query heads ignore it.
    pub(crate) n_kv_heads: usize,
    pub(crate) d_head: usize,
    /// Width of the residual stream, where a family's heads may have a width
    /// that does not follow from it; in the others it is n_heads * d_head.
    pub(crate) d_model: usize,
    pub(crate) d_mlp: usize,
    pub(crate) vocab: usize,
    pub(crate) context: usize,
}

impl Shape {
    /// A few thousand parameters; few of the sizes are powers of two. No width
    /// is below 4: a norm over two numbers is a step, which makes roundings
    /// large, and products over one or two inputs go by a path of their own in
    /// gemm, whose bits depend on the order in which the matrix lies.
    pub(crate) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let n_kv_heads = rng.random_range(1..=3);
        Self {
            n_layers: rng.random_range(1..=4),
            n_heads: n_kv_heads * rng.random_range(1..=3),
            n_kv_heads,
            d_head: rng.random_range(4..=13),
            d_model: rng.random_range(8..=60),
            d_mlp: rng.random_range(4..=70),
            vocab: rng.random_range(40..=300),
            context: 48,
        }
    }
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

/// Adds the fields of `more`.
pub(crate) fn with(mut config: Value, more: Value) -> Value {
    let Value::Object(more) = more else {
        panic!("fields are an object");
    };
    config.as_object_mut().unwrap().extend(more);
    config
}

/// A config.json of this family and shape; everything that the family leaves
/// open (biases, norms, windows, caps, positions, tying) is drawn.
pub(crate) fn config(model_type: &str, shape: &Shape, rng: &mut ChaCha8Rng) -> Value {
    let s = shape;
    let config = match model_type {
        "gpt2" | "gptj" => openai(model_type, s, rng),
        "gpt_neo" => gpt_neo(s, rng),
        "opt" => opt(s, rng),
        "bloom" => json!({
            "hidden_size": s.n_heads * s.d_head,
            "n_layer": s.n_layers,
            "n_head": s.n_heads,
            "seq_length": s.context,
            "layer_norm_epsilon": 1e-5,
        }),
        "gpt_neox" | "stablelm" | "phi" => partly_rotary(model_type, s, rng),
        "falcon" => falcon(s, rng),
        _ => llama_like(model_type, s, rng),
    };
    let common = json!({
        "model_type": model_type,
        "vocab_size": s.vocab,
        "tie_word_embeddings": rng.random_bool(0.5),
    });
    with(config, common)
}

const PLAIN_ACTS: [&str; 4] = ["gelu", "gelu_new", "silu", "relu"];

/// The rotated share of a head that comes out at an even number of its
/// dimensions; half a dimension more, so that rounding does not lose one.
fn rotated(d_head: usize, rng: &mut ChaCha8Rng) -> f64 {
    let dims = 2 * rng.random_range(1..=d_head / 2);
    (dims as f64 + 0.5) / d_head as f64
}

fn openai(model_type: &str, s: &Shape, rng: &mut ChaCha8Rng) -> Value {
    let config = json!({
        "n_embd": s.n_heads * s.d_head,
        "n_layer": s.n_layers,
        "n_head": s.n_heads,
        "n_inner": s.d_mlp,
        "n_positions": s.context,
        "activation_function": pick(rng, &PLAIN_ACTS),
        "layer_norm_epsilon": 1e-5,
    });
    if model_type == "gpt2" {
        return config;
    }
    let dims = 2 * rng.random_range(1..=s.d_head / 2);
    with(config, json!({ "rotary_dim": dims }))
}

fn gpt_neo(s: &Shape, rng: &mut ChaCha8Rng) -> Value {
    let kinds: Vec<Value> = (0..s.n_layers)
        .map(|_| json!([[pick(rng, &["global", "local"])], 1]))
        .collect();
    json!({
        "hidden_size": s.n_heads * s.d_head,
        "num_layers": s.n_layers,
        "num_heads": s.n_heads,
        "intermediate_size": s.d_mlp,
        "max_position_embeddings": s.context,
        "attention_types": kinds,
        "window_size": rng.random_range(1..=s.context),
        "activation_function": pick(rng, &PLAIN_ACTS),
        "layer_norm_epsilon": 1e-5,
    })
}

fn opt(s: &Shape, rng: &mut ChaCha8Rng) -> Value {
    let d_model = s.n_heads * s.d_head;
    json!({
        "hidden_size": d_model,
        "num_hidden_layers": s.n_layers,
        "num_attention_heads": s.n_heads,
        "ffn_dim": s.d_mlp,
        "max_position_embeddings": s.context,
        "activation_function": pick(rng, &PLAIN_ACTS),
        "do_layer_norm_before": rng.random_bool(0.5),
        "_remove_final_layer_norm": rng.random_bool(0.3),
        "enable_bias": rng.random_bool(0.5),
        "word_embed_proj_dim": if rng.random_bool(0.5) { d_model } else { s.d_model },
    })
}

fn partly_rotary(model_type: &str, s: &Shape, rng: &mut ChaCha8Rng) -> Value {
    let config = json!({
        "hidden_size": s.n_heads * s.d_head,
        "num_hidden_layers": s.n_layers,
        "num_attention_heads": s.n_heads,
        "intermediate_size": s.d_mlp,
        "max_position_embeddings": s.context,
        "hidden_act": pick(rng, &PLAIN_ACTS),
        "layer_norm_eps": 1e-5,
    });
    let (base, share) = match model_type {
        "gpt_neox" => ("rotary_emb_base", "rotary_pct"),
        _ => ("rope_theta", "partial_rotary_factor"),
    };
    let mut config = config;
    config[base] = pick(rng, &[100.0, 10_000.0, 500_000.0]).into();
    config[share] = rotated(s.d_head, rng).into();
    match model_type {
        "gpt_neox" => with(
            config,
            json!({
                "use_parallel_residual": rng.random_bool(0.5),
                "attention_bias": rng.random_bool(0.5),
            }),
        ),
        "stablelm" => with(
            config,
            json!({
                "num_key_value_heads": s.n_kv_heads,
                "use_parallel_residual": rng.random_bool(0.5),
                "qk_layernorm": rng.random_bool(0.5),
                "use_qkv_bias": rng.random_bool(0.5),
            }),
        ),
        _ => with(config, json!({ "num_key_value_heads": s.n_kv_heads })),
    }
}

fn falcon(s: &Shape, rng: &mut ChaCha8Rng) -> Value {
    let d_head = s.d_head.next_multiple_of(2);
    let new = rng.random_bool(0.5);
    let config = json!({
        "hidden_size": s.n_heads * d_head,
        "num_hidden_layers": s.n_layers,
        "num_attention_heads": s.n_heads,
        "ffn_hidden_size": s.d_mlp,
        "max_position_embeddings": s.context,
        "layer_norm_epsilon": 1e-5,
        "new_decoder_architecture": new,
        "bias": rng.random_bool(0.5),
        "activation": pick(rng, &["gelu", "gelu_new"]),
    });
    if new {
        let norms = rng.random_range(1..=2);
        let more = json!({ "num_kv_heads": s.n_kv_heads, "num_ln_in_parallel_attn": norms });
        return with(config, more);
    }
    with(
        config,
        json!({
            "multi_query": rng.random_bool(0.5),
            "parallel_attn": rng.random_bool(0.5),
        }),
    )
}

fn llama_like(model_type: &str, s: &Shape, rng: &mut ChaCha8Rng) -> Value {
    let gemma = model_type.starts_with("gemma");
    let act = match gemma {
        true => "gelu_pytorch_tanh",
        false => "silu",
    };
    let config = json!({
        "hidden_size": s.d_model,
        "head_dim": s.d_head.next_multiple_of(2),
        "num_hidden_layers": s.n_layers,
        "num_attention_heads": s.n_heads,
        "num_key_value_heads": s.n_kv_heads,
        "intermediate_size": s.d_mlp,
        "max_position_embeddings": s.context,
        "hidden_act": act,
        "rms_norm_eps": 1e-6,
        "rope_theta": pick(rng, &[100.0, 10_000.0, 500_000.0]),
        "sliding_window": rng.random_range(1..=s.context),
    });
    let stretched = [
        json!({ "rope_type": "linear", "factor": 2.5 }),
        json!({
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }),
    ];
    let config = match rng.random_range(0..4) {
        i @ (0 | 1) => with(config, json!({ "rope_scaling": stretched[i] })),
        _ => config,
    };
    let bias = rng.random_bool(0.5);
    let more = match model_type {
        "llama" => json!({ "attention_bias": bias, "mlp_bias": rng.random_bool(0.5) }),
        "mistral" if rng.random_bool(0.3) => json!({ "sliding_window": null }),
        "mistral" => json!({}),
        "gemma" => json!({ "attention_bias": bias }),
        "qwen2" | "qwen3" => json!({
            "use_sliding_window": rng.random_bool(0.5),
            "max_window_layers": rng.random_range(0..=s.n_layers),
            // Qwen2's biases are not a choice, and it has no such field.
            "attention_bias": bias,
        }),
        _ => json!({
            "attention_bias": bias,
            "query_pre_attn_scalar": rng.random_range(1..=40),
            "sliding_window_pattern": rng.random_range(1..=3),
            "rope_local_base_freq": 100.0,
            "attn_logit_softcapping": pick(rng, &[None, Some(1.5), Some(50.0)]),
            "final_logit_softcapping": pick(rng, &[None, Some(10.0), Some(30.0)]),
        }),
    };
    with(config, more)
}

/// A model's files, kept as long as this lives, and what is read from them.
pub(crate) struct Model {
    pub(crate) folder: TempDir,
    pub(crate) checkpoint: Checkpoint,
}

/// Writes a model of this config with weights from `seed` and opens it.
pub(crate) fn model(config: &Value, seed: u64) -> Model {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), config, seed, DType::F32).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    Model { folder, checkpoint }
}
