//! What a run meets now and then: nobody who listens, names that are alike,
//! lists and notes that are damaged, models of impossible sizes.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use assay_testkit::TinyModel;

use crate::bench::{Bench, check_same, files, run, three_layers};

/// Work does not end because nobody listens any more.
#[test]
fn a_run_that_nobody_hears_ends_well() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce_to(&models, "usual", "usual-out")).check(0, &[]);
    let mut command = bench.reproduce(&models);
    command.args(["--workers", "2", "--memory", "600MiB"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
    let usual = bench.results("usual", "usual-out");
    check_same(&bench.results("store", "out"), &usual);
}

#[test]
fn output_that_is_lost_is_said_and_output_that_is_not_wanted_is_not() {
    let bench = Bench::new();
    let mut command = bench.xtask(&["claims"]);
    command.stdout(File::options().write(true).open("/dev/full").unwrap());
    run(command).check_refused(&["failed to write the output", "No space left"]);
    let mut command = bench.xtask(&["claims"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty());
}

#[test]
fn a_model_of_impossible_sizes_is_a_row_of_its_own() {
    let bench = Bench::new();
    let models = bench.two_models();
    let path = bench.path("models/tiny-llama/config.json");
    let mut config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (field, value) in [
        ("num_hidden_layers", 10_000),
        ("hidden_size", 2_147_483_640_u64),
        ("num_attention_heads", 1),
        ("num_key_value_heads", 1),
        ("intermediate_size", 2_147_483_647),
        ("vocab_size", 2_147_483_647),
    ] {
        config[field] = value.into();
    }
    std::fs::write(&path, config.to_string()).unwrap();
    let ended = run(bench.reproduce(&models));
    ended.check(
        0,
        &["tiny-llama", "not run", "config.json", "none has above"],
    );
    assert_eq!(ended.text.matches("measured in").count(), 1);
}

#[test]
fn experiments_that_are_named_are_meant() {
    let bench = Bench::new();
    let models = bench.two_models().join(",");
    let arguments = ["reproduce", "--all", "--experiments", "h25-gain"];
    let mut command = bench.xtask(&arguments);
    command.args(["--models", &models, "--offline", "--dry-run"]);
    run(command).check(0, &["plan: h25-gain over 2 models"]);
}

/// "my_model" and "my+model" are two models.
#[test]
fn names_that_are_alike_in_letters_are_told_apart() {
    let bench = Bench::new();
    let spec = |seed| three_layers(TinyModel::llama(seed));
    let models = [("my_model", 1), ("my+model", 2), ("My-Model", 3)];
    let models = models.map(|(name, seed)| bench.model(name, &spec(seed)));
    run(bench.reproduce(&models)).check(0, &[]);
    let report = std::fs::read_to_string(bench.path("out/report.md")).unwrap();
    for name in ["my\\_model", "my+model", "My-Model"] {
        assert!(report.contains(name), "no {name}");
    }
}

#[test]
fn a_model_called_as_golden_values_call_none_is_refused() {
    let bench = Bench::new();
    let model = bench.model("published", &three_layers(TinyModel::llama(1)));
    run(bench.reproduce(&[model])).check_refused(&["called published", "rename"]);
}

/// A note of a record's making that is damaged or gone is made again, with the
/// record.
#[test]
fn a_note_is_mended_by_the_next_run() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    let usual = bench.results("store", "out");
    let folder = bench.path("store/made/h25-gain");
    let name = files(&folder).into_keys().next().unwrap();
    let note = folder.join(&name);
    let whole = std::fs::read(&note).unwrap();
    for damage in [Some(&whole[..whole.len() / 2]), None] {
        match damage {
            Some(bytes) => std::fs::write(&note, bytes).unwrap(),
            None => std::fs::remove_file(&note).unwrap(),
        }
        let ended = run(bench.reproduce(&models));
        ended.check(
            0,
            if damage.is_some() {
                &["it is computed again"]
            } else {
                &[]
            },
        );
        assert_eq!(ended.text.matches("measured in").count(), 1);
        assert!(note.exists());
        check_same(&bench.results("store", "out"), &usual);
    }
}

fn run_one(bench: &Bench, experiment: &str, model: &str) -> std::process::Command {
    bench.xtask(&["run", experiment, "--models", model, "--store", "store"])
}

#[test]
fn one_experiment_is_run_whatever_became_of_the_others() {
    let bench = Bench::new();
    let [model, _] = bench.two_models();
    run(run_one(&bench, "h25-gain", &model)).check(0, &[]);
    let record = bench.record_of("store", "tiny-neox");
    let whole = std::fs::read(&record).unwrap();
    std::fs::write(&record, "{").unwrap();
    run(run_one(&bench, "pythia-anomaly", &model)).check(0, &["measured"]);
    // What all are asked of says how it is mended.
    let name = record.file_name().unwrap().to_str().unwrap();
    let again = "cargo xtask run h25-gain --models tiny-neox computes it again";
    for command in ["stats", "golden"] {
        let again = if command == "stats" {
            "cargo xtask run h25-gain"
        } else {
            again
        };
        run(bench.xtask(&[command, "--store", "store"])).check_refused(&[name, again]);
    }
    std::fs::write(&record, whole).unwrap();
    run(bench.xtask(&["stats", "--store", "store"])).check(0, &[]);
    // The others' list is not thrown away because it cannot be read.
    let list = bench.path("store/last-run.json");
    std::fs::write(&list, "{").unwrap();
    run(run_one(&bench, "h25-gain", &model)).check_refused(&["last-run.json"]);
}

#[test]
fn a_store_that_cannot_be_added_to_is_refused_before_any_work() {
    let bench = Bench::new();
    let models = bench.two_models();
    std::os::unix::fs::symlink(bench.path("nowhere"), bench.path("dangling")).unwrap();
    std::fs::write(bench.path("run.zip"), "").unwrap();
    for (store, words) in [
        ("run.zip", "archive of a finished run"),
        ("dangling", "link that leads nowhere"),
    ] {
        let ended = run(bench.reproduce_to(&models, store, "out"));
        ended.check_refused(&[store, words]);
        assert!(!ended.text.contains("plan:"), "{}", ended.text);
    }
    run(bench.xtask(&["stats", "--store", "run.zip"])).check_refused(&["archive"]);
    let mut command = bench.xtask(&["reproduce", "--all", "--offline", "--store"]);
    command.arg(OsStr::from_bytes(b"st\xffre"));
    run(command).check_refused(&["not UTF-8"]);
}
