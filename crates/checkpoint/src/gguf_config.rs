//! The metadata of a GGUF file to a config.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use serde_json::Map;

use crate::config::{
    Activation, Architecture, BlockKind, DecoderConfig, NormKind, NormPlace, Position, QkNorm,
    Rope, RopePairs, RopeScaling,
};
use crate::error::CheckpointError;
use crate::fields::Fields;
use crate::gguf_names::Family;
use crate::hf_config::{self, Names, Sizes};

/// The metadata as a flat JSON object, so that the same checks serve both
/// kinds of config. An array stands as a word that is none of what is asked
/// for.
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
            Value::Array(_) => "an array".into(),
        })
    };
    metadata
        .iter()
        .filter_map(|(k, v)| Some((k.clone(), number(v)?)))
        .collect()
}

/// Names of the fields under a family's prefix. `Names` wants what lives as
/// long as the program, and there are six families.
macro_rules! names {
    ($family:literal) => {
        Names::new(
            concat!($family, ".attention.head_count_kv"),
            concat!($family, ".rope.dimension_count"),
        )
    };
}

/// Which family a file holds, and its config.
pub(crate) fn config(
    content: &Content,
    path: &Path,
) -> Result<(Family, DecoderConfig), CheckpointError> {
    let map = flat(&content.metadata);
    let fields = Fields::new(path, &map);
    let model_type = fields.text("general.architecture")?;
    let Some((prefix, family)) = Family::ALL.iter().find(|(name, _)| *name == model_type) else {
        let supported = Family::ALL.map(|(name, _)| name).join(", ");
        return Err(CheckpointError::UnknownModelType {
            path: path.to_path_buf(),
            model_type: model_type.to_owned(),
            supported: format!("{supported} (as GGUF)"),
        });
    };
    let metadata = Metadata {
        fields: &fields,
        content,
        prefix,
    };
    let (config, names) = match family {
        Family::Llama => (metadata.llama()?, names!("llama")),
        Family::Qwen2 => (metadata.qwen2()?, names!("qwen2")),
        Family::Qwen3 => (metadata.qwen3()?, names!("qwen3")),
        Family::Gemma3 => (metadata.gemma3()?, names!("gemma3")),
        Family::Gpt2 => (metadata.gpt2()?, names!("gpt2")),
        Family::GptNeoX => (metadata.gptneox()?, names!("gptneox")),
    };
    hf_config::check(&config, &fields, &names)?;
    Ok((*family, config))
}

/// A file's metadata, its fields named without the family's prefix.
struct Metadata<'a> {
    fields: &'a Fields<'a>,
    content: &'a Content,
    prefix: &'a str,
}

impl Metadata<'_> {
    fn key(&self, field: &str) -> String {
        format!("{}.{field}", self.prefix)
    }

    fn count(&self, field: &str) -> Result<usize, CheckpointError> {
        self.fields.count(&self.key(field))
    }

    fn count_opt(&self, field: &str) -> Result<Option<usize>, CheckpointError> {
        self.fields.count_opt(&self.key(field))
    }

    fn positive_opt(&self, field: &str) -> Result<Option<f64>, CheckpointError> {
        self.fields.positive_opt(&self.key(field))
    }

    fn has_tensor(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    fn tied(&self) -> bool {
        !self.has_tensor("output.weight")
    }

    fn sizes(&self, eps: &str) -> Result<Sizes, CheckpointError> {
        let vocab = match self.count_opt("vocab_size")? {
            Some(vocab) => vocab,
            None => match self.content.tensor_infos.get("token_embd.weight") {
                Some(info) => info.shape.dims().first().copied().unwrap_or(0),
                None => {
                    let field = self.key("vocab_size");
                    return Err(self.fields.error(&field, "is missing"));
                }
            },
        };
        // Every block has tensors; a count beyond them would only take memory.
        let (n_layers, tensors) = (self.count("block_count")?, self.content.tensor_infos.len());
        if n_layers > tensors {
            let reason = format!("is {n_layers}, and the file has {tensors} tensors");
            return Err(self.fields.error(&self.key("block_count"), reason));
        }
        Ok(Sizes {
            n_layers,
            d_model: self.count("embedding_length")?,
            n_heads: self.count("attention.head_count")?,
            d_mlp: self.count("feed_forward_length")?,
            vocab,
            context: self.count("context_length")?,
            norm_eps: self.fields.positive(&self.key(eps))?,
        })
    }

    fn head_width(&self, sizes: &Sizes) -> Result<usize, CheckpointError> {
        match self.count_opt("attention.key_length")? {
            Some(width) => Ok(width),
            None => hf_config::head_width(
                self.fields,
                &self.key("attention.head_count"),
                sizes.d_model,
                sizes.n_heads,
            ),
        }
    }

    fn rope(&self, d_head: usize, base: f64) -> Result<Rope, CheckpointError> {
        Ok(Rope {
            dim: self.count_opt("rope.dimension_count")?.unwrap_or(d_head),
            base: self.positive_opt("rope.freq_base")?.unwrap_or(base),
            scaling: self.rope_scaling()?,
            pairs: RopePairs::Halves,
        })
    }

    /// `rope.scaling`, and the field that stood for it before. A factor
    /// without a type is a linear one, as llama.cpp takes it.
    fn rope_scaling(&self) -> Result<RopeScaling, CheckpointError> {
        let key = self.key("rope.scaling.type");
        let factor = self.positive_opt("rope.scaling.factor")?;
        let old = self.positive_opt("rope.scale_linear")?;
        let kind = match self.fields.value(&key) {
            Some(_) => self.fields.text(&key)?,
            None if factor.is_some() => "linear",
            None => "none",
        };
        match (kind, factor, old) {
            ("none", _, None) => Ok(RopeScaling::None),
            ("none", _, Some(factor)) | ("linear", Some(factor), None) => {
                Ok(RopeScaling::Linear { factor })
            }
            ("linear", None, None) => {
                let field = self.key("rope.scaling.factor");
                Err(self.fields.error(&field, "is missing"))
            }
            ("linear", _, Some(_)) => {
                let old = self.key("rope.scale_linear");
                Err(self.fields.error(&key, format!("and {old} are both there")))
            }
            _ => {
                let reason = format!("is {kind:?}; supported are none, linear");
                Err(self.fields.error(&key, reason))
            }
        }
    }

    /// What the families with RMSNorm, grouped heads and a gated MLP share.
    fn gated(
        &self,
        architecture: Architecture,
        activation: Activation,
        base: f64,
    ) -> Result<DecoderConfig, CheckpointError> {
        let sizes = self.sizes("attention.layer_norm_rms_epsilon")?;
        let n_heads = sizes.n_heads;
        let d_head = self.head_width(&sizes)?;
        let value = self.count_opt("attention.value_length")?.unwrap_or(d_head);
        if value != d_head {
            let field = self.key("attention.value_length");
            let reason = format!("is {value}, and keys have {d_head} dimensions");
            return Err(self.fields.error(&field, reason));
        }
        let position = Position::Rotary(self.rope(d_head, base)?);
        Ok(DecoderConfig {
            n_kv_heads: self
                .count_opt("attention.head_count_kv")?
                .unwrap_or(n_heads),
            norm: NormKind::RmsNorm,
            tied: self.tied(),
            // No field says so; the first block does.
            qkv_bias: self.has_tensor("blk.0.attn_q.bias"),
            out_bias: self.has_tensor("blk.0.attn_output.bias"),
            mlp_bias: self.has_tensor("blk.0.ffn_up.bias"),
            ..hf_config::plain(
                self.fields,
                architecture,
                sizes,
                d_head,
                position,
                activation,
            )?
        })
    }

    fn llama(&self) -> Result<DecoderConfig, CheckpointError> {
        let config = self.gated(Architecture::Llama, Activation::Silu, 10_000.0)?;
        if config.d_head % 2 != 0 {
            let field = self.key("attention.head_count");
            let reason = format!(
                "makes heads of {} dimensions, and pairs of them are needed",
                config.d_head
            );
            return Err(self.fields.error(&field, reason));
        }
        Ok(config)
    }

    fn qwen2(&self) -> Result<DecoderConfig, CheckpointError> {
        Ok(DecoderConfig {
            qkv_bias: true,
            ..self.gated(Architecture::Llama, Activation::Silu, 10_000.0)?
        })
    }

    fn qwen3(&self) -> Result<DecoderConfig, CheckpointError> {
        Ok(DecoderConfig {
            qk_norm: Some(QkNorm::Shared),
            ..self.gated(Architecture::Llama, Activation::Silu, 10_000.0)?
        })
    }

    fn gemma3(&self) -> Result<DecoderConfig, CheckpointError> {
        let config = self.gated(Architecture::Gemma, Activation::GeluTanh, 1_000_000.0)?;
        let window = self.count("attention.sliding_window")?;
        // The converter leaves the pattern out: every sixth block is global.
        let pattern = self
            .count_opt("attention.sliding_window_pattern")?
            .unwrap_or(6);
        let windows = (1..=config.n_layers).map(|layer| (layer % pattern != 0).then_some(window));
        let local = Rope {
            dim: config.d_head,
            base: self
                .positive_opt("rope.local_freq_base")?
                .unwrap_or(10_000.0),
            scaling: RopeScaling::None,
            pairs: RopePairs::Halves,
        };
        // No field holds query_pre_attn_scalar. It is the width of a head in
        // all published models but the one of 62 blocks (27b), where it is
        // d_model / heads; llama.cpp tells them apart in the same way.
        let scalar = if config.n_layers == 62 {
            config.d_model as f64 / config.n_heads as f64
        } else {
            config.d_head as f64
        };
        Ok(DecoderConfig {
            // The converter adds the 1.
            gain_from_one: false,
            norm_place: NormPlace::Sandwich,
            qk_norm: Some(QkNorm::Shared),
            windows: windows.collect(),
            local_rope: Some(local),
            score_scale: 1.0 / scalar.sqrt(),
            score_cap: self.positive_opt("attn_logit_softcapping")?,
            logit_cap: self.positive_opt("final_logit_softcapping")?,
            embed_scale: (config.d_model as f64).sqrt(),
            ..config
        })
    }

    fn gpt2(&self) -> Result<DecoderConfig, CheckpointError> {
        let sizes = self.sizes("attention.layer_norm_epsilon")?;
        let d_head = self.head_width(&sizes)?;
        let position = Position::Learned { offset: 0 };
        Ok(DecoderConfig {
            tied: self.tied(),
            ..hf_config::plain(
                self.fields,
                Architecture::Gpt2,
                sizes,
                d_head,
                position,
                Activation::GeluTanh,
            )?
        })
    }

    fn gptneox(&self) -> Result<DecoderConfig, CheckpointError> {
        let sizes = self.sizes("attention.layer_norm_epsilon")?;
        let d_head = self.head_width(&sizes)?;
        let position = Position::Rotary(self.rope(d_head, 10_000.0)?);
        let parallel = self.key("use_parallel_residual");
        let block = if self.fields.flag(&parallel, true)? {
            BlockKind::Parallel
        } else {
            BlockKind::Sequential
        };
        Ok(DecoderConfig {
            block,
            tied: self.tied(),
            // The activation has no field; all published GPT-NeoX have the
            // exact GELU.
            ..hf_config::plain(
                self.fields,
                Architecture::GptNeoX,
                sizes,
                d_head,
                position,
                Activation::GeluErf,
            )?
        })
    }
}
