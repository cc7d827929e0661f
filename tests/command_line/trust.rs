//! What a store holds of other keys is not shown, and what the environment
//! holds of secrets is not written.

use assay_record::{Made, Measure, RecordKey, Store};
use serde_json::Value;

use crate::bench::{Bench, check_same, files, run};

/// The key with one field changed, for every field that it has.
fn changed(key: &RecordKey) -> Vec<(String, RecordKey)> {
    let Value::Object(fields) = serde_json::to_value(key).unwrap() else {
        panic!("a key is an object");
    };
    let other = |value: &Value| match value {
        Value::String(text) => Value::from(format!("{text}x")),
        Value::Number(number) => Value::from(number.as_u64().unwrap() + 1),
        Value::Object(_) => serde_json::json!({"NVIDIA_TF32_OVERRIDE": "1"}),
        other => panic!("a field of an unforeseen kind: {other}"),
    };
    let keys = fields.iter().map(|(name, value)| {
        let mut changed = fields.clone();
        changed.insert(name.clone(), other(value));
        let key = serde_json::from_value(Value::Object(changed)).unwrap();
        (name.clone(), key)
    });
    keys.collect()
}

#[test]
fn records_of_other_keys_are_in_no_list_and_no_report() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    let honest = bench.results("store", "out");
    let path = bench.record_of("store", "tiny-neox");
    let id = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let store = Store::open(&bench.path("store")).unwrap();
    let record = store.read("h25-gain", &id).unwrap();
    let mut poisoned = Vec::new();
    for (field, key) in changed(&record.key) {
        let mut other = record.clone();
        other.key = key;
        for sample in &mut other.samples {
            for measure in sample.measures.values_mut() {
                if let Measure::Scalar(value) = measure {
                    *value = 666.0;
                }
            }
        }
        let note = Made {
            at: 0,
            host: String::new(),
            commit: String::new(),
            command: Vec::new(),
            threads: 1,
            milliseconds: 0,
        };
        let experiment = other.key.experiment.clone();
        let id = store.commit(&other, &note).unwrap();
        if experiment != "h25-gain" {
            // Among the experiment's own, too.
            let path = store.record_path("h25-gain", &id);
            std::fs::copy(store.record_path(&experiment, &id), path).unwrap();
        }
        poisoned.push((field, id));
    }
    // The honest one is found, and without it, it is computed.
    run(bench.reproduce(&models)).check(0, &["is in the store"]);
    std::fs::remove_file(&path).unwrap();
    let ended = run(bench.reproduce(&models));
    assert_eq!(
        ended.text.matches("measured in").count(),
        1,
        "{}",
        ended.text
    );
    for (field, id) in &poisoned {
        for (name, bytes) in bench.results("store", "out") {
            let shown = String::from_utf8_lossy(&bytes).contains(id.as_str());
            let own = name.contains(id.as_str());
            assert!(
                own || !shown,
                "{name} tells of the record of another {field}"
            );
        }
    }
    let mut now = bench.results("store", "out");
    now.retain(|name, _| !poisoned.iter().any(|(_, id)| name.contains(id.as_str())));
    check_same(&now, &honest);
}

#[test]
fn secrets_of_the_environment_are_written_nowhere() {
    let bench = Bench::new();
    let models = bench.two_models();
    let secrets = ["hf_veryMuchASecret", "swordfish"];
    let address = "https://me:swordfish@127.0.0.1:9";
    let with = |mut command: std::process::Command| {
        command
            .env("HF_TOKEN", secrets[0])
            .env("HF_ENDPOINT", address)
            .env("PIP_INDEX_URL", address)
            .env("HTTPS_PROXY", address);
        run(command)
    };
    let ended = [
        with(bench.reproduce(&models)),
        with(bench.export("store", "handed-over")),
        with(bench.xtask(&["report", "--store", "store", "--out", "out"])),
        with(bench.xtask(&["checklist", "--store", "store"])),
    ];
    let said = ended.iter().map(|e| e.text.clone().into_bytes());
    let mut all: Vec<(String, Vec<u8>)> = said.map(|bytes| ("said".to_owned(), bytes)).collect();
    for folder in ["store", "out", "handed-over"] {
        all.extend(files(&bench.path(folder)));
    }
    assert!(ended.iter().all(|e| e.code == Some(0)));
    for (name, bytes) in all {
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{name} holds {secret}");
        }
    }
}
