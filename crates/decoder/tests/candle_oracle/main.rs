//! candle-transformers' models as a second oracle: another implementation of
//! the forward pass over the same weights, for the families that it has.
//!
//! Where it does something else than the models' own code (transformers), the
//! comparison keeps to what both do, and the test says where they part.
#![allow(clippy::unwrap_used)]

mod dense;
mod quantized;

use std::collections::HashMap;
use std::path::Path;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, NoHooks, Pack, Placement, Residency};
use assay_testkit::{tensors_of, write_config};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use serde_json::Value;

/// Both parts of `TOLERANCE + TOLERANCE * |expected|`: two f32 implementations
/// that sum in different orders. The worst error found is printed.
const TOLERANCE: f64 = 5e-5;

const CONTEXT: usize = 96;

/// No power of two.
const VOCAB: usize = 211;

const SEED: u64 = 21;

/// Logits of what follows some tokens [1, T], from an empty cache.
type Oracle = Box<dyn FnMut(&Tensor) -> Result<Tensor>>;

fn prompts() -> Vec<Vec<u32>> {
    let vocab = VOCAB as u32;
    let long = (0..CONTEXT as u32).map(|i| (i * i * 31 + 7) % vocab);
    vec![
        vec![3],
        vec![5, 200, 17, 0, 101, 88, 2],
        vec![9, 9, 9, 9, vocab - 1],
        long.collect(),
    ]
}

/// Adds the fields of `more`, or replaces them.
fn with(mut config: Value, more: Value) -> Value {
    let Value::Object(more) = more else {
        panic!("fields are an object");
    };
    config.as_object_mut().unwrap().extend(more);
    config
}

/// Compares a model of this config.json with what candle builds of the same
/// weights.
#[track_caller]
fn check(name: &str, config: &Value, build: impl FnOnce(VarBuilder) -> Result<Oracle>) {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), config, SEED, DType::F32).unwrap();
    let weights: HashMap<String, Tensor> = tensors_of(config, SEED).unwrap().into_iter().collect();
    let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
    let mut oracle = build(weights).unwrap();
    let decoder = load(folder.path(), Arithmetic::Exact);
    let ours = whole(&decoder, &prompts());
    let errors = compare(name, &ours, TOLERANCE, &prompts(), &mut oracle);
    report(name, &errors);
}

fn report(name: &str, errors: &[f64]) {
    let worst = errors.iter().copied().fold(0.0, f64::max);
    println!("{name}: worst error {worst:.2e} of (1 + |logit|)");
}

fn load(path: &Path, arithmetic: Arithmetic) -> Decoder {
    let checkpoint = Checkpoint::open(path).unwrap();
    let placement = Placement {
        dtype: DType::F32,
        devices: &[Device::Cpu],
        residency: Residency::Resident,
        arithmetic,
    };
    Decoder::load_with(&checkpoint, &placement, &mut |_, _| ()).unwrap()
}

/// Our logits of every position, from one pass: [prompt][position][vocab].
fn whole(decoder: &Decoder, prompts: &[Vec<u32>]) -> Vec<Vec<Vec<f32>>> {
    let pack = Pack::new(prompts).unwrap();
    let x = decoder.embed(&pack, &mut NoHooks).unwrap();
    let blocks = 0..decoder.config().n_layers;
    let x = decoder.run_blocks(&pack, blocks, &x, &mut NoHooks).unwrap();
    let rows = decoder.logits(&x).unwrap().to_vec2::<f32>().unwrap();
    let segments = pack.segments().iter();
    segments.map(|s| rows[s.clone()].to_vec()).collect()
}

/// Our logits against the oracle's after each prefix: the largest
/// |a - e| / (1 + |e|) of each position.
#[track_caller]
fn compare(
    name: &str,
    ours: &[Vec<Vec<f32>>],
    tolerance: f64,
    prompts: &[Vec<u32>],
    oracle: &mut Oracle,
) -> Vec<f64> {
    let mut errors = Vec::new();
    for (prompt, ours) in prompts.iter().zip(ours) {
        assert_eq!(prompt.len(), ours.len(), "{name}: positions");
        for (position, ours) in ours.iter().enumerate() {
            let ids = Tensor::new(&prompt[..=position], &Device::Cpu).unwrap();
            let expected = oracle(&ids.unsqueeze(0).unwrap()).unwrap();
            let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(expected.len(), ours.len(), "{name}: size of the vocabulary");
            let mut worst: f64 = 0.0;
            for (token, (a, e)) in ours.iter().zip(&expected).enumerate() {
                let (a, e) = (f64::from(*a), f64::from(*e));
                let error = (a - e).abs() / (1.0 + e.abs());
                // Written so that a NaN fails.
                assert!(
                    error <= tolerance,
                    "{name}: position {position} of {}, token {token}: {a} and {e}",
                    prompt.len()
                );
                worst = worst.max(error);
            }
            errors.push(worst);
        }
    }
    errors
}
