//! Two records are compared to the bit, whatever one of them lacks is named,
//! and the classes in the code are those that follow from what was measured.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use assay_golden::{
    Drift, Outcome, RecordDrift, Spread, bound_from, bounds, drift_of_summary, least,
    update_summary,
};
use assay_record::{Measure, Record, Sample, Summary, Tolerance};

mod fixture;
use fixture::number;

const CLASSES: [Tolerance; 3] = [
    Tolerance::Exact,
    Tolerance::Rounding,
    Tolerance::Statistical,
];

fn sample(unit: &str) -> Sample {
    Sample {
        unit: unit.to_owned(),
        cluster: "c".to_owned(),
        text: "t".to_owned(),
        token_ids: vec![1, 2],
        special_tokens: 0,
        tags: BTreeMap::new(),
        measures: BTreeMap::from([
            ("gain.last".to_owned(), Measure::Scalar(4.0)),
            ("gain.by-layer".to_owned(), Measure::Series(vec![0.5, 2.0])),
            ("kl".to_owned(), Measure::Scalar(0.0)),
        ]),
    }
}

fn record(device_class: &str) -> Record {
    let mut record = fixture::record(vec![sample("a"), sample("b")]);
    record.key.device_class = device_class.to_owned();
    record
}

fn compared(expected: &Record, actual: &Record) -> RecordDrift {
    let mut drift = RecordDrift::default();
    drift.add(expected, actual);
    drift
}

#[test]
fn equal_records_of_two_classes_have_no_drift() {
    let drift = compared(&record("cpu-a"), &record("cpu-b"));
    assert_eq!((drift.records, drift.unmatched.len()), (1, 0));
    let all = drift.all();
    assert_eq!((all.values, all.equal), (8, 8));
    assert_eq!((all.absolute, all.relative, all.drift), (0.0, 0.0, 0.0));
    assert_eq!(all.worst, "");
}

#[test]
fn one_bit_off_is_found_and_named() {
    let mut actual = record("cpu-b");
    let off = 2.0_f64.next_up();
    let series = Measure::Series(vec![0.5, off]);
    actual.samples[1]
        .measures
        .insert("gain.by-layer".to_owned(), series);
    let drift = compared(&record("cpu-a"), &actual);
    let gain = &drift.kinds["gain"];
    assert_eq!((gain.values, gain.equal), (6, 5));
    assert_eq!(gain.worst, "tiny b gain.by-layer[1]");
    assert_eq!(gain.absolute, off - 2.0);
    assert_eq!(gain.drift, (off - 2.0) / 2.0);
    assert_eq!(gain.relative, (off - 2.0) / off);
    assert_eq!(drift.kinds["kl"].equal, 2);
    assert_eq!(drift.all().worst, gain.worst);
}

/// Differing in the sign of zero is differing by a bit and by nothing else.
#[test]
fn zeros_of_two_signs_are_not_equal_to_the_bit() {
    let mut spread = Spread::default();
    spread.add(0.0, -0.0, || "zero".to_owned());
    assert_eq!((spread.values, spread.equal, spread.drift), (1, 0, 0.0));
    assert_eq!((spread.relative, spread.worst.as_str()), (0.0, "zero"));
    spread.add(0.0, 1e-3, || "small".to_owned());
    assert_eq!((spread.absolute, spread.drift), (1e-3, 1e-3));
    assert_eq!((spread.relative, spread.worst.as_str()), (1.0, "small"));
}

/// No number is near to what is none.
#[test]
fn what_is_no_number_is_infinitely_far() {
    for (expected, actual) in [(1.0, f64::NAN), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
        let mut spread = Spread::default();
        spread.add(expected, actual, || "it".to_owned());
        spread.add(1.0, 1.5, || "another".to_owned());
        let sizes = [spread.absolute, spread.relative, spread.drift];
        assert_eq!(sizes, [f64::INFINITY; 3], "{expected} {actual}");
        assert_eq!((spread.equal, spread.worst.as_str()), (0, "it"));
    }
}

#[test]
fn what_one_side_lacks_is_named() {
    let mut actual = record("cpu-b");
    actual.samples[0].unit = "c".to_owned();
    let measures = &mut actual.samples[1].measures;
    measures.remove("kl");
    measures.insert("new".to_owned(), Measure::Scalar(1.0));
    measures.insert("gain.by-layer".to_owned(), Measure::Series(vec![0.5]));
    actual.samples[1].token_ids.push(3);
    let drift = compared(&record("cpu-a"), &actual);
    let expected = [
        "tiny a: only in the reference",
        "tiny c: not in the reference",
        "tiny b: other tokens",
        "tiny b kl: only in the reference",
        "tiny b new: not in the reference",
        "tiny b gain.by-layer: another number of values",
    ];
    assert_eq!(drift.unmatched, expected);
    // What both have is compared all the same.
    assert_eq!(drift.all().values, 1);
}

#[test]
fn records_of_other_inputs_are_not_compared() {
    let mut actual = record("cpu-b");
    actual.key.fingerprint = "other sources".to_owned();
    assert_eq!(compared(&record("cpu-a"), &actual).records, 1);
    actual.key.weights_sha256 = "x".to_owned();
    actual.key.prompts_sha256 = "x".to_owned();
    let drift = compared(&record("cpu-a"), &actual);
    let expected = ["tiny: the records are of another weights, prompt set"];
    assert_eq!((drift.records, drift.all().values), (0, 0));
    assert_eq!(drift.unmatched, expected);
}

/// A number of each size for one model, one number for the other.
fn summary() -> Summary {
    let rounding = |value, record| number(value, Tolerance::Rounding, &[record]);
    fixture::summary([
        ("a.small", rounding(0.5, "record-a")),
        ("a.large", rounding(8.0, "record-a")),
        ("b.small", rounding(0.25, "record-b")),
    ])
}

#[test]
fn numbers_drift_absolutely_below_one_and_relatively_from_one_on() {
    let golden = tempfile::tempdir().unwrap();
    update_summary(&summary(), golden.path()).unwrap();
    let mut found = summary();
    for (id, value) in [("a.small", 0.5625), ("a.large", 8.5), ("b.small", 9.0)] {
        found.numbers.get_mut(id).unwrap().value = value;
    }
    let of_a = BTreeSet::from(["record-a".to_owned()]);
    let drift = drift_of_summary(&found, &of_a, golden.path()).unwrap();
    let sizes = &drift.numbers[&Tolerance::Rounding];
    // b's number rests on a record that was not asked about.
    assert_eq!((sizes.below_one.values, sizes.from_one.values), (1, 1));
    assert_eq!(
        (sizes.below_one.drift, sizes.from_one.drift),
        (0.0625, 0.0625)
    );
    assert_eq!(sizes.from_one.absolute, 0.5);
}

#[test]
fn a_bound_is_the_next_power_of_ten_from_twice_the_drift() {
    let rounding = |drift| bound_from(Tolerance::Rounding, drift);
    assert_eq!(rounding(4.9e-5), 1e-4);
    assert_eq!(rounding(5.1e-5), 1e-3);
    // Never below ten roundings of f32.
    assert_eq!(rounding(0.0), 1e-5);
    assert_eq!(rounding(1.1e-7), 1e-5);
    let statistical = |drift| bound_from(Tolerance::Statistical, drift);
    // Never below a rank among 199.
    assert_eq!(statistical(0.0), 1e-2);
    assert_eq!(statistical(6e-3), 1e-1);
    assert_eq!(bound_from(Tolerance::Exact, 1.0), 0.0);
}

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden")
}

/// Neither tighter than what was measured allows nor looser than the rule says.
#[test]
fn the_classes_follow_from_what_was_measured() {
    let drift = Drift::load(&golden()).unwrap();
    for class in CLASSES {
        let of = drift.of_class(class);
        let derived = (
            bound_from(class, of.below_one.drift),
            bound_from(class, of.from_one.drift),
        );
        assert_eq!(bounds(class), derived, "{class:?}: {of:?}");
        let (abs, rel) = bounds(class);
        assert!(abs >= of.below_one.drift && rel >= of.from_one.drift);
        assert!(abs >= least(class) && rel >= least(class));
    }
}

/// The measurement says something: values and numbers were compared, on more
/// than one class of machine, and nothing was off.
#[test]
fn what_was_measured_is_a_measurement() {
    let drift = Drift::load(&golden()).unwrap();
    let mut classes = BTreeSet::new();
    for (variation, ran) in drift.ran() {
        classes.insert(&ran.device_class);
        let off = (
            &ran.off,
            ran.records.values().flat_map(|d| &d.unmatched).count(),
        );
        assert_eq!(off, (&Vec::new(), 0), "{}", variation.name);
        assert!(
            !ran.records.is_empty() && ran.verdicts > 0,
            "{}",
            variation.name
        );
    }
    assert!(classes.len() > 1, "{classes:?}");
    for class in CLASSES {
        let of = drift.of_class(class);
        assert!(of.below_one.values + of.from_one.values > 0, "{class:?}");
    }
    for variation in &drift.variations {
        if let Outcome::NotRun(reason) = &variation.outcome {
            assert!(!reason.is_empty(), "{}", variation.name);
        }
    }
}
