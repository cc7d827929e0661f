//! Training a suite: stopped and gone on with, and asked for what is not there.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::bench::{Bench, run};

const SUITE: &str = r#"
title = "Tiny"
about = "A suite of two for tests."
d-model = 16

[data]
kind = "stories"
seed = 3
length = 32
vocab = 300
valid = 2

[training]
steps = 130
batch = 2
peak = 1e-2
warm-up = 5
floor = 0.1
weight-decay = 0.1
beta2 = 0.95
clip = 1.0
init-sd = 0.02

[[cell]]
name = "neox"
form = "gpt-neox"
layers = 3
heads = 2
parallel = true
rotary-dims = 4
seeds = [1]
keep = [0, 60]

[[cell]]
name = "free"
form = "llama"
layers = 3
heads = 2
d-head = 4
seeds = [2]
"#;

fn suite(bench: &Bench, folder: &str) {
    std::fs::create_dir_all(bench.path(folder)).unwrap();
    std::fs::write(bench.path(&format!("{folder}/suite.toml")), SUITE).unwrap();
}

/// What is the same wherever a model was trained: all but its card, which says
/// how long that took.
fn bytes(bench: &Bench, folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for model in ["neox-s1", "neox-s1@step0", "neox-s1@step60", "free-s2"] {
        for file in [
            "model.safetensors",
            "config.json",
            "tokenizer.json",
            "training.json",
        ] {
            let path = bench.path(&format!("{folder}/{model}/{file}"));
            let found = std::fs::read(&path);
            let found = found.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            all.push((format!("{model}/{file}"), found));
        }
    }
    all
}

#[test]
fn a_suite_that_was_killed_ends_with_the_same_bytes() {
    let bench = Bench::new();
    suite(&bench, "whole");
    let whole = run(bench.xtask(&["train", "whole", "--jobs", "2"]));
    whole.check(
        0,
        &[
            "2 models of whole to train, 260 steps",
            "2 trained in",
            "0 failed",
        ],
    );
    suite(&bench, "cut");
    let mut child = bench.xtask(&["train", "cut", "--jobs", "1"]);
    let mut child = child.stderr(Stdio::null()).spawn().unwrap();
    // Somewhere in the first model, behind the state of step 100.
    let work = bench.path("cut/.training");
    let started = Instant::now();
    let saved = || {
        std::fs::read_dir(&work).is_ok_and(|mut all| {
            all.any(|e| e.is_ok_and(|e| e.path().extension().is_some_and(|e| e == "safetensors")))
        })
    };
    while !saved() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "no state is saved"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let again = run(bench.xtask(&["train", "cut"]));
    again.check(0, &["0 failed"]);
    assert_eq!(bytes(&bench, "cut"), bytes(&bench, "whole"));
    // All are there.
    run(bench.xtask(&["train", "cut"])).check(0, &["plan: 0 models of cut to train"]);
}

#[test]
fn what_cannot_be_trained_is_named() {
    let bench = Bench::new();
    run(bench.xtask(&["train", "nothing"])).check_refused(&["failed to read nothing/suite.toml"]);
    suite(&bench, "tiny");
    let of = ["train", "tiny", "--models", "neox-s7"];
    run(bench.xtask(&of))
        .check_refused(&["there is no neox-s7 in tiny; there are neox-s1, free-s2"]);
    for (from, to, words) in [
        ("steps = 130", "steps = 0", "steps is 0"),
        (
            "keep = [0, 60]",
            "keep = [300]",
            "cell neox keeps step 300 of 130 steps",
        ),
        ("d-head = 4", "d-head = 3", "heads of width 3"),
        (
            "name = \"free\"",
            "name = \"neox\"",
            "cell neox is given twice",
        ),
        ("form = \"llama\"", "form = \"mamba\"", "mamba"),
        ("d-head = 4", "d-hat = 4", "d-h"),
    ] {
        assert!(SUITE.contains(from));
        let path = bench.path("tiny/suite.toml");
        std::fs::write(path, SUITE.replacen(from, to, 1)).unwrap();
        run(bench.xtask(&["train", "tiny"])).check_refused(&["tiny/suite.toml: ", words]);
    }
}
