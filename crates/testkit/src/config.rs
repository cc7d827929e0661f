use assay_checkpoint::BlockKind;
use candle_core::DType;
use serde_json::{Value, json};

use crate::{Architecture, TinyModel};

/// The model's config.json.
#[must_use]
pub fn config_json(spec: &TinyModel) -> Value {
    let mut config = match spec.architecture {
        Architecture::GptNeoX => json!({
            "architectures": ["GPTNeoXForCausalLM"],
            "model_type": "gpt_neox",
            "hidden_size": spec.d_model,
            "num_hidden_layers": spec.n_layers,
            "num_attention_heads": spec.n_heads,
            "intermediate_size": spec.d_mlp,
            "max_position_embeddings": spec.context,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "rotary_pct": 0.25,
            "rotary_emb_base": 10000,
            "use_parallel_residual": spec.block == BlockKind::Parallel,
        }),
        Architecture::Gpt2 => json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_embd": spec.d_model,
            "n_layer": spec.n_layers,
            "n_head": spec.n_heads,
            "n_inner": spec.d_mlp,
            "n_positions": spec.context,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
        }),
        Architecture::Llama => json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": spec.d_model,
            "num_hidden_layers": spec.n_layers,
            "num_attention_heads": spec.n_heads,
            "num_key_value_heads": spec.n_kv_heads,
            "intermediate_size": spec.d_mlp,
            "max_position_embeddings": spec.context,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
        }),
    };
    config["vocab_size"] = spec.vocab.into();
    config["tie_word_embeddings"] = spec.tied.into();
    config["torch_dtype"] = match spec.storage {
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        _ => "float32",
    }
    .into();
    config["bos_token_id"] = 0.into();
    config["eos_token_id"] = 0.into();
    config
}
