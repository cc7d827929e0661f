//! What fuzzing found (`fuzz/`) and what reading for it did, each as the smallest
//! file that shows it.
#![allow(clippy::unwrap_used)]

mod support;

use assay_checkpoint::Checkpoint;
use assay_testkit::{TinyModel, gguf_metadata, tokenizer_parts, write_gguf_with};
use candle_core::quantized::gguf_file;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use support::pickle::{Pickle, archive};
use support::{Folder, check_bad};
use zip::CompressionMethod::Stored;

/// A safetensors file of a header and `data` zeros.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

/// Opening fails with one line that holds `words`.
#[track_caller]
fn check_line(folder: &Folder, words: &[&str]) {
    let Err(error) = Checkpoint::open(folder.path()) else {
        panic!("it opens, and {words:?} was expected");
    };
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    for word in words {
        assert!(text.contains(word), "{text:?} has no {word:?}");
    }
}

/// Line ends and escape sequences in names of the file came into messages.
#[test]
fn messages_are_one_line_whatever_the_file_is_called_by() {
    let folder = Folder::of(&TinyModel::gpt2(1));
    let header = r#"{"a\n\u001b[2J":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    folder.write("model.safetensors", safetensors(header, 8));
    check_line(
        &folder,
        &["tensor a\\n\\u{1b}[2J ends at byte 16", "model.safetensors"],
    );
    let folder = Folder::of(&TinyModel::gpt2(1));
    folder.write("model.safetensors", safetensors(header, 16));
    check_bad(folder.path(), &["has no tensor"]);
}

/// A dimension of zero hid that the product of the others overflows.
#[test]
fn dimensions_beside_a_zero_overflow() {
    let huge = 1i64 << 62;
    let pickle = Pickle::new().tensor(
        "a",
        |p| p.storage("FloatStorage", "0", 0),
        0,
        (&[huge, huge, 0], &[0, 0, 1]),
    );
    let torch = Folder::of(&TinyModel::gpt2(1));
    torch.remove("model.safetensors");
    let entries: [(&str, &[u8]); 2] = [("data.pkl", &pickle.end()), ("data/0", b"")];
    torch.write("pytorch_model.bin", archive(&entries, Stored));
    check_line(&torch, &["of tensor a overflow", "pytorch_model.bin"]);

    let folder = Folder::of(&TinyModel::gpt2(1));
    let header = r#"{"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}}"#;
    folder.write("model.safetensors", safetensors(header, 0));
    check_line(&folder, &["of tensor a overflow", "model.safetensors"]);
}

/// Opening fails when a part of tokenizer.json is `value`.
#[track_caller]
fn check_tokenizer(part: &str, value: Value, words: &[&str]) {
    let folder = Folder::of(&TinyModel::gpt2(1));
    let mut tokenizer: Value = serde_json::from_slice(&folder.read("tokenizer.json")).unwrap();
    *tokenizer.pointer_mut(part).unwrap() = value;
    folder.write("tokenizer.json", tokenizer.to_string());
    check_line(&folder, words);
}

/// The tokenizer library panics on each of these.
#[test]
fn tokenizers_that_the_library_panics_on_are_refused() {
    let template = |listed: &str, ids: &[u32]| {
        json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
            "special_tokens": {listed: {"id": "<s>", "ids": ids, "tokens": ["<s>"]}},
        })
    };
    let words = ["post_processor.single", "\"<s>\"", "special_tokens lacks"];
    check_tokenizer("/post_processor", template("<s>:", &[3]), &words);
    let sequence = json!({"type": "Sequence", "processors": [template("", &[3])]});
    check_tokenizer("/post_processor", sequence, &words);
    // By its fields it is a template, whatever it is called.
    let mut disguised = template("<s6", &[3]);
    disguised["type"] = json!("ByteLevel");
    check_tokenizer("/post_processor", disguised, &words);
    let mut second = template("<s>", &[3]);
    second["single"][1]["Sequence"]["id"] = json!("B");
    let text = ["post_processor.single takes a second text"];
    check_tokenizer("/post_processor", second, &text);
    let table = json!({"type": "NFC", "precompiled_charsmap": "AAAA"});
    let words_of_table = ["normalizer NFC has a table of Precompiled"];
    let folder = Folder::of(&TinyModel::gpt2(1));
    let mut tokenizer: Value = serde_json::from_slice(&folder.read("tokenizer.json")).unwrap();
    tokenizer["normalizer"] = table;
    folder.write("tokenizer.json", tokenizer.to_string());
    check_line(&folder, &words_of_table);
    let words = ["special_tokens", "not one id for each token"];
    check_tokenizer("/post_processor", template("<s>", &[]), &words);

    let strip = json!({"type": "Strip", "content": "t", "start": 1, "stop": 1});
    let words = ["decoder Strip has another stop than 0"];
    check_tokenizer("/decoder", strip, &words);

    let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]});
    let words = ["model type \"Unigram\" is not supported"];
    check_tokenizer("/model", unigram, &words);
    let words = ["pre_tokenizer BertPreTokenizer is not supported", "Split"];
    check_tokenizer(
        "/pre_tokenizer",
        json!({"type": "BertPreTokenizer"}),
        &words,
    );
    let folder = Folder::of(&TinyModel::gpt2(1));
    let whole: Value = serde_json::from_slice(&folder.read("tokenizer.json")).unwrap();
    for (field, value, words) in [
        ("continuing_subword_prefix", json!("##########"), "prefix"),
        ("end_of_word_suffix", json!("</w>"), "suffix"),
        ("dropout", json!(0.5), "ids would be random"),
    ] {
        let mut model = whole["model"].clone();
        model[field] = value;
        check_tokenizer("/model", model, &[field, words]);
    }
}

/// A merge longer than every token was copied into too small a buffer.
#[test]
fn merges_that_make_no_token_are_refused() {
    let long = "a".repeat(40);
    let vocab = json!({"a": 0, (long.as_str()): 1});
    for merges in [json!([[long, "a"]]), json!([format!("{long} a")])] {
        let model = json!({"type": "BPE", "vocab": vocab, "merges": merges});
        let words = [long.as_str(), "model.merges", "is no token"];
        check_tokenizer("/model", model, &words);
    }
    let spec = TinyModel {
        n_layers: 1,
        ..TinyModel::llama(1)
    };
    let mut metadata = gguf_metadata(&spec).unwrap();
    for (key, value) in &mut metadata {
        if let (true, gguf_file::Value::Array(items)) = (key.ends_with("merges"), value) {
            let (_, tokens) = tokenizer_parts();
            let (a, b) = tokens.last().unwrap();
            items.push(gguf_file::Value::String(format!("{a}{b} {a}{b}")));
        }
    }
    let folder = Folder::empty();
    write_gguf_with(&folder.file("model.gguf"), &spec, GgmlDType::F32, &metadata).unwrap();
    check_line(&folder, &["tokenizer.ggml.merges", "is no token"]);
}

/// The order of rows divided by the number of heads in a tensor without rows,
/// and took blocks of a vector for its elements.
#[test]
fn vectors_that_cannot_be_reordered_are_refused() {
    let metadata = gguf_metadata(&TinyModel {
        n_layers: 1,
        ..TinyModel::llama(1)
    })
    .unwrap();
    let metadata: Vec<_> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let write = |name: &str, dtype| {
        let folder = Folder::empty();
        let mut file = std::fs::File::create(folder.file("model.gguf")).unwrap();
        let tensor = Tensor::zeros(128, DType::F32, &Device::Cpu).unwrap();
        let tensor = QTensor::quantize(&tensor, dtype).unwrap();
        gguf_file::write(&mut file, &metadata, &[(name, &tensor)]).unwrap();
        folder
    };
    for name in ["blk.0.attn_q.weight", "blk.0.attn_k.bias"] {
        let folder = write(name, GgmlDType::F16);
        assert!(Checkpoint::open(folder.path()).is_ok());
        // candle writes no scalar: the one dimension, behind its count of four
        // bytes, is taken out, and the data begin no later for it.
        let mut bytes = folder.read("model.gguf");
        let found = bytes.windows(name.len()).position(|w| w == name.as_bytes());
        let count = found.unwrap() + name.len();
        bytes[count] = 0;
        bytes.drain(count + 4..count + 12);
        bytes.extend([0; 8]);
        folder.write("model.gguf", bytes);
        check_line(&folder, &[name, "1 rows", "equal parts", "model.gguf"]);

        let folder = write(name, GgmlDType::Q8_0);
        check_line(&folder, &[name, "a vector stored as Q8_0", "model.gguf"]);
    }
}
