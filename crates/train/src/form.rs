use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The architecture of an organism, in the words of Hugging Face's
/// configurations. Widths that a form does not name follow from d_model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Form {
    /// GPT-NeoX: rotary positions on the first dimensions of each head,
    /// LayerNorm, biases.
    #[serde(rename_all = "kebab-case")]
    GptNeox {
        /// Blocks.
        layers: usize,
        /// Heads; d_head = d_model / heads.
        heads: usize,
        /// Does the MLP read what the attention reads, and not what it wrote?
        parallel: bool,
        /// Dimensions of each head that are rotated.
        rotary_dims: usize,
    },
    /// GPT-2: learned positions, sequential blocks.
    Gpt2 {
        /// Blocks.
        layers: usize,
        /// Heads; d_head = d_model / heads.
        heads: usize,
    },
    /// LLaMA with a head width of its own: RMSNorm, SwiGLU, rotary positions
    /// on whole heads, no biases.
    #[serde(rename_all = "kebab-case")]
    Llama {
        /// Blocks.
        layers: usize,
        /// Heads.
        heads: usize,
        /// Width of a head, whatever d_model is.
        d_head: usize,
    },
    /// Qwen2: as LLaMA, with grouped queries, biases on Q, K and V, and the
    /// embedding as unembedding.
    #[serde(rename_all = "kebab-case")]
    Qwen2 {
        /// Blocks.
        layers: usize,
        /// Heads; d_head = d_model / heads.
        heads: usize,
        /// Key and value heads.
        kv_heads: usize,
    },
}

impl Form {
    /// Blocks, heads and the width of a head.
    #[must_use]
    pub fn sizes(&self, d_model: usize) -> (usize, usize, usize) {
        let even = |layers: usize, heads: usize| (layers, heads, d_model / heads.max(1));
        match *self {
            Self::GptNeox { layers, heads, .. }
            | Self::Gpt2 { layers, heads }
            | Self::Qwen2 { layers, heads, .. } => even(layers, heads),
            Self::Llama {
                layers,
                heads,
                d_head,
            } => (layers, heads, d_head),
        }
    }

    /// config.json of a model of width `d_model` and `vocab` tokens.
    #[must_use]
    pub fn config(&self, d_model: usize, vocab: usize, context: usize) -> Value {
        // Two thirds of 4 d_model in a gated MLP: three matrices in place of
        // two (Shazeer 2020), here to the next multiple of 16.
        let gated = (8 * d_model / 3).next_multiple_of(16);
        let gated_of = |layers: &usize, heads: &usize, kv_heads: &usize, d_head: usize| {
            json!({
                "hidden_size": d_model, "num_hidden_layers": layers, "num_attention_heads": heads,
                "num_key_value_heads": kv_heads, "head_dim": d_head, "intermediate_size": gated,
                "vocab_size": vocab, "max_position_embeddings": context, "hidden_act": "silu",
                "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            })
        };
        let (mut config, own) = match self {
            Self::GptNeox {
                layers,
                heads,
                parallel,
                rotary_dims,
            } => (
                json!({
                    "hidden_size": d_model, "num_hidden_layers": layers,
                    "num_attention_heads": heads, "intermediate_size": 4 * d_model,
                    "vocab_size": vocab, "max_position_embeddings": context,
                    "rotary_pct": (rotary_dims * heads) as f64 / d_model as f64,
                    "rotary_emb_base": 10000, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
                    "use_parallel_residual": parallel, "attention_bias": true,
                }),
                ("gpt_neox", "GPTNeoXForCausalLM", false),
            ),
            Self::Gpt2 { layers, heads } => (
                json!({
                    "n_embd": d_model, "n_layer": layers, "n_head": heads, "n_positions": context,
                    "n_inner": 4 * d_model, "vocab_size": vocab, "layer_norm_epsilon": 1e-5,
                    "activation_function": "gelu_new",
                }),
                ("gpt2", "GPT2LMHeadModel", true),
            ),
            Self::Llama {
                layers,
                heads,
                d_head,
            } => (
                gated_of(layers, heads, heads, *d_head),
                ("llama", "LlamaForCausalLM", false),
            ),
            Self::Qwen2 {
                layers,
                heads,
                kv_heads,
            } => (
                gated_of(layers, heads, kv_heads, d_model / heads),
                ("qwen2", "Qwen2ForCausalLM", true),
            ),
        };
        let (model_type, class, tied) = own;
        config["model_type"] = json!(model_type);
        config["architectures"] = json!([class]);
        config["tie_word_embeddings"] = json!(tied);
        config["torch_dtype"] = json!("float16");
        config["bos_token_id"] = json!(0);
        config["eos_token_id"] = json!(0);
        config
    }
}
