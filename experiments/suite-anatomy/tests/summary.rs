//! The summary of made-up records, against values worked out by hand. No model
//! was run for them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_experiment::Experiment;
use assay_record::{
    ClaimVerdict, ExperimentSpec, ModelFacts, Record, RecordKey, Sample, Summary, Verdict,
};
use suite_anatomy::SuiteAnatomy;

const LAYERS: usize = 8;

fn blank(unit: &str, cluster: &str) -> Sample {
    Sample {
        unit: unit.to_owned(),
        cluster: cluster.to_owned(),
        text: "made up".to_owned(),
        token_ids: vec![1, 2],
        special_tokens: 0,
        tags: BTreeMap::from([("set".to_owned(), "own".to_owned())]),
        measures: BTreeMap::new(),
    }
}

/// Text i's numbers differ from the others' by 0.01 i.
fn text(i: usize, age: f64) -> Sample {
    let mut s = blank(&format!("text-{i}"), &format!("category-{i}"));
    let off = 0.01 * i as f64;
    let by_layer = |f: &dyn Fn(usize) -> f64| (0..LAYERS).map(f).collect::<Vec<f64>>();
    let last = LAYERS - 1;
    let series = [
        // One above all others in the last layer.
        (
            "norm.attn-out.by-layer",
            by_layer(&|l| if l == last { 2.0 + off } else { 1.0 }),
        ),
        // Flat but for 0.5 more in the middle: the opposite of a U.
        (
            "norm.mlp-out.by-layer",
            by_layer(&|l| if (2..6).contains(&l) { 1.5 + off } else { 1.0 }),
        ),
        (
            "norm.resid-post.by-layer",
            by_layer(&|l| if (2..6).contains(&l) { 3.0 + off } else { 1.0 }),
        ),
        (
            "massive.top-1.by-layer",
            by_layer(&|l| {
                if l == 4 {
                    1e4 * age * (1.0 + off)
                } else {
                    10.0
                }
            }),
        ),
        ("massive.top-2.by-layer", by_layer(&|_| 5.0)),
        ("massive.top-3.by-layer", by_layer(&|_| 4.0)),
        ("massive.median.by-layer", by_layer(&|_| 1.0)),
        (
            "massive.position.by-layer",
            by_layer(&|l| if l == 4 { 0.0 } else { 1.0 }),
        ),
        ("massive.dimension.by-layer", by_layer(&|_| 7.0)),
        (
            "massive.sun.by-layer",
            by_layer(&|l| f64::from(u8::from(l == 4))),
        ),
        ("sink.first.by-layer", by_layer(&|_| 0.75 + off)),
        // Of eight layers the sixth and seventh lie between 5/8 and 7/8.
        (
            "gradient.mlp-weight.by-layer",
            by_layer(&|l| if l == 5 || l == 6 { 3.0 + off } else { 1.0 }),
        ),
    ];
    for (name, values) in series {
        s.series(name, values).unwrap();
    }
    s.scalar("sink.expected", 0.25).unwrap();
    s
}

fn record(revision: &str, age: f64) -> Record {
    let mut samples: Vec<Sample> = (0..6).map(|i| text(i, age)).collect();
    let mut model = blank(Record::MODEL, Record::MODEL);
    model.scalar("map.positions.own", 2.0).unwrap();
    // The map's first column turns from falling to rising as the model ages.
    let map = (0..2 * LAYERS).map(|i| {
        if i % 2 == 0 {
            age * i as f64 - 4.0
        } else {
            (i % 5) as f64
        }
    });
    model.series("map.attn-out.own", map.collect()).unwrap();
    samples.push(model);
    Record {
        key: RecordKey {
            experiment: "suite-anatomy".to_owned(),
            spec_version: 1,
            spec_sha256: "made-up".to_owned(),
            fingerprint: "made-up".to_owned(),
            model: "made-up".to_owned(),
            family: "made-up".to_owned(),
            revision: revision.to_owned(),
            weights_sha256: "made-up".to_owned(),
            tokenizer_sha256: "made-up".to_owned(),
            prompts_sha256: "made-up".to_owned(),
            dtype: "f32".to_owned(),
            device_class: "made-up".to_owned(),
            setting: "default".to_owned(),
            switches: BTreeMap::new(),
        },
        facts: ModelFacts {
            model_type: "made-up".to_owned(),
            n_layers: LAYERS,
            n_heads: 2,
            n_kv_heads: 2,
            d_model: 8,
            d_head: 4,
            d_mlp: 16,
            vocab: 100,
            rho: 0.5,
            block: "sequential".to_owned(),
            norm: "LayerNorm, pre".to_owned(),
            position: "rotary".to_owned(),
            parameters: 100_000_000,
            stored: "f32".to_owned(),
        },
        samples,
    }
}

fn summary(records: &[Record]) -> Summary {
    let spec = ExperimentSpec::parse(SuiteAnatomy.spec_text(), Path::new("experiment.toml"));
    let summary = SuiteAnatomy.summarise(spec.unwrap(), records, &[]).unwrap();
    summary.check().unwrap();
    summary
}

fn verdict<'s>(summary: &'s Summary, claim: &str) -> &'s ClaimVerdict {
    summary.verdicts.iter().find(|v| v.claim == claim).unwrap()
}

#[track_caller]
fn check(summary: &Summary, id: &str, expected: f64) {
    let found = summary.numbers.get(id);
    let found = found.unwrap_or_else(|| panic!("no number {id}")).value;
    assert!(
        (found - expected).abs() < 1e-12,
        "{id} is {found}, not {expected}"
    );
}

#[test]
fn patterns_by_hand() {
    let s = summary(&[record("main", 1.0)]);
    // Offsets 0 to 0.05 have mean 0.025.
    check(&s, "anatomy.made-up.attention-peaks-last.estimate", 1.025);
    check(&s, "anatomy.made-up.mlp-u.estimate", -0.525);
    check(&s, "anatomy.made-up.residual-block.estimate", 2.025);
    check(&s, "anatomy.made-up.sink.estimate", 0.525);
    check(&s, "anatomy.made-up.massive-first-token.estimate", 0.5);
    let shares = (0..6).map(|i| {
        let peak = 3.0 + 0.01 * f64::from(i);
        2.0 * peak / (2.0 * peak + 6.0) - 0.25
    });
    check(
        &s,
        "anatomy.made-up.mlp-gradient-late.estimate",
        shares.sum::<f64>() / 6.0,
    );
    for (claim, expected) in [
        ("anatomy.attention-peaks-last", Verdict::Supported),
        ("anatomy.mlp-u", Verdict::Reversed),
        ("anatomy.residual-block", Verdict::Supported),
        ("anatomy.mlp-gradient-late", Verdict::Supported),
        ("anatomy.attention-gradient-early", Verdict::NotApplicable),
        ("anatomy.attribution-ranks", Verdict::NotApplicable),
        ("anatomy.massive", Verdict::Supported),
        ("anatomy.matures", Verdict::NotRun),
        ("anatomy.two-strips", Verdict::NotRun),
    ] {
        assert_eq!(verdict(&s, claim).audited, expected, "{claim}");
    }
}

#[test]
fn massive_activations_in_the_table() {
    let s = summary(&[record("main", 1.0)]);
    check(&s, "anatomy.made-up.massive.own.dimension", 7.0);
    check(&s, "anatomy.made-up.massive.own.first-token", 1.0);
    check(&s, "anatomy.made-up.massive.own.from", 4.0);
    check(&s, "anatomy.made-up.massive.own.to", 4.0);
}

#[test]
fn curves_over_training() {
    let ages = [
        ("step0", 0.1),
        ("step1", 0.2),
        ("step512", 0.5),
        ("step1000", 0.8),
        ("step143000", 1.0),
    ];
    let records: Vec<Record> = ages.iter().rev().map(|(r, age)| record(r, *age)).collect();
    let s = summary(&records);
    // The maps come closer to the last with every revision: rho is 1.
    check(&s, "anatomy.training.made-up.matures", 1.0);
    // The largest activation is 1e4 times the age: log10 from 3 to 4, and the
    // mean over texts of log10(1 + 0.01 i) more.
    let more = (0..6)
        .map(|i| (1.0 + 0.01 * f64::from(i)).log10())
        .sum::<f64>()
        / 6.0;
    check(&s, "anatomy.training.made-up.0.first", 3.0 + more);
    check(&s, "anatomy.training.made-up.0.last", 4.0 + more);
    check(&s, "anatomy.training.made-up.0.rho", 1.0);
    let figure = s
        .figures
        .iter()
        .find(|f| f.id == "anatomy-training-made-up-0");
    assert!(!figure.unwrap().panels.is_empty());
}

#[test]
fn two_revisions_are_no_curve() {
    let s = summary(&[record("step0", 0.5), record("step143000", 1.0)]);
    assert_eq!(verdict(&s, "anatomy.matures").audited, Verdict::NotRun);
}

#[test]
fn a_series_of_another_length_is_refused() {
    let mut bad = record("main", 1.0);
    bad.facts.n_layers = 9;
    let spec = ExperimentSpec::parse(SuiteAnatomy.spec_text(), Path::new("experiment.toml"));
    let error = SuiteAnatomy
        .summarise(spec.unwrap(), &[bad], &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("made-up") && error.contains("text-0"),
        "{error}"
    );
}
