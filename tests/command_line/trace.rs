//! `trace`: a file that opens beside one of TransformerLens.

use std::collections::BTreeMap;

use assay_testkit::{Text, TinyModel, tensors, tokenizer, write_gguf};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};

use crate::bench::{Bench, run, three_layers};

/// Traces to "trace.safetensors" and gives the tensors by name.
#[track_caller]
fn trace(bench: &Bench, arguments: &[&str]) -> BTreeMap<String, Tensor> {
    let out = ["--out", "trace.safetensors"];
    let command = bench.xtask(&[&["trace"], arguments, &out].concat());
    run(command).check(0, &["written: trace.safetensors"]);
    let tensors = candle_core::safetensors::load(bench.path(out[1]), &Device::Cpu);
    let mut tensors: BTreeMap<String, Tensor> = tensors.unwrap().into_iter().collect();
    // The prompt itself, beside the sites.
    let tokens = tensors.remove("tokens").unwrap();
    assert_eq!(tokens.dtype(), DType::I64);
    if let Some(embed) = tensors.get("hook_embed") {
        assert_eq!(tokens.dims(), &embed.dims()[..2]);
    }
    tensors
}

type Shapes = BTreeMap<String, Vec<usize>>;

fn shapes(trace: &BTreeMap<String, Tensor>) -> Shapes {
    let shapes = trace.iter().map(|(n, t)| (n.clone(), t.dims().to_vec()));
    shapes.collect()
}

/// Every site but hook_result, with TransformerLens' names and axes, for `t`
/// tokens; `also` are those that only some families have.
fn all_sites(spec: &TinyModel, t: usize, also: &[&str]) -> Shapes {
    let (d, dh, h, kv) = (spec.d_model, spec.d_head(), spec.n_heads, spec.n_kv_heads);
    let of_model = [
        ("hook_embed", vec![1, t, d]),
        ("hook_pos_embed", vec![1, t, d]),
        ("ln_final.hook_scale", vec![1, t, 1]),
        ("ln_final.hook_normalized", vec![1, t, d]),
        ("logits", vec![1, t, spec.vocab]),
    ];
    let of_block = [
        ("hook_resid_pre", vec![1, t, d]),
        ("hook_resid_mid", vec![1, t, d]),
        ("hook_mlp_in", vec![1, t, d]),
        ("hook_resid_post", vec![1, t, d]),
        ("hook_attn_out", vec![1, t, d]),
        ("hook_mlp_out", vec![1, t, d]),
        ("ln1.hook_scale", vec![1, t, 1]),
        ("ln1.hook_normalized", vec![1, t, d]),
        ("ln2.hook_scale", vec![1, t, 1]),
        ("ln2.hook_normalized", vec![1, t, d]),
        ("attn.hook_q", vec![1, t, h, dh]),
        ("attn.hook_k", vec![1, t, kv, dh]),
        ("attn.hook_v", vec![1, t, kv, dh]),
        ("attn.hook_rot_q", vec![1, t, h, dh]),
        ("attn.hook_rot_k", vec![1, t, kv, dh]),
        ("attn.hook_attn_scores", vec![1, h, t, t]),
        ("attn.hook_pattern", vec![1, h, t, t]),
        ("attn.hook_z", vec![1, t, h, dh]),
        ("mlp.hook_pre", vec![1, t, spec.d_mlp]),
        ("mlp.hook_pre_linear", vec![1, t, spec.d_mlp]),
        ("mlp.hook_post", vec![1, t, spec.d_mlp]),
    ];
    let some = [
        "hook_pos_embed",
        "hook_resid_mid",
        "attn.hook_rot_q",
        "attn.hook_rot_k",
        "mlp.hook_pre_linear",
    ];
    let here = |name: &str| !some.contains(&name) || also.contains(&name);
    let mut sites = Shapes::new();
    for (name, shape) in of_model.iter().filter(|s| here(s.0)) {
        sites.insert((*name).to_owned(), shape.clone());
    }
    for (name, shape) in of_block.iter().filter(|s| here(s.0)) {
        for layer in 0..spec.n_layers {
            sites.insert(format!("blocks.{layer}.{name}"), shape.clone());
        }
    }
    sites
}

#[test]
fn every_site_of_every_family() {
    let bench = Bench::new();
    let rotary = ["attn.hook_rot_q", "attn.hook_rot_k"];
    let llama = [&rotary[..], &["hook_resid_mid", "mlp.hook_pre_linear"]].concat();
    for (i, (spec, also)) in [
        (TinyModel::gpt_neox(1), &rotary[..]),
        (TinyModel::gpt2(1), &["hook_pos_embed", "hook_resid_mid"]),
        (TinyModel::llama(1), &llama),
    ]
    .into_iter()
    .enumerate()
    {
        let model = bench.model(&format!("tiny-{i}"), &spec);
        let trace = trace(&bench, &[&model, "--ids", "3,1,4,1,5"]);
        assert_eq!(
            shapes(&trace),
            all_sites(&spec, 5, also),
            "{:?}",
            spec.architecture
        );
        let f32 = |t: &Tensor| t.dtype() == DType::F32;
        assert!(trace.values().all(f32));
    }
}

/// The values are those of the model: what can be said without a pass.
#[test]
fn values_are_at_their_places() {
    let bench = Bench::new();
    let spec = three_layers(TinyModel::llama(1));
    let model = bench.model("tiny", &spec);
    let ids = [3u32, 1, 4, 1, 5];
    let trace = trace(&bench, &[&model, "--ids", "3,1,4,1,5"]);
    let rows = |name: &str| trace[name].squeeze(0).unwrap().to_vec2::<f32>().unwrap();
    let (_, embedding) = tensors(&spec).unwrap().remove(0);
    let embedding = embedding.to_vec2::<f32>().unwrap();
    let embedded: Vec<_> = ids
        .iter()
        .map(|id| embedding[*id as usize].clone())
        .collect();
    assert_eq!(rows("hook_embed"), embedded);
    assert_eq!(rows("blocks.0.hook_resid_pre"), embedded);
    for l in 0..2 {
        let post = rows(&format!("blocks.{l}.hook_resid_post"));
        assert_eq!(post, rows(&format!("blocks.{}.hook_resid_pre", l + 1)));
        assert_ne!(post, rows(&format!("blocks.{l}.hook_resid_pre")));
    }
    let pattern = trace["blocks.1.attn.hook_pattern"].squeeze(0).unwrap();
    for head in pattern.to_vec3::<f32>().unwrap() {
        for (query, keys) in head.iter().enumerate() {
            let sum: f32 = keys.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            assert!(keys[query + 1..].iter().all(|p| *p == 0.0));
        }
    }
}

#[test]
fn patterns_choose_sites() {
    let bench = Bench::new();
    let spec = three_layers(TinyModel::gpt_neox(1));
    let model = bench.model("tiny", &spec);
    let names = |sites: &[&str]| {
        let mut arguments = vec![model.as_str(), "--ids", "1,2"];
        arguments.extend(sites.iter().flat_map(|s| ["--sites", s]));
        trace(&bench, &arguments).into_keys().collect::<Vec<_>>()
    };
    let posts = [0, 1, 2].map(|l| format!("blocks.{l}.hook_resid_post"));
    assert_eq!(names(&["blocks.*.hook_resid_post"]), posts);
    assert_eq!(
        names(&["blocks.?.hook_resid_post", "blocks.1.*_post"]).len(),
        4
    );
    let result = "blocks.1.attn.hook_result";
    assert_eq!(names(&[result, "logits"]), [result, "logits"]);
    assert_eq!(names(&["hook_embed", "hook_embed"]), ["hook_embed"]);
}

/// A prompt is its token ids, and a GGUF file with the same weights is the
/// same model: same bytes in the file.
#[test]
fn equal_input_gives_equal_files() {
    let bench = Bench::new();
    let spec = TinyModel {
        text: Text::Gpt2,
        ..three_layers(TinyModel::llama(1))
    };
    let model = bench.model("tiny", &spec);
    let gguf = bench.path("models").join("tiny.gguf");
    write_gguf(&gguf, &spec, GgmlDType::F32).unwrap();
    let text = "-1 The year is 1999.";
    let encoded = tokenizer(Text::Gpt2)
        .unwrap()
        .unwrap()
        .encode(text, true)
        .unwrap();
    let ids: Vec<String> = encoded.get_ids().iter().map(u32::to_string).collect();
    let (ids, prompt) = (
        format!("--ids={}", ids.join(",")),
        format!("--prompt={text}"),
    );
    let bytes = |model: &str, input: &str| {
        trace(&bench, &[model, input]);
        std::fs::read(bench.path("trace.safetensors")).unwrap()
    };
    let first = bytes(&model, &ids);
    assert!(first == bytes(&model, &ids));
    assert!(first == bytes(&model, &prompt));
    assert!(first == bytes(gguf.to_str().unwrap(), &prompt));
    assert!(first != bytes(&model, "--ids=1,2"));
}

/// Could not run, says why, and writes no file.
#[track_caller]
fn check_refused(bench: &Bench, arguments: &[&str], words: &[&str]) {
    let out = ["--out", "refused.safetensors"];
    run(bench.xtask(&[&["trace"], arguments, &out].concat())).check_refused(words);
    assert!(!bench.path("refused.safetensors").exists());
}

#[test]
fn what_cannot_be_traced_is_said() {
    let bench = Bench::new();
    let spec = TinyModel {
        context: 8,
        ..TinyModel::gpt_neox(1)
    };
    let model = bench.model("tiny", &spec);
    let model = model.as_str();
    check_refused(
        &bench,
        &[model, "--prompt", ""],
        &["tokenizer.json", "the text is empty"],
    );
    check_refused(
        &bench,
        &[model, "--ids", "1", "--sites", "blocks.*.hook_residue"],
        &["\"blocks.*.hook_residue\" matches no hook site of this gpt_neox model"],
    );
    // Exists in other families only.
    let mid = "blocks.0.hook_resid_mid";
    check_refused(&bench, &[model, "--ids", "1", "--sites", mid], &[mid]);
    let beyond = ["token 512 and the vocabulary ends at 512"];
    check_refused(&bench, &[model, "--ids", "511,512"], &beyond);
    let long = ["9 tokens and the model's context is 8"];
    check_refused(&bench, &[model, "--ids", "1,2,3,4,5,6,7,8,9"], &long);
    check_refused(&bench, &["models/none", "--ids", "1"], &["models/none"]);
    let silent = bench.model(
        "silent",
        &TinyModel {
            text: Text::None,
            ..spec
        },
    );
    check_refused(
        &bench,
        &[&silent, "--prompt", "a"],
        &["has no tokenizer", "--ids"],
    );
    let nowhere = bench.xtask(&["trace", model, "--ids", "1", "--out", "no/where"]);
    run(nowhere).check_refused(&["cannot write no/where"]);
}

/// Arguments that are none are refused before a model is loaded.
#[test]
fn arguments_that_are_none() {
    let bench = Bench::new();
    let model = bench.model("tiny", &TinyModel::gpt_neox(1));
    for (ids, word) in [
        ("1,x", "x"),
        ("", ""),
        ("1,,2", ""),
        ("-1", "-1"),
        ("4294967296", "4294967296"),
    ] {
        let ids = format!("--ids={ids}");
        let ended = run(bench.xtask(&["trace", &model, &ids, "--out", "t"]));
        ended.check(2, &[&format!("invalid value '{word}' for '--ids <IDS>'")]);
        assert!(!ended.text.contains("loading"), "{}", ended.text);
    }
    let both = bench.xtask(&["trace", &model, "--ids", "1", "--prompt", "a", "--out", "t"]);
    run(both).check(2, &["cannot be used with"]);
    run(bench.xtask(&["trace", &model, "--out", "t"])).check(2, &["--ids"]);
    run(bench.xtask(&["trace", &model, "--ids", "1"])).check(2, &["--out"]);
    assert!(!bench.path("t").exists());
}
