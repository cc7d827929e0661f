use std::path::Path;

use assay_checkpoint::parse_hf_config;
use assay_decoder::{TensorKind, TensorSpec};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::{TestkitError, TinyModel, config_json};

/// Tensors under their Hugging Face names, f32, in the order of the model.
pub type Tensors = Vec<(String, Tensor)>;

/// The weights of a model, f32; see [`tensors_of`].
///
/// # Errors
/// The tensor library refuses.
pub fn tensors(spec: &TinyModel) -> Result<Tensors, TestkitError> {
    tensors_of(&config_json(spec), spec.seed)
}

/// Weights for any config.json that the decoder reads, f32. Matrices are
/// uniform with variance 1 / inputs, embeddings uniform with variance 1, gains
/// about 1 (about 0 where the family stores their difference from 1) and
/// biases about 0: nothing is left at a value that would hide a missing term.
/// Uniform, because a normal deviate goes through the platform's logarithm and
/// would differ in the last bit between machines.
///
/// # Errors
/// A config that the decoder refuses.
pub fn tensors_of(config: &Value, seed: u64) -> Result<Tensors, TestkitError> {
    let config = parse_hf_config(&config.to_string(), Path::new("config.json"))?;
    let gain = if config.gain_from_one { 0.0 } else { 1.0 };
    assay_decoder::tensors(&config)?
        .into_iter()
        .map(|spec| {
            let tensor = fill(&spec, seed, gain)?;
            Ok((spec.name, tensor))
        })
        .collect()
}

fn fill(spec: &TensorSpec, seed: u64, gain: f32) -> candle_core::Result<Tensor> {
    let inputs = |axis: usize| spec.shape[axis] as f32;
    let (centre, width) = match spec.kind {
        TensorKind::Embedding => (0.0, 3f32.sqrt()),
        TensorKind::OutIn => (0.0, (3.0 / inputs(1)).sqrt()),
        TensorKind::InOut => (0.0, (3.0 / inputs(0)).sqrt()),
        TensorKind::Gain => (gain, 0.3),
        TensorKind::Bias => (0.0, 0.2),
    };
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    // A stream of its own: a tensor's values do not depend on the others.
    stream.set_stream(name_hash(&spec.name));
    let values: Vec<f32> = (0..spec.shape.iter().product())
        .map(|_| centre + width * (2.0 * stream.random::<f32>() - 1.0))
        .collect();
    Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu)
}

/// FNV-1a, which is short and the same everywhere.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
