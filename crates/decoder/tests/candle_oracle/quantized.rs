//! GGUF files of the families that both read, with llama.cpp's names.
//!
//! candle's own products with quantised matrices round their input to eight
//! bits. Where exact arithmetic is compared, it is given the values that the
//! blocks hold, as F32.

use std::fs::File;
use std::path::Path;

use assay_decoder::{Arithmetic, Decoder, KvCache, Pack};
use assay_testkit::tensors_of;
use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor};
use candle_transformers::models::{
    quantized_gemma3, quantized_llama, quantized_qwen2, quantized_qwen3,
};
use serde_json::json;

use super::{CONTEXT, Oracle, SEED, TOLERANCE, VOCAB, compare, load, prompts, report, whole, with};

/// A model as config.json has it, 96 wide: rows of whole blocks of 32.
struct Spec {
    family: &'static str,
    /// `model_type` of config.json.
    model_type: &'static str,
    n_layers: usize,
    kv_heads: usize,
    d_head: usize,
    tied: bool,
    /// Or is the projection out of attention 0, so that no position depends
    /// on another?
    attends: bool,
}

const HEADS: usize = 6;
const WIDTH: usize = 96;
const HIDDEN: usize = 64;

impl Spec {
    /// Tensors under their names in a GGUF, in the rows' order there.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let config = json!({
            "model_type": self.model_type,
            "vocab_size": VOCAB,
            "hidden_size": WIDTH,
            "head_dim": self.d_head,
            "intermediate_size": HIDDEN,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": HEADS,
            "num_key_value_heads": self.kv_heads,
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": self.tied,
        });
        let act = match self.family {
            "gemma3" => "gelu_pytorch_tanh",
            _ => "silu",
        };
        let config = with(config, json!({ "hidden_act": act }));
        let tensors = tensors_of(&config, SEED).unwrap().into_iter();
        tensors
            .map(|(name, tensor)| {
                let stored = self.stored(&name, tensor).unwrap();
                (self.name(&name), stored)
            })
            .collect()
    }

    /// As llama.cpp's converter names it (gguf-py, tensor_mapping.py).
    fn name(&self, name: &str) -> String {
        let gemma = self.family == "gemma3";
        let outside = match name {
            "model.embed_tokens.weight" => Some("token_embd.weight"),
            "model.norm.weight" => Some("output_norm.weight"),
            "lm_head.weight" => Some("output.weight"),
            _ => None,
        };
        if let Some(outside) = outside {
            return outside.to_owned();
        }
        let inside = name.strip_prefix("model.layers.").unwrap();
        let (layer, part) = inside.split_once('.').unwrap();
        let (part, kind) = part.rsplit_once('.').unwrap();
        let part = match part {
            "input_layernorm" => "attn_norm",
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.o_proj" => "attn_output",
            "self_attn.q_norm" => "attn_q_norm",
            "self_attn.k_norm" => "attn_k_norm",
            "post_attention_layernorm" if gemma => "post_attention_norm",
            "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
            "post_feedforward_layernorm" => "post_ffw_norm",
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" => "ffn_up",
            "mlp.down_proj" => "ffn_down",
            other => panic!("a GGUF has no place for {other}"),
        };
        format!("blk.{layer}.{part}.{kind}")
    }

    /// What the converter does to the values.
    fn stored(&self, name: &str, tensor: Tensor) -> Result<Tensor> {
        let gain = name.ends_with("norm.weight");
        if name.ends_with("o_proj.weight") && !self.attends {
            return tensor.zeros_like();
        }
        match self.family {
            "llama" if name.ends_with("q_proj.weight") => interleaved(&tensor, HEADS),
            "llama" if name.ends_with("k_proj.weight") => interleaved(&tensor, self.kv_heads),
            "gemma3" if gain => tensor + 1.0,
            // candle's quantised Gemma 3 has SiLU for GELU's tanh form
            // (quantized_gemma3.rs, `Mlp::forward`; its own gemma3.rs and
            // transformers have the latter): the MLP is switched off.
            "gemma3" if name.ends_with("down_proj.weight") => tensor.zeros_like(),
            _ => Ok(tensor),
        }
    }

    fn metadata(&self) -> Vec<(String, Value)> {
        let count = |n: usize| Value::U32(n as u32);
        let fields = [
            ("block_count", count(self.n_layers)),
            ("context_length", count(CONTEXT)),
            ("embedding_length", count(WIDTH)),
            ("feed_forward_length", count(HIDDEN)),
            ("vocab_size", count(VOCAB)),
            ("attention.head_count", count(HEADS)),
            ("attention.head_count_kv", count(self.kv_heads)),
            ("attention.key_length", count(self.d_head)),
            ("attention.value_length", count(self.d_head)),
            ("attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
            ("rope.dimension_count", count(self.d_head)),
            ("rope.freq_base", Value::F32(50_000.0)),
        ];
        let named = |(field, value)| (format!("{}.{field}", self.family), value);
        let mut metadata: Vec<(String, Value)> = fields.map(named).to_vec();
        let family = Value::String(self.family.to_owned());
        metadata.push(("general.architecture".to_owned(), family));
        // Without it candle's Qwen3 computes its angles in f16.
        metadata.push(("general.dtype".to_owned(), Value::U32(0)));
        metadata
    }
}

/// Rows of a head from (half, pair), as Hugging Face has them, to (pair, half).
fn interleaved(tensor: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, columns) = tensor.dims2()?;
    let pairs = tensor.reshape((heads, 2, rows / heads / 2, columns))?;
    pairs.transpose(1, 2)?.reshape((rows, columns))
}

/// Matrices as `dtype`, the rest as F32.
fn quantize(tensors: &[(String, Tensor)], dtype: GgmlDType) -> Vec<(String, QTensor)> {
    let quantize = |(name, tensor): &(String, Tensor)| {
        let dtype = match tensor.rank() {
            1 => GgmlDType::F32,
            _ => dtype,
        };
        let tensor = tensor.contiguous().unwrap();
        (name.clone(), QTensor::quantize(&tensor, dtype).unwrap())
    };
    tensors.iter().map(quantize).collect()
}

fn write(path: &Path, metadata: &[(String, Value)], tensors: &[(String, QTensor)]) {
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(k, v)| (&**k, v)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (&**n, t)).collect();
    let mut file = File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}

fn oracle(family: &str, path: &Path) -> Result<Oracle> {
    let mut file = File::open(path)?;
    let content = Content::read(&mut file)?;
    let cpu = &Device::Cpu;
    // At position 0 these start anew, but for Qwen3.
    Ok(match family {
        "llama" => {
            let mut model = quantized_llama::ModelWeights::from_gguf(content, &mut file, cpu)?;
            Box::new(move |ids| model.forward(ids, 0))
        }
        "qwen2" => {
            let mut model = quantized_qwen2::ModelWeights::from_gguf(content, &mut file, cpu)?;
            Box::new(move |ids| model.forward(ids, 0))
        }
        "qwen3" => {
            let mut model = quantized_qwen3::ModelWeights::from_gguf(content, &mut file, cpu)?;
            Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids, 0)
            })
        }
        "gemma3" => {
            let mut model = quantized_gemma3::ModelWeights::from_gguf(content, &mut file, cpu)?;
            Box::new(move |ids| model.forward(ids, 0))
        }
        other => panic!("no oracle for {other}"),
    })
}

/// Our reading of a file, its matrices stored as F32 and as Q8_0, against
/// candle's of the same values.
#[track_caller]
fn check(spec: &Spec, ours: &[(String, Value)], candles: &[(String, Value)]) {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
    for dtype in [GgmlDType::F32, GgmlDType::Q8_0] {
        let stored = quantize(&spec.tensors(), dtype);
        write(&path, &[spec.metadata(), ours.to_vec()].concat(), &stored);
        let values = stored.iter().map(|(name, tensor)| {
            let values = tensor.dequantize(&Device::Cpu).unwrap();
            (name.clone(), values)
        });
        let values: Vec<(String, Tensor)> = values.collect();
        let metadata = [spec.metadata(), candles.to_vec()].concat();
        write(&other, &metadata, &quantize(&values, GgmlDType::F32));
        let mut oracle = oracle(spec.family, &other).unwrap();
        let name = format!("{} as {dtype:?}, tied: {}", spec.family, spec.tied);
        let decoder = load(&path, Arithmetic::Exact);
        let ours = whole(&decoder, &prompts());
        let errors = compare(&name, &ours, TOLERANCE, &prompts(), &mut oracle);
        report(&name, &errors);
    }
}

#[test]
fn llama_and_qwen_files() {
    for (family, kv_heads, d_head) in [("llama", 2, 16), ("qwen2", 3, 16), ("qwen3", 2, 32)] {
        for tied in [true, false] {
            let spec = Spec {
                family,
                model_type: family,
                n_layers: 2,
                kv_heads,
                d_head,
                tied,
                attends: true,
            };
            check(&spec, &[], &[]);
        }
    }
}

/// Seven blocks, of which the sixth is global. candle's window holds one key
/// more than transformers', as in its other models.
#[test]
fn gemma3_files() {
    let spec = Spec {
        family: "gemma3",
        model_type: "gemma3_text",
        n_layers: 7,
        kv_heads: 2,
        d_head: 32,
        tied: true,
        attends: true,
    };
    let window = |n: u32| ("gemma3.attention.sliding_window".to_owned(), Value::U32(n));
    check(&spec, &[window(7)], &[window(6)]);
}

/// Our logits of every position, one token at a time.
fn stepwise(decoder: &Decoder, prompts: &[Vec<u32>]) -> Vec<Vec<Vec<f32>>> {
    let prompt = |prompt: &Vec<u32>| {
        let mut cache = KvCache::new(decoder.config(), 1);
        let step = |token: &u32| {
            let pack = Pack::continuing(&[vec![*token]], &cache.lengths()).unwrap();
            let logits = decoder.next_logits(&pack, &mut cache).unwrap();
            logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        prompt.iter().map(step).collect()
    };
    prompts.iter().map(prompt).collect()
}

/// Products of single rows with the blocks as stored. Rounding to eight bits
/// takes away what the last bits of the inputs differ by, so that most logits
/// are the same to the bit; where a value lies on the edge between two steps,
/// the two go apart, by no more than the steps make: nine products follow each
/// other (four in each of two blocks, and the unembedding), each of which moves
/// its input on either side by up to 1/254 of the largest of 32: 0.07 if these
/// errors all pointed one way, and 0.1 because a gated product has those of both
/// its branches.
///
/// candle rounds in every product and ours in those of a step with a cache,
/// not in a first pass: without attention nothing of that pass is left in the
/// positions after the first.
#[test]
fn products_of_single_rows_with_quantised_blocks() {
    const STEPS: f64 = 0.1;
    let vocab = VOCAB as u32;
    let prompts: Vec<Vec<u32>> = (0..60)
        .map(|i| [1, 29, 83, 7].map(|k| (i * k + k) % vocab).to_vec())
        .collect();
    for (family, d_head) in [("llama", 16), ("qwen2", 16), ("qwen3", 32)] {
        for (arithmetic, attends, same) in [
            (Arithmetic::AsStored, false, 0.9..=1.0),
            (Arithmetic::AsStored, true, 0.0..=1.0),
            // With widened weights nothing is rounded, so that none is the same.
            (Arithmetic::Exact, true, 0.0..=0.0),
        ] {
            let spec = Spec {
                family,
                model_type: family,
                n_layers: 2,
                kv_heads: 2,
                d_head,
                tied: false,
                attends,
            };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.gguf");
            let stored = quantize(&spec.tensors(), GgmlDType::Q8_0);
            write(&path, &spec.metadata(), &stored);
            let mut oracle = oracle(family, &path).unwrap();
            let name = format!("{family} as Q8_0, {arithmetic:?}, attention: {attends}");
            let ours = stepwise(&load(&path, arithmetic), &prompts);
            let errors = compare(&name, &ours, STEPS, &prompts, &mut oracle);
            report(&name, &errors);
            let later: Vec<&[f64]> = errors.chunks(4).map(|prompt| &prompt[1..]).collect();
            let later = later.concat();
            let equal = later.iter().filter(|e| **e <= TOLERANCE).count();
            println!(
                "{name}: {equal} of {} later positions the same",
                later.len()
            );
            let share = equal as f64 / later.len() as f64;
            assert!(same.contains(&share), "{name}: {share}");
        }
    }
}
