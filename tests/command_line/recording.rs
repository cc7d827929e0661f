//! Recorded activations in place of a model.

use std::path::PathBuf;

use assay_testkit::TinyModel;

use crate::bench::{Bench, run, three_layers};

const SITES: [&str; 4] = [
    "blocks.*.hook_resid_pre",
    "blocks.*.hook_resid_post",
    "blocks.*.hook_attn_out",
    "blocks.*.hook_mlp_out",
];

/// The prompts of h25-gain.
fn prompts() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../prompts/h25.jsonl");
    path.to_str().unwrap().to_owned()
}

/// A tiny model, and its activations at `sites` in the folder "recorded".
fn recorded(bench: &Bench, sites: &[&str]) -> (String, String) {
    let model = bench.model("tiny", &three_layers(TinyModel::gpt_neox(1)));
    let out = bench.path("models/recorded").to_str().unwrap().to_owned();
    let prompts = prompts();
    let mut arguments = vec!["trace", &model, "--prompts", &prompts, "--out", &out];
    for site in sites {
        arguments.extend(["--sites", site]);
    }
    run(bench.xtask(&arguments)).check(0, &["written: "]);
    (model, out)
}

/// Measures of every prompt in the record of a model.
fn measures(bench: &Bench, model: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(bench.record_of("store", model)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn what_needs_activations_only_is_measured_to_the_same_bits() {
    let bench = Bench::new();
    let (model, folder) = recorded(&bench, &SITES);
    run(bench.reproduce(&[model, folder])).check(0, &["h25-gain measured in"]);
    let (whole, part) = (measures(&bench, "tiny"), measures(&bench, "recorded"));
    assert_eq!(part["record"]["key"]["revision"], "recording");
    assert_ne!(
        part["record"]["key"]["weights_sha256"],
        whole["record"]["key"]["weights_sha256"]
    );
    let samples = |of: &serde_json::Value| of["record"]["samples"].as_array().unwrap().clone();
    let mut compared = 0;
    for (whole, part) in samples(&whole).iter().zip(&samples(&part)) {
        assert_eq!(
            (&whole["unit"], &whole["token_ids"]),
            (&part["unit"], &part["token_ids"])
        );
        let all = whole["measures"].as_object().unwrap();
        let taken = part["measures"].as_object().unwrap();
        for (name, value) in taken {
            assert_eq!(&all[name], value, "{name} of {}", part["unit"]);
            compared += 1;
        }
        // The gains are there; what intervenes is not.
        assert!(taken.contains_key("gain.as-published") && taken.contains_key("gain.last-block"));
        assert!(all.contains_key("clamp.kl-by-block") && !taken.contains_key("clamp.kl-by-block"));
    }
    assert!(compared > 25 * 10, "{compared}");
    // The report says why the rest is missing.
    let report = std::fs::read_to_string(bench.path("out/report.md")).unwrap();
    assert!(report.contains("recording of activations"));
}

#[test]
fn a_site_that_was_not_recorded_is_named() {
    let bench = Bench::new();
    let (_, folder) = recorded(&bench, &SITES[..3]);
    run(bench.reproduce(std::slice::from_ref(&folder))).check(
        0,
        &[
            "has no blocks.0.hook_mlp_out for prompt",
            "asked for by h25-gain",
        ],
    );
    // So is a prompt.
    std::fs::remove_file(PathBuf::from(&folder).join("factual-2.safetensors")).unwrap();
    run(bench.reproduce(&[folder])).check(0, &["factual-2"]);
}

#[test]
fn what_needs_the_model_is_refused() {
    let bench = Bench::new();
    let (_, folder) = recorded(&bench, &SITES);
    let arguments = [
        "run",
        "z-causality",
        "--models",
        &folder,
        "--store",
        "store",
    ];
    run(bench.xtask(&arguments)).check(
        0,
        &["is a recording of activations, and z-causality needs the model itself"],
    );
}

/// The experiments with prompts of their own, on a model that the project
/// brings: what they take from a recording is what they take from the model.
#[test]
fn every_experiment_of_activations_reads_recordings() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let bench = Bench::new();
    let model = root.join("organisms/crowding/parallel-L4-H8-s1");
    let model = model.to_str().unwrap();
    let attention = ["blocks.*.attn.hook_*"];
    let cases: [(&str, &str, &[&str], &[&str]); 2] = [
        (
            "value-contraction",
            "bank",
            &attention,
            &["rv.", "pr-", "tokens"],
        ),
        (
            "suite-anatomy",
            "texts",
            &[SITES[1], SITES[2], SITES[3], attention[0]],
            &["norm.", "massive.", "sink.first"],
        ),
    ];
    for (experiment, prompts, sites, same) in cases {
        let file = root.join(format!("experiments/{experiment}/prompts/{prompts}.jsonl"));
        let folder = bench.path("models").join(prompts);
        let (file, folder) = (file.to_str().unwrap(), folder.to_str().unwrap());
        let mut arguments = vec!["trace", model, "--prompts", file, "--out", folder];
        for site in sites {
            arguments.extend(["--sites", site]);
        }
        run(bench.xtask(&arguments)).check(0, &["written: "]);
        let both = format!("{model},{folder}");
        let arguments = ["run", experiment, "--models", &both, "--store", prompts];
        // Golden values of the model's training are not of this run.
        let ended = run(bench.xtask(&arguments));
        assert_ne!(ended.code, Some(2), "{}", ended.text);
        let records = bench.path(prompts).join("records").join(experiment);
        let records: Vec<serde_json::Value> = (std::fs::read_dir(records).unwrap())
            .map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap())
            .map(|text| serde_json::from_str(&text).unwrap())
            .collect();
        let of = |revision: &str| {
            let is = |r: &&serde_json::Value| r["record"]["key"]["revision"] == revision;
            records.iter().find(is).unwrap()["record"]["samples"]
                .as_array()
                .unwrap()
        };
        let mut compared = 0;
        for part in of("recording").iter().filter(|s| s["unit"] != "model") {
            let whole = of("local")
                .iter()
                .find(|s| s["unit"] == part["unit"])
                .unwrap();
            for (name, value) in part["measures"].as_object().unwrap() {
                if same.iter().any(|prefix| name.starts_with(prefix)) {
                    assert_eq!(
                        &whole["measures"][name], value,
                        "{name} of {}",
                        part["unit"]
                    );
                    compared += 1;
                }
            }
        }
        assert!(compared > 300, "{experiment}: {compared}");
    }
}
