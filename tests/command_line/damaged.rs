//! A file that is not what was written is named, and never taken for a result.

use crate::bench::{Bench, check_same, run};

#[test]
fn a_damaged_record_is_named_and_computed_again() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    let results = bench.results("store", "out");
    let record = bench.record_of("store", "tiny-neox");
    let other = bench.record_of("store", "tiny-llama");
    let whole = std::fs::read(&record).unwrap();
    let flipped = |place: &str, flip: u8| {
        let text = std::str::from_utf8(&whole).unwrap();
        let mut bytes = whole.clone();
        bytes[text.find(place).unwrap() + place.len()] ^= flip;
        bytes
    };
    let damages = [
        // The first digit of a number, and a byte that makes it no text.
        (flipped("\"gain.as-published\": ", 0x01), "is damaged"),
        (flipped("\"gain.as-published\": ", 0x80), "valid UTF-8"),
        (whole[..whole.len() / 2].to_vec(), "not a readable record"),
        (Vec::new(), "not a readable record"),
        (flipped("\"format\": ", 0x01), "has record format 3"),
        (std::fs::read(other).unwrap(), "it holds record"),
    ];
    for (bytes, words) in damages {
        std::fs::write(&record, bytes).unwrap();
        // Neither the statistics nor the report take it.
        let name = record.file_name().unwrap().to_str().unwrap();
        run(bench.xtask(&["stats", "--store", "store"])).check_refused(&[name, words]);
        run(bench.xtask(&["report", "--store", "store", "--out", "out"]))
            .check_refused(&[name, words]);
        let ended = run(bench.reproduce(&models));
        ended.check(0, &[name, words, "it is computed again"]);
        assert_eq!(ended.text.matches("measured in").count(), 1);
        assert_eq!(ended.text.matches("is in the store").count(), 1);
        check_same(&bench.results("store", "out"), &results);
    }
}

#[test]
fn a_damaged_list_or_summary_is_named_and_mended_by_the_next_run() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    let results = bench.results("store", "out");
    let text = |file: &str| std::fs::read_to_string(bench.path("store").join(file)).unwrap();
    let flipped = |file: &str, from: &str, to: &str| {
        let text = text(file);
        assert!(text.contains(from), "{file} has no {from}");
        text.replacen(from, to, 1)
    };
    let (list, summary) = ("last-run.json", "summaries/h25-gain.json");
    for (file, damage) in [
        (list, "{".to_owned()),
        (
            list,
            "{\"format\": 1, \"experiments\": {}, \"more\": 1}".to_owned(),
        ),
        (list, flipped(list, "tiny-neox", "tiny-near")),
        (summary, "{}".to_owned()),
        (summary, flipped(summary, "\"value\": 0.", "\"value\": 1.")),
    ] {
        std::fs::write(bench.path("store").join(file), damage).unwrap();
        let report = bench.xtask(&["report", "--store", "store", "--out", "out"]);
        run(report).check_refused(&[file]);
        run(bench.reproduce(&models)).check(0, &["is in the store"]);
        check_same(&bench.results("store", "out"), &results);
    }
}

#[test]
fn without_a_run_there_is_nothing_to_report() {
    let bench = Bench::new();
    for command in ["stats", "golden", "report"] {
        let ended = run(bench.xtask(&[command, "--store", "mistyped"]));
        ended.check_refused(&["mistyped/last-run.json", "reproduce --all"]);
        assert!(!bench.path("mistyped").exists(), "{command} made a store");
    }
}
