//! The Z experiments on a tiny model with a bank of a user's own.

use assay_testkit::TinyModel;

use crate::bench::{Bench, run};

/// Problems in both languages; answers from 1 on.
fn bank(categories: usize, each: usize) -> String {
    let mut lines = String::new();
    for c in 0..categories {
        for i in 1..=each {
            for (language, text) in [
                ("zh", format!("题{c}，{i}：")),
                ("en", format!("task {c} {i}:")),
            ] {
                lines.push_str(&format!(
                    "{{\"id\": \"t{c}-{i}.{language}\", \"category\": \"t{c}\", \"text\": \"{text}\", \"tags\": {{\"set\": \"problems\", \"pair\": \"t{c}-{i}\", \"language\": \"{language}\", \"answer\": \"{i}\", \"check\": \"{i}\", \"difficulty\": \"1\"}}}}\n"
                ));
            }
        }
    }
    lines
}

fn tiny(bench: &Bench) -> String {
    let model = TinyModel {
        n_layers: 4,
        context: 512,
        ..TinyModel::llama(2)
    };
    bench.model("tiny", &model)
}

#[track_caller]
fn go(bench: &Bench, experiment: &str, model: &str, more: &[&str], words: &[&str]) {
    let arguments = ["run", experiment, "--models", model, "--store", "store"];
    let own = ["--prompts", "bank.jsonl"];
    run(bench.xtask(&[&arguments[..], &own, more].concat())).check(0, words);
}

#[test]
fn a_bank_of_the_users_and_the_full_setting_are_kept_apart() {
    let bench = Bench::new();
    let model = tiny(&bench);
    std::fs::write(bench.path("bank.jsonl"), bank(3, 2)).unwrap();
    for (more, word) in [
        (&[][..], "measured in"),
        (&["--full"], "measured in"),
        (&[], "is in the store"),
        (&["--full"], "is in the store"),
    ] {
        let said = format!("tiny: z-causality {word}");
        go(&bench, "z-causality", &model, more, &[&said]);
    }
    let arguments = ["report", "--store", "store", "--out", "out"];
    run(bench.xtask(&arguments)).check(0, &["report: out"]);
    let table = bench.path("out/tables/z-causality-baseline-tiny.csv");
    let table = std::fs::read_to_string(table).unwrap();
    assert!(table.starts_with("language,right,"), "{table}");
}

#[test]
fn banks_that_contradict_themselves_are_named() {
    let bench = Bench::new();
    let model = tiny(&bench);
    let good = bank(3, 2);
    for (from, to, words) in [
        (
            "\"check\": \"2\"",
            "\"check\": \"2 + 1\"",
            "prompt t0-2.zh, tag check: gives 3",
        ),
        (
            "\"language\": \"en\"",
            "\"language\": \"de\"",
            "prompt t0-1.en, tag language: is \"de\"",
        ),
    ] {
        std::fs::write(bench.path("bank.jsonl"), good.replacen(from, to, 1)).unwrap();
        go(
            &bench,
            "z-causality",
            &model,
            &[],
            &["not run: tiny: ", words],
        );
    }
    std::fs::write(bench.path("bank.jsonl"), bank(2, 2)).unwrap();
    go(
        &bench,
        "ard-z",
        &model,
        &[],
        &["4 pairs: halves need four each"],
    );
    go(
        &bench,
        "bridge",
        &model,
        &[],
        &["not run: tiny: cannot be asked with 0 pairs"],
    );
}

/// Where no model can be asked they say what follows from the published
/// numbers.
#[test]
fn without_a_model_the_published_numbers_are_judged() {
    let bench = Bench::new();
    // It is too shallow for any of them.
    let model = bench.model("shallow", &TinyModel::gpt_neox(1));
    let arguments = ["reproduce", "--experiments", "z-causality,ard-z,bridge"];
    let more = ["--models", &model, "--store", "store", "--out", "out"];
    let words = ["not run: shallow: has 2 layers", "report: out"];
    run(bench.xtask(&[&arguments[..], &more].concat())).check(0, &words);
    let report = std::fs::read_to_string(bench.path("out/report.md")).unwrap();
    assert!(report.contains("z.dissociation") && report.contains("REVERSED"));
}
