//! A record against the values of an independent implementation.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_golden::{Finding, Reference, bounds, compare_record};
use assay_record::{Measure, Record, Sample, Tolerance};

mod fixture;

fn record() -> Record {
    let measures = [
        ("gain", Measure::Scalar(2.0)),
        ("gain.by-layer", Measure::Series(vec![1.0, 0.0, -3.0])),
    ];
    fixture::record(vec![Sample {
        unit: "p1".to_owned(),
        cluster: "plain".to_owned(),
        text: "one".to_owned(),
        token_ids: vec![5, 6, 7],
        special_tokens: 0,
        tags: Default::default(),
        measures: measures.map(|(n, m)| (n.to_owned(), m)).into(),
    }])
}

/// The values of `record()`, as a generator would have written them.
fn reference() -> Reference {
    let record = record();
    let sample = &record.samples[0];
    Reference {
        source: "the test itself".to_owned(),
        weights_sha256: record.key.weights_sha256.clone(),
        token_ids: BTreeMap::from([("p1".to_owned(), sample.token_ids.clone())]),
        values: BTreeMap::from([("p1".to_owned(), sample.measures.clone())]),
    }
}

fn compare(record: &Record, reference: &Reference) -> Finding {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &serde_json::to_string(reference).unwrap());
    compare_record(record, folder.path()).unwrap().unwrap()
}

fn write(golden: &Path, text: &str) {
    let path = golden.join("made-up/tiny.reference.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// With the record changed, these are the differences.
#[track_caller]
fn check(change: impl FnOnce(&mut Sample), expected: &[&str]) {
    let mut record = record();
    change(&mut record.samples[0]);
    let finding = compare(&record, &reference());
    let lines: Vec<String> = finding
        .differences
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, words) in lines.iter().zip(expected) {
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn equal_values_are_no_difference() {
    let finding = compare(&record(), &reference());
    assert_eq!(finding.scope, "made-up/tiny.reference");
    // One list of ids, one number, three numbers.
    assert_eq!((finding.compared, finding.differences.len()), (5, 0));
}

#[test]
fn without_a_reference_nothing_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(compare_record(&record(), folder.path()).unwrap(), None);
}

#[test]
fn other_values_are_named_with_their_place() {
    let set = |value: f64| {
        move |s: &mut Sample| {
            let values = vec![1.0, 0.0, value];
            s.measures
                .insert("gain.by-layer".to_owned(), Measure::Series(values));
        }
    };
    let (abs, rel) = bounds(Tolerance::Rounding);
    let bound = abs + rel * 3.0;
    for side in [-1.0, 1.0] {
        check(set(-3.0 + side * 0.999 * bound), &[]);
        let off = ["p1 gain.by-layer[2]: expected -3, found -"];
        check(set(-3.0 + side * 1.001 * bound), &off);
    }
    check(
        set(f64::NAN),
        &["p1 gain.by-layer[2]: expected -3, found NaN"],
    );
}

/// What a record's key says of its making decides how far off a value may be,
/// and the difference names it.
#[test]
fn values_computed_otherwise_have_bounds_of_their_own() {
    // Off by 1e-3, 0.05 and 0.5 at 3: beyond the class before, within the next.
    let ways = [
        (("f32", "cpu-x86_64"), None, "rounding allows"),
        (("f32", "cuda-sm90"), Some(1e-3), "rounding on a GPU allows"),
        (("f16", "cuda-sm90"), Some(0.05), "rounding in f16 allows"),
        (("f16", "cpu-x86_64"), Some(0.05), "rounding in f16 allows"),
        (("bf16", "cuda-sm90"), Some(0.5), "rounding in bf16 allows"),
    ];
    let steps = [1e-3, 0.05, 0.5, 5.0];
    for ((dtype, class), allowed, words) in ways {
        for step in steps {
            let mut record = record();
            record.key.dtype = dtype.to_owned();
            record.key.device_class = class.to_owned();
            let values = Measure::Series(vec![1.0, 0.0, -3.0 - step]);
            let sample = &mut record.samples[0];
            sample.measures.insert("gain.by-layer".to_owned(), values);
            let off = compare(&record, &reference()).differences;
            if allowed.is_some_and(|most| step <= most) {
                assert!(off.is_empty(), "{dtype} {class} {step}: {off:?}");
            } else {
                assert_eq!(off.len(), 1, "{dtype} {class} {step}");
                assert!(off[0].to_string().contains(words), "{}", off[0]);
            }
        }
    }
}

#[test]
fn lengths_and_absences_are_differences() {
    let short = |s: &mut Sample| {
        let short = Measure::Series(vec![1.0, 0.0]);
        s.measures.insert("gain.by-layer".to_owned(), short);
    };
    check(short, &["p1 gain.by-layer (3 values, found 2)"]);
    let absent = |s: &mut Sample| {
        s.measures.remove("gain");
    };
    check(absent, &["p1 gain (1 values, found 0)"]);
    let extra = |s: &mut Sample| s.scalar("another", 1.0).unwrap();
    check(extra, &[]);
}

#[test]
fn other_tokens_are_a_difference() {
    check(|s| s.token_ids[0] = 0, &["token ids of p1"]);
    check(|s| s.token_ids.push(8), &["token ids of p1"]);
    let renamed = |s: &mut Sample| s.unit = "p2".to_owned();
    let gone = [
        "token ids of p1",
        "p1 gain (1 values, found 0)",
        "p1 gain.by-layer (3 values, found 0)",
    ];
    check(renamed, &gone);
}

#[test]
fn an_unreadable_reference_is_an_error() {
    let text = serde_json::to_string(&reference()).unwrap();
    for (text, words) in [
        (String::new(), "EOF"),
        (text.replace("2.0", "NaN"), "line 1"),
        (text.replace("source", "sauce"), "unknown field `sauce`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &text);
        let error = compare_record(&record(), folder.path()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("tiny.reference.json is not a readable golden file"));
        assert!(error.contains(words), "{error}");
    }
}
