//! A report of models and prompts whose names mean harm: what a page, a
//! document, a table and a spreadsheet make of them.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

mod fixture;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use assay_record::{Cell, Record, RecordKey, canonical_json};
use assay_report::{ReportInput, samples_csv, write_report};
use serde_json::Value;

/// What the fixture's eight models are called here.
fn hostile() -> [(&'static str, String); 8] {
    [
        ("fixture-70m", "<script>alert(1)</script>".to_owned()),
        (
            "fixture-160m",
            "\"><img src=x onerror=alert(2)>' onload='x".to_owned(),
        ),
        (
            "fixture-410m",
            "\\input{/etc/passwd} \\end{document}".to_owned(),
        ),
        (
            "fixture-1b",
            "$\\immediate\\write18{touch made}$ ^^5c".to_owned(),
        ),
        (
            "fixture-1.4b",
            "right\u{202e}tfel\u{2066}\u{1}\u{7}\u{200b}x".to_owned(),
        ),
        ("fixture-2.8b", format!("[9cm]{}", "long-".repeat(400))),
        (
            "fixture-6.9b",
            "*[5pt] a | b |\n| --- |\r\n`|` <!-- ]]> %%%".to_owned(),
        ),
        ("fixture-12b", "=cmd|' /C calc'!A0".to_owned()),
    ]
}

/// Every text that is a name is another.
fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(other) = names.get(text) {
                other.clone_into(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, names)),
        _ => (),
    }
}

/// What a report is made of, and the records of its keys.
type Input = (ReportInput, Vec<Record>);

fn harmless() -> Input {
    let input = fixture::input();
    let records = input.records.iter().map(fixture::record_of);
    let records = records.collect();
    (input, records)
}

fn input() -> Input {
    let mut input = fixture::input();
    let names = hostile().map(|(old, new)| (old.to_owned(), new));
    let mut names = BTreeMap::from(names);
    let renamed = |record: &Record, names| {
        let mut value = serde_json::to_value(record).unwrap();
        rename(&mut value, names);
        let mut record: Record = serde_json::from_value(value).unwrap();
        let sample = &mut record.samples[0];
        // The prompt is called, grouped and worded as the model is.
        sample.unit.clone_from(&record.key.model);
        sample.cluster.clone_from(&record.key.model);
        sample.text.clone_from(&record.key.model);
        record
    };
    let of = |key: &RecordKey| renamed(&fixture::record_of(key), &names);
    let records: Vec<Record> = input.records.iter().map(of).collect();
    for (old, new) in input.records.iter_mut().zip(&records) {
        names.insert(old.id().unwrap(), new.key.id().unwrap());
        *old = new.key.clone();
    }
    for summary in &mut input.summaries {
        let mut value = serde_json::to_value(&summary).unwrap();
        rename(&mut value, &names);
        *summary = serde_json::from_value(value).unwrap();
        for (panel, (_, name)) in summary.figures[0].panels.iter_mut().zip(hostile()) {
            panel.title.clone_from(&name);
            panel.x.label.clone_from(&name);
        }
        // At the beginning of a line nothing stands before it.
        for (row, (_, name)) in summary.tables[0].rows.iter_mut().zip(hostile()) {
            row[0] = Cell::Text(name);
        }
    }
    for (line, (_, name)) in input.outcomes.iter_mut().zip(hostile()) {
        line.model = name;
    }
    (input, records)
}

fn written((input, records): &Input, to: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |key: &RecordKey| {
        let record = records.iter().find(|r| r.key == *key).unwrap();
        Ok(canonical_json(record).unwrap().into_bytes())
    };
    let written = write_report(&Arc::new(input.clone()), &read, to, &mut |_, _, _| ()).unwrap();
    let files = written.files.iter().map(|path| {
        let name = path.strip_prefix(to).unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(path).unwrap())
    });
    files.collect()
}

fn text(files: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    String::from_utf8(files[name].clone()).unwrap()
}

/// The tags of a page without its style and script, as (name, attributes).
fn tags(page: &str) -> Vec<(String, String)> {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    let (between, rest) = rest.split_once("<script>").unwrap();
    let (_, rest) = rest.split_once("</script>").unwrap();
    let all = [head, between, rest].concat();
    let tags = all.split('<').skip(1).map(|tag| {
        let (inside, _) = tag.split_once('>').unwrap();
        let (name, attributes) = inside.split_once([' ', '\n']).unwrap_or((inside, ""));
        (name.to_owned(), attributes.to_owned())
    });
    tags.collect()
}

/// Names of a tag's attributes: what stands outside quotes before a `=`.
fn attributes(text: &str) -> Vec<String> {
    let outside: String = text.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = outside.split_whitespace();
    words.map(|w| w.trim_end_matches('=').to_owned()).collect()
}

#[test]
fn a_page_has_the_elements_of_a_harmless_one() {
    let folder = tempfile::tempdir().unwrap();
    let page =
        |input: &Input, name: &str| text(&written(input, &folder.path().join(name)), "report.html");
    let kinds = |page: &str| {
        let mut kinds = BTreeMap::<String, Vec<String>>::new();
        for (name, inside) in tags(page) {
            kinds.entry(name).or_default().extend(attributes(&inside));
        }
        for names in kinds.values_mut() {
            names.sort();
            names.dedup();
        }
        kinds
    };
    let page_of_hostile = page(&input(), "hostile");
    assert_eq!(
        kinds(&page_of_hostile),
        kinds(&page(&harmless(), "harmless"))
    );
    // All of it is there to be read.
    assert!(page_of_hostile.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page_of_hostile.contains("right[U+202E]tfel[U+2066]"));
    assert!(!page_of_hostile.contains('\u{202e}'));
}

/// Cells of a row of a Markdown table: bars that are not escaped.
fn cells(line: &str) -> usize {
    line.replace("\\\\", "")
        .replace("\\|", "")
        .matches('|')
        .count()
}

/// Markdown without its code spans, in which every sign is itself: a span goes
/// from some backticks to the next run of as many.
fn without_code(page: &str) -> String {
    let mut words = String::new();
    let mut rest = page;
    while let Some(start) = rest.find('`') {
        words.push_str(&rest[..start]);
        rest = &rest[start..];
        let ticks = rest.len() - rest.trim_start_matches('`').len();
        let inside = &rest[ticks..];
        let runs = inside.match_indices(&rest[..ticks]).map(|(i, _)| i);
        let alone = |i: &usize| {
            let (before, after) = (&inside[..*i], &inside[i + ticks..]);
            !before.ends_with('`') && !after.starts_with('`')
        };
        rest = match runs.into_iter().find(alone) {
            Some(end) => &inside[end + ticks..],
            None => inside,
        };
    }
    words + rest
}

#[test]
fn a_markdown_table_keeps_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let files = written(&input(), folder.path());
    let page = text(&files, "report.md");
    let lines: Vec<&str> = page.lines().collect();
    let mut rows = 0;
    for (i, line) in lines.iter().enumerate() {
        if !line.starts_with("| ---") {
            continue;
        }
        for row in lines[i - 1..].iter().take_while(|l| l.starts_with('|')) {
            assert_eq!(cells(row), cells(line), "{row}");
            rows += 1;
        }
    }
    let all = lines.iter().filter(|l| l.starts_with('|')).count();
    assert_eq!(rows, all, "a row stands outside of every table");
    let words = without_code(&page);
    assert!(!words.contains("<script") && !words.contains("<img") && !words.contains("<!--"));
}

#[test]
fn latex_sets_the_words_and_does_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let files = written(&input(), folder.path());
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".tex")) {
        let tex = String::from_utf8_lossy(bytes);
        for command in ["\\input{/", "\\immediate", "\\write18", "^^"] {
            let code: Vec<&str> = tex.lines().filter(|l| !l.starts_with('%')).collect();
            assert!(!code.concat().contains(command), "{name}: {command}");
        }
        let lines: Vec<&str> = tex.lines().collect();
        for ends in lines.windows(2).filter(|two| two[0].ends_with("\\\\")) {
            assert!(!ends[1].starts_with(['[', '*']), "{name}: {ends:?}");
        }
    }
    if Command::new("pdftotext").arg("-v").output().is_err() || !files.contains_key("report.pdf") {
        println!("latexmk or pdftotext is not installed: the PDF was not read back");
        return;
    }
    let pdf = folder.path().join("report.pdf");
    let read = Command::new("pdftotext")
        .args(["-raw"])
        .arg(&pdf)
        .arg("-")
        .output();
    // Lines are broken inside long names.
    let words: String = String::from_utf8_lossy(&read.unwrap().stdout)
        .split_whitespace()
        .collect();
    for shown in [
        "<script>alert(1)</script>",
        "onerror=alert(2)>",
        "\\input{/etc/passwd}\\end{document}",
        "\\immediate\\write18{touch",
        "right[U+202E]tfel",
        "=cmd|",
    ] {
        assert!(words.contains(shown), "{shown} is not in the PDF:\n{words}");
    }
    assert!(!words.contains("root:x:0"));
}

#[test]
fn no_cell_of_a_csv_file_is_a_formula() {
    let folder = tempfile::tempdir().unwrap();
    let input = input();
    let mut files = written(&input, folder.path());
    files.insert("samples.csv".to_owned(), samples_csv(&input.1).unwrap());
    let mut quoted = 0;
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".csv")) {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(bytes.as_slice());
        for row in reader.records() {
            let row = row.unwrap();
            for cell in &row {
                let begins = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
                assert!(!begins || cell.parse::<f64>().is_ok(), "{name}: {cell}");
                quoted += usize::from(cell.starts_with("'=cmd"));
            }
        }
    }
    // In the figure's data, the table's, and thrice in the samples.
    assert!(quoted >= 5, "{quoted}");
}
