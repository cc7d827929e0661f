#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_golden::{BySize, Drift, Outcome, Ran, RecordDrift, Spread, Variation as Measured};
use assay_record::{Made, Measure, ModelFacts, Record, RecordKey, Sample, Store, Tolerance};

use super::page::{END, START, for_terminal, markdown, put_into};
use super::rerun::{Records, Reference, against, of_other_sources};
use super::{faults, threads_apart, variations};
use crate::manifest::{Manifest, Measured as Listed, Outcomes};

fn record(model: &str, device_class: &str, values: &[f64]) -> Record {
    let text = |s: &str| s.to_owned();
    Record {
        key: RecordKey {
            experiment: text("made-up"),
            spec_version: 1,
            spec_sha256: text("s"),
            fingerprint: text("f"),
            model: text(model),
            family: text("f"),
            revision: text("local"),
            weights_sha256: text("w"),
            tokenizer_sha256: text("t"),
            prompts_sha256: text("p"),
            dtype: text("f32"),
            device_class: text(device_class),
            setting: text("default"),
            switches: BTreeMap::new(),
        },
        facts: ModelFacts {
            model_type: text("llama"),
            n_layers: 3,
            n_heads: 4,
            n_kv_heads: 4,
            d_model: 32,
            d_head: 8,
            d_mlp: 64,
            vocab: 512,
            rho: 0.5,
            block: text("sequential"),
            norm: text("RMSNorm, pre"),
            position: text("rotary"),
            parameters: 1,
            stored: text("f32"),
        },
        samples: vec![Sample {
            unit: text("model"),
            cluster: text("c"),
            text: text("t"),
            token_ids: vec![1, 2],
            special_tokens: 0,
            tags: BTreeMap::new(),
            measures: BTreeMap::from([(text("gain.by-layer"), Measure::Series(values.to_vec()))]),
        }],
    }
}

/// A store of another machine with these models, and its list.
fn reference(folder: &Path, models: &[(&str, &[f64])]) -> Reference {
    let store = Store::open(folder).unwrap();
    let mut outcomes = Outcomes::default();
    for (model, values) in models {
        let made = Made {
            at: 0,
            host: String::new(),
            commit: String::new(),
            command: Vec::new(),
            threads: 1,
            milliseconds: 0,
        };
        let record = store
            .commit(&record(model, "cpu-a", values), &made)
            .unwrap();
        outcomes.measured.push(Listed {
            model: (*model).to_owned(),
            record,
        });
    }
    let mut manifest = Manifest::new();
    manifest.experiments.insert("made-up".to_owned(), outcomes);
    Reference { store, manifest }
}

fn rerun(models: &[(&str, &[f64])]) -> Records {
    let key = |model: &str| ("made-up".to_owned(), model.to_owned());
    (models.iter())
        .map(|(model, values)| (key(model), record(model, "cpu-b", values)))
        .collect()
}

#[test]
fn stores_are_compared_model_by_model() {
    let folder = tempfile::tempdir().unwrap();
    let there: [(&str, &[f64]); 3] = [("a", &[1.0, 2.0]), ("b", &[1.0, 2.0]), ("c", &[1.0])];
    let reference = reference(folder.path(), &there);
    let equal = against(&rerun(&there[..2]), &reference).unwrap();
    let all = equal["made-up"].all();
    assert_eq!((all.values, all.equal), (4, 4));

    let off = [("a", &[1.0, 2.0][..]), ("b", &[1.0, 2.0_f64.next_up()])];
    let all = against(&rerun(&off), &reference).unwrap()["made-up"].all();
    assert_eq!((all.values, all.equal), (4, 3));
    assert_eq!(all.worst, "b model gain.by-layer[1]");

    let extra = against(&rerun(&[("d", &[1.0])]), &reference).unwrap();
    assert_eq!(extra["made-up"].unmatched, ["d: not in the reference"]);
    let missing = against(&rerun(&[("a", &[1.0])]), &reference).unwrap();
    let line = "a model gain.by-layer: another number of values";
    assert_eq!(missing["made-up"].unmatched, [line]);
}

#[test]
fn a_reference_of_other_sources_is_known_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let reference = reference(folder.path(), &[("a", &[1.0])]);
    let mut records = rerun(&[("a", &[1.0])]);
    assert!(of_other_sources(&records, &reference).unwrap().is_empty());
    for record in records.values_mut() {
        record.key.fingerprint = "changed".to_owned();
    }
    let others = of_other_sources(&records, &reference).unwrap();
    assert_eq!(others.into_iter().collect::<Vec<_>>(), ["made-up"]);
}

#[test]
fn threads_that_change_a_bit_are_a_fault() {
    let all = variations::all();
    let [one, two] = ["threads-1", "threads-2"].map(|n| all.iter().find(|v| v.name == n).unwrap());
    assert!(one.is_of_threads() && two.is_of_threads());
    let first = (one.name.clone(), rerun(&[("a", &[1.0]), ("b", &[2.0])]));
    let same = rerun(&[("a", &[1.0]), ("b", &[2.0])]);
    assert_eq!(threads_apart(&first, two, &same), Vec::<String>::new());
    let off = rerun(&[("a", &[1.0]), ("b", &[2.0_f64.next_up()])]);
    let lines = threads_apart(&first, two, &off);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("threads-2: made-up of b is not what threads-1 gives"));
}

/// Two variations: one that ran and found a flipped verdict, one that did not.
fn drift() -> Drift {
    let mut gain = Spread::default();
    gain.add(1.0, 1.0, || "a model gain[0]".to_owned());
    gain.add(2.0, 2.5, || "a model gain[1]".to_owned());
    let mut numbers = BySize::default();
    numbers.add(0.5, 0.500_000_5, "a.small");
    numbers.add(4.0, 4.0, "a.large");
    let ran = Ran {
        date: "2026-01-31".to_owned(),
        machine: "x86-64 with FMA".to_owned(),
        versions: vec!["rustc 1.0".to_owned(), "gemm 0".to_owned()],
        device_class: "cpu-b".to_owned(),
        reference: "cpu-a".to_owned(),
        records: BTreeMap::from([(
            "made-up".to_owned(),
            RecordDrift {
                records: 1,
                kinds: BTreeMap::from([("gain".to_owned(), gain)]),
                unmatched: vec!["a b: only in the reference".to_owned()],
            },
        )]),
        numbers: BTreeMap::from([(Tolerance::Rounding, numbers)]),
        verdicts: 1,
        off: vec!["verdict SUPPORTED of c | a: expected and found REFUTED".to_owned()],
    };
    let variation = |name: &str, outcome| Measured {
        name: name.to_owned(),
        what: format!("the {name} one"),
        outcome,
    };
    Drift {
        variations: vec![
            variation("first", Outcome::Ran(ran)),
            variation(
                "second",
                Outcome::NotRun("qemu is not installed".to_owned()),
            ),
        ],
    }
}

#[test]
fn a_flipped_verdict_and_what_is_missing_are_faults() {
    let drift = drift();
    let expected = [
        "first: verdict SUPPORTED of c | a: expected and found REFUTED",
        "first: made-up: a b: only in the reference",
    ];
    assert_eq!(faults(&drift.variations[0]), expected);
    assert_eq!(faults(&drift.variations[1]), Vec::<String>::new());
}

const SECTION: &str = r"
`first` on 2026-01-31, x86-64 with FMA: rustc 1.0, gemm 0.

| Variation | What | Device class | Values | Equal to the bit | Largest \|a - e\| | Largest relative | Largest drift | Where |
|---|---|---|---|---|---|---|---|---|
| `first` | the first one | cpu-b | 2 | 1 | 5.0e-1 | 2.0e-1 | 2.5e-1 | `made-up a model gain[1]` |
| `second` | the second one | not run: qemu is not installed | | | | | | |

| Experiment | Kinds of measures that differ, and their largest drift | Models | Values | Equal to the bit | In |
|---|---|---|---|---|---|
| made-up | gain 2.5e-1 | 1 | 2 | 1 | `first` |

| Class | Numbers | Compared | Equal to the bit | Largest drift | Where | At least | Bound |
|---|---|---|---|---|---|---|---|
| exact | below 1 | 0 | 0 | 0 |  | 0 | absolute 0 |
| exact | from 1 on | 0 | 0 | 0 |  | 0 | relative 0 |
| rounding | below 1 | 1 | 0 | 5.0e-7 | `a.small` | 1.2e-6 | absolute 1e-5 |
| rounding | from 1 on | 1 | 1 | 0 |  | 1.2e-6 | relative 1e-5 |
| statistical | below 1 | 0 | 0 | 0 |  | 5.0e-3 | absolute 1e-2 |
| statistical | from 1 on | 0 | 0 | 0 |  | 5.0e-3 | relative 1e-2 |

1 verdict compared; golden values and verdicts that did not hold: 1.
- verdict SUPPORTED of c | a: expected and found REFUTED
";

#[test]
fn the_table_says_what_was_measured() {
    assert_eq!(markdown(&drift()), SECTION);
    let said = for_terminal(&drift().variations[1]);
    assert_eq!(
        said,
        "\nsecond: the second one\nnot run: qemu is not installed\n"
    );
    let said = for_terminal(&drift().variations[0]);
    let row = said.lines().find(|l| l.starts_with("made-up")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        cells[1..7],
        ["gain", "2", "1", "5.0e-1", "2.0e-1", "2.5e-1"]
    );
}

#[test]
fn the_table_takes_the_place_between_its_lines() {
    let text = format!("before\n{START}\nold\n{END}\nafter\n");
    let put = put_into(&text, "\nnew\n").unwrap();
    assert_eq!(put, format!("before\n{START}\n\nnew\n{END}\nafter\n"));
    // Written twice, nothing changes.
    assert_eq!(put_into(&put, "\nnew\n").unwrap(), put);
    assert_eq!(put_into("nothing here", "new"), None);
}

/// METHODS.md says what golden/drift.json says.
#[test]
fn methods_is_written_from_what_was_measured() {
    let root = crate::workspace::root();
    let text = std::fs::read_to_string(root.join("METHODS.md")).unwrap();
    let drift = Drift::load(&crate::workspace::golden()).unwrap();
    let put = put_into(&text, &markdown(&drift)).unwrap();
    assert!(
        put == text,
        "METHODS.md is out of date: run cargo xtask drift --write"
    );
}
