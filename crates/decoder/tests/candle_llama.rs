//! candle-transformers' LLaMA as a second oracle: another implementation of the
//! forward pass over the same weights.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, NoHooks, Pack};
use assay_testkit::{TinyModel, tensors, write_hf};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, Llama3RopeConfig, Llama3RopeType};
use serde_json::json;

/// Both parts of `TOLERANCE + TOLERANCE * |expected|`: two f32 implementations
/// that sum in different orders. The worst error found is printed.
const TOLERANCE: f64 = 5e-5;

const CONTEXT: usize = 96;

fn prompts() -> Vec<Vec<u32>> {
    let long = (0..CONTEXT as u32)
        .map(|i| (i * i * 31 + 7) % 512)
        .collect();
    vec![
        vec![3],
        vec![5, 300, 17, 0, 401, 88, 2],
        vec![9, 9, 9, 9, 511],
        long,
    ]
}

/// Logits of the last position of every prefix, as candle-transformers
/// computes them: [position][vocab].
fn oracle(spec: &TinyModel, scaling: Option<Llama3RopeConfig>, prompt: &[u32]) -> Vec<Vec<f32>> {
    let config = Config {
        hidden_size: spec.d_model,
        intermediate_size: spec.d_mlp,
        vocab_size: spec.vocab,
        num_hidden_layers: spec.n_layers,
        num_attention_heads: spec.n_heads,
        num_key_value_heads: spec.n_kv_heads,
        use_flash_attn: false,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: scaling,
        max_position_embeddings: CONTEXT,
        tie_word_embeddings: spec.tied,
    };
    let weights: HashMap<String, Tensor> = tensors(spec).unwrap().into_iter().collect();
    let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
    let model = Llama::load(weights, &config).unwrap();
    let prefix = |n: usize| {
        let mut cache = Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
        let ids = Tensor::new(&prompt[..n], &Device::Cpu)
            .unwrap()
            .unsqueeze(0)
            .unwrap();
        let logits = model.forward(&ids, 0, &mut cache).unwrap();
        logits.squeeze(0).unwrap().to_vec1::<f32>().unwrap()
    };
    (1..=prompt.len()).map(prefix).collect()
}

#[track_caller]
fn check(name: &str, spec: TinyModel, scaling: Option<Llama3RopeConfig>) {
    let spec = TinyModel {
        context: CONTEXT,
        ..spec
    };
    let folder = tempfile::tempdir().unwrap();
    write_hf(folder.path(), &spec).unwrap();
    if let Some(s) = &scaling {
        let path = folder.path().join("config.json");
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["rope_scaling"] = json!({
            "rope_type": "llama3",
            "factor": s.factor,
            "low_freq_factor": s.low_freq_factor,
            "high_freq_factor": s.high_freq_factor,
            "original_max_position_embeddings": s.original_max_position_embeddings,
        });
        std::fs::write(&path, config.to_string()).unwrap();
    }
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
    let pack = Pack::new(&prompts()).unwrap();
    let x = decoder.embed(&pack, &mut NoHooks).unwrap();
    let x = decoder
        .run_blocks(&pack, 0..spec.n_layers, &x, &mut NoHooks)
        .unwrap();
    let ours = decoder.logits(&x).unwrap().to_vec2::<f32>().unwrap();
    let mut worst: f64 = 0.0;
    for (prompt, rows) in prompts().iter().zip(pack.segments()) {
        let expected = oracle(&spec, scaling.clone(), prompt);
        assert_eq!(expected.len(), rows.len());
        for (position, (a, e)) in ours[rows.clone()].iter().zip(&expected).enumerate() {
            for (token, (a, e)) in a.iter().zip(e).enumerate() {
                let (a, e) = (f64::from(*a), f64::from(*e));
                let error = (a - e).abs() / (1.0 + e.abs());
                // Written so that a NaN fails.
                assert!(
                    error <= TOLERANCE,
                    "{name}: position {position} of {}, token {token}: {a} and {e}",
                    prompt.len()
                );
                worst = worst.max(error);
            }
        }
    }
    println!("{name}: worst error {worst:.2e} of (1 + |logit|)");
}

#[test]
fn tied_and_untied_logits_agree() {
    check("tied", TinyModel::llama(21), None);
    let untied = TinyModel {
        tied: false,
        ..TinyModel::llama(22)
    };
    check("untied", untied, None);
}

#[test]
fn logits_agree_for_every_number_of_key_value_heads() {
    for n_kv_heads in [1, 2, 4] {
        let spec = TinyModel {
            n_kv_heads,
            n_layers: 3,
            ..TinyModel::llama(23)
        };
        check(&format!("{n_kv_heads} key/value heads"), spec, None);
    }
}

/// Eight frequencies, of which some are kept, some blended and some divided.
#[test]
fn logits_agree_with_llama3_rope_scaling() {
    let scaling = Llama3RopeConfig {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 64,
        rope_type: Llama3RopeType::Llama3,
    };
    let spec = TinyModel {
        d_model: 64,
        ..TinyModel::llama(24)
    };
    check("llama3 scaling", spec.clone(), Some(scaling));
    check("without it", spec, None);
}
