//! What llama.cpp's converter does to names and rows, family by family
//! (llama.cpp, convert_hf_to_gguf.py and gguf-py's tensor_mapping.py).

use crate::config::DecoderConfig;
use crate::weights::RowOrder;

/// The families that a GGUF may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
    Gpt2,
    GptNeoX,
}

impl Family {
    /// With `general.architecture`.
    pub(crate) const ALL: [(&'static str, Family); 6] = [
        ("llama", Family::Llama),
        ("qwen2", Family::Qwen2),
        ("qwen3", Family::Qwen3),
        ("gemma3", Family::Gemma3),
        ("gpt2", Family::Gpt2),
        ("gptneox", Family::GptNeoX),
    ];

    /// transformers' name of a stored tensor; one that the family has no name
    /// for stays as it is, and will be found to be left over.
    pub(crate) fn name(self, stored: &str) -> String {
        let names = self.names();
        let renamed = || {
            if let Some((layer, rest)) = stored.strip_prefix("blk.").and_then(|s| s.split_once('.'))
            {
                let (part, kind) = rest.rsplit_once('.')?;
                let (_, name) = names.inside.iter().find(|(stored, _)| *stored == part)?;
                return Some(format!("{}.{layer}.{name}.{kind}", names.blocks));
            }
            let (part, kind) = stored.rsplit_once('.')?;
            let (_, name) = names.outside.iter().find(|(stored, _)| *stored == part)?;
            Some(format!("{name}.{kind}"))
        };
        renamed().unwrap_or_else(|| stored.to_owned())
    }

    /// How the rows of a stored tensor lie.
    pub(crate) fn order(self, stored: &str, config: &DecoderConfig) -> RowOrder {
        let inside = stored.strip_prefix("blk.").and_then(|s| s.split_once('.'));
        let part = inside.map_or("", |(_, rest)| rest);
        let (part, kind) = part.rsplit_once('.').unwrap_or((part, ""));
        match (self, part) {
            (Family::Llama, "attn_q") => RowOrder::Pairs {
                heads: config.n_heads,
            },
            (Family::Llama, "attn_k") => RowOrder::Pairs {
                heads: config.n_kv_heads,
            },
            (Family::GptNeoX, "attn_qkv") => RowOrder::QkvOutside {
                heads: config.n_heads,
            },
            (Family::Gpt2, "attn_qkv" | "attn_output" | "ffn_up" | "ffn_down")
                if kind == "weight" =>
            {
                RowOrder::Transposed
            }
            _ => RowOrder::Same,
        }
    }

    fn names(self) -> &'static Names {
        match self {
            Family::Llama | Family::Qwen2 | Family::Qwen3 => &LLAMA,
            Family::Gemma3 => &GEMMA,
            Family::Gpt2 => &GPT2,
            Family::GptNeoX => &NEOX,
        }
    }
}

/// Pairs of (GGUF, transformers) names without ".weight" and ".bias".
struct Names {
    /// What `blk` is called.
    blocks: &'static str,
    outside: &'static [(&'static str, &'static str)],
    inside: &'static [(&'static str, &'static str)],
}

const LLAMA: Names = Names {
    blocks: "model.layers",
    outside: &[
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("output", "lm_head"),
    ],
    inside: &[
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
};

const GEMMA: Names = Names {
    inside: &[
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
    ..LLAMA
};

const GPT2: Names = Names {
    blocks: "transformer.h",
    outside: &[
        ("token_embd", "transformer.wte"),
        ("position_embd", "transformer.wpe"),
        ("output_norm", "transformer.ln_f"),
        ("output", "lm_head"),
    ],
    inside: &[
        ("attn_norm", "ln_1"),
        ("attn_qkv", "attn.c_attn"),
        ("attn_output", "attn.c_proj"),
        ("ffn_norm", "ln_2"),
        ("ffn_up", "mlp.c_fc"),
        ("ffn_down", "mlp.c_proj"),
    ],
};

const NEOX: Names = Names {
    blocks: "gpt_neox.layers",
    outside: &[
        ("token_embd", "gpt_neox.embed_in"),
        ("output_norm", "gpt_neox.final_layer_norm"),
        ("output", "embed_out"),
    ],
    inside: &[
        ("attn_norm", "input_layernorm"),
        ("attn_qkv", "attention.query_key_value"),
        ("attn_output", "attention.dense"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_up", "mlp.dense_h_to_4h"),
        ("ffn_down", "mlp.dense_4h_to_h"),
    ],
};
