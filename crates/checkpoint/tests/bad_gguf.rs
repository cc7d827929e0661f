//! GGUF files that are truncated, that lie about lengths, or whose metadata
//! make no model: one error, which names the file and the cause.
#![allow(clippy::unwrap_used)]

mod support;

use assay_testkit::{TinyModel, gguf_metadata, write_gguf, write_gguf_with};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use support::gguf::Gguf;
use support::{Folder, check_bad, check_good};

const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const F32_TENSOR: u32 = 0;

/// A file of these bytes is refused with all of `words`.
#[track_caller]
fn check(gguf: Gguf, words: &[&str]) {
    check_padded(gguf, 0, words);
}

/// As [`check`], with `padding` bytes behind.
#[track_caller]
fn check_padded(mut gguf: Gguf, padding: usize, words: &[&str]) {
    let folder = Folder::empty();
    gguf.0.resize(gguf.0.len() + padding, 0);
    folder.write("model.gguf", gguf.0);
    let words: Vec<&str> = words.iter().copied().chain(["model.gguf"]).collect();
    check_bad(&folder.file("model.gguf"), &words);
}

#[test]
fn what_is_no_gguf_is_refused() {
    check(Gguf(Vec::new()), &["the file ends inside its header"]);
    check(Gguf(b"GGU".to_vec()), &["the file ends inside its header"]);
    check(
        Gguf(b"PK\x03\x04 and more".to_vec()),
        &["0x04034b50, not GGUF"],
    );
    // Big-endian files and the forerunner of the format.
    check(Gguf(b"FUGG0000".to_vec()), &["not GGUF"]);
    check(Gguf(b"tjgg0000".to_vec()), &["not GGUF"]);
    for version in [0, 1, 4, u32::MAX] {
        let gguf = Gguf(b"GGUF".to_vec()).u32(version).u64(0).u64(0);
        check(
            gguf,
            &[
                &format!("its version is {version}"),
                "2 and 3 are supported",
            ],
        );
    }
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let folder = Folder::empty();
    let path = folder.file("model.gguf");
    write_gguf(&path, &TinyModel::llama(1), GgmlDType::Q8_0).unwrap();
    check_good(&path);
    let whole = folder.read("model.gguf");
    let steps = (0..whole.len()).step_by(97);
    for length in steps.chain([whole.len() - 100, whole.len() - 33]) {
        folder.write("model.gguf", &whole[..length]);
        let Err(error) = support::load(&path) else {
            panic!("it loads with {length} of {} bytes", whole.len());
        };
        let message = error.to_string();
        let known = ["ends inside", "beyond the file", "is truncated"];
        assert!(
            known.iter().any(|k| message.contains(k)),
            "{length}: {message}"
        );
        assert!(message.contains("model.gguf"), "{message}");
    }
}

#[test]
fn alignments_that_cannot_be_are_refused() {
    let words = ["general.alignment is not a positive multiple of 8"];
    for value in [0, 1, 12, 33] {
        check(Gguf::new(0, 1).count("general.alignment", value), &words);
    }
    // I32 -32, U64 0, a string, an array.
    check(
        Gguf::new(0, 1)
            .key("general.alignment", 5)
            .u32(-32i32 as u32),
        &words,
    );
    check(Gguf::new(0, 1).key("general.alignment", 10).u64(0), &words);
    check(
        Gguf::new(0, 1).key("general.alignment", STRING).text("32"),
        &words,
    );
    check(
        Gguf::new(0, 1)
            .key("general.alignment", ARRAY)
            .u32(U32)
            .u64(0),
        &words,
    );
    // candle drops zeros at the end of a string: this is the same key to it.
    check(Gguf::new(0, 1).count("general.alignment\0", 0), &words);
    check(Gguf::new(0, 1).count("general.alignment\0\0\0", 0), &words);
}

#[test]
fn dimensions_that_overflow_are_refused() {
    let huge = 1u64 << 63;
    let tensor = |dims: &[u64]| Gguf::new(1, 0).tensor("token_embd.weight", dims, F32_TENSOR);
    check(
        tensor(&[huge, 2]),
        &["the dimensions of tensor token_embd.weight overflow"],
    );
    check(tensor(&[1 << 32, 1 << 32, 2]), &["dimensions", "overflow"]);
    // 2^62 floats are 2^64 bytes.
    check(
        tensor(&[1 << 62]),
        &["the place of tensor token_embd.weight overflows"],
    );
    check(
        tensor(&[1 << 60]),
        &["token_embd.weight reaches beyond the file"],
    );
    check(
        tensor(&[4, 4]),
        &["token_embd.weight reaches beyond the file's"],
    );
    check(tensor(&[1; 5]), &["token_embd.weight has 5 dimensions"]);
    check(tensor(&[1, 1, 1, 1, huge, huge]), &["has 6 dimensions"]);
    check(tensor(&[0]), &["tensor token_embd.weight has no elements"]);
    check(
        tensor(&[huge, 0]),
        &["tensor token_embd.weight has no elements"],
    );
    check(
        tensor(&[0, huge, huge]),
        &["tensor token_embd.weight has no elements"],
    );
    let far = Gguf::new(1, 0)
        .text("a")
        .u32(1)
        .u64(1)
        .u32(F32_TENSOR)
        .u64(u64::MAX - 3);
    check_padded(far, 64, &["the place of tensor a overflows"]);
    let far = Gguf::new(1, 0)
        .text("a")
        .u32(1)
        .u64(1)
        .u32(F32_TENSOR)
        .u64(u64::MAX - 64);
    check_padded(far, 64, &["tensor a reaches beyond the file"]);
}

#[test]
fn absurd_counts_and_lengths_are_refused() {
    for count in [1, 1 << 20, 1 << 40, u64::MAX] {
        check(Gguf::new(count, 0), &["ends inside its header"]);
        check(Gguf::new(0, count), &["ends inside its header"]);
        check(
            Gguf::new(0, 1).u64(count),
            &["a metadata key", "beyond the file"],
        );
        let value = Gguf::new(0, 1).key("a", STRING).u64(count);
        check(value, &["a at byte", "beyond the file"]);
        for kind in [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12] {
            let array = Gguf::new(0, 1).key("a", ARRAY).u32(kind).u64(count);
            check(array, &["a at byte", "beyond the file"]);
        }
        for kind in [STRING, ARRAY] {
            let array = Gguf::new(0, 1).key("a", ARRAY).u32(kind).u64(count);
            check(array, &["ends inside its header"]);
        }
        check(
            Gguf::new(1, 0).u64(count),
            &["a tensor name", "beyond the file"],
        );
    }
    let long = Gguf::new(0, 1).key("a", ARRAY).u32(0).u64((1 << 23) + 1);
    check_padded(
        long,
        1 << 24,
        &["the arrays up to metadata a have more than 8388608"],
    );
    let nested = (0..100_000).fold(Gguf::new(0, 1).key("a", ARRAY), |g, _| g.u32(ARRAY).u64(1));
    check(nested, &["metadata a nests arrays"]);
}

#[test]
fn unknown_types_are_refused() {
    check(
        Gguf::new(0, 1).key("a", 13),
        &["metadata a has unknown type 13"],
    );
    check(
        Gguf::new(0, 1).key("a", ARRAY).u32(99).u64(1),
        &["metadata a has unknown type 99"],
    );
    check_padded(Gguf::new(0, 1).key("a", 7).bytes(&[2]), 32, &["bool"]);
    // Gaps of ggml's list, types that it dropped, and types that candle lacks.
    for kind in [4, 5, 9, 15, 16, 29, 31, 39, 999] {
        let gguf = Gguf::new(1, 0).tensor("a", &[256], kind);
        check_padded(
            gguf,
            4096,
            &[&format!("tensor a has unsupported type {kind}")],
        );
    }
    let gguf = Gguf::new(1, 0).tensor("a", &[33], 8);
    check_padded(gguf, 4096, &["a row of tensor a is not whole blocks of 32"]);
}

#[test]
fn names_that_stand_twice_are_refused() {
    let gguf = Gguf::new(0, 2).count("a", 1).count("a", 2);
    check(gguf, &["metadata a is there twice"]);
    let tensors = Gguf::new(2, 0)
        .tensor("a", &[4], F32_TENSOR)
        .tensor("a", &[4], F32_TENSOR);
    check_padded(tensors, 64, &["tensor a is there twice"]);
}

fn write_with(folder: &Folder, change: impl FnOnce(&mut Vec<(String, Value)>)) {
    let spec = TinyModel::llama(1);
    let mut metadata = gguf_metadata(&spec).unwrap();
    change(&mut metadata);
    write_gguf_with(&folder.file("model.gguf"), &spec, GgmlDType::F32, &metadata).unwrap();
}

/// The model with one field changed, or without it, is refused.
#[track_caller]
fn check_field(field: &str, value: Option<Value>, words: &[&str]) {
    let folder = Folder::empty();
    write_with(&folder, |metadata| {
        metadata.retain(|(key, _)| key != field);
        metadata.extend(value.map(|v| (field.to_owned(), v)));
    });
    let words: Vec<&str> = words.iter().copied().chain(["model.gguf"]).collect();
    check_bad(&folder.file("model.gguf"), &words);
}

fn text(s: &str) -> Option<Value> {
    Some(Value::String(s.to_owned()))
}

fn texts(items: &[&str]) -> Option<Value> {
    let items = items.iter().map(|s| Value::String((*s).to_owned()));
    Some(Value::Array(items.collect()))
}

#[test]
fn metadata_that_make_no_model_are_named() {
    let folder = Folder::empty();
    write_with(&folder, |_| ());
    check_good(folder.path());
    for field in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
    ] {
        check_field(field, None, &[&format!("field {field} is missing")]);
    }
    check_field(
        "general.architecture",
        text("mamba"),
        &[
            "\"mamba\"",
            "llama, qwen2, qwen3, gemma3, gpt2, gptneox (as GGUF)",
        ],
    );
    check_field(
        "llama.block_count",
        text("2"),
        &["field llama.block_count is \"2\""],
    );
    check_field(
        "llama.block_count",
        Some(Value::I32(-2)),
        &["field llama.block_count is -2"],
    );
    check_field(
        "llama.block_count",
        Some(Value::U32(3)),
        &["no tensor model.layers.2."],
    );
    check_field(
        "llama.block_count",
        Some(Value::U32(1 << 31)),
        &["field llama.block_count is 2147483648, and the file has"],
    );
    check_field(
        "llama.block_count",
        Some(Value::Array(vec![Value::U32(2)])),
        &["field llama.block_count is \"an array\""],
    );
    check_field(
        "llama.block_count",
        Some(Value::U32(1)),
        &["holds tensor model.layers.1."],
    );
    check_field(
        "llama.embedding_length",
        Some(Value::U32(64)),
        &["shape mismatch in model.", "64]", "32]"],
    );
    let heads = "llama.attention.head_count";
    check_field(
        heads,
        Some(Value::U32(5)),
        &["field llama.attention.head_count is 5", "divide"],
    );
    check_field(
        "llama.attention.head_count_kv",
        Some(Value::U32(3)),
        &[
            "field llama.attention.head_count_kv is 3",
            "divide the 4 query heads",
        ],
    );
    check_field(
        "llama.rope.dimension_count",
        Some(Value::U32(7)),
        &["field llama.rope.dimension_count rotates 7 of the 8"],
    );
    check_field(
        "llama.rope.freq_base",
        Some(Value::F32(-1.0)),
        &["field llama.rope.freq_base is -1, not above 0"],
    );
    check_field(
        "llama.rope.freq_base",
        Some(Value::F32(f32::NAN)),
        &["field llama.rope.freq_base is \"NaN\", not a number"],
    );
    check_field(
        "llama.attention.layer_norm_rms_epsilon",
        Some(Value::F32(0.0)),
        &["layer_norm_rms_epsilon is 0, not above 0"],
    );
}

#[test]
fn rope_scalings_without_a_decoder_are_named() {
    let kind = "llama.rope.scaling.type";
    check_field(
        kind,
        text("yarn"),
        &["field llama.rope.scaling.type is \"yarn\""],
    );
    check_field(
        kind,
        text("linear"),
        &["field llama.rope.scaling.factor is missing"],
    );
}

#[test]
fn tokenizers_that_are_not_in_the_table_are_named() {
    let (model, pre) = ("tokenizer.ggml.model", "tokenizer.ggml.pre");
    check_field(
        model,
        text("llama"),
        &["field tokenizer.ggml.pre", "\"llama\""],
    );
    check_field(
        pre,
        text("deepseek-llm"),
        &[
            "field tokenizer.ggml.pre is \"deepseek-llm\" for model \"gpt2\"",
            "gpt-2, smollm, qwen2, llama-bpe for gpt2, and default for llama",
        ],
    );
    check_field(pre, None, &["field tokenizer.ggml.pre is \"default\""]);
    let (tokens, merges) = ("tokenizer.ggml.tokens", "tokenizer.ggml.merges");
    check_field(tokens, None, &["field tokenizer.ggml.tokens is missing"]);
    check_field(merges, None, &["field tokenizer.ggml.merges is missing"]);
    check_field(
        merges,
        texts(&["ab"]),
        &["field tokenizer.ggml.merges holds \"ab\""],
    );
    check_field(
        merges,
        texts(&["no such"]),
        &["field tokenizer.ggml.merges"],
    );
    check_field(
        tokens,
        texts(&[]),
        &[
            "field tokenizer.ggml.token_type has",
            "entries for 0 tokens",
        ],
    );
    let numbers = Some(Value::Array(vec![Value::U32(1)]));
    check_field(
        tokens,
        numbers.clone(),
        &["tokenizer.ggml.tokens holds no string at index 0"],
    );
    check_field(
        merges,
        numbers,
        &["tokenizer.ggml.merges holds no string at index 0"],
    );
    let folder = Folder::empty();
    write_with(&folder, |metadata| {
        metadata.retain(|(key, _)| !key.contains("_bos_token") && !key.contains("bos_token_id"));
        metadata.push(("tokenizer.ggml.add_bos_token".to_owned(), Value::Bool(true)));
    });
    check_bad(
        folder.path(),
        &["field tokenizer.ggml.bos_token_id is missing"],
    );
}

/// A NaN in a stored block scale or value is found after dequantization.
#[test]
fn weights_that_are_not_finite_are_named() {
    let folder = Folder::empty();
    let path = folder.file("model.gguf");
    for (dtype, tensor, name, bits) in [
        (
            GgmlDType::F32,
            "output_norm.weight",
            "tensor model.norm.weight",
            vec![0, 0, 0xc0, 0x7f],
        ),
        (
            GgmlDType::Q8_0,
            "blk.1.ffn_down.weight",
            "tensor model.layers.1.mlp.down_proj.weight",
            vec![0, 0x7e],
        ),
    ] {
        write_gguf(&path, &TinyModel::llama(1), dtype).unwrap();
        let mut file = std::fs::File::open(&path).unwrap();
        let content = Content::read(&mut file).unwrap();
        let start = content.tensor_data_offset + content.tensor_infos[tensor].offset;
        let start = start as usize;
        let mut bytes = folder.read("model.gguf");
        bytes[start..start + bits.len()].copy_from_slice(&bits);
        folder.write("model.gguf", bytes);
        check_bad(&path, &[name, "holds NaN at index 0"]);
    }
}
