use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use candle_core::Tensor;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};

use crate::text::END;
use crate::{Architecture, TestkitError, Text, TinyModel, tensors, tokenizer_parts};

/// Writes a LLaMA as llama.cpp lays it out: matrices stored as `matrices`,
/// norm gains as F32, rows of Q and K permuted for interleaved RoPE, the
/// tokenizer in the metadata.
///
/// # Errors
/// Another family than LLaMA, rows that are not whole blocks of `matrices`,
/// or a file that cannot be written.
pub fn write_gguf(path: &Path, spec: &TinyModel, matrices: GgmlDType) -> Result<(), TestkitError> {
    write_gguf_with(path, spec, matrices, &gguf_metadata(spec)?)
}

/// As [`write_gguf`], with metadata of the caller's making.
///
/// # Errors
/// As [`write_gguf`].
pub fn write_gguf_with(
    path: &Path,
    spec: &TinyModel,
    matrices: GgmlDType,
    metadata: &[(String, Value)],
) -> Result<(), TestkitError> {
    let mut stored = Vec::new();
    for (name, tensor) in tensors(spec)? {
        let permuted = if name.ends_with("q_proj.weight") {
            interleaved_rows(&tensor, spec.n_heads)?
        } else if name.ends_with("k_proj.weight") {
            interleaved_rows(&tensor, spec.n_kv_heads)?
        } else {
            tensor
        };
        let dtype = if permuted.rank() == 1 {
            GgmlDType::F32
        } else {
            matrices
        };
        stored.push((gguf_name(&name)?, QTensor::quantize(&permuted, dtype)?));
    }
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let stored: Vec<(&str, &QTensor)> = stored.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut file = BufWriter::new(File::create(path).map_err(TestkitError::io(path))?);
    gguf_file::write(&mut file, &metadata, &stored)?;
    std::io::Write::flush(&mut file).map_err(TestkitError::io(path))
}

/// Rows of a head from (half, pair), as Hugging Face has them, to (pair, half).
fn interleaved_rows(tensor: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (rows, columns) = tensor.dims2()?;
    tensor
        .reshape((heads, 2, rows / heads / 2, columns))?
        .transpose(1, 2)?
        .reshape((rows, columns))?
        .contiguous()
}

fn gguf_name(name: &str) -> Result<String, TestkitError> {
    let outside = match name {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(outside) = outside {
        return Ok(outside.to_owned());
    }
    let block = || {
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let part = match rest.strip_suffix(".weight")? {
            "input_layernorm" => "attn_norm",
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.o_proj" => "attn_output",
            "post_attention_layernorm" => "ffn_norm",
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" => "ffn_up",
            "mlp.down_proj" => "ffn_down",
            _ => return None,
        };
        Some(format!("blk.{layer}.{part}.weight"))
    };
    block().ok_or_else(|| TestkitError::Spec(format!("a GGUF has no place for {name}")))
}

/// The metadata of a model, in the order in which they are written.
///
/// # Errors
/// Another family than LLaMA.
pub fn gguf_metadata(spec: &TinyModel) -> Result<Vec<(String, Value)>, TestkitError> {
    if spec.architecture != Architecture::Llama {
        let family = spec.architecture;
        return Err(TestkitError::Spec(format!("no GGUF layout for {family:?}")));
    }
    let count = |n: usize| Value::U32(n as u32);
    let text = |s: &str| Value::String(s.to_owned());
    let mut metadata = vec![
        ("general.architecture", text("llama")),
        ("general.name", text("tiny")),
        ("llama.block_count", count(spec.n_layers)),
        ("llama.context_length", count(spec.context)),
        ("llama.embedding_length", count(spec.d_model)),
        ("llama.feed_forward_length", count(spec.d_mlp)),
        ("llama.attention.head_count", count(spec.n_heads)),
        ("llama.attention.head_count_kv", count(spec.n_kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.dimension_count", count(spec.d_head())),
        ("llama.rope.freq_base", Value::F32(10000.0)),
        ("llama.vocab_size", count(spec.vocab)),
    ];
    let pre = match spec.text {
        Text::None => None,
        Text::Gpt2 => Some("gpt-2"),
        Text::SmolLm => Some("smollm"),
    };
    if let Some(pre) = pre {
        let (tokens, merges) = tokenizer_parts();
        // 3 is a control token, 1 a normal one.
        let kinds = tokens
            .iter()
            .map(|t| Value::I32(if t == END { 3 } else { 1 }));
        let kinds = Value::Array(kinds.collect());
        let merges = merges.iter().map(|(a, b)| text(&format!("{a} {b}")));
        metadata.extend([
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text(pre)),
            ("tokenizer.ggml.merges", Value::Array(merges.collect())),
            ("tokenizer.ggml.token_type", kinds),
            (
                "tokenizer.ggml.tokens",
                Value::Array(tokens.iter().map(|t| text(t)).collect()),
            ),
            ("tokenizer.ggml.bos_token_id", Value::U32(0)),
            ("tokenizer.ggml.eos_token_id", Value::U32(0)),
            ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ]);
    }
    Ok(metadata
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v))
        .collect())
}
