//! claims.toml: what it refuses, and where it and the declarations differ.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_record::{ClaimsFile, ExperimentSpec};

const CLAIMS: &str = r#"
[gain]
minutes = 0.5
needs = "nothing"

[gain.claims."gain.falls"]
headline = 1
tables = ["gains"]
errata = ["E1"]
published = ["gain.published"]
controls = ["gain.stays"]

[gain.claims."gain.stays"]
tables = ["gains-*"]
"#;

const SPEC: &str = r#"
version = 1
title = "t"
hypothesis = "h"
predicts = "p"
falsified-by = "f"
unit = "prompt"
dtype = "f32"
sites = []
prompts = []
seed = 1
alpha = 0.05
models = []
"#;

fn parse(text: &str) -> Result<ClaimsFile, String> {
    ClaimsFile::parse(text, Path::new("claims.toml")).map_err(|e| e.to_string())
}

/// Experiment "gain" with these claims.
fn declared(claims: &[&str]) -> BTreeMap<String, ExperimentSpec> {
    let mut text = SPEC.to_owned();
    for id in claims {
        text.push_str(&format!(
            "[[claims]]\nid = \"{id}\"\nstatement = \"s\"\nmetric = \"m\"\ndirection = \"positive\"\nsmallest-effect = 1.0\nfamily = \"f\"\n"
        ));
    }
    let spec = ExperimentSpec::parse(&text, Path::new("experiment.toml")).unwrap();
    BTreeMap::from([("gain".to_owned(), spec)])
}

#[test]
fn it_says_what_it_says() {
    let claims = parse(CLAIMS).unwrap();
    let falls = claims.claim("gain.falls").unwrap();
    assert_eq!(falls.headline, Some(1));
    assert_eq!(
        (falls.errata[0].as_str(), falls.controls[0].as_str()),
        ("E1", "gain.stays")
    );
    assert_eq!(claims.claim("gain.rises"), None);
    let faults = claims.differences(&declared(&["gain.falls", "gain.stays"]));
    assert_eq!(faults, [""; 0]);
}

#[track_caller]
fn check_refused(from: &str, to: &str, words: &str) {
    assert!(CLAIMS.contains(from));
    let error = parse(&CLAIMS.replace(from, to)).unwrap_err();
    assert!(error.contains(words), "{error}");
    assert!(
        error.starts_with("claims.toml") && !error.contains('\n'),
        "{error}"
    );
}

#[test]
fn a_faulty_file_is_refused_in_one_line() {
    check_refused("minutes = 0.5", "minutes = 0", "minutes of gain is 0");
    check_refused("minutes = 0.5", "minutes = nan", "minutes of gain is NaN");
    check_refused(
        "tables = [\"gains\"]",
        "tables = []",
        "claim gain.falls names no table",
    );
    check_refused("headline = 1", "headlin = 1", "headlin");
    check_refused("needs = \"nothing\"", "", "needs");
    check_refused("[gain]", "[gain", "line 2");
}

#[test]
fn what_only_one_of_the_two_has_is_named() {
    let claims = parse(CLAIMS).unwrap();
    let faults = claims.differences(&declared(&["gain.falls", "gain.rises"]));
    let expected = [
        "claim gain.rises of gain is declared and not in claims.toml",
        "claim gain.falls names gain.stays in claims.toml, which no experiment declares",
        "claim gain.stays stands in claims.toml under gain, which does not declare it",
    ];
    assert_eq!(faults, expected);
}
