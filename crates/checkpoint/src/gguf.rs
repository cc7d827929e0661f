//! GGUF files of the llama family: metadata to config, tensor names, and the
//! row order of Q and K.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Tensor};
use serde_json::Map;

use crate::config::{
    Activation, Architecture, BlockKind, DecoderConfig, NormKind, Position, RopeScaling,
};
use crate::error::{CheckpointError, plain};
use crate::fields::Fields;
use crate::gguf_header::{self, Refusal};
use crate::hf_config::{self, Names};

/// An opened GGUF file.
pub(crate) struct Gguf {
    pub(crate) path: PathBuf,
    content: Content,
    /// (query heads, key/value heads), to undo the row order of Q and K.
    heads: (usize, usize),
}

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<(Self, DecoderConfig), CheckpointError> {
        let malformed = |reason: String| CheckpointError::Malformed {
            path: path.to_path_buf(),
            kind: "GGUF file",
            reason,
        };
        let mut reader = BufReader::new(File::open(path).map_err(CheckpointError::io(path))?);
        gguf_header::check(&mut reader).map_err(|refusal| match refusal {
            Refusal::Io(e) => CheckpointError::io(path)(e),
            Refusal::Because(reason) => malformed(reason),
        })?;
        std::io::Seek::rewind(&mut reader).map_err(CheckpointError::io(path))?;
        let content = Content::read(&mut reader).map_err(|e| malformed(plain(e).to_string()))?;
        let config = config(&content, path)?;
        let heads = (config.n_heads, config.n_kv_heads);
        let gguf = Self {
            path: path.to_path_buf(),
            content,
            heads,
        };
        let config = match gguf.rope_factors()? {
            Some(factors) => with_factors(config, factors).map_err(malformed)?,
            None => config,
        };
        Ok((gguf, config))
    }

    pub(crate) fn metadata(&self) -> &HashMap<String, Value> {
        &self.content.metadata
    }

    /// Hugging Face names of all tensors, in alphabetical order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .content
            .tensor_infos
            .keys()
            .map(|n| hf_name(n))
            .collect();
        names.sort();
        names
    }

    /// Shape of a tensor under its Hugging Face name.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let info = self.content.tensor_infos.get(&gguf_name(name))?;
        Some(info.shape.dims().to_vec())
    }

    /// The commonest storage type by number of tensors, for the record.
    pub(crate) fn stored(&self) -> String {
        let mut counts: std::collections::BTreeMap<String, usize> = Default::default();
        for info in self.content.tensor_infos.values() {
            *counts.entry(format!("{:?}", info.ggml_dtype)).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, n)| *n);
        most.map_or_else(|| "empty".to_owned(), |(name, _)| name)
    }

    pub(crate) fn parameters(&self) -> u64 {
        let infos = self.content.tensor_infos.values();
        infos.map(|i| i.shape.elem_count() as u64).sum()
    }

    /// A tensor under its Hugging Face name, dequantised by candle.
    pub(crate) fn tensor(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let mut reader =
            BufReader::new(File::open(&self.path).map_err(CheckpointError::io(&self.path))?);
        let failed = CheckpointError::candle(&self.path, name);
        let load = || {
            let stored = self
                .content
                .tensor(&mut reader, &gguf_name(name), &Device::Cpu)?;
            let tensor = stored.dequantize(&Device::Cpu)?;
            let (n_heads, n_kv_heads) = self.heads;
            if name.ends_with("q_proj.weight") {
                half_split_rows(&tensor, n_heads)
            } else if name.ends_with("k_proj.weight") {
                half_split_rows(&tensor, n_kv_heads)
            } else {
                Ok(tensor)
            }
        };
        let mut load = load;
        load().map_err(failed)
    }

    /// `rope_freqs.weight`: one divisor per frequency (LLaMA 3.1 conversions).
    fn rope_factors(&self) -> Result<Option<Vec<f64>>, CheckpointError> {
        if !self.content.tensor_infos.contains_key(ROPE_FACTORS) {
            return Ok(None);
        }
        let tensor = self.tensor(ROPE_FACTORS)?;
        let read = || tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
        read()
            .map(Some)
            .map_err(CheckpointError::candle(&self.path, ROPE_FACTORS))
    }
}

/// Name of the tensor of frequency divisors; it becomes part of the config.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// llama.cpp stores the rows of a head of Q and K as (pair, half) for its
/// interleaved RoPE; Hugging Face has (half, pair).
fn half_split_rows(tensor: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (rows, columns) = tensor.dims2()?;
    tensor
        .reshape((heads, rows / heads / 2, 2, columns))?
        .transpose(1, 2)?
        .reshape((rows, columns))
}

/// The config with one divisor per frequency, or why these are none.
fn with_factors(mut config: DecoderConfig, factors: Vec<f64>) -> Result<DecoderConfig, String> {
    let Position::Rotary { dim, scaling, .. } = &mut config.position else {
        return Err(format!(
            "{ROPE_FACTORS} is there and the model has no rotary positions"
        ));
    };
    if *scaling != RopeScaling::None {
        return Err(format!(
            "{ROPE_FACTORS} and llama.rope.scaling are both there"
        ));
    }
    if factors.len() != *dim / 2 {
        let (found, expected) = (factors.len(), *dim / 2);
        return Err(format!(
            "{ROPE_FACTORS} has {found} values for {expected} frequencies"
        ));
    }
    if let Some(wrong) = factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
        return Err(format!(
            "{ROPE_FACTORS} holds {wrong}, not a number above 0"
        ));
    }
    *scaling = RopeScaling::Factors(factors);
    Ok(config)
}

/// Pairs of (Hugging Face, GGUF) names outside the blocks and inside them.
const OUTSIDE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];
const INSIDE: [(&str, &str); 9] = [
    ("input_layernorm.weight", "attn_norm.weight"),
    ("self_attn.q_proj.weight", "attn_q.weight"),
    ("self_attn.k_proj.weight", "attn_k.weight"),
    ("self_attn.v_proj.weight", "attn_v.weight"),
    ("self_attn.o_proj.weight", "attn_output.weight"),
    ("post_attention_layernorm.weight", "ffn_norm.weight"),
    ("mlp.gate_proj.weight", "ffn_gate.weight"),
    ("mlp.up_proj.weight", "ffn_up.weight"),
    ("mlp.down_proj.weight", "ffn_down.weight"),
];

fn gguf_name(hf: &str) -> String {
    if let Some((_, name)) = OUTSIDE.iter().find(|(h, _)| *h == hf) {
        return (*name).to_owned();
    }
    let block = || {
        let (layer, rest) = hf.strip_prefix("model.layers.")?.split_once('.')?;
        let (_, name) = INSIDE.iter().find(|(h, _)| *h == rest)?;
        Some(format!("blk.{layer}.{name}"))
    };
    block().unwrap_or_else(|| hf.to_owned())
}

fn hf_name(gguf: &str) -> String {
    if let Some((name, _)) = OUTSIDE.iter().find(|(_, g)| *g == gguf) {
        return (*name).to_owned();
    }
    let block = || {
        let (layer, rest) = gguf.strip_prefix("blk.")?.split_once('.')?;
        let (name, _) = INSIDE.iter().find(|(_, g)| *g == rest)?;
        Some(format!("model.layers.{layer}.{name}"))
    };
    block().unwrap_or_else(|| gguf.to_owned())
}

/// The metadata as a flat JSON object without its arrays, so that the same
/// checks serve both kinds of config.
fn flat(metadata: &HashMap<String, Value>) -> Map<String, serde_json::Value> {
    let number = |v: &Value| -> Option<serde_json::Value> {
        Some(match v {
            Value::U8(x) => (*x).into(),
            Value::I8(x) => (*x).into(),
            Value::U16(x) => (*x).into(),
            Value::I16(x) => (*x).into(),
            Value::U32(x) => (*x).into(),
            Value::I32(x) => (*x).into(),
            Value::U64(x) => (*x).into(),
            Value::I64(x) => (*x).into(),
            // Through the shortest decimal, so that 1e-5 stored as f32 reads
            // as 1e-5 and not as 9.999999747378752e-6, as config.json has it.
            Value::F32(x) if x.is_finite() => x.to_string().parse::<f64>().ok()?.into(),
            Value::F64(x) if x.is_finite() => (*x).into(),
            // JSON has neither NaN nor infinities; as strings they are refused
            // where a number is asked for, and not taken for absent.
            Value::F32(x) => x.to_string().into(),
            Value::F64(x) => x.to_string().into(),
            Value::Bool(x) => (*x).into(),
            Value::String(x) => x.clone().into(),
            Value::Array(_) => return None,
        })
    };
    metadata
        .iter()
        .filter_map(|(k, v)| Some((k.clone(), number(v)?)))
        .collect()
}

const HEADS: &str = "llama.attention.head_count";

fn config(content: &Content, path: &Path) -> Result<DecoderConfig, CheckpointError> {
    let map = flat(&content.metadata);
    let fields = Fields::new(path, &map);
    let model_type = fields.text("general.architecture")?;
    if model_type != "llama" {
        return Err(CheckpointError::UnknownModelType {
            path: path.to_path_buf(),
            model_type: model_type.to_owned(),
            supported: "llama (as GGUF)".to_owned(),
        });
    }
    let d_model = fields.count("llama.embedding_length")?;
    let n_heads = fields.count(HEADS)?;
    let d_head = match fields.count_opt("llama.attention.key_length")? {
        Some(width) => width,
        None => hf_config::head_width(&fields, HEADS, d_model, n_heads)?,
    };
    let vocab = match fields.count_opt("llama.vocab_size")? {
        Some(vocab) => vocab,
        None => match content.tensor_infos.get("token_embd.weight") {
            Some(info) => info.shape.dims().first().copied().unwrap_or(0),
            None => return Err(fields.error("llama.vocab_size", "is missing")),
        },
    };
    let names = Names {
        kv_heads: "llama.attention.head_count_kv",
        rotary: "llama.rope.dimension_count",
    };
    let config = DecoderConfig {
        architecture: Architecture::Llama,
        model_type: model_type.to_owned(),
        n_layers: fields.count("llama.block_count")?,
        d_model,
        n_heads,
        n_kv_heads: fields.count_opt(names.kv_heads)?.unwrap_or(n_heads),
        d_head,
        d_mlp: fields.count("llama.feed_forward_length")?,
        vocab,
        context: fields.count("llama.context_length")?,
        norm: NormKind::RmsNorm,
        norm_eps: fields.positive("llama.attention.layer_norm_rms_epsilon")?,
        activation: Activation::Silu,
        block: BlockKind::Sequential,
        position: Position::Rotary {
            dim: fields.count_opt(names.rotary)?.unwrap_or(d_head),
            base: fields
                .positive_opt("llama.rope.freq_base")?
                .unwrap_or(10_000.0),
            scaling: rope_scaling(&fields)?,
        },
        tied: !content.tensor_infos.contains_key("output.weight"),
        attention_bias: false,
        mlp_bias: false,
    };
    hf_config::check(&config, &fields, &names)?;
    Ok(config)
}

/// `llama.rope.scaling`, and the field that stood for it before.
fn rope_scaling(fields: &Fields) -> Result<RopeScaling, CheckpointError> {
    const KIND: &str = "llama.rope.scaling.type";
    let kind = match fields.value(KIND) {
        Some(_) => fields.text(KIND)?,
        None => "none",
    };
    match (kind, fields.positive_opt("llama.rope.scale_linear")?) {
        ("none", None) => Ok(RopeScaling::None),
        ("none", Some(factor)) => Ok(RopeScaling::Linear { factor }),
        ("linear", None) => Ok(RopeScaling::Linear {
            factor: fields.positive("llama.rope.scaling.factor")?,
        }),
        ("linear", Some(_)) => {
            Err(fields.error(KIND, "and llama.rope.scale_linear are both there"))
        }
        _ => Err(fields.error(KIND, format!("is {kind:?}; supported are none, linear"))),
    }
}
