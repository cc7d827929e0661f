//! Fields of the GGUF families and of SentencePiece tokenizers that are
//! missing or that cannot be: one error, which names the file and the field.
#![allow(clippy::unwrap_used)]

mod support;

use assay_checkpoint::{Architecture, BlockKind, Checkpoint, CheckpointError, Position, QkNorm};
use assay_testkit::{Text, TinyModel, gguf_metadata, write_gguf_with};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use candle_core::{Device, Tensor};
use support::{Folder, check_message};

/// The fields that each family must have, but for its architecture.
fn fields(family: &str) -> Vec<(String, Value)> {
    let eps = match family {
        "gpt2" | "gptneox" => "layer_norm_epsilon",
        _ => "layer_norm_rms_epsilon",
    };
    let mut fields = vec![
        ("block_count", Value::U32(7)),
        ("context_length", Value::U32(64)),
        ("embedding_length", Value::U32(24)),
        ("feed_forward_length", Value::U32(40)),
        ("attention.head_count", Value::U32(4)),
    ];
    if family == "gemma3" {
        fields.push(("attention.sliding_window", Value::U32(5)));
    }
    let attention = format!("{family}.attention.{eps}");
    fields
        .into_iter()
        .map(|(name, value)| (format!("{family}.{name}"), value))
        .chain([(attention, Value::F32(1e-6))])
        .collect()
}

/// Opens a file of these fields and ten tensors that no family has, but one.
fn open(family: &str, fields: &[(String, Value)]) -> Result<Checkpoint, CheckpointError> {
    use candle_core::quantized::QTensor;
    let folder = Folder::empty();
    let small = Tensor::zeros((11, 24), candle_core::DType::F32, &Device::Cpu).unwrap();
    let small = QTensor::quantize(&small, GgmlDType::F32).unwrap();
    let names: Vec<String> = (0..9).map(|i| format!("other.{i}")).collect();
    let mut tensors: Vec<(&str, &QTensor)> = names.iter().map(|n| (n.as_str(), &small)).collect();
    tensors.push(("token_embd.weight", &small));
    let architecture = Value::String(family.to_owned());
    let mut metadata = vec![("general.architecture", &architecture)];
    metadata.extend(fields.iter().map(|(k, v)| (k.as_str(), v)));
    let path = folder.file("model.gguf");
    let mut file = std::fs::File::create(&path).unwrap();
    candle_core::quantized::gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    Checkpoint::open(&path)
}

const FAMILIES: [&str; 6] = ["llama", "qwen2", "qwen3", "gemma3", "gpt2", "gptneox"];

#[test]
fn fields_that_are_missing_are_named() {
    for family in FAMILIES {
        let all = fields(family);
        if let Err(error) = open(family, &all) {
            panic!("{family}: {error}");
        }
        for left_out in &all {
            let rest: Vec<_> = all.iter().filter(|f| f.0 != left_out.0).cloned().collect();
            let Err(error) = open(family, &rest) else {
                panic!("{family} opens without {}", left_out.0);
            };
            let words = format!("field {} is missing", left_out.0);
            check_message(&error.to_string(), &[&words, "model.gguf"]);
        }
    }
}

#[track_caller]
fn check(family: &str, field: &str, value: Value, words: &str) {
    let name = format!("{family}.{field}");
    let mut all = fields(family);
    all.retain(|(key, _)| *key != name);
    all.push((name.clone(), value));
    let Err(error) = open(family, &all) else {
        panic!("it opens, and {words:?} was expected");
    };
    let words = format!("field {name} {words}");
    check_message(&error.to_string(), &[&words, "model.gguf"]);
}

#[test]
fn fields_that_cannot_be_are_named() {
    for family in FAMILIES {
        let wrong = "is 0, not a positive whole number";
        check(family, "block_count", Value::U32(0), wrong);
        let many = "is 11, and the file has 10 tensors";
        check(family, "block_count", Value::U32(11), many);
        let wrong = "is 5, which does not divide the width 24";
        check(family, "attention.head_count", Value::U32(5), wrong);
        let wrong = "is \"an array\", not a positive whole number";
        let array = Value::Array(vec![Value::U32(4)]);
        check(family, "attention.head_count", array, wrong);
    }
    for family in ["llama", "qwen2", "qwen3", "gemma3"] {
        let wrong = "is 3, which does not divide the 4 query heads";
        check(family, "attention.head_count_kv", Value::U32(3), wrong);
        let wrong = "is 4, and keys have 6 dimensions";
        check(family, "attention.value_length", Value::U32(4), wrong);
        let wrong = "is \"yarn\"; supported are none, linear";
        let yarn = Value::String("yarn".to_owned());
        check(family, "rope.scaling.type", yarn, wrong);
        let wrong = "rotates 8 of the 6 dimensions";
        check(family, "rope.dimension_count", Value::U32(8), wrong);
    }
    let wrong = "rotates 3 of the 6 dimensions";
    check("gptneox", "rope.dimension_count", Value::U32(3), wrong);
    let wrong = "is 1, not true or false";
    check("gptneox", "use_parallel_residual", Value::U32(1), wrong);
    let wrong = "is -1, not a positive whole number";
    check("gemma3", "attention.sliding_window", Value::I32(-1), wrong);
    let wrong = "is 0, not a positive whole number";
    let pattern = "attention.sliding_window_pattern";
    check("gemma3", pattern, Value::U32(0), wrong);
    // A pair of rows of Q cannot be told apart in a head of 3.
    let odd = "makes heads of 3 dimensions, and pairs of them are needed";
    check("llama", "attention.head_count", Value::U32(8), odd);
}

/// What the fields of a family come to where they say nothing else.
#[test]
fn configs_are_those_of_the_families() {
    let config = |family: &str| open(family, &fields(family)).unwrap().config;
    for family in FAMILIES {
        let config = config(family);
        assert_eq!(config.model_type, family);
        assert_eq!((config.vocab, config.n_layers, config.d_head), (11, 7, 6));
        assert!(config.tied && !config.gain_from_one);
    }
    let gemma = config("gemma3");
    assert_eq!(gemma.architecture, Architecture::Gemma);
    assert_eq!(
        gemma.windows,
        [[Some(5); 5].as_slice(), &[None, Some(5)]].concat()
    );
    assert_eq!(gemma.qk_norm, Some(QkNorm::Shared));
    let Position::Rotary(global) = &gemma.position else {
        panic!("Gemma has rotary positions");
    };
    let local = gemma.local_rope.as_ref().unwrap();
    assert_eq!((global.base, local.base), (1e6, 1e4));
    assert_eq!(gemma.embed_scale, 24f64.sqrt());
    assert_eq!(gemma.score_scale, 1.0 / 6f64.sqrt());
    assert!(config("qwen2").qkv_bias && !config("qwen2").out_bias);
    assert_eq!(config("qwen3").qk_norm, Some(QkNorm::Shared));
    assert_eq!(config("gptneox").block, BlockKind::Parallel);
    assert_eq!(config("gpt2").position, Position::Learned { offset: 0 });
    // A factor without a type is a linear one.
    let mut scaled = fields("gemma3");
    scaled.push(("gemma3.rope.scaling.factor".to_owned(), Value::F32(8.0)));
    let scaled = open("gemma3", &scaled).unwrap().config;
    assert!(scaled.local_rope == gemma.local_rope && scaled.position != gemma.position);
}

/// A LLaMA whose SentencePiece vocabulary has the fields that `change` makes.
fn tokenizer(
    change: impl FnOnce(&mut Vec<(String, Value)>),
) -> Result<Checkpoint, CheckpointError> {
    let spec = TinyModel {
        text: Text::None,
        ..TinyModel::llama(1)
    };
    let folder = Folder::empty();
    let mut metadata = gguf_metadata(&spec).unwrap();
    metadata.extend(support::gguf::sentencepiece());
    change(&mut metadata);
    let path = folder.file("model.gguf");
    write_gguf_with(&path, &spec, GgmlDType::F32, &metadata).unwrap();
    Checkpoint::open(&path)
}

/// The tokenizer with one field changed, or without it, is refused.
#[track_caller]
fn check_tokenizer(field: &str, value: Option<Value>, words: &str) {
    let name = format!("tokenizer.ggml.{field}");
    let result = tokenizer(|metadata| {
        metadata.retain(|(key, _)| *key != name);
        metadata.extend(value.map(|value| (name.clone(), value)));
    });
    let Err(error) = result else {
        panic!("it opens, and {words:?} was expected");
    };
    let words = format!("field {name} {words}");
    check_message(&error.to_string(), &[&words, "model.gguf"]);
}

#[test]
fn sentencepiece_vocabularies_that_cannot_be_are_named() {
    let checkpoint = tokenizer(|_| ()).unwrap();
    let ids = checkpoint.tokenizer.unwrap().encode("the é").unwrap();
    assert_eq!((ids.special, ids.ids[0]), (1, 1));

    let floats = |n: usize, x: f32| Some(Value::Array(vec![Value::F32(x); n]));
    let kinds = |n: usize, x: i32| Some(Value::Array(vec![Value::I32(x); n]));
    let count = support::gguf::sentencepiece()
        .into_iter()
        .find_map(|(key, value)| match value {
            Value::Array(tokens) if key == "tokenizer.ggml.tokens" => Some(tokens.len()),
            _ => None,
        })
        .unwrap();
    check_tokenizer("tokens", None, "is missing or no array");
    check_tokenizer("scores", None, "is missing or no array");
    let length = format!("has 3 entries for {count} tokens");
    check_tokenizer("scores", floats(3, 0.0), &length);
    check_tokenizer("token_type", kinds(3, 1), &length);
    check_tokenizer("scores", floats(count, f32::NAN), "holds NaN at index 0");
    let numbers = Some(Value::Array(vec![Value::U32(1); count]));
    check_tokenizer("scores", numbers, "holds no number at index 0");
    check_tokenizer(
        "token_type",
        kinds(count, 7),
        "holds no token type at index 0",
    );
    check_tokenizer(
        "token_type",
        kinds(count, 0),
        "holds no token type at index 0",
    );
    let bytes = Value::Array(vec![Value::I32(6); count]);
    // Reported of the tokens, whose texts are wrong for it.
    let error = tokenizer(|metadata| {
        metadata.retain(|(key, _)| key != "tokenizer.ggml.token_type");
        metadata.push(("tokenizer.ggml.token_type".to_owned(), bytes));
    });
    let error = error.err().unwrap().to_string();
    check_message(&error, &["field tokenizer.ggml.tokens", "not <0xNN>"]);
    let error = tokenizer(|metadata| {
        metadata.retain(|(key, _)| key != "tokenizer.ggml.token_type");
    });
    let error = error.err().unwrap().to_string();
    let words = "neither 256 byte tokens nor an unknown one";
    check_message(&error, &["field tokenizer.ggml.tokens", words]);
    check_tokenizer(
        "bos_token_id",
        None,
        "is missing though add_bos_token is true",
    );
    let beyond = format!("is 9999, and there are {count} tokens");
    check_tokenizer("bos_token_id", Some(Value::U32(9999)), &beyond);
    let flag = Some(Value::U32(1));
    check_tokenizer("add_bos_token", flag.clone(), "is not true or false");
    check_tokenizer("add_space_prefix", flag, "is not true or false");
    let yes = Some(Value::Bool(true));
    check_tokenizer(
        "remove_extra_whitespaces",
        yes,
        "is true, which is not supported",
    );
    let map = Some(Value::Array(vec![Value::U8(1)]));
    check_tokenizer(
        "precompiled_charsmap",
        map,
        "is there, which is not supported",
    );
    let pre = Some(Value::String("gemma".to_owned()));
    check_tokenizer(
        "pre",
        pre,
        "is \"gemma\" for model \"llama\"; supported are",
    );
    let wordpiece = Value::String("bert".to_owned());
    let error = tokenizer(|metadata| {
        metadata.retain(|(key, _)| key != "tokenizer.ggml.model");
        metadata.push(("tokenizer.ggml.model".to_owned(), wordpiece));
    });
    let error = error.err().unwrap().to_string();
    check_message(&error, &["field tokenizer.ggml.pre", "for model \"bert\""]);
}

/// Text comes back as it went in, unknown characters byte by byte.
#[test]
fn sentencepiece_gives_the_text_back() {
    let tokenizer = tokenizer(|_| ()).unwrap().tokenizer.unwrap();
    for text in ["the the", " the", "  a", "é\n\n🦀 \u{0}", "</s>", "t", " "] {
        let ids = tokenizer.encode(text).unwrap();
        let back = tokenizer.decode(&ids.ids).unwrap();
        // A control token in a text is that token, and no text.
        let expected = if text == "</s>" { "" } else { text };
        assert_eq!(back, expected, "{:?}", ids.ids);
    }
    let error = tokenizer.decode(&[100_000]).unwrap_err().to_string();
    check_message(
        &error,
        &["model.gguf", "id 100000 is beyond the vocabulary"],
    );
    assert!(tokenizer.encode("").is_err());
}
