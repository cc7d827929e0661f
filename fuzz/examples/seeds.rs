//! Writes seeds/: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.
//! They come from testkit's tiny models and from golden/.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use assay_checkpoint::Checkpoint;
use assay_fuzz::Parts;
use assay_testkit::{Text, TinyModel, gguf_metadata, write_gguf, write_gguf_with, write_hf};
use candle_core::DType;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Content;
use serde_json::{Value, json};

#[path = "../../crates/checkpoint/tests/support/gguf.rs"]
#[allow(dead_code)]
mod gguf;
#[path = "../../crates/checkpoint/tests/support/pickle.rs"]
#[allow(dead_code)]
mod pickle;

fn llama(text: Text) -> TinyModel {
    TinyModel {
        n_layers: 1,
        d_model: 8,
        n_heads: 2,
        n_kv_heads: 1,
        d_mlp: 8,
        vocab: if text == Text::None { 8 } else { 320 },
        context: 32,
        text,
        ..TinyModel::llama(1)
    }
}

fn fuzz() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let folder = fuzz().join("seeds").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

/// A GGUF file's header, once the file is seen to be valid.
fn gguf_seed(name: &str, path: &Path) {
    Checkpoint::open(path).unwrap();
    let file = fs::read(path).unwrap();
    let content = Content::read(&mut Cursor::new(&file)).unwrap();
    let (header, data) = file.split_at(content.tensor_data_offset as usize);
    seed("gguf", name, &Parts::input(data.len(), header));
}

/// Tokenizers made of the parts that testkit's are not: as LLaMA 2's, LLaMA
/// 3's and Falcon's are.
fn tokenizers() -> [(&'static str, Value); 3] {
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    };
    let template = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [9], "tokens": ["<s>"]}},
    });
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                       "use_regex": false});
    let merged = json!({"<unk>": 0, "<0x0A>": 1, "▁": 2, "t": 3, "h": 4, "th": 5, "e": 6,
                        "the": 7, "▁the": 8});
    let joined = json!({"Ġ": 0, "t": 1, "h": 2, "e": 3, "th": 4, "the": 5, "1": 6, "9": 7, "Ċ": 8});
    let regex = json!({"Regex": "\\p{N}{1,3}|[^\\r\\n\\p{L}]?\\p{L}+|\\s+(?!\\S)|\\s+"});
    let space = json!({"String": " "});
    let tokenizer = |id: u32, content: &str, parts: [Value; 5]| {
        let [normalizer, pre_tokenizer, post_processor, decoder, model] = parts;
        json!({"version": "1.0", "truncation": null, "padding": null,
               "added_tokens": [special(id, content)], "normalizer": normalizer,
               "pre_tokenizer": pre_tokenizer, "post_processor": post_processor,
               "decoder": decoder, "model": model})
    };
    let llama2 = [
        json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": space, "content": "▁"}]}),
        Value::Null,
        template.clone(),
        json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
        json!({"type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": true,
               "continuing_subword_prefix": null, "end_of_word_suffix": null,
               "byte_fallback": true, "ignore_merges": false, "vocab": merged,
               "merges": ["t h", "th e", "▁ the"]}),
    ];
    let llama3 = [
        json!({"type": "NFC"}),
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": false}, bytes]}),
        json!({"type": "Sequence", "processors": [bytes, template]}),
        bytes.clone(),
        json!({"type": "BPE", "ignore_merges": true, "vocab": joined,
               "merges": [["t", "h"], ["th", "e"]]}),
    ];
    let meta = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
                      "split": true});
    let falcon = [
        json!({"type": "Sequence", "normalizers": [
            {"type": "NFKC"}, {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}),
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Punctuation", "behavior": "Contiguous"},
            {"type": "Digits", "individual_digits": false}, meta]}),
        json!({"type": "RobertaProcessing", "sep": ["t", 3], "cls": ["h", 4],
               "trim_offsets": true, "add_prefix_space": true}),
        meta,
        json!({"type": "BPE", "unk_token": "<unk>", "vocab": merged,
               "merges": ["t h", "th e", "▁ the"]}),
    ];
    [
        ("llama2", tokenizer(9, "<s>", llama2)),
        ("llama3", tokenizer(9, "<s>", llama3)),
        ("falcon", tokenizer(9, "<|endoftext|>", falcon)),
    ]
}

/// The body of a record with one sample.
fn record() -> Value {
    json!({
        "key": {
            "experiment": "fuzz", "spec_version": 1, "spec_sha256": "", "fingerprint": "",
            "model": "m", "family": "m", "revision": "local", "weights_sha256": "", "tokenizer_sha256": "",
            "prompts_sha256": "", "dtype": "f32", "device_class": "cpu", "setting": "default",
            "switches": {},
        },
        "facts": {
            "model_type": "m", "n_layers": 1, "n_heads": 1, "n_kv_heads": 1, "d_model": 8,
            "d_head": 8, "d_mlp": 8, "vocab": 8, "rho": 0.125, "block": "", "norm": "",
            "position": "", "parameters": 8, "stored": "f32",
        },
        "samples": [{
            "unit": "a", "cluster": "b", "text": "c", "token_ids": [1], "special_tokens": 0,
            "measures": {"one": 1.5, "more": [0.25, -3.0]},
        }],
    })
}

fn main() {
    let work = tempfile::tempdir().unwrap();
    let folder = |name: &str| work.path().join(name);
    let golden = fuzz().join("../golden");

    for (name, model) in [
        ("llama", llama(Text::None)),
        ("gpt-neox", TinyModel::gpt_neox(1)),
        ("gpt2", TinyModel::gpt2(1)),
        ("smollm", llama(Text::SmolLm)),
    ] {
        write_hf(&folder(name), &model).unwrap();
        seed(
            "config",
            name,
            &fs::read(folder(name).join("config.json")).unwrap(),
        );
    }
    for entry in fs::read_dir(golden.join("parity")).unwrap() {
        let entry = entry.unwrap();
        let Ok(config) = fs::read(entry.path().join("config.json")) else {
            continue;
        };
        seed("config", entry.file_name().to_str().unwrap(), &config);
    }

    // What people write by hand, as it stands in the project.
    let root = fuzz().join("..");
    for experiment in ["h25-gain", "known-answers", "ard-z"] {
        let path = root.join("experiments").join(experiment);
        let text = fs::read(path.join("experiment.toml")).unwrap();
        seed("declaration", experiment, &text);
    }
    seed(
        "claims",
        "claims",
        &fs::read(root.join("claims.toml")).unwrap(),
    );
    let prompts = fs::read_to_string(root.join("prompts/h25.jsonl")).unwrap();
    let few: Vec<&str> = prompts.lines().take(3).collect();
    seed("prompts", "h25", few.join("\n").as_bytes());
    seed("prompts", "lines", b"one text\nand another\n");
    seed("record", "small", record().to_string().as_bytes());

    for (name, storage) in [
        ("f32", DType::F32),
        ("f16", DType::F16),
        ("bf16", DType::BF16),
    ] {
        let model = TinyModel {
            storage,
            ..llama(Text::None)
        };
        write_hf(&folder(name), &model).unwrap();
        let file = fs::read(folder(name).join("model.safetensors")).unwrap();
        let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let input = Parts::input(file.len() - header, &file[..header]);
        seed("safetensors", name, &input);
    }

    let file = pickle::model(&llama(Text::None));
    seed("archive", "llama", &file);
    let small = fs::read(golden.join("pickle/pytorch_model.bin")).unwrap();
    seed("archive", "torch", &small);
    for (name, file) in [("llama", file), ("torch", small)] {
        let mut archive = zip::ZipArchive::new(Cursor::new(file)).unwrap();
        let entry = archive
            .file_names()
            .find(|n| n.as_ref().unwrap().ends_with("data.pkl"));
        let entry = entry.unwrap().unwrap().into_owned();
        let mut data = Vec::new();
        archive
            .by_name(&entry)
            .unwrap()
            .read_to_end(&mut data)
            .unwrap();
        seed("pickle", name, &Parts::input(1 << 10, &data));
    }

    for (name, text) in [("gpt2", Text::Gpt2), ("smollm", Text::SmolLm)] {
        let at = folder(&format!("text-{name}"));
        write_hf(&at, &llama(text)).unwrap();
        seed(
            "tokenizer",
            name,
            &fs::read(at.join("tokenizer.json")).unwrap(),
        );
    }

    for (name, json) in tokenizers() {
        let file = format!("{json:#}\n");
        let at = folder("llama");
        fs::write(at.join("tokenizer.json"), &file).unwrap();
        let text = Checkpoint::open(&at).unwrap().tokenizer.unwrap();
        text.encode("the 1999").unwrap();
        seed("tokenizer", name, file.as_bytes());
    }

    let at = folder("model.gguf");
    for (name, model) in [
        ("llama", llama(Text::None)),
        ("smollm", llama(Text::SmolLm)),
    ] {
        write_gguf(&at, &model, GgmlDType::F32).unwrap();
        gguf_seed(name, &at);
    }
    let wide = TinyModel {
        d_model: 32,
        d_mlp: 32,
        ..llama(Text::None)
    };
    for dtype in [GgmlDType::Q4_0, GgmlDType::Q8_0, GgmlDType::F16] {
        write_gguf(&at, &wide, dtype).unwrap();
        gguf_seed(&format!("llama-{dtype:?}").to_lowercase(), &at);
    }
    let pieces = TinyModel {
        vocab: 320,
        ..llama(Text::None)
    };
    let mut metadata = gguf_metadata(&pieces).unwrap();
    metadata.retain(|(key, _)| key != "llama.vocab_size");
    metadata.extend(gguf::sentencepiece());
    write_gguf_with(&at, &pieces, GgmlDType::F32, &metadata).unwrap();
    gguf_seed("sentencepiece", &at);
    for name in [
        "gemma3",
        "gpt2",
        "gptneox-parallel",
        "llama-frequencies",
        "llama-q2_k",
        "qwen2",
        "qwen3",
    ] {
        gguf_seed(
            &format!("golden-{name}"),
            &golden.join("gguf").join(name).join("model.gguf"),
        );
    }
}
