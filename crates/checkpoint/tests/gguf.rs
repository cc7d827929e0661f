//! GGUF against the Hugging Face layout of the same seeded model.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use assay_checkpoint::{Checkpoint, TextTokenizer};
use assay_decoder::Pack;
use assay_testkit::{
    Text, TinyModel, gguf_metadata, tensors, write_gguf, write_gguf_with, write_hf, write_hf_with,
};
use assay_trace::record;
use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device};
use support::Folder;

/// Bits of every activation of two prompts, site by site.
fn activations(path: &Path) -> Vec<(String, Vec<u32>)> {
    let decoder = support::load(path).unwrap();
    let sites: BTreeSet<_> = decoder.sites().into_iter().collect();
    let pack = Pack::new(&[vec![5, 300, 17, 0, 401, 88, 2], vec![9, 9, 120]]).unwrap();
    let trace = record(&decoder, &pack, &sites, vec![]).unwrap();
    let bits = |site, prompt| -> Vec<u32> {
        let values = trace.prompt(site, prompt).unwrap().flatten_all().unwrap();
        values
            .to_vec1::<f32>()
            .unwrap()
            .into_iter()
            .map(f32::to_bits)
            .collect()
    };
    let both = |site| [bits(site, 0), bits(site, 1)].concat();
    sites
        .iter()
        .map(|site| (site.to_string(), both(*site)))
        .collect()
}

#[track_caller]
fn check_equal(a: &Path, b: &Path) {
    for ((site, a), (_, b)) in activations(a).iter().zip(&activations(b)) {
        assert!(a == b, "{site} differs");
    }
}

fn variants() -> [TinyModel; 3] {
    let gqa = TinyModel::llama(11);
    let untied = TinyModel {
        tied: false,
        n_kv_heads: 1,
        n_layers: 3,
        ..gqa.clone()
    };
    let full = TinyModel {
        n_kv_heads: 4,
        ..gqa.clone()
    };
    [gqa, untied, full]
}

#[test]
fn f32_gguf_and_folder_give_the_same_bits() {
    for spec in variants() {
        let folder = Folder::of(&spec);
        let path = folder.file("model.gguf");
        write_gguf(&path, &spec, GgmlDType::F32).unwrap();
        assert_eq!(
            Checkpoint::open(&path).unwrap().config,
            Checkpoint::open(folder.path()).unwrap().config
        );
        check_equal(&path, folder.path());
    }
}

/// A quantized file is the model whose matrices were quantized and read back
/// by candle, in Hugging Face's row order, before they were written.
#[test]
fn quantized_gguf_is_the_dequantized_model() {
    for dtype in [
        GgmlDType::Q8_0,
        GgmlDType::Q4_1,
        GgmlDType::Q4_0,
        GgmlDType::F16,
    ] {
        for spec in variants() {
            let weights: Vec<_> = tensors(&spec)
                .unwrap()
                .into_iter()
                .map(|(name, tensor)| {
                    if tensor.rank() == 1 {
                        return (name, tensor);
                    }
                    let stored = QTensor::quantize(&tensor, dtype).unwrap();
                    (name, stored.dequantize(&Device::Cpu).unwrap())
                })
                .collect();
            let folder = Folder::empty();
            write_hf_with(folder.path(), &spec, &weights).unwrap();
            let path = folder.file("model.gguf");
            write_gguf(&path, &spec, dtype).unwrap();
            check_equal(&path, folder.path());
            // And not the unquantized model.
            let exact = Folder::of(&spec);
            assert!(activations(&path) != activations(exact.path()));
        }
    }
}

/// The rows of Q and K do need to be put back: without it the same weights
/// give another model.
#[test]
fn the_row_order_of_q_and_k_matters() {
    let spec = TinyModel::llama(11);
    let folder = Folder::of(&spec);
    let path = folder.file("model.gguf");
    write_gguf(&path, &spec, GgmlDType::F32).unwrap();
    let stored = Checkpoint::open(&path).unwrap().weights;
    let mut file = std::fs::File::open(&path).unwrap();
    let content = candle_core::quantized::gguf_file::Content::read(&mut file).unwrap();
    let raw = content
        .tensor(&mut file, "blk.0.attn_q.weight", &Device::Cpu)
        .unwrap();
    let raw = raw
        .dequantize(&Device::Cpu)
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    let name = "model.layers.0.self_attn.q_proj.weight";
    let put_back = stored
        .tensor(name, &[32, 32], DType::F32, &Device::Cpu)
        .unwrap();
    let put_back = put_back.to_vec2::<f32>().unwrap();
    // Heads of 8 rows: pair i is rows i and i + 4 here, 2i and 2i + 1 there.
    for (head, pair, half) in (0..64).map(|i| (i / 16, i / 2 % 4, i % 2)) {
        let (here, there) = (8 * head + pair + 4 * half, 8 * head + 2 * pair + half);
        assert_eq!(put_back[here], raw[there]);
    }
    assert!(put_back != raw);
}

const TEXTS: [&str; 24] = [
    "The capital of France is",
    "In 1999, 2000 and 2001 the price was $12.50 (or 12,50).",
    "12 123 1234 12345 007 3.14159 1e-5",
    "a1b22c333",
    " leading and  double   spaces ",
    "\n\nnew\nlines\r\n\tand tabs\t\t ",
    "it's we'll I'd you're they've I'm don't 's",
    "été über Ångström naïve",
    "中文 和 English 混合 123 字",
    "Ελληνικά кириллица עברית العربية हिन्दी",
    "١٢٣ ½ ² Ⅳ ①",
    "🦀🚀 👩‍👩‍👧 🇫🇷",
    "e\u{301} and \u{e9}",
    "\u{feff}bom \u{a0}nbsp \u{200b}zero\u{ad}width",
    "<|endoftext|>",
    "before<|endoftext|>after <|endoftext|> 1<|endoftext|>2",
    "<|endoftext",
    "...!!!??? --- ***",
    "fn main() { let x = vec![1, 2, 3]; }",
    "https://example.org/a?b=1&c=%20",
    "   ",
    "\n",
    "0",
    "thethethe the The THE 19 1900 00 the\n\n\nthe",
];

/// The tokenizer of a GGUF gives the ids of the tokenizer.json that it was
/// made from, and the text back.
#[track_caller]
fn check_tokenizers(kind: Text) -> Vec<Vec<u32>> {
    let spec = TinyModel {
        text: kind,
        ..TinyModel::llama(1)
    };
    let folder = Folder::of(&spec);
    let path = folder.file("model.gguf");
    write_gguf(&path, &spec, GgmlDType::F32).unwrap();
    let gguf = Checkpoint::open(&path).unwrap().tokenizer.unwrap();
    let json = Checkpoint::open(folder.path()).unwrap().tokenizer.unwrap();
    let ids = TEXTS.iter().map(|text| {
        let (a, b) = (gguf.encode(text).unwrap(), json.encode(text).unwrap());
        assert_eq!(a, b, "{text:?}");
        assert_eq!(gguf.decode(&a.ids).unwrap(), json.decode(&a.ids).unwrap());
        if !text.contains("<|endoftext|>") {
            assert_eq!(gguf.decode(&a.ids).unwrap(), *text);
        }
        a.ids
    });
    ids.collect()
}

#[test]
fn a_gguf_tokenizer_is_the_json_tokenizer() {
    let smollm = check_tokenizers(Text::SmolLm);
    let gpt2 = check_tokenizers(Text::Gpt2);
    // The two kinds differ where digits stand together and nowhere else.
    for ((text, a), b) in TEXTS.iter().zip(&smollm).zip(&gpt2) {
        let joined = ["12", "19", "00", " 1"].iter().any(|d| text.contains(d));
        assert_eq!(a != b, joined, "{text:?}");
    }
}

/// A file with the tokenizer of `pre`, whose vocabulary has one more token at
/// the end that no merge makes, and a tokenizer.json of the same that says it
/// as the published ones do: `json` is its normalizer, its split into words
/// and whether it ignores merges.
#[track_caller]
fn open_pair(
    pre: &str,
    (normalizer, words, ignore_merges): (serde_json::Value, &str, bool),
) -> (TextTokenizer, TextTokenizer) {
    let spec = TinyModel::llama(1);
    let folder = Folder::of(&spec);
    let path = folder.file("model.gguf");
    let mut metadata = gguf_metadata(&spec).unwrap();
    for (key, value) in &mut metadata {
        match (key.as_str(), value) {
            ("tokenizer.ggml.pre", value) => *value = Value::String(pre.to_owned()),
            ("tokenizer.ggml.tokens", Value::Array(tokens)) => {
                tokens.push(Value::String("\u{120}zqx".to_owned()));
            }
            ("tokenizer.ggml.token_type", Value::Array(kinds)) => kinds.push(Value::I32(1)),
            _ => {}
        }
    }
    write_gguf_with(&path, &spec, GgmlDType::F32, &metadata).unwrap();
    let mut tokenizer: serde_json::Value =
        serde_json::from_slice(&folder.read("tokenizer.json")).unwrap();
    let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    vocab.insert("\u{120}zqx".to_owned(), vocab.len().into());
    tokenizer["model"]["ignore_merges"] = ignore_merges.into();
    tokenizer["normalizer"] = normalizer;
    tokenizer["pre_tokenizer"] = serde_json::json!({
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
             "use_regex": false},
        ],
    });
    folder.write("tokenizer.json", tokenizer.to_string());
    (
        Checkpoint::open(&path).unwrap().tokenizer.unwrap(),
        Checkpoint::open(folder.path()).unwrap().tokenizer.unwrap(),
    )
}

#[test]
fn the_kinds_of_qwen2_and_llama3_are_their_json_tokenizers() {
    let qwen2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let llama3 = qwen2.replace(r"|\p{N}|", r"|\p{N}{1,3}|");
    let nfc = serde_json::json!({"type": "NFC"});
    for (pre, kind) in [
        ("qwen2", (nfc, qwen2, false)),
        ("llama-bpe", (serde_json::Value::Null, &llama3, true)),
    ] {
        let (gguf, json) = open_pair(pre, kind);
        for text in TEXTS.iter().chain(&["a zqx", "it'S we'LL", "\u{2126}"]) {
            let (a, b) = (gguf.encode(text).unwrap(), json.encode(text).unwrap());
            assert_eq!(a, b, "{pre} {text:?}");
            assert_eq!(gguf.decode(&a.ids).unwrap(), json.decode(&b.ids).unwrap());
        }
    }
}

/// By hand, where the kinds differ: digits one by one or in threes, composed
/// characters, words that are tokens.
#[test]
fn the_kinds_split_as_they_should() {
    let count = |pre: &str, text: &str| {
        let spec = (serde_json::Value::Null, r"\s+", false);
        open_pair(pre, spec).0.encode(text).unwrap().ids.len()
    };
    // "19" and "00" are tokens of the vocabulary: 1|9|0|0, 190|0, 1900.
    assert_eq!(count("qwen2", "1900"), 4);
    assert_eq!(count("llama-bpe", "1900"), 3);
    assert_eq!(count("gpt-2", "1900"), 2);
    // One token once composed, two bytes of the accent otherwise.
    assert_eq!(count("qwen2", "e\u{301}"), 1);
    assert_eq!(count("llama-bpe", "e\u{301}"), 3);
    assert_eq!(count("llama-bpe", " zqx"), 1);
    assert_eq!(count("qwen2", " zqx"), 4);
}

/// `add_bos_token` puts the token in front and counts it as special.
#[test]
fn a_gguf_may_ask_for_a_token_in_front() {
    let spec = TinyModel::llama(1);
    let folder = Folder::of(&spec);
    let path = folder.file("model.gguf");
    let mut metadata = gguf_metadata(&spec).unwrap();
    for (key, value) in &mut metadata {
        if key == "tokenizer.ggml.add_bos_token" {
            *value = Value::Bool(true);
        }
    }
    write_gguf_with(&path, &spec, GgmlDType::F32, &metadata).unwrap();
    let plain = Checkpoint::open(folder.path()).unwrap().tokenizer.unwrap();
    let fronted = Checkpoint::open(&path).unwrap().tokenizer.unwrap();
    let (a, b) = (
        plain.encode("the year").unwrap(),
        fronted.encode("the year").unwrap(),
    );
    assert_eq!([&[0], a.ids.as_slice()].concat(), b.ids);
    assert_eq!((a.special, b.special), (0, 1));
}

#[test]
fn a_folder_with_one_gguf_opens_as_that_file() {
    let folder = Folder::empty();
    write_gguf(
        &folder.file("model.gguf"),
        &TinyModel::llama(1),
        GgmlDType::F32,
    )
    .unwrap();
    support::check_good(folder.path());
    // config.json goes first where both are there.
    write_hf(folder.path(), &TinyModel::gpt2(1)).unwrap();
    assert_eq!(
        Checkpoint::open(folder.path()).unwrap().config.model_type,
        "gpt2"
    );
}
