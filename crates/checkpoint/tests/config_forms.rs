//! One model, written by old and by new transformers: the fields that moved
//! into `rope_parameters`, and those that were lists of another kind before.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use assay_checkpoint::{DecoderConfig, parse_hf_config};
use serde_json::{Value, json};

fn parse(config: &Value) -> DecoderConfig {
    parse_hf_config(&config.to_string(), Path::new("config.json")).unwrap()
}

/// The config of a case of golden/parity, as transformers 5 wrote it.
fn new_form(case: &str) -> Value {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/parity");
    let text = std::fs::read_to_string(folder.join(case).join("config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The case without `gone`, with `old` instead, is the same model.
#[track_caller]
fn check(case: &str, gone: &[&str], old: Value) {
    let new = new_form(case);
    let mut form = new.clone();
    for field in gone {
        assert!(form[field] != Value::Null, "{case} has no {field}");
        form.as_object_mut().unwrap().remove(*field);
    }
    for (field, value) in old.as_object().unwrap() {
        form[field] = value.clone();
    }
    assert_eq!(parse(&form), parse(&new), "{case}");
    // And the old fields are what says so.
    for field in old.as_object().unwrap().keys() {
        let mut without = form.clone();
        without.as_object_mut().unwrap().remove(field);
        let same = parse_hf_config(&without.to_string(), Path::new("config.json"))
            .is_ok_and(|config| config == parse(&new));
        assert!(!same, "{case}: {field} changes nothing");
    }
}

#[test]
fn gpt_neox_had_rotary_pct_and_rotary_emb_base() {
    let mut new = new_form("neox-f16");
    new["rope_parameters"]["rope_theta"] = json!(500.0);
    let mut old = new.clone();
    old.as_object_mut().unwrap().remove("rope_parameters");
    old["rotary_pct"] = json!(0.5);
    old["rotary_emb_base"] = json!(500);
    assert_eq!(parse(&old), parse(&new));
}

#[test]
fn llamas_scaling_had_a_field_of_its_own() {
    check(
        "llama3-scaled-bf16",
        &["rope_parameters"],
        json!({
            "rope_theta": 500.0,
            "rope_scaling": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
            },
        }),
    );
}

#[test]
fn the_base_stood_at_the_top() {
    check(
        "qwen2-window-bf16",
        &["rope_parameters"],
        json!({"rope_theta": 1e6}),
    );
}

#[test]
fn qwens_windows_followed_from_max_window_layers() {
    let new = new_form("qwen2-window-bf16");
    let mut old = new.clone();
    old.as_object_mut().unwrap().remove("layer_types");
    assert_eq!(old["max_window_layers"], 1);
    assert_eq!(parse(&old), parse(&new));
    assert_eq!(parse(&old).windows, [None, Some(3), Some(3)]);
}

#[test]
fn gemma2s_windows_alternated_from_the_first() {
    let new = new_form("gemma2");
    let mut old = new.clone();
    let old_map = old.as_object_mut().unwrap();
    old_map.remove("layer_types");
    old_map.remove("rope_parameters");
    old["rope_theta"] = json!(10000.0);
    assert_eq!(parse(&old), parse(&new));
    assert_eq!(parse(&old).windows, [Some(5), None, Some(5)]);
}

#[test]
fn gemma3_had_a_pattern_and_two_bases() {
    check(
        "gemma3",
        &["rope_parameters", "layer_types"],
        json!({
            "sliding_window_pattern": 3,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        }),
    );
    let mut old = new_form("gemma3");
    old["rope_parameters"]["sliding_attention"]["rope_theta"] = json!(300.0);
    let new = old.clone();
    old.as_object_mut().unwrap().remove("rope_parameters");
    old["rope_theta"] = json!(1e6);
    old["rope_local_base_freq"] = json!(300.0);
    old["rope_scaling"] = json!({"rope_type": "linear", "factor": 8.0});
    assert_eq!(parse(&old), parse(&new));
}

#[test]
fn partial_rotary_factor_stood_at_the_top() {
    let mut old = new_form("stablelm-parallel-qk-norm");
    let new = old.clone();
    old.as_object_mut().unwrap().remove("rope_parameters");
    old["partial_rotary_factor"] = json!(0.5);
    assert_eq!(parse(&old), parse(&new));
    check(
        "phi-gqa-bf16",
        &["rope_parameters"],
        json!({"partial_rotary_factor": 0.67}),
    );
}

#[test]
fn falcons_first_configs_had_blooms_names() {
    check(
        "falcon-new",
        &["num_attention_heads", "num_hidden_layers", "num_kv_heads"],
        json!({"n_head": 6, "n_layer": 2, "n_head_kv": 3}),
    );
}

#[test]
fn bloom_has_either_kind_of_names() {
    let mut other = new_form("bloom");
    let map = other.as_object_mut().unwrap();
    let (heads, layers) = (
        map.remove("n_head").unwrap(),
        map.remove("n_layer").unwrap(),
    );
    other["num_attention_heads"] = heads;
    other["num_hidden_layers"] = layers;
    assert_eq!(parse(&other), parse(&new_form("bloom")));
}

/// GPT-Neo's `attention_types` is a list of [[kinds], times].
#[test]
fn gpt_neos_windows_repeat() {
    let mut config = new_form("gpt-neo");
    config["num_layers"] = json!(6);
    config["attention_types"] = json!([[["global", "local"], 2], [["global"], 2]]);
    let windows = parse(&config).windows;
    assert_eq!(windows, [None, Some(4), None, Some(4), None, None]);
    config["num_layers"] = json!(7);
    let error = parse_hf_config(&config.to_string(), Path::new("config.json")).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("attention_types") && text.contains('7'),
        "{text}"
    );
}

/// The numbers of the real models' configs, where they lie beside the project.
#[test]
fn real_configs_are_read() {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/configs");
    if !shared.exists() {
        println!("skipped: ../shared/configs is not beside this checkout");
        return;
    }
    let text = |case: &str| std::fs::read_to_string(shared.join(case).join("config.json")).unwrap();
    let model = |case: &str| parse_hf_config(&text(case), Path::new(case)).unwrap();
    for entry in std::fs::read_dir(&shared).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            model(path.file_name().unwrap().to_str().unwrap());
        }
    }
    // 18 blocks, every sixth global.
    let gemma = model("gemma-3-270m");
    let global: Vec<usize> = (0..18).filter(|l| gemma.windows[*l].is_none()).collect();
    assert_eq!(global, [5, 11, 17]);
    assert_eq!(model("mistral-7b-v0.1").windows, vec![Some(4096); 32]);
    assert_eq!(model("qwen2.5-3b").windows, vec![None; 36]);
}

/// A config.json of every family as transformers 4 writes it
/// (golden/parity/old-configs) is the same model.
#[test]
fn every_familys_old_form_is_the_same_model() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/parity");
    let mut families = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(root.join("old-configs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let case = path.file_stem().unwrap().to_str().unwrap();
        let old: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(
            old["rope_parameters"].is_null(),
            "{case} is not in the old form"
        );
        let config = parse(&old);
        assert_eq!(config, parse(&new_form(case)), "{case}");
        families.insert(config.model_type);
    }
    // LLaMA's is the scaled one; Qwen2, Qwen3 and the rest by name.
    assert_eq!(families.len(), 16, "{families:?}");
}
