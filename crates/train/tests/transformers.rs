//! The project's own models are Hugging Face's too: token ids and logits of
//! transformers, as recorded, and once more where it is installed.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, NoHooks, Pack};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Both compute in f32; logits are a few units, and sums of a few hundred
/// products differ by some 1e-6 of that.
const TOLERANCE: f64 = 1e-4;

fn check(cases: &Value) {
    let cases = cases.as_array().unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let model = case["model"].as_str().unwrap();
        let checkpoint = Checkpoint::open(&root().join("organisms").join(model)).unwrap();
        let tokenizer = checkpoint.tokenizer.as_ref().unwrap();
        let ids = tokenizer
            .encode(case["text"].as_str().unwrap())
            .unwrap()
            .ids;
        let theirs: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(ids, theirs, "{model}");
        let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
        let pack = Pack::new(&[ids]).unwrap();
        let x = decoder.embed(&pack, &mut NoHooks).unwrap();
        let layers = decoder.config().n_layers;
        let x = decoder
            .run_blocks(&pack, 0..layers, &x, &mut NoHooks)
            .unwrap();
        let last = Tensor::new(pack.last_rows(), &Device::Cpu).unwrap();
        let logits = decoder.logits(&x.index_select(&last, 0).unwrap()).unwrap();
        let logits: Vec<f32> = logits.flatten_all().unwrap().to_vec1().unwrap();
        let expected = case["logits"].as_array().unwrap();
        let tokens = case["tokens"].as_array().unwrap();
        assert_eq!((tokens.len(), expected.len()), (8, 8));
        for (token, value) in tokens.iter().zip(expected) {
            let ours = f64::from(logits[token.as_u64().unwrap() as usize]);
            let theirs = value.as_f64().unwrap();
            assert!(
                (ours - theirs).abs() < TOLERANCE,
                "{model}: {ours}, {theirs}"
            );
        }
    }
}

#[test]
fn logits_are_those_that_transformers_gave() {
    let text = std::fs::read_to_string(root().join("golden/organisms/logits.json")).unwrap();
    check(&serde_json::from_str(&text).unwrap());
}

/// `ASSAY_PYTHON` names a Python that has transformers, if `python3` has not.
#[test]
fn logits_are_those_of_transformers_where_it_is_installed() {
    let python = std::env::var("ASSAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python)
        .args(["-c", "import torch, transformers"])
        .output();
    if !has.is_ok_and(|o| o.status.success()) {
        eprintln!("{python} has no transformers: nothing is compared here");
        return;
    }
    let output = Command::new(&python)
        .arg(root().join("golden/organisms/logits.py"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    check(&serde_json::from_slice(&output.stdout).unwrap());
}
