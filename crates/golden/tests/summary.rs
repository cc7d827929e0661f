//! A difference is found, named, and measured against its class; nothing else
//! is one.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use assay_golden::{Computed, Finding, bounds, compare_summary, update_summary};
use assay_record::{ClaimVerdict, Summary, Tolerance, Verdict};

mod fixture;
use fixture::number;

fn verdict(data: &str, audited: Verdict) -> ClaimVerdict {
    ClaimVerdict {
        claim: "made-up.claim".to_owned(),
        statement: "s".to_owned(),
        data: data.to_owned(),
        as_published: "VALIDATED".to_owned(),
        audited,
        because: String::new(),
        evidence: None,
    }
}

/// Two models, and numbers of every class and scope.
fn summary() -> Summary {
    let mut summary = fixture::summary([
        ("a.count", number(25.0, Tolerance::Exact, &["record-a"])),
        ("a.gain", number(-1.5, Tolerance::Rounding, &["record-a"])),
        ("a.p", number(0.25, Tolerance::Statistical, &["record-a"])),
        ("b.gain", number(0.5, Tolerance::Rounding, &["record-b"])),
        (
            "r",
            number(0.0, Tolerance::Rounding, &["record-a", "record-b"]),
        ),
        ("published.r", number(-0.8116, Tolerance::Rounding, &[])),
    ]);
    summary.verdicts = vec![
        verdict("a, 25 prompts", Verdict::Supported),
        verdict("published: eight models", Verdict::Inconclusive),
    ];
    summary
}

/// A folder with the golden values of `summary()`.
fn accepted() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let written = update_summary(&summary(), folder.path()).unwrap();
    (folder, written)
}

/// The differences of `found` from what was accepted, as a reader sees them.
fn differences(found: &Summary, golden: &Path) -> Vec<String> {
    let findings = compare_summary(found, golden, Computed::Cpu).unwrap();
    let all = findings.iter().flat_map(|f| &f.differences);
    all.map(ToString::to_string).collect()
}

#[test]
fn what_was_accepted_compares_clean() {
    let (folder, written) = accepted();
    let names: Vec<_> = written
        .iter()
        .map(|p| p.strip_prefix(folder.path().join("made-up")).unwrap())
        .collect();
    let expected = ["a.json", "across.json", "b.json", "published.json"];
    assert_eq!(names, expected.map(Path::new));
    let findings = compare_summary(&summary(), folder.path(), Computed::Cpu).unwrap();
    let seen: Vec<_> = findings
        .iter()
        .map(|f| (f.scope.as_str(), f.compared, f.differences.len()))
        .collect();
    // Three numbers and a verdict of a, one each of the rest and a verdict.
    let expected = [
        ("made-up/a", 4, 0),
        ("made-up/across", 1, 0),
        ("made-up/b", 1, 0),
        ("made-up/published", 2, 0),
    ];
    assert_eq!(seen, expected);
}

/// Accepting twice changes no byte.
#[test]
fn accepting_is_stable() {
    let (folder, written) = accepted();
    let bytes = || written.iter().map(|p| std::fs::read(p).unwrap());
    let first: Vec<_> = bytes().collect();
    update_summary(&summary(), folder.path()).unwrap();
    assert_eq!(first, bytes().collect::<Vec<_>>());
}

#[test]
fn without_golden_files_nothing_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let findings = compare_summary(&summary(), folder.path(), Computed::Cpu).unwrap();
    assert_eq!(findings, Vec::<Finding>::new());
}

/// Moving one number by its bound is no difference, and a hair further is one,
/// on both sides.
#[track_caller]
fn check_bound(id: &str, golden: &Path) {
    let expected = summary().numbers[id].clone();
    let (abs, rel) = bounds(expected.tolerance);
    let bound = abs + rel * expected.value.abs();
    for side in [-1.0, 1.0] {
        let moved = |by: f64| {
            let mut found = summary();
            let number = found.numbers.get_mut(id).unwrap();
            number.value = expected.value + side * by;
            differences(&found, golden)
        };
        assert_eq!(moved(bound * 0.999), Vec::<String>::new(), "{id}");
        let off = moved(bound * 1.001 + 1e-12);
        let [line] = off.as_slice() else {
            panic!("{id}: {off:?}");
        };
        let class = format!("{:?}", expected.tolerance).to_lowercase();
        let start = format!("{id}: expected {}, found ", expected.value);
        assert!(line.starts_with(&start), "{line}");
        assert!(line.contains(&format!("where {class} allows ")), "{line}");
    }
}

#[test]
fn bounds_are_those_of_the_class_and_two_sided() {
    let (folder, _) = accepted();
    for id in ["a.count", "a.gain", "a.p", "b.gain", "r", "published.r"] {
        check_bound(id, folder.path());
    }
}

#[test]
fn not_a_number_is_off_in_every_class() {
    let (folder, _) = accepted();
    for id in ["a.count", "a.gain", "a.p"] {
        for value in [f64::NAN, f64::INFINITY] {
            let mut found = summary();
            found.numbers.get_mut(id).unwrap().value = value;
            let off = differences(&found, folder.path());
            assert_eq!(off.len(), 1, "{off:?}");
        }
    }
}

#[test]
fn a_number_that_is_gone_or_new_is_named() {
    let (folder, _) = accepted();
    let mut found = summary();
    found.numbers.remove("a.gain").unwrap();
    let gone = differences(&found, folder.path());
    assert_eq!(gone, ["a.gain: expected and not found"]);

    let mut found = summary();
    let new = number(1.0, Tolerance::Exact, &["record-b"]);
    found.number("b.new", new).unwrap();
    let new = differences(&found, folder.path());
    assert_eq!(new.len(), 1);
    assert!(new[0].starts_with("b.new: found and not expected"));
    // Until it is accepted.
    update_summary(&found, folder.path()).unwrap();
    assert_eq!(differences(&found, folder.path()), Vec::<String>::new());
}

#[test]
fn a_verdict_that_turned_is_a_difference() {
    let (folder, _) = accepted();
    let mut found = summary();
    found.verdicts[0].audited = Verdict::Refuted;
    found.verdicts.remove(1);
    let expected = [
        "verdict SUPPORTED of made-up.claim | a, 25 prompts: expected and found REFUTED",
        "verdict INCONCLUSIVE of made-up.claim | published: eight models: expected and not found",
    ];
    assert_eq!(differences(&found, folder.path()), expected);
}

/// What holds across models holds for those models only: a run over others is
/// compared model by model.
#[test]
fn other_models_are_not_compared_across() {
    let (folder, _) = accepted();
    let mut found = summary();
    found.models[1].model = "c".to_owned();
    found.numbers.get_mut("r").unwrap().value = 0.9;
    let scopes: Vec<_> = compare_summary(&found, folder.path(), Computed::Cpu)
        .unwrap()
        .into_iter()
        .map(|f| f.scope)
        .collect();
    assert_eq!(scopes, ["made-up/a", "made-up/published"]);
}

#[track_caller]
fn check_unreadable(text: &str, words: &str) {
    let (folder, written) = accepted();
    std::fs::write(&written[0], text).unwrap();
    let error = compare_summary(&summary(), folder.path(), Computed::Cpu)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a.json is not a readable golden file"),
        "{error}"
    );
    assert!(error.contains(words), "{error}");
}

#[test]
fn an_unreadable_golden_file_is_an_error() {
    let (_folder, written) = accepted();
    let text = std::fs::read_to_string(&written[0]).unwrap();
    check_unreadable("", "EOF");
    check_unreadable(&text.replace("-1.5", "NaN"), "line");
    check_unreadable(&text.replace("-1.5", "null"), "null");
    check_unreadable(&text.replace("\"rounding\"", "\"loose\""), "loose");
    check_unreadable(&text.replace("\"numbers\"", "\"nmbers\""), "nmbers");
}
