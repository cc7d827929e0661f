//! What is declared by hand is checked by word: samples, experiment.toml,
//! prompt files, summaries.
#![allow(clippy::unwrap_used)]

mod fixture;

use std::path::Path;

use assay_record::{
    Cell, Column, Direction, ExperimentSpec, Format, Number, PromptFile, PromptFormat, PromptSet,
    RecordError, Summary, Table, Tolerance,
};

#[test]
fn a_sample_holds_finite_numbers_only() {
    let mut sample = fixture::record(vec![1.0]).samples.remove(0);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = sample.scalar("bad", value).unwrap_err().to_string();
        assert!(error.contains("measure bad of p1 is"), "{error}");
        let error = sample.series("bad", vec![0.0, value]).unwrap_err();
        assert!(matches!(error, RecordError::NotFinite { .. }), "{error}");
    }
    assert!(!sample.measures.contains_key("bad"));
}

#[test]
fn a_measure_has_one_value_and_one_kind() {
    let mut sample = fixture::record(vec![1.0]).samples.remove(0);
    let error = sample.scalar("gain", 2.0).unwrap_err().to_string();
    assert_eq!(error, "measure gain of p1 is given twice");
    let error = sample.get("gain.by-layer").unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no measure named gain.by-layer in sample p1"
    );
    let error = sample.get_series("gain").unwrap_err().to_string();
    assert_eq!(error, "there is no series named gain in sample p1");
}

const SPEC: &str = r#"
version = 1
title = "t"
hypothesis = "h"
predicts = "p"
falsified-by = "f"
unit = "model"
dtype = "f32"
sites = ["blocks.*.hook_resid_post"]
prompts = ["prompts.jsonl"]
seed = 1
alpha = 0.05
models = ["tiny"]

[[claims]]
id = "made-up.first"
statement = "s"
metric = "m"
direction = "negative"
smallest-effect = 0.3
family = "made-up"
"#;

const SECOND: &str = r#"
[[claims]]
id = "made-up.first"
statement = "s"
metric = "m"
direction = "positive"
smallest-effect = 0.3
family = "made-up"
"#;

fn spec(text: &str) -> Result<ExperimentSpec, RecordError> {
    ExperimentSpec::parse(text, Path::new("made-up/experiment.toml"))
}

/// Parsing SPEC with `from` replaced fails with these words.
#[track_caller]
fn check_spec(from: &str, to: &str, words: &str) {
    assert!(SPEC.contains(from));
    let error = spec(&SPEC.replace(from, to)).unwrap_err().to_string();
    assert!(
        error.starts_with("made-up/experiment.toml is not a readable experiment.toml"),
        "{error}"
    );
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_declaration_says_what_it_says() {
    let spec = spec(SPEC).unwrap();
    let claim = spec.claim("made-up.first").unwrap();
    assert_eq!(
        (claim.direction, claim.smallest_effect),
        (Direction::Negative, 0.3)
    );
    let error = spec.claim("made-up.none").unwrap_err().to_string();
    assert_eq!(error, "there is no claim named made-up.none");
}

#[test]
fn a_faulty_declaration_is_refused() {
    check_spec("seed = 1", "seed = 1\nsneed = 2", "unknown field `sneed`");
    check_spec("family =", "famly =", "unknown field `famly`");
    check_spec("unit = \"model\"\n", "", "missing field `unit`");
    check_spec("\"negative\"", "\"downwards\"", "downwards");
    check_spec("version = 1", "version = -1", "-1");
    for alpha in ["0.0", "1.0", "-0.05", "nan", "inf"] {
        check_spec("alpha = 0.05", &format!("alpha = {alpha}"), "alpha is");
    }
    for effect in ["0.0", "-0.3", "nan", "inf"] {
        check_spec(
            "smallest-effect = 0.3",
            &format!("smallest-effect = {effect}"),
            "smallest-effect of claim made-up.first",
        );
    }
    let twice = spec(&format!("{SPEC}{SECOND}")).unwrap_err().to_string();
    assert!(
        twice.contains("claim made-up.first is given twice"),
        "{twice}"
    );
}

fn prompts(text: &str) -> Result<PromptSet, RecordError> {
    PromptSet::parse(&[PromptFile {
        path: Path::new("prompts.jsonl"),
        text,
        format: &PromptFormat::Prompts,
    }])
}

#[track_caller]
fn check_prompts(text: &str, words: &str) {
    let error = prompts(text).unwrap_err().to_string();
    assert!(error.starts_with("prompts.jsonl is not a readable prompt file: line "));
    assert!(error.contains(words), "{error}");
}

#[test]
fn prompts_are_whole_and_told_apart() {
    let a = r#"{"id": "a", "category": "c", "text": "one"}"#;
    let set = prompts(&format!("{a}\n\n")).unwrap();
    assert_eq!(set.prompts.len(), 1);
    // The set of a prompt that names none is its file's name.
    assert_eq!(set.prompts[0].tag("set"), Some("prompts"));
    // The hash is of the file, so a change that parses alike is another set.
    assert_ne!(set.sha256, prompts(a).unwrap().sha256);
    check_prompts("", "there are no prompts");
    check_prompts("\n \n", "there are no prompts");
    check_prompts(&format!("{a}\n{a}"), "line 2: prompt a is given twice");
    check_prompts("not json", "line 1: expected");
    check_prompts(&a.replace("one", ""), "line 1: prompt a is empty");
    check_prompts(&a.replace("category", "kind"), "unknown field `kind`");
    check_prompts(r#"{"id": "a", "category": "c"}"#, "missing field `text`");
    check_prompts(&format!("{a}\n{a} trailing"), "line 2: trailing characters");
}

#[test]
fn a_users_texts_are_named_by_file_and_line() {
    let lines = PromptFile {
        path: Path::new("folder/notes.txt"),
        text: "one\n\ntwo\n",
        format: &PromptFormat::Lines,
    };
    let field = PromptFormat::Field("body".to_owned());
    let records = |text| PromptFile {
        path: Path::new("mail.jsonl"),
        text,
        format: &field,
    };
    let set = PromptSet::parse(&[lines, records(r#"{"body": "three", "n": 1}"#)]).unwrap();
    let found: Vec<_> = (set.prompts.iter())
        .map(|p| (p.id.as_str(), p.category.as_str(), p.text.as_str()))
        .collect();
    let expected = [
        ("notes-1", "notes", "one"),
        ("notes-3", "notes", "two"),
        ("mail-1", "mail", "three"),
    ];
    assert_eq!(found, expected);
    assert_eq!(set.values_of("set"), ["notes", "mail"]);
    assert_eq!(set.with_tag("set", "mail").prompts, set.prompts[2..]);
    for (text, words) in [
        (
            r#"{"n": 1}"#,
            "mail.jsonl is not a readable prompt file: line 1: there is no field body",
        ),
        (r#"{"body": 1}"#, "line 1: field body is not a text"),
    ] {
        let error = PromptSet::parse(&[records(text)]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let twice = PromptSet::parse(&[lines, lines]).unwrap_err().to_string();
    assert!(twice.contains("prompt notes-1 is given twice"), "{twice}");
}

fn number(value: f64) -> Number {
    Number {
        value,
        what: "a made-up number".to_owned(),
        format: Format::Fixed(2),
        tolerance: Tolerance::Exact,
        records: Vec::new(),
        source: None,
    }
}

#[test]
fn a_summary_refers_to_what_is_there() {
    let mut summary = Summary::new("made-up", spec(SPEC).unwrap());
    summary.number("known", number(1.0)).unwrap();
    let error = summary.number("known", number(2.0)).unwrap_err();
    assert_eq!(error.to_string(), "number known is given twice");
    let error = summary.number("nan", number(f64::NAN)).unwrap_err();
    assert!(error.to_string().contains("measure nan of made-up is NaN"));
    assert!(!summary.numbers.contains_key("nan"));
    summary.check().unwrap();

    let table = |cells: Vec<Cell>, caption: &str| Table {
        id: "t".to_owned(),
        title: "t".to_owned(),
        caption: caption.to_owned(),
        columns: vec![Column {
            title: "c".to_owned(),
            numeric: true,
        }],
        rows: vec![cells],
    };
    let known = || Cell::Number("known".to_owned());
    for (cells, caption, words) in [
        (
            vec![Cell::Number("gone".to_owned())],
            "",
            "gone, which table t",
        ),
        (vec![known()], "as {gone}", "gone, which table t"),
        (vec![known(), known()], "", "some cell in a row of table t"),
        (vec![], "", "some cell in a row of table t"),
    ] {
        let mut summary = summary.clone();
        summary.tables.push(table(cells, caption));
        let error = summary.check().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    summary.tables.push(table(vec![known()], "as {known}"));
    summary.check().unwrap();
}
