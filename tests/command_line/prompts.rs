//! A user's own prompts in place of an experiment's.

use assay_record::{Record, Store};

use crate::bench::{Bench, Ended, run, three_layers};
use assay_testkit::TinyModel;

/// `run h25-gain` with these arguments more.
fn with(bench: &Bench, model: &str, arguments: &[&str]) -> Ended {
    let all = ["run", "h25-gain", "--models", model, "--store", "store"];
    run(bench.xtask(&[&all[..], arguments].concat()))
}

fn units(bench: &Bench) -> Vec<Vec<(String, String)>> {
    let store = Store::open(&bench.path("store")).unwrap();
    let (records, _) = store.list("h25-gain").unwrap();
    let of = |record: Record| {
        let samples = record.samples.into_iter();
        samples.map(|s| (s.unit, s.text)).collect()
    };
    records.into_iter().map(of).collect()
}

fn expected(units: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(unit, text): &(&str, &str)| ((*unit).to_owned(), (*text).to_owned());
    units.iter().map(owned).collect()
}

#[test]
fn texts_of_a_user_are_measured_and_kept_apart() {
    let bench = Bench::new();
    let model = bench.model("tiny", &three_layers(TinyModel::gpt_neox(1)));
    std::fs::write(bench.path("notes.txt"), "a b c\n\nc b a d\n").unwrap();
    let mail = "{\"body\": \"d c b\", \"n\": 1}\n{\"body\": \"b b\"}\n";
    std::fs::write(bench.path("mail.jsonl"), mail).unwrap();
    with(&bench, &model, &[]).check(0, &["h25-gain measured in"]);
    let own = with(&bench, &model, &["--prompts", "notes.txt"]);
    own.check(0, &["h25-gain measured in"]);
    let notes = [("notes-1", "a b c"), ("notes-3", "c b a d")];
    let mails = [("mail-1", "d c b"), ("mail-2", "b b")];
    let both = ["--prompts", "notes.txt", "--prompts", "mail.jsonl"];
    let both = [&both[..], &["--field", "body"]].concat();
    with(&bench, &model, &both).check(0, &["h25-gain measured in"]);
    with(&bench, &model, &both).check(0, &["h25-gain is in the store"]);
    let found = units(&bench);
    assert_eq!(found.len(), 3);
    assert!(found.contains(&expected(&notes)), "{found:?}");
    assert!(
        found.contains(&expected(&[notes, mails].concat())),
        "{found:?}"
    );
}

#[test]
fn prompts_that_are_none_are_refused() {
    let bench = Bench::new();
    let model = bench.model("tiny", &three_layers(TinyModel::gpt_neox(1)));
    let missing = with(&bench, &model, &["--prompts", "none.txt"]);
    missing.check_refused(&["failed to read the prompt file none.txt: "]);
    std::fs::write(bench.path("mail.jsonl"), "{\"body\": \"b\"}\n").unwrap();
    let check = |arguments: &[&str], words: &str| {
        let ended = with(&bench, &model, arguments);
        ended.check_refused(&[words]);
    };
    check(&["--prompts", "mail.jsonl"], "line 1: unknown field `body`");
    let text = ["--prompts", "mail.jsonl", "--field", "text"];
    check(
        &text,
        "mail.jsonl is not a readable prompt file: line 1: there is no field text",
    );
    with(&bench, &model, &["--field", "text"]).check(2, &["--prompts"]);
    let all = [
        "run",
        "decoder-parity",
        "--models",
        &model,
        "--store",
        "store",
    ];
    std::fs::write(bench.path("a.txt"), "a b c\n").unwrap();
    let none = run(bench.xtask(&[&all[..], &["--prompts", "a.txt"]].concat()));
    none.check_refused(&["has no prompts that others could replace"]);
}
