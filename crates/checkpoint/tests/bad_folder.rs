//! Folders with missing, damaged or contradictory files: one error, which
//! names the file and the cause.
#![allow(clippy::unwrap_used)]

mod support;

use assay_checkpoint::Checkpoint;
use assay_testkit::{TinyModel, write_hf_with};
use candle_core::{DType, Tensor};
use serde_json::json;
use support::{Folder, check_bad, check_good, check_message};

#[test]
fn missing_files_are_named() {
    let folder = Folder::empty();
    check_bad(
        &folder.file("nowhere"),
        &["cannot read", "nowhere", "No such file"],
    );
    check_bad(folder.path(), &["has no config.json and no GGUF file"]);
    folder.write(
        "config.json",
        assay_testkit::config_json(&TinyModel::gpt2(0)).to_string(),
    );
    check_bad(
        folder.path(),
        &["has no model.safetensors", "model.safetensors.index.json"],
    );
    for name in ["a.gguf", "b.gguf"] {
        folder.write(name, "");
    }
    folder.remove("config.json");
    check_bad(folder.path(), &["several GGUF files", "name one of them"]);
}

fn sharded() -> Folder {
    Folder::of(&TinyModel {
        shards: 3,
        ..TinyModel::gpt_neox(5)
    })
}

#[test]
fn shards_that_are_missing_or_misnamed_are_named() {
    let second = "model-00002-of-00003.safetensors";
    check_good(sharded().path());

    let folder = sharded();
    folder.remove(second);
    check_bad(folder.path(), &["has no shard", second]);

    for outside in ["../model.safetensors", "/etc/passwd", "..", "", "a\\b"] {
        let folder = sharded();
        let index = json!({"weight_map": {"gpt_neox.embed_in.weight": outside}});
        folder.write("model.safetensors.index.json", index.to_string());
        check_bad(
            folder.path(),
            &[
                "model.safetensors.index.json",
                "gpt_neox.embed_in.weight",
                "not a file name",
            ],
        );
    }
    // The folder itself is no shard either.
    let folder = sharded();
    folder.write(
        "model.safetensors.index.json",
        r#"{"weight_map": {"a": "."}}"#,
    );
    check_bad(
        folder.path(),
        &["model.safetensors.index.json", "not a file name"],
    );
    for (index, words) in [
        ("{", "EOF while parsing"),
        ("{}", "weight_map is missing"),
        (r#"{"weight_map": []}"#, "weight_map is missing"),
        (r#"{"weight_map": {"a": 3}}"#, "the shard of a is 3"),
        (r#"{"weight_map": {}}"#, "names no shard"),
    ] {
        folder.write("model.safetensors.index.json", index);
        check_bad(folder.path(), &["model.safetensors.index.json", words]);
    }
}

/// Two shards that both hold a tensor: which of them is meant cannot be known.
#[test]
fn a_tensor_in_two_shards_is_refused() {
    let folder = sharded();
    let (first, second) = (
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
    );
    let index = String::from_utf8(folder.read("model.safetensors.index.json")).unwrap();
    folder.write("again.safetensors", folder.read(first));
    let index = index.replacen(second, "again.safetensors", 1);
    folder.write("model.safetensors.index.json", index);
    check_bad(
        folder.path(),
        &[
            "tensor embed_out.weight is in two files",
            "again.safetensors",
        ],
    );
}

#[test]
fn a_truncated_safetensors_file_is_named() {
    let folder = Folder::of(&TinyModel::llama(1));
    let whole = folder.read("model.safetensors");
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [
        0,
        7,
        8,
        header / 2,
        header - 1,
        header,
        header + 1,
        whole.len() - 1,
    ] {
        folder.write("model.safetensors", &whole[..length]);
        check_bad(folder.path(), &["model.safetensors", "truncated"]);
    }
    let mut longer = whole.clone();
    longer.push(0);
    folder.write("model.safetensors", &longer);
    check_bad(folder.path(), &["model.safetensors"]);
    folder.write("model.safetensors", &whole);
    check_good(folder.path());
}

#[test]
fn a_truncated_shard_is_named() {
    let folder = sharded();
    let second = "model-00002-of-00003.safetensors";
    let whole = folder.read(second);
    folder.write(second, &whole[..whole.len() / 2]);
    check_bad(folder.path(), &[second, "truncated"]);
}

/// A header of its own, with `data` bytes of zeros behind it.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn safetensors_headers_that_lie_are_refused() {
    let folder = Folder::of(&TinyModel::llama(1));
    let check = |header: &str, data: usize, words: &[&str]| {
        folder.write("model.safetensors", safetensors(header, data));
        let words: Vec<&str> = words.iter().copied().chain(["model.safetensors"]).collect();
        check_bad(folder.path(), &words);
    };
    check("not json", 0, &["header"]);
    check("[]", 0, &["header"]);
    check(r#"{"a": 1}"#, 0, &["header"]);
    check(
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#,
        8,
        &["tensor a", "truncated"],
    );
    check(
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#,
        16,
        &["a"],
    );
    check(
        r#"{"a":{"dtype":"F32","shape":[9223372036854775808,2],"data_offsets":[0,0]}}"#,
        0,
        &["overflow"],
    );
    check(
        r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#,
        0,
        &["header"],
    );
    // Eight tensors that end at 2^64 - 8: each is fine by itself, and adding
    // the header's length overflows.
    let size = (1u64 << 61) - 1;
    let tensors: Vec<String> = (0..8)
        .map(|i| {
            let (from, to) = (i * size, (i + 1) * size);
            format!(r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{from},{to}]}}"#)
        })
        .collect();
    check(
        &format!("{{{}}}", tensors.join(",")),
        0,
        &["tensor t", "truncated"],
    );
}

#[test]
fn config_and_weights_that_disagree_are_named() {
    let spec = TinyModel::llama(1);
    let folder = Folder::of(&spec);
    let set = |field: &str, value: serde_json::Value| {
        folder.write("config.json", assay_testkit::config_json(&spec).to_string());
        folder.config(|c| c[field] = value);
    };
    set("intermediate_size", 96.into());
    check_bad(
        folder.path(),
        &[
            "shape mismatch in model.layers.0.mlp.gate_proj.weight",
            "[96, 32]",
            "[64, 32]",
        ],
    );
    set("vocab_size", 500.into());
    check_bad(
        folder.path(),
        &["shape mismatch in model.embed_tokens.weight", "[500, 32]"],
    );
    set("num_key_value_heads", 4.into());
    check_bad(
        folder.path(),
        &["shape mismatch in model.layers.0.self_attn.k_proj.weight"],
    );
    set("num_hidden_layers", 3.into());
    check_bad(
        folder.path(),
        &["no tensor model.layers.2.", "which its config calls for"],
    );
    set("num_hidden_layers", 1.into());
    check_bad(
        folder.path(),
        &["holds tensor model.layers.1.", "no place for"],
    );
    set("tie_word_embeddings", false.into());
    check_bad(folder.path(), &["no tensor lm_head.weight"]);
    set("attention_bias", true.into());
    check_bad(
        folder.path(),
        &["no tensor model.layers.0.self_attn.q_proj.bias"],
    );
    set("num_hidden_layers", 2.into());
    check_good(folder.path());
}

/// The tied unembedding that some files store a second time is no surplus.
#[test]
fn a_stored_tied_unembedding_is_accepted() {
    let untied = TinyModel {
        tied: false,
        ..TinyModel::llama(1)
    };
    let folder = Folder::of(&untied);
    folder.config(|c| c["tie_word_embeddings"] = true.into());
    check_good(folder.path());
}

#[track_caller]
fn check_value(storage: DType, value: f32, index: usize, words: &[&str]) {
    let spec = TinyModel {
        storage,
        ..TinyModel::gpt_neox(1)
    };
    let mut tensors = assay_testkit::tensors(&spec).unwrap();
    let name = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight";
    let (_, tensor) = tensors.iter_mut().find(|(n, _)| n == name).unwrap();
    let mut values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values[index] = value;
    *tensor = Tensor::from_vec(values, tensor.shape(), tensor.device()).unwrap();
    let folder = Folder::empty();
    write_hf_with(folder.path(), &spec, &tensors).unwrap();
    let at = format!("at index {index}");
    let words: Vec<&str> = words.iter().copied().chain([name, at.as_str()]).collect();
    check_bad(folder.path(), &words);
}

#[test]
fn weights_that_are_not_finite_are_named() {
    for storage in [DType::F32, DType::F16, DType::BF16] {
        check_value(storage, f32::NAN, 0, &["holds NaN"]);
        check_value(storage, f32::INFINITY, 17, &["holds inf"]);
        check_value(storage, f32::NEG_INFINITY, 2047, &["holds -inf"]);
    }
}

/// Large finite weights whose sum overflows are no damage.
#[test]
fn large_finite_weights_are_accepted() {
    let spec = TinyModel::gpt_neox(1);
    let mut tensors = assay_testkit::tensors(&spec).unwrap();
    tensors[0].1 = (tensors[0].1.ones_like().unwrap() * 3e38).unwrap();
    let folder = Folder::empty();
    write_hf_with(folder.path(), &spec, &tensors).unwrap();
    check_good(folder.path());
}

#[test]
fn a_tokenizer_that_is_none_is_named() {
    let folder = Folder::of(&TinyModel::gpt2(1));
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"version": "1.0", "model": {"type": "Nonsense"}}"#,
    ] {
        folder.write("tokenizer.json", text);
        check_bad(
            folder.path(),
            &["tokenizer.json", "is not a readable tokenizer.json"],
        );
    }
}

/// The tokenizer library panics on these two.
#[test]
fn a_tokenizer_that_the_library_panics_on_is_named() {
    let folder = Folder::of(&TinyModel::gpt2(1));
    let whole = String::from_utf8(folder.read("tokenizer.json")).unwrap();
    let damaged = whole.replacen("\"add_prefix_space\"", "add_prefix_space", 2);
    folder.write("tokenizer.json", damaged);
    check_bad(folder.path(), &["tokenizer.json", "key must be a string"]);
    let table = json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"});
    for normalizer in [
        table.clone(),
        json!({"type": "Sequence", "normalizers": [table]}),
    ] {
        let mut tokenizer: serde_json::Value = serde_json::from_str(&whole).unwrap();
        tokenizer["normalizer"] = normalizer;
        folder.write("tokenizer.json", tokenizer.to_string());
        check_bad(
            folder.path(),
            &["tokenizer.json", "normalizer Precompiled is not supported"],
        );
    }
}

#[test]
fn texts_without_tokens_are_refused() {
    let folder = Folder::of(&TinyModel::gpt2(1));
    let tokenizer = Checkpoint::open(folder.path()).unwrap().tokenizer.unwrap();
    let error = tokenizer.encode("").unwrap_err().to_string();
    check_message(&error, &["tokenizer.json", "the text is empty"]);
    let ids = tokenizer.encode(" ").unwrap();
    assert_eq!((ids.ids.len(), ids.special), (1, 0));
}
