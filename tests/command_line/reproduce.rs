//! From models to a report, and the same bytes every time.

use std::os::unix::fs::PermissionsExt;

use assay_testkit::{TinyModel, write_gguf};
use candle_core::quantized::GgmlDType;

use crate::bench::{Bench, check_same, files, run, three_layers};

/// The list of a run as (measured models, models not run).
fn listed(bench: &Bench) -> (Vec<String>, Vec<String>) {
    let text = std::fs::read_to_string(bench.path("store/last-run.json")).unwrap();
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names = |kind: &str| {
        let rows = list["run"]["experiments"]["h25-gain"][kind]
            .as_array()
            .unwrap();
        let names = rows.iter().map(|r| r["model"].as_str().unwrap().to_owned());
        names.collect()
    };
    (names("measured"), names("not_run"))
}

#[test]
fn two_models_make_a_report_and_a_second_run_computes_nothing() {
    let bench = Bench::new();
    let models = bench.two_models();
    let first = run(bench.reproduce(&models));
    first.check(0, &["plan: h25-gain over", "report: out"]);
    assert_eq!(first.text.matches("h25-gain measured in").count(), 2);
    assert_eq!(bench.records("store").len(), 2);
    let names = ["tiny-neox", "tiny-llama"];
    assert_eq!(listed(&bench), (names.map(str::to_owned).to_vec(), vec![]));

    // The report is in all its forms about these models, and says nothing of
    // where they lie on this machine.
    let results = bench.results("store", "out");
    for report in ["report.md", "report.html", "report.tex"] {
        let text = std::str::from_utf8(&results[&format!("out/{report}")]).unwrap();
        for name in names {
            assert!(text.contains(name), "{report} lacks {name}");
        }
    }
    for (name, bytes) in &results {
        let folder = bench.path("models");
        let folder = folder.to_str().unwrap().as_bytes();
        let holds = bytes.windows(folder.len()).any(|w| w == folder);
        assert!(!holds, "{name} holds the path of the models");
    }
    for name in ["macros.tex", "results.zip", "figures/h25-gain-clamp.svg"] {
        assert!(results.contains_key(&format!("out/{name}")), "no {name}");
    }

    let second = run(bench.reproduce(&models));
    second.check(0, &[]);
    assert_eq!(second.text.matches("h25-gain is in the store").count(), 2);
    assert!(!second.text.contains("measured in"), "{}", second.text);
    check_same(&bench.results("store", "out"), &results);

    // So does each step by itself.
    run(bench.xtask(&["stats", "--store", "store"])).check(0, &["summaries: store"]);
    run(bench.xtask(&["report", "--store", "store", "--out", "again"])).check(0, &[]);
    check_same(&bench.results("store", "again"), &results);
    let golden = run(bench.xtask(&["golden", "--store", "store"]));
    golden.check(0, &["golden"]);
    assert!(!golden.text.contains("OFF"), "{}", golden.text);
}

#[test]
fn records_and_report_are_a_function_of_the_models() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    let results = bench.results("store", "out");
    for threads in ["1", "2"] {
        let (store, out) = (format!("store-{threads}"), format!("out-{threads}"));
        let mut command = bench.reproduce_to(&models, &store, &out);
        command.env("RAYON_NUM_THREADS", threads);
        run(command).check(0, &["h25-gain measured in"]);
        check_same(&bench.results(&store, &out), &results);
    }
    // Nor does it matter where they lie.
    std::fs::rename(bench.path("models"), bench.path("moved")).unwrap();
    let moved = ["moved/tiny-neox", "./moved/../moved/tiny-llama"].map(str::to_owned);
    run(bench.reproduce_to(&moved, "store-3", "out-3")).check(0, &["measured in"]);
    check_same(&bench.results("store-3", "out-3"), &results);
}

/// Each computed number depends on the weights: another seed under the same
/// name is measured anew, and leaves the first record as it was.
#[test]
fn other_weights_under_the_same_name_are_measured_anew() {
    let bench = Bench::new();
    let spec = three_layers(TinyModel::gpt_neox(1));
    let model = [bench.model("tiny", &spec)];
    run(bench.reproduce(&model)).check(0, &["h25-gain measured in"]);
    let first = files(&bench.path("store/records"));
    bench.model("tiny", &TinyModel { seed: 2, ..spec });
    run(bench.reproduce(&model)).check(0, &["h25-gain measured in"]);
    let mut both = files(&bench.path("store/records"));
    assert_eq!(both.len(), 2);
    both.retain(|name, _| first.contains_key(name));
    check_same(&both, &first);
}

#[test]
fn a_switch_that_may_change_numbers_makes_another_record() {
    let bench = Bench::new();
    let model = [bench.model("tiny", &three_layers(TinyModel::llama(1)))];
    run(bench.reproduce(&model)).check(0, &["h25-gain measured in"]);
    let mut switched = bench.reproduce(&model);
    switched.env(assay_record::SWITCHES[0], "1");
    run(switched).check(0, &["h25-gain measured in"]);
    assert_eq!(bench.records("store").len(), 2);
}

#[test]
fn a_model_given_twice_is_measured_once() {
    let bench = Bench::new();
    let model = bench.model("tiny", &three_layers(TinyModel::gpt2(1)));
    let models = [model.clone(), model, "models/tiny".to_owned()];
    let mut command = bench.reproduce(&models);
    command.args(["--experiments", "h25-gain,h25-gain"]);
    let ended = run(command);
    ended.check(0, &[]);
    assert_eq!(ended.text.matches("measured in").count(), 1);
    assert_eq!(listed(&bench).0, ["tiny"]);
}

#[test]
fn a_gguf_file_is_a_model() {
    let bench = Bench::new();
    let file = bench.path("models").join("tiny-q8.gguf");
    let spec = three_layers(TinyModel::llama(4));
    write_gguf(&file, &spec, GgmlDType::Q8_0).unwrap();
    let model = [file.to_str().unwrap().to_owned()];
    run(bench.reproduce(&model)).check(0, &["h25-gain measured in"]);
    assert_eq!(listed(&bench).0, ["tiny-q8"]);
}

/// A worker that dies, as for lack of memory, costs its model and no other.
#[test]
fn a_worker_that_dies_costs_one_model() {
    let bench = Bench::new();
    let models = bench.two_models();
    // Stands before the worker and dies of requests to run the first model.
    let worker = bench.path("bin").join("assay-worker");
    std::fs::rename(&worker, bench.path("bin").join("real")).unwrap();
    let script = "#!/bin/sh\n\
                  real=\"${0%/*}/real\"\n\
                  [ \"$1\" = run ] || exec \"$real\" \"$@\"\n\
                  read -r request\n\
                  case $request in *'\"model\":\"tiny-neox\"'*) kill -9 $$ ;; esac\n\
                  printf '%s\\n' \"$request\" | \"$real\" \"$@\"\n";
    let new = bench.path("bin").join("new");
    std::fs::write(&new, script).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, worker).unwrap();
    let ended = run(bench.reproduce(&models));
    ended.check(0, &["not run: the worker ended with signal: 9"]);
    let (measured, not_run) = listed(&bench);
    assert_eq!(
        (measured, not_run),
        (vec!["tiny-llama".to_owned()], vec!["tiny-neox".to_owned()])
    );
}

/// With LaTeX, where it is installed.
#[test]
fn the_report_is_typeset() {
    let bench = Bench::new();
    // Names with characters that mean something to LaTeX or Markdown.
    let model = bench.model("tiny_neox+1", &three_layers(TinyModel::gpt_neox(1)));
    run(bench.reproduce(&[model])).check(0, &["report.pdf is not written"]);
    let mut command = bench.xtask(&["report", "--store", "store", "--out", "out"]);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    let ended = run(command);
    ended.check(0, &["report: out"]);
    if ended.text.contains("latexmk is not installed") {
        println!("latexmk is not installed: report.pdf was not looked at");
        return;
    }
    let pdf = std::fs::read(bench.path("out/report.pdf")).unwrap();
    assert!(pdf.starts_with(b"%PDF-"));
    // Without it, an old one must not pass for this report's.
    run(bench.xtask(&["report", "--store", "store", "--out", "out"])).check(0, &[]);
    assert!(!bench.path("out/report.pdf").exists());
}
