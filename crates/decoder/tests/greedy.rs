//! Cached greedy decoding against transformers' `generate`
//! (golden/generate, written by golden/generate/generate.py).
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, greedy};
use candle_core::{DType, Device};
use serde_json::Value;

/// Margins above this cannot be turned by rounding: logits agree to
/// 5e-5 + 5e-5 |e| on these cases, and theirs are below 20.
const SAFE_MARGIN: f64 = 2e-3;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden")
}

fn ids(value: &Value) -> Vec<u32> {
    let all = value.as_array().unwrap().iter();
    all.map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn new_tokens_are_those_of_transformers() {
    let mut checked = 0;
    for entry in std::fs::read_dir(golden().join("generate")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = case["case"].as_str().unwrap();
        let checkpoint = Checkpoint::open(&golden().join("parity").join(name)).unwrap();
        let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
        let runs = case["runs"].as_array().unwrap();
        let prompts: Vec<Vec<u32>> = runs.iter().map(|run| ids(&run["prompt"])).collect();
        let expected: Vec<Vec<u32>> = runs.iter().map(|run| ids(&run["ids"])).collect();
        let steps = expected.iter().map(Vec::len).max().unwrap();
        // All prompts of the case side by side, though transformers took them
        // one by one.
        let found = greedy(&decoder, &prompts, steps, &[]).unwrap();
        for (i, run) in runs.iter().enumerate() {
            let margin = run["smallest_margin"].as_f64().unwrap();
            if margin > SAFE_MARGIN {
                assert_eq!(found[i], expected[i], "{name}, prompt {i}");
                checked += 1;
            }
        }
    }
    // The generator seeks prompts with margins; most of them must count.
    assert!(
        checked >= 20,
        "only {checked} runs have a margin above {SAFE_MARGIN}"
    );
}
