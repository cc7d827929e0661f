use assay_checkpoint::Architecture;
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{TestkitError, TinyModel};

/// Tensors under their Hugging Face names, f32, in the order of the model.
pub type Tensors = Vec<(String, Tensor)>;

/// The weights of a model, f32. Matrices are uniform with variance
/// 1 / inputs, embeddings uniform with variance 1, gains about 1 and biases
/// about 0: nothing is left at a value that would hide a missing term. Uniform,
/// because a normal deviate goes through the platform's logarithm and would
/// differ in the last bit between machines.
///
/// # Errors
/// The tensor library refuses.
pub fn tensors(spec: &TinyModel) -> Result<Tensors, TestkitError> {
    let mut weights = Weights {
        seed: spec.seed,
        tensors: Vec::new(),
    };
    match spec.architecture {
        Architecture::GptNeoX => gpt_neox(spec, &mut weights)?,
        Architecture::Gpt2 => gpt2(spec, &mut weights)?,
        Architecture::Llama => llama(spec, &mut weights)?,
    }
    Ok(weights.tensors)
}

struct Weights {
    seed: u64,
    tensors: Tensors,
}

impl Weights {
    /// Adds a tensor of values uniform on `centre` ± `width`.
    fn uniform(
        &mut self,
        name: String,
        shape: &[usize],
        centre: f32,
        width: f32,
    ) -> Result<(), TestkitError> {
        let mut stream = ChaCha8Rng::seed_from_u64(self.seed);
        // A stream of its own: a tensor's values do not depend on the others.
        stream.set_stream(name_hash(&name));
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| centre + width * (2.0 * stream.random::<f32>() - 1.0))
            .collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        self.tensors.push((name, tensor));
        Ok(())
    }

    /// A matrix [a, b] whose `inputs` are one of the two.
    fn matrix(
        &mut self,
        name: String,
        shape: [usize; 2],
        inputs: usize,
    ) -> Result<(), TestkitError> {
        let width = (3.0 / inputs as f32).sqrt();
        self.uniform(name, &shape, 0.0, width)
    }

    fn embedding(&mut self, name: &str, rows: usize, d: usize) -> Result<(), TestkitError> {
        self.uniform(name.to_owned(), &[rows, d], 0.0, 3f32.sqrt())
    }

    fn bias(&mut self, name: String, d: usize) -> Result<(), TestkitError> {
        self.uniform(name, &[d], 0.0, 0.2)
    }

    fn gain(&mut self, name: String, d: usize) -> Result<(), TestkitError> {
        self.uniform(name, &[d], 1.0, 0.3)
    }

    /// `{name}.weight` [out, in] and `{name}.bias`.
    fn linear(&mut self, name: String, d_in: usize, d_out: usize) -> Result<(), TestkitError> {
        self.matrix(format!("{name}.weight"), [d_out, d_in], d_in)?;
        self.bias(format!("{name}.bias"), d_out)
    }

    /// `{name}.weight` [in, out] and `{name}.bias`.
    fn conv1d(&mut self, name: String, d_in: usize, d_out: usize) -> Result<(), TestkitError> {
        self.matrix(format!("{name}.weight"), [d_in, d_out], d_in)?;
        self.bias(format!("{name}.bias"), d_out)
    }

    fn layer_norm(&mut self, name: String, d: usize) -> Result<(), TestkitError> {
        self.gain(format!("{name}.weight"), d)?;
        self.bias(format!("{name}.bias"), d)
    }
}

/// FNV-1a, which is short and the same everywhere.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn gpt_neox(spec: &TinyModel, weights: &mut Weights) -> Result<(), TestkitError> {
    let d = spec.d_model;
    weights.embedding("gpt_neox.embed_in.weight", spec.vocab, d)?;
    for layer in 0..spec.n_layers {
        let name = |rest: &str| format!("gpt_neox.layers.{layer}.{rest}");
        weights.layer_norm(name("input_layernorm"), d)?;
        weights.layer_norm(name("post_attention_layernorm"), d)?;
        weights.linear(name("attention.query_key_value"), d, 3 * d)?;
        weights.linear(name("attention.dense"), d, d)?;
        weights.linear(name("mlp.dense_h_to_4h"), d, spec.d_mlp)?;
        weights.linear(name("mlp.dense_4h_to_h"), spec.d_mlp, d)?;
    }
    weights.layer_norm("gpt_neox.final_layer_norm".to_owned(), d)?;
    if !spec.tied {
        weights.matrix("embed_out.weight".to_owned(), [spec.vocab, d], d)?;
    }
    Ok(())
}

fn gpt2(spec: &TinyModel, weights: &mut Weights) -> Result<(), TestkitError> {
    let d = spec.d_model;
    weights.embedding("transformer.wte.weight", spec.vocab, d)?;
    weights.embedding("transformer.wpe.weight", spec.context, d)?;
    for layer in 0..spec.n_layers {
        let name = |rest: &str| format!("transformer.h.{layer}.{rest}");
        weights.layer_norm(name("ln_1"), d)?;
        weights.conv1d(name("attn.c_attn"), d, 3 * d)?;
        weights.conv1d(name("attn.c_proj"), d, d)?;
        weights.layer_norm(name("ln_2"), d)?;
        weights.conv1d(name("mlp.c_fc"), d, spec.d_mlp)?;
        weights.conv1d(name("mlp.c_proj"), spec.d_mlp, d)?;
    }
    weights.layer_norm("transformer.ln_f".to_owned(), d)?;
    if !spec.tied {
        weights.matrix("lm_head.weight".to_owned(), [spec.vocab, d], d)?;
    }
    Ok(())
}

fn llama(spec: &TinyModel, weights: &mut Weights) -> Result<(), TestkitError> {
    let (d, d_mlp) = (spec.d_model, spec.d_mlp);
    let q = spec.n_heads * spec.d_head();
    let kv = spec.n_kv_heads * spec.d_head();
    weights.embedding("model.embed_tokens.weight", spec.vocab, d)?;
    for layer in 0..spec.n_layers {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}.weight");
        weights.gain(name("input_layernorm"), d)?;
        weights.matrix(name("self_attn.q_proj"), [q, d], d)?;
        weights.matrix(name("self_attn.k_proj"), [kv, d], d)?;
        weights.matrix(name("self_attn.v_proj"), [kv, d], d)?;
        weights.matrix(name("self_attn.o_proj"), [d, q], q)?;
        weights.gain(name("post_attention_layernorm"), d)?;
        weights.matrix(name("mlp.gate_proj"), [d_mlp, d], d)?;
        weights.matrix(name("mlp.up_proj"), [d_mlp, d], d)?;
        weights.matrix(name("mlp.down_proj"), [d, d_mlp], d_mlp)?;
    }
    weights.gain("model.norm.weight".to_owned(), d)?;
    if !spec.tied {
        weights.matrix("lm_head.weight".to_owned(), [spec.vocab, d], d)?;
    }
    Ok(())
}
