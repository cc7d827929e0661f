//! The real Gemma 3 270m, quantised, against transformers on the same
//! dequantised weights (golden/tokenizer, written by generate.py there). Its
//! terms are for each user to accept, so the model may not be here.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, Pack};
use assay_hook_site::{BlockSite, HookSite};
use assay_trace::record;
use candle_core::{DType, Device};
use serde_json::Value;

/// Two f32 implementations over 18 blocks: relative, of logits and norms. The
/// generator's own rerun in f64 lies 5e-6 away.
const TOLERANCE: f64 = 5e-5;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden(name: &str) -> Vec<Value> {
    let path = root().join("golden/tokenizer").join(name);
    let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    value.as_array().unwrap().clone()
}

fn ids(value: &Value) -> Vec<u32> {
    let all = value.as_array().unwrap().iter();
    all.map(|id| id.as_u64().unwrap() as u32).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    let all = value.as_array().unwrap().iter();
    all.map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn gemma_3_270m_is_that_of_transformers() {
    let models = std::env::var_os("ASSAY_MODELS").map(PathBuf::from);
    let models = models.unwrap_or_else(|| root().join(".assay/models"));
    let file = models.join("gemma-3-270m/1.0.0/gemma-3-270m-q4_k_m.gguf");
    if !file.exists() {
        println!(
            "skipped: gemma-3-270m is not here; cargo xtask fetch gemma-3-270m --accept gemma fetches it"
        );
        return;
    }
    let checkpoint = Checkpoint::open(&file).unwrap();
    let tokenizer = checkpoint.tokenizer.as_ref().unwrap();
    for row in golden("gemma3.json") {
        let text = row["text"].as_str().unwrap();
        assert_eq!(
            tokenizer.encode(text).unwrap().ids,
            ids(&row["ids"]),
            "{text:?}"
        );
    }
    let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
    let layers = decoder.config().n_layers;
    let mut worst: f64 = 0.0;
    for row in golden("gemma3-forward.json") {
        let prompt = ids(&row["ids"]);
        let last = prompt.len() - 1;
        let pack = Pack::new(&[prompt]).unwrap();
        let posts = (0..layers).map(|l| BlockSite::ResidPost.at(l));
        let sites = posts.chain([HookSite::Logits]).collect();
        let trace = record(&decoder, &pack, &sites, vec![]).unwrap();
        let at = |site| -> Vec<f64> {
            let row = trace.rows(site).unwrap().get(last).unwrap();
            row.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
        };
        let mut check = |found: f64, expected: f64, what: &str| {
            let error = (found - expected).abs() / (1.0 + expected.abs());
            worst = worst.max(error);
            assert!(
                error <= TOLERANCE,
                "{what} of {}: {found}, not {expected}",
                row["id"]
            );
        };
        for (layer, expected) in numbers(&row["resid_post_norms"]).into_iter().enumerate() {
            let norm = at(BlockSite::ResidPost.at(layer))
                .iter()
                .map(|x| x * x)
                .sum::<f64>();
            check(norm.sqrt(), expected, &format!("norm after block {layer}"));
        }
        let logits = at(HookSite::Logits);
        for pair in row["top"].as_array().unwrap() {
            let id = pair[0].as_u64().unwrap() as usize;
            check(
                logits[id],
                pair[1].as_f64().unwrap(),
                &format!("logit {id}"),
            );
        }
    }
    println!("gemma-3-270m: worst error {worst:.2e}");
}
