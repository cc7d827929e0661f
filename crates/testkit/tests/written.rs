//! What the testkit writes is what the checkpoint crate opens.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use assay_checkpoint::{BlockKind, Checkpoint};
use assay_decoder::{Decoder, NoHooks, Pack};
use assay_testkit::{Architecture, Text, TinyModel, tensors, tokenizer, write_gguf, write_hf};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device};

/// Opens, loads and runs a text through it.
#[track_caller]
fn check_runs(path: &Path, spec: &TinyModel) {
    let checkpoint = Checkpoint::open(path).unwrap();
    assert_eq!(checkpoint.config.n_layers, spec.n_layers);
    let family = match spec.architecture {
        Architecture::GptNeoX => "gpt_neox",
        Architecture::Gpt2 => "gpt2",
        Architecture::Llama => "llama",
    };
    assert_eq!(checkpoint.config.model_type, family);
    assert_eq!(checkpoint.config.block, spec.block);
    let parameters: usize = tensors(spec)
        .unwrap()
        .iter()
        .map(|(_, t)| t.elem_count())
        .sum();
    assert_eq!(checkpoint.weights.parameters(), parameters as u64);
    let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
    let text = "The capital of France is été 中文 1999\n\t🦀";
    let ids = checkpoint.tokenizer.unwrap().encode(text).unwrap().ids;
    decoder
        .forward(&Pack::new(&[ids]).unwrap(), &mut NoHooks)
        .unwrap();
}

#[test]
fn every_family_storage_and_layout_opens_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let families = [
        TinyModel::gpt_neox(1),
        TinyModel::gpt2(1),
        TinyModel::llama(1),
    ];
    for (i, family) in families.into_iter().enumerate() {
        for storage in [DType::F32, DType::F16, DType::BF16] {
            for (shards, tied) in [(1, true), (3, false)] {
                let spec = TinyModel {
                    storage,
                    shards,
                    tied,
                    ..family.clone()
                };
                let path = folder.path().join(format!("{i}-{storage:?}-{shards}"));
                write_hf(&path, &spec).unwrap();
                let single = path.join("model.safetensors").exists();
                assert_eq!(single, shards == 1);
                check_runs(&path, &spec);
            }
        }
    }
    let sequential = TinyModel {
        block: BlockKind::Sequential,
        ..TinyModel::gpt_neox(1)
    };
    let path = folder.path().join("sequential");
    write_hf(&path, &sequential).unwrap();
    check_runs(&path, &sequential);
}

#[test]
fn every_gguf_type_opens_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    for (dtype, tied) in [
        (GgmlDType::F32, true),
        (GgmlDType::Q8_0, false),
        (GgmlDType::Q4_1, true),
    ] {
        let spec = TinyModel {
            tied,
            ..TinyModel::llama(2)
        };
        let path = folder.path().join(format!("{dtype:?}.gguf"));
        write_gguf(&path, &spec, dtype).unwrap();
        check_runs(&path, &spec);
    }
}

/// The same specification gives the same bytes; another seed gives others.
#[test]
fn bytes_are_a_function_of_the_specification() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str, seed: u64| {
        let path = folder.path().join(name);
        write_hf(&path, &TinyModel::llama(seed)).unwrap();
        let gguf = path.join("model.gguf");
        write_gguf(&gguf, &TinyModel::llama(seed), GgmlDType::Q8_0).unwrap();
        [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "model.gguf",
        ]
        .map(|file| std::fs::read(path.join(file)).unwrap())
    };
    let (a, again, other) = (bytes("a", 3), bytes("again", 3), bytes("other", 4));
    assert!(a == again);
    assert!(a[1] != other[1] && a[3] != other[3]);
    assert_eq!(a[0], other[0]);
}

/// First values of a stream, to the bit: they must never change, because
/// expected results elsewhere stand on them.
#[test]
fn the_streams_are_pinned() {
    let weights = tensors(&TinyModel::llama(0)).unwrap();
    let (name, embedding) = &weights[0];
    assert_eq!(name, "model.embed_tokens.weight");
    let first = embedding.flatten_all().unwrap().narrow(0, 0, 3).unwrap();
    assert_eq!(
        first.to_vec1::<f32>().unwrap(),
        [-0.157_388_6, -1.425_953, -0.942_681_67]
    );
}

#[test]
fn text_survives_the_tokenizer() {
    for kind in [Text::Gpt2, Text::SmolLm] {
        let tokenizer = tokenizer(kind).unwrap().unwrap();
        for text in [
            "The year is 1999.",
            "a\n\nb\t  c",
            "é中🦀",
            "\u{0}\u{ad}\u{a0}",
        ] {
            let ids = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
    }
}

#[test]
fn contradictions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let small = TinyModel {
        vocab: 100,
        ..TinyModel::gpt2(0)
    };
    let error = write_hf(folder.path(), &small).unwrap_err().to_string();
    assert!(error.contains("tokens and the vocabulary 100"), "{error}");
    let path = folder.path().join("x.gguf");
    let error = write_gguf(&path, &TinyModel::gpt2(0), GgmlDType::F32).unwrap_err();
    assert!(
        error.to_string().contains("no GGUF layout for Gpt2"),
        "{error}"
    );
}
