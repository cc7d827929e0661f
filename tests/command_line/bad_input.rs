//! Bad input: a clear sentence, and the rest of the run goes on where it can.

use std::path::Path;

use assay_testkit::{TinyModel, tensors, write_hf_with};
use candle_core::{Device, Tensor};

use crate::bench::{Bench, run, three_layers};

/// A faulty model is one row with its reason; the sound one beside it is
/// measured, and the run ends well.
#[track_caller]
fn check_model(spoil: impl FnOnce(&Path), words: &[&str]) {
    let bench = Bench::new();
    let spec = three_layers(TinyModel::gpt_neox(1));
    let faulty = bench.model("faulty", &spec);
    spoil(Path::new(&faulty));
    let sound = bench.model("sound", &spec);
    let ended = run(bench.reproduce(&[faulty, sound]));
    ended.check(0, &["sound: h25-gain measured in"]);
    let row = |l: &&str| l.contains("faulty") && l.contains("not run: ");
    let row = ended.text.lines().rfind(row).expect(&ended.text);
    let report = std::fs::read_to_string(bench.path("out/report.md")).unwrap();
    // Markdown escapes what it would take for marks.
    let report = report.replace('\\', "");
    for words in words {
        assert!(row.contains(words), "no {words:?} in: {row}");
        assert!(report.contains(words), "no {words:?} in the report");
    }
    assert_eq!(bench.records("store").len(), 1);
}

fn edit_config(folder: &Path, from: &str, to: &str) {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn truncated_weights() {
    let truncate = |folder: &Path| {
        let file = std::fs::File::options()
            .write(true)
            .open(folder.join("model.safetensors"))
            .unwrap();
        let len = file.metadata().unwrap().len();
        file.set_len(len - 1).unwrap();
    };
    check_model(truncate, &["model.safetensors", "truncated"]);
}

#[test]
fn a_missing_shard() {
    let bench = Bench::new();
    let spec = TinyModel {
        shards: 3,
        ..three_layers(TinyModel::llama(1))
    };
    let model = bench.model("sharded", &spec);
    let shard = "model-00002-of-00003.safetensors";
    std::fs::remove_file(Path::new(&model).join(shard)).unwrap();
    run(bench.reproduce(&[model])).check(0, &["not run: ", shard]);
    assert!(!bench.path("store/records").exists());
}

#[test]
fn an_unknown_model_type() {
    check_model(
        |folder| edit_config(folder, "\"gpt_neox\"", "\"mamba\""),
        &["config.json", "model_type \"mamba\" is not supported"],
    );
}

#[test]
fn a_config_that_disagrees_with_its_weights() {
    check_model(
        |folder| edit_config(folder, "\"hidden_size\": 32", "\"hidden_size\": 64"),
        &[
            "shape mismatch in gpt_neox.embed_in.weight",
            "[512, 64]",
            "[512, 32]",
        ],
    );
    check_model(
        |folder| {
            edit_config(
                folder,
                "\"num_hidden_layers\": 3",
                "\"num_hidden_layers\": 4",
            )
        },
        &["gpt_neox.layers.3."],
    );
}

#[test]
fn a_config_that_is_not_one() {
    check_model(
        |folder| std::fs::write(folder.join("config.json"), "{").unwrap(),
        &["config.json"],
    );
    check_model(
        |folder| std::fs::remove_file(folder.join("config.json")).unwrap(),
        &["faulty has no config.json"],
    );
}

#[test]
fn weights_that_are_not_numbers() {
    for (value, word) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let spoil = |folder: &Path| {
            let spec = three_layers(TinyModel::gpt_neox(1));
            let mut weights = tensors(&spec).unwrap();
            let name = "gpt_neox.layers.1.mlp.dense_h_to_4h.bias";
            let (_, bias) = weights.iter_mut().find(|(n, _)| n == name).unwrap();
            let mut values = bias.to_vec1::<f32>().unwrap();
            values[7] = value;
            *bias = Tensor::new(values, &Device::Cpu).unwrap();
            write_hf_with(folder, &spec, &weights).unwrap();
        };
        let words = format!("holds {word} at index 7");
        check_model(spoil, &["gpt_neox.layers.1.mlp.dense_h_to_4h.bias", &words]);
    }
}

#[test]
fn prompts_that_the_model_cannot_take() {
    check_model(
        |folder| {
            edit_config(
                folder,
                "\"max_position_embeddings\": 256",
                "\"max_position_embeddings\": 8",
            )
        },
        &["tokens and the model's context is 8"],
    );
    check_model(
        |folder| std::fs::remove_file(folder.join("tokenizer.json")).unwrap(),
        &["has no tokenizer"],
    );
}

#[test]
fn too_few_layers_for_the_published_gain() {
    let bench = Bench::new();
    let models = [bench.model(
        "shallow",
        &TinyModel {
            context: 256,
            ..TinyModel::gpt2(1)
        },
    )];
    let words = "not run: shallow: has 2 layers, and the published gain needs 3";
    run(bench.reproduce(&models)).check(0, &[words, "report: out"]);
}

/// When nothing could be measured, the report still says what and why.
#[test]
fn nothing_to_measure_is_a_report_too() {
    let bench = Bench::new();
    let models = ["pythia-70m".to_owned()];
    run(bench.reproduce(&models)).check(0, &["pythia-70m  not run: ", "report: out"]);
    let report = std::fs::read_to_string(bench.path("out/report.md")).unwrap();
    assert!(report.contains("pythia-70m"));
}

#[test]
fn what_is_not_there_is_named() {
    let bench = Bench::new();
    let model = bench.model("tiny", &three_layers(TinyModel::gpt_neox(1)));
    let asked = |experiment: &str, model: &str| {
        let arguments = ["reproduce", "--experiments", experiment, "--models", model];
        let places = ["--offline", "--store", "store", "--out", "out"];
        run(bench.xtask(&[&arguments[..], &places].concat()))
    };
    let no = |name: &str| {
        format!("there is no experiment {name:?}; there are ard-z, bridge, crowding-trained, ")
    };
    for name in ["h25-loss", "../h25-gain", "H25-GAIN", ""] {
        asked(name, &model).check_refused(&[&no(name)]);
    }
    run(bench.xtask(&["run", "h25-loss", "--store", "store"])).check_refused(&[&no("h25-loss")]);
    for name in ["pythia-71m", "models/none", ""] {
        let words = format!("{name:?} is neither a model of the registry nor a folder or file");
        asked("h25-gain", name).check_refused(&[&words]);
    }
    run(bench.xtask(&["reproduce"])).check(2, &["--all"]);
    run(bench.xtask(&["reproduce", "--al"])).check(2, &["--all"]);
    run(bench.xtask(&["reporduce"])).check(2, &["reproduce"]);
    assert!(!bench.path("out").exists());
    assert!(!bench.path("store/records").exists());
}

#[test]
fn files_in_the_way_are_named() {
    let bench = Bench::new();
    let model = [bench.model("tiny", &three_layers(TinyModel::gpt_neox(1)))];
    std::fs::write(bench.path("file"), "").unwrap();
    run(bench.reproduce_to(&model, "file", "out")).check_refused(&["cannot create file: "]);
    run(bench.reproduce_to(&model, "store", "file")).check_refused(&["file"]);
    assert_eq!(bench.records("store").len(), 1);
}
