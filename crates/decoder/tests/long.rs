//! A long prompt is attended to in parts, and bit for bit as in one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, Pack};
use assay_hook_site::{BlockSite, HookSite};
use assay_testkit::write_config;
use assay_trace::{Edit, record};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

/// Looking at the pattern makes the whole square; not looking at it, parts.
/// The residual stream must not tell the difference.
#[track_caller]
fn check(config: &Value, tokens: usize) {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), config, 1, DType::F32).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
    let ids: Vec<u32> = (0..tokens as u32).map(|i| (i * 31 + 7) % 61).collect();
    let pack = Pack::new(&[ids, vec![1, 2, 3]]).unwrap();
    let last = BlockSite::ResidPost.at(decoder.config().n_layers - 1);
    let stream = |sites: &[HookSite]| {
        let sites: BTreeSet<HookSite> = sites.iter().copied().collect();
        let trace = record(&decoder, &pack, &sites, vec![]).unwrap();
        let rows = trace.rows(last).unwrap().flatten_all().unwrap();
        rows.to_vec1::<f32>().unwrap()
    };
    let squares = (0..decoder.config().n_layers).map(|l| BlockSite::Pattern.at(l));
    let seen: Vec<HookSite> = squares.chain([last]).collect();
    let (parts, whole) = (stream(&[last]), stream(&seen));
    let differ = parts
        .iter()
        .zip(&whole)
        .filter(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differ.count(), 0, "{tokens} tokens of {config}");
}

fn neox() -> Value {
    json!({
        "model_type": "gpt_neox", "hidden_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 3, "intermediate_size": 64, "vocab_size": 61,
        "max_position_embeddings": 1024, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
        "rotary_pct": 0.25, "rotary_emb_base": 10000, "use_parallel_residual": true,
    })
}

fn mistral(window: usize) -> Value {
    json!({
        "model_type": "mistral", "hidden_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 64,
        "vocab_size": 61, "max_position_embeddings": 1024, "hidden_act": "silu",
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": window,
    })
}

/// An edit may let a query see what comes after it, in whichever part.
#[test]
fn an_edited_pattern_is_mixed_whole() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), &neox(), 1, DType::F32).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
    let tokens = 600;
    let pack = Pack::new(&[(0..tokens).map(|i| i % 61).collect()]).unwrap();
    // Every query sees the last token only.
    let last_only = Edit::new(BlockSite::Pattern.at(0), |_, pattern| {
        let (heads, queries, keys) = pattern.dims3()?;
        let zeros = Tensor::zeros((heads, queries, keys - 1), DType::F32, &Device::Cpu)?;
        let one = Tensor::ones((heads, queries, 1), DType::F32, &Device::Cpu)?;
        Tensor::cat(&[zeros, one], 2)
    });
    let sites = [BlockSite::V.at(0), BlockSite::Z.at(0)]
        .into_iter()
        .collect();
    let trace = record(&decoder, &pack, &sites, vec![last_only]).unwrap();
    let flat = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let at = |site: BlockSite, row: usize| flat(trace.rows(site.at(0)).unwrap().get(row).unwrap());
    for row in [0, 299, 599] {
        assert_eq!(at(BlockSite::Z, row), at(BlockSite::V, 599), "query {row}");
    }
}

#[test]
fn parts_of_a_long_prompt_are_the_whole() {
    for tokens in [256, 257, 300, 512, 1000] {
        check(&neox(), tokens);
    }
    check(&mistral(40), 700);
    check(&mistral(2000), 700);
}
