//! What somebody who doubts a number does: asks where it comes from, checks the
//! run, compares it with another, takes it elsewhere.

use assay_record::sha256_hex;

use crate::bench::{Bench, check_same, files, run};

/// The mean of this measure over prompts is this number.
const NUMBER: &str = "h25.tiny-neox.gain.as-published.mean";

/// A bench with a finished run over two models in "store" and "out".
fn finished() -> Bench {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &["report: out"]);
    bench
}

/// What `verify --json` says: (what must hold, faults) of each check.
fn checks(bench: &Bench, store: &str) -> Vec<(String, Vec<String>)> {
    let arguments = [
        "verify",
        "--store",
        store,
        "--json",
        "--quiet",
        "--allow-dirty",
    ];
    let output = bench.xtask(&arguments).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks: Vec<(String, Vec<String>)> = (said["checks"].as_array().unwrap().iter())
        .map(|c| {
            let faults = c["faults"].as_array().unwrap().iter();
            let faults = faults.map(|f| f.as_str().unwrap().to_owned());
            (c["what"].as_str().unwrap().to_owned(), faults.collect())
        })
        .collect();
    let held = checks.iter().all(|(_, faults)| faults.is_empty());
    assert_eq!(output.status.code(), Some(if held { 0 } else { 1 }));
    checks
}

#[track_caller]
fn faults_of(checks: &[(String, Vec<String>)], what: &str) -> Vec<String> {
    let found = checks.iter().find(|(name, _)| name.contains(what));
    found
        .unwrap_or_else(|| panic!("no check of {what}"))
        .1
        .clone()
}

#[test]
fn a_number_leads_back_to_its_raw_values() {
    let bench = finished();
    let explain = |id: &str| run(bench.xtask(&["explain", id, "--store", "store"]));
    let path = bench.record_of("store", "tiny-neox");
    let id = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let said = explain(NUMBER);
    said.check(0, &[&format!("{NUMBER} = "), &format!("record     {id}")]);
    said.check(0, &["table within-models, row tiny-neox", "as it is now"]);
    said.check(0, &[" of prompts/h25.jsonl\n", "by cargo xtask reproduce"]);
    // The record that it names, by the start of its id.
    explain(&id[..10]).check(0, &[&format!("record     {id}"), "25, with"]);

    // The raw values are those of the record, all of them and no others.
    let samples = run(bench.xtask(&["explain", NUMBER, "--samples", "--store", "store"]));
    samples.check(0, &["it moves with gain.as-published\n"]);
    let record: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let all = record["record"]["samples"].as_array().unwrap();
    let mut sum = 0.0;
    let mut prompts = 0.0;
    for sample in all.iter().filter(|s| s["unit"] != "model") {
        let value = sample["measures"]["gain.as-published"].as_f64().unwrap();
        samples.check(0, &[sample["unit"].as_str().unwrap(), &value.to_string()]);
        sum += value;
        prompts += 1.0;
    }
    let printed = said
        .text
        .lines()
        .find_map(|l| l.strip_prefix(&format!("{NUMBER} = ")));
    let printed: f64 = printed.unwrap().parse().unwrap();
    assert!((printed - sum / prompts).abs() < 1e-12 * printed.abs());
}

#[test]
fn claims_faults_and_mistyped_ids() {
    let bench = finished();
    let explain = |id: &str| run(bench.xtask(&["explain", id, "--store", "store"]));
    explain("h25.stack-dampens").check(0, &["declared ", "on measured: tiny-neox", "audited"]);
    explain("e1").check(0, &["claimed ", "true ", "evidence "]);
    explain("h25.tiny-neox.gain.as-publisht.mean").check_refused(&[
        "there is no number, claim, fault or record",
        "near it are",
        NUMBER,
    ]);
    let verify = ["verify", "--store", "store", "--claim", "h25.stack-damps"];
    run(bench.xtask(&verify)).check_refused(&["there is no claim h25.stack-damps"]);
}

#[test]
fn a_run_that_was_tampered_with_is_found_out() {
    let bench = finished();
    let sound = checks(&bench, "store");
    for what in [
        "records are there",
        "name their records",
        "byte for byte",
        "switch",
    ] {
        assert_eq!(faults_of(&sound, what), [""; 0], "{what}");
    }
    // A summary with a friendlier number.
    let path = bench.path("store/summaries/h25-gain.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    let value = summary["numbers"][NUMBER]["value"].to_string();
    let friendlier = text.replace(&value, "0.5");
    std::fs::write(&path, &friendlier).unwrap();
    let verify = ["verify", "--store", "store", "--allow-dirty"];
    run(bench.xtask(&verify)).check_refused(&["is not what the statistics of the last run wrote"]);
    // The same with a list that was made to fit.
    let list = bench.path("store/last-run.json");
    let mut file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&list).unwrap()).unwrap();
    file["run"]["summaries"]["h25-gain"] = sha256_hex(friendlier.as_bytes()).into();
    let run_hash = sha256_hex(
        assay_record::canonical_json(&file["run"])
            .unwrap()
            .as_bytes(),
    );
    file["sha256"] = run_hash.into();
    std::fs::write(&list, file.to_string()).unwrap();
    let faults = faults_of(&checks(&bench, "store"), "byte for byte");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("h25-gain is not what its records give"));
    run(bench.xtask(&["stats", "--store", "store"])).check(0, &[]);

    // A record with a friendlier sample, its own hash made to fit: it no longer
    // gives the summary, which was made from the honest one.
    let path = bench.record_of("store", "tiny-neox");
    let honest = std::fs::read_to_string(&path).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&honest).unwrap();
    let sample = &mut file["record"]["samples"][0]["measures"]["gain.as-published"];
    *sample = serde_json::json!(0.5);
    std::fs::write(&path, serde_json::to_string_pretty(&file).unwrap()).unwrap();
    let damaged = run(bench.xtask(&verify));
    damaged.check_refused(&["is damaged"]);
    let body = assay_record::canonical_json(&file["record"]).unwrap();
    file["sha256"] = serde_json::json!(sha256_hex(body.as_bytes()));
    std::fs::write(&path, serde_json::to_string_pretty(&file).unwrap()).unwrap();
    let faults = faults_of(&checks(&bench, "store"), "byte for byte");
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn a_run_travels_as_one_file() {
    let bench = finished();
    let export = run(bench.export("store", "handed-over"));
    export.check(
        0,
        &["samples.csv", "samples.parquet", "sbom.cdx.json", "run.zip"],
    );
    // Every package of the lock file but our own, with licence and checksum.
    let bill = std::fs::read(bench.path("handed-over/sbom.cdx.json")).unwrap();
    let bill: serde_json::Value = serde_json::from_slice(&bill).unwrap();
    let components = bill["components"].as_array().unwrap();
    let lock = include_str!("../../Cargo.lock");
    assert_eq!(components.len(), lock.matches("\nchecksum = ").count());
    for component in components {
        for part in ["/licenses/0/expression", "/hashes/0/content"] {
            let text = component.pointer(part).and_then(|v| v.as_str());
            assert!(text.is_some_and(|t| !t.is_empty()), "{part} of {component}");
        }
    }
    let zip = "handed-over/run.zip";
    run(bench.xtask(&["report", "--store", zip, "--out", "elsewhere"])).check(0, &[]);
    check_same(&files(&bench.path("elsewhere")), &files(&bench.path("out")));
    run(bench.xtask(&["explain", NUMBER, "--store", zip])).check(0, &["record     "]);
    assert_eq!(
        faults_of(&checks(&bench, zip), "records are there"),
        [""; 0]
    );

    // Every value of every record is a row.
    let csv = std::fs::read_to_string(bench.path("handed-over/samples.csv")).unwrap();
    let mut values = 0;
    for path in bench.records("store") {
        let text = std::fs::read_to_string(path).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        for sample in record["record"]["samples"].as_array().unwrap() {
            for measure in sample["measures"].as_object().unwrap().values() {
                values += measure.as_array().map_or(1, Vec::len);
            }
        }
    }
    assert_eq!(csv.lines().count(), values + 1);

    // What is no run is said to be none.
    std::fs::write(bench.path("broken.zip"), b"PK").unwrap();
    let broken = run(bench.xtask(&["report", "--store", "broken.zip"]));
    broken.check_refused(&["failed to unpack broken.zip"]);
}

#[test]
fn two_runs_are_compared_number_by_number() {
    let bench = finished();
    let [neox, _] = bench.two_models();
    let same = run(bench.xtask(&["diff", "store", "store"]));
    same.check(0, &["0 apart by more", "0 verdicts changed"]);

    // The same model under its name with other weights is another matter.
    let other = crate::bench::three_layers(assay_testkit::TinyModel::gpt_neox(7));
    bench.model("tiny-neox", &other);
    let models = [
        neox,
        bench.path("models/tiny-llama").to_str().unwrap().to_owned(),
    ];
    run(bench.reproduce_to(&models, "other", "other-out")).check(0, &[]);
    let arguments = ["diff", "store", "other", "--json", "diff.json"];
    let apart = run(bench.xtask(&arguments));
    apart.check(1, &[&format!("`{NUMBER}` | **beyond**")]);
    let text = std::fs::read_to_string(bench.path("diff.json")).unwrap();
    let difference: serde_json::Value = serde_json::from_str(&text).unwrap();
    let numbers = difference["numbers"].as_array().unwrap();
    let of_llama = |n: &serde_json::Value| n["id"].as_str().unwrap().contains("tiny-llama");
    assert!(!numbers.is_empty() && !numbers.iter().any(of_llama));
    let times: Vec<f64> = numbers
        .iter()
        .filter_map(|n| n["times_allowed"].as_f64())
        .collect();
    let beyond = numbers.iter().filter(|n| n["class"] == "beyond").count();
    assert!(times.len() >= beyond / 2, "most differences have a size");
    run(bench.xtask(&["diff", "store", "nothing"])).check_refused(&["nothing is no finished run"]);
}

#[test]
fn what_needs_no_run() {
    let bench = Bench::new();
    let claims = bench.xtask(&["claims", "--json"]).output().unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims.stdout).unwrap();
    for claim in claims.as_array().unwrap() {
        for field in [
            "id",
            "statement",
            "metric",
            "direction",
            "alpha",
            "family",
            "minutes",
        ] {
            assert!(!claim[field].is_null(), "{field} of {claim}");
        }
    }
    run(bench.xtask(&["completions", "bash"])).check(0, &["_assay()", "reproduce"]);
    for name in ["../x", "A", "a_b", "bridge"] {
        run(bench.xtask(&["new", name])).check_refused(&[name]);
    }
    // Quiet is quiet.
    let models = bench.two_models();
    let mut quiet = bench.reproduce(&models);
    quiet.args(["--quiet", "--json"]);
    let output = quiet.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured = said["experiments"]["h25-gain"]["measured"]
        .as_array()
        .unwrap();
    assert_eq!(measured.len(), 2);
    let checklist = run(bench.xtask(&["checklist", "--store", "store"]));
    checklist.check(0, &["1. **Claims.**", "16. **Use of language models.**"]);
}
