//! The committed banks.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use assay_problems::generate::pairs_file;
use assay_problems::{Pair, ProblemError, cross, pairs};
use assay_record::{PromptFile, PromptFormat, PromptSet};

fn parse(text: &str) -> PromptSet {
    PromptSet::parse(&[PromptFile {
        path: Path::new("bank.jsonl"),
        text,
        format: &PromptFormat::Prompts,
    }])
    .unwrap()
}

const PROBLEMS: &str = include_str!("../../../prompts/zh-en/problems.jsonl");
const PAIRS: &str = include_str!("../../../prompts/zh-en/pairs.jsonl");

fn by_category(pairs: &[Pair]) -> BTreeMap<&str, Vec<&Pair>> {
    let mut found: BTreeMap<&str, Vec<&Pair>> = BTreeMap::new();
    for pair in pairs {
        found.entry(&pair.category).or_default().push(pair);
    }
    found
}

#[test]
fn problems_are_many_graded_and_can_be_crossed() {
    let set = parse(PROBLEMS);
    let pairs = pairs(&set).unwrap();
    assert!(pairs.len() >= 24, "{}", pairs.len());
    let categories = by_category(&pairs);
    assert!(categories.len() >= 10, "{}", categories.len());
    let grades: BTreeSet<u8> = pairs.iter().map(|p| p.difficulty).collect();
    assert_eq!(grades, BTreeSet::from([1, 2, 3]));
    for (category, pairs) in categories {
        let answers: BTreeSet<i64> = pairs.iter().map(|p| p.answer).collect();
        assert_eq!(answers.len(), pairs.len(), "{category}");
    }
    for (i, partner) in cross(&pairs).into_iter().enumerate() {
        let partner = &pairs[partner.unwrap()];
        assert_eq!(partner.category, pairs[i].category);
        assert_ne!(partner.answer, pairs[i].answer);
    }
    for prompt in &set.prompts {
        assert!(prompt.tag("check").is_some(), "{}", prompt.id);
        assert!(!prompt.text.ends_with(' '), "{}", prompt.id);
    }
}

#[test]
fn generated_pairs_are_what_the_code_gives() {
    assert!(
        PAIRS == pairs_file(),
        "prompts/zh-en/pairs.jsonl differs; cargo run -p assay-problems --example write_pairs"
    );
    let set = parse(PAIRS);
    let pairs = pairs(&set).unwrap();
    assert!(pairs.len() >= 250, "{}", pairs.len());
    assert!(by_category(&pairs).len() >= 8);
    let texts: BTreeSet<&str> = set.prompts.iter().map(|p| p.text.as_str()).collect();
    assert_eq!(texts.len(), set.prompts.len());
    let blank = texts.iter().find(|t| t.contains('{'));
    assert_eq!(blank, None);
}

/// One pair, of which a word is changed.
fn changed(from: &str, to: &str) -> ProblemError {
    let lines: Vec<String> = PROBLEMS
        .lines()
        .take(2)
        .map(|l| l.replacen(from, to, 1))
        .collect();
    pairs(&parse(&lines.join("\n"))).unwrap_err()
}

#[track_caller]
fn check(error: &ProblemError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

#[test]
fn banks_that_contradict_themselves_are_refused() {
    check(
        &changed("\"language\": \"zh\"", "\"language\": \"fr\""),
        &["copy-1.zh", "language", "fr"],
    );
    check(
        &changed("\"language\": \"zh\"", "\"language\": \"en\""),
        &["copy-1", "two prompts in en"],
    );
    check(
        &changed("\"check\": \"5\"", "\"check\": \"5 + 1\""),
        &["check", "6", "5"],
    );
    check(
        &changed("\"check\": \"5\"", "\"check\": \"5 +\""),
        &["check", "number"],
    );
    check(
        &changed("\"answer\": \"5\"", "\"answer\": \"five\""),
        &["answer", "five"],
    );
    check(
        &changed("\"difficulty\": \"1\"", "\"difficulty\": \"9\""),
        &["difficulty"],
    );
    let one: String = PROBLEMS.lines().take(1).collect();
    check(
        &pairs(&parse(&one)).unwrap_err(),
        &["copy-1", "no prompt in en"],
    );
    let lines: Vec<&str> = PROBLEMS.lines().take(2).collect();
    let other = lines[1].replace("\"difficulty\": \"1\"", "\"difficulty\": \"2\"");
    let text = format!("{}\n{other}", lines[0]);
    check(&pairs(&parse(&text)).unwrap_err(), &["copy-1", "differ"]);
    let without = lines[0].replace("\"pair\": \"copy-1\", ", "");
    check(
        &pairs(&parse(&without)).unwrap_err(),
        &["copy-1.zh", "pair", "missing"],
    );
}
