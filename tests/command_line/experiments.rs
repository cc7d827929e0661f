//! Every experiment by itself, on a tiny model.

use assay_testkit::TinyModel;

use crate::bench::{Bench, run};

fn deep(model: TinyModel) -> TinyModel {
    TinyModel {
        n_layers: 4,
        context: 1024,
        ..model
    }
}

#[track_caller]
fn check(experiment: &str) {
    let bench = Bench::new();
    let models = [
        bench.model("tiny-neox", &deep(TinyModel::gpt_neox(1))),
        bench.model("tiny-llama", &deep(TinyModel::llama(2))),
    ];
    let go = || {
        let models = models.join(",");
        let arguments = ["run", experiment, "--models", &models, "--store", "store"];
        run(bench.xtask(&arguments))
    };
    let measured = |name: &str| format!("{name}: {experiment} measured in");
    go().check(0, &[&measured("tiny-neox"), &measured("tiny-llama")]);
    let kept = |name: &str| format!("{name}: {experiment} is in the store");
    go().check(0, &[&kept("tiny-neox"), &kept("tiny-llama")]);
    let arguments = ["report", "--store", "store", "--out", "out"];
    run(bench.xtask(&arguments)).check(0, &["report: out"]);
    let report = std::fs::read_to_string(bench.path("out/report.md")).unwrap();
    assert!(report.contains("tiny-neox") && report.contains("tiny-llama"));
}

#[test]
fn value_contraction() {
    check("value-contraction");
}

#[test]
fn pythia_anomaly() {
    check("pythia-anomaly");
}

/// A bank that cannot answer is refused by name, and the run goes on.
#[test]
fn a_bank_of_unequal_groups() {
    let bench = Bench::new();
    let model = bench.model("tiny", &deep(TinyModel::gpt_neox(1)));
    let line = |topic: &str, group: &str| {
        format!(
            "{{\"id\": \"{topic}.{group}\", \"category\": \"{topic}\", \"tags\": {{\"set\": \"matched\", \"group\": \"{group}\"}}, \"text\": \"some {group} words on {topic}, long enough\"}}\n"
        )
    };
    let pairs = [("a", "recursive-1"), ("a", "factual"), ("b", "factual")];
    let bank: String = pairs.iter().map(|(t, g)| line(t, g)).collect();
    std::fs::write(bench.path("bank.jsonl"), bank).unwrap();
    let arguments = [
        "run",
        "value-contraction",
        "--models",
        &model,
        "--store",
        "store",
    ];
    let own = ["--prompts", "bank.jsonl"];
    run(bench.xtask(&[&arguments[..], &own].concat())).check(
        0,
        &["not run: tiny: cannot be asked with this bank: unequal counts: topic b has no prompt of group recursive-1"],
    );
    std::fs::write(bench.path("plain.txt"), "one text\nanother\n").unwrap();
    let own = ["--prompts", "plain.txt"];
    run(bench.xtask(&[&arguments[..], &own].concat())).check(
        0,
        &["not run: tiny: cannot be asked with this bank: no prompt has the tag set = matched"],
    );
}
