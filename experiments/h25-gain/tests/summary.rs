//! The summary, looked at from outside: the published table against known
//! values, and made-up records against values worked out by hand.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod fixture;

use std::path::Path;

use assay_experiment::Experiment;
use assay_record::{
    Agreement, Cell, ClaimVerdict, Comparison, ExperimentSpec, Measure, NotRun, Record, Summary,
    Verdict,
};
use h25_gain::H25Gain;

fn summary(records: &[Record]) -> Summary {
    let spec = ExperimentSpec::parse(H25Gain.spec_text(), Path::new("experiment.toml")).unwrap();
    let not_run = [NotRun {
        model: "pythia-12b".to_owned(),
        reason: "the hub cannot be reached".to_owned(),
    }];
    let summary = H25Gain.summarise(spec, records, &not_run).unwrap();
    summary.check().unwrap();
    summary
}

/// Three made-up models whose log gain falls with rho along a line: 0.125,
/// 0.25, 0.375 against log 1.2, 0, log 1/1.2.
fn three() -> Vec<Record> {
    vec![
        fixture::record("made-up-a", "a", 8, 64, &[9.0, 1.1, 1.2, 1.05]),
        fixture::record("made-up-b", "a", 16, 64, &[9.0, 1.1, 1.0, 0.8]),
        fixture::record(
            "made-up-c",
            "b",
            24,
            64,
            &[9.0, 1.1, 1.0 / 1.2, 0.8, 1.0 / 1.2, 0.7],
        ),
    ]
}

#[track_caller]
fn check(summary: &Summary, id: &str, expected: f64, tolerance: f64) {
    let found = summary.numbers.get(id);
    let found = found.unwrap_or_else(|| panic!("no number {id}")).value;
    assert!(
        (found - expected).abs() <= tolerance,
        "{id} is {found}, not {expected}"
    );
}

#[track_caller]
fn verdict<'s>(summary: &'s Summary, claim: &str, data: &str) -> &'s ClaimVerdict {
    let mut found = summary.verdicts.iter();
    found.find(|v| v.claim == claim && v.data == data).unwrap()
}

/// Half a unit of the third decimal, for values quoted with three.
const QUOTED: f64 = 0.0005;

#[test]
fn published_correlations() {
    let s = summary(&[]);
    check(&s, "h25.across.published.raw.r", -0.811_630_322_9, 1e-10);
    check(&s, "h25.across.published.raw.p", 0.014_438_080_4, 1e-10);
    check(&s, "h25.across.published.raw.layers-r", -0.878, QUOTED);
    check(&s, "h25.across.published.raw.layers-rho-r", 0.72, QUOTED);
    check(
        &s,
        "h25.across.published.raw.given-layers.r",
        -0.540,
        QUOTED,
    );
    check(
        &s,
        "h25.across.published.raw.layers-given-rho.r",
        -0.725,
        QUOTED,
    );
    // SciPy: pearsonr and spearmanr of the mean logs.
    check(&s, "h25.across.published.log.r", -0.823_716_752, 1e-9);
    check(&s, "h25.across.published.log.p", 0.011_948_493_6, 1e-9);
    check(
        &s,
        "h25.across.published.raw.spearman",
        -0.915_729_116,
        1e-9,
    );
}

#[test]
fn published_models_against_scipy() {
    let s = summary(&[]);
    // ttest_1samp of the logs, Holm by statsmodels over the eight models.
    for (model, t, holm) in [
        ("pythia-70m", 4.433_717_857, 8.765_625_01e-4),
        ("pythia-1.4b", 1.080_795_241, 0.290_529_575),
        ("pythia-6.9b", -1.692_203_262, 0.207_104_021),
        ("pythia-12b", -2.935_764_636, 0.021_675_706_9),
    ] {
        let id = |what: &str| format!("h25.published.{model}.gain.as-published.log.{what}");
        check(&s, &id("t"), t, 1e-8);
        check(&s, &id("holm-p"), holm, 1e-9);
    }
}

#[test]
fn without_records_the_measured_columns_say_why() {
    let s = summary(&[]);
    let table = s.tables.iter().find(|t| t.id == "across-models").unwrap();
    for row in &table.rows {
        assert!(matches!(row[1], Cell::Number(_)), "{row:?}");
        assert!(matches!(&row[3], Cell::Missing(why) if why == "fewer than three models"));
    }
    let v = verdict(&s, "h25.rho-predicts-gain", "measured models");
    assert_eq!(v.audited, Verdict::NotRun);
}

#[test]
fn published_verdicts() {
    let s = summary(&[]);
    let v = verdict(&s, "h25.rho-predicts-gain", "published: the Pythia sweep");
    assert_eq!(
        (v.as_published.as_str(), v.audited),
        ("VALIDATED", Verdict::Supported)
    );
    let v = verdict(&s, "h25.rho-at-fixed-depth", "published: the Pythia sweep");
    assert_eq!(v.audited, Verdict::Inconclusive);
    let v = verdict(
        &s,
        "h25.rho-predicts-gain",
        "published: the author's other models",
    );
    assert_eq!(
        (v.as_published.as_str(), v.audited),
        ("NOT_VALIDATED", Verdict::Inconclusive)
    );
    for (claim, model, expected) in [
        ("h25.high-rho-dampens", "pythia-410m", Verdict::Supported),
        ("h25.low-rho-expands", "pythia-410m", Verdict::NotApplicable),
        ("h25.low-rho-expands", "pythia-1b", Verdict::Supported),
        // 1.0047 and 0.9941: not distinguishable from 1, and within two per
        // cent of it.
        ("h25.low-rho-expands", "pythia-1.4b", Verdict::Refuted),
        ("h25.high-rho-dampens", "pythia-6.9b", Verdict::Refuted),
    ] {
        let v = verdict(&s, claim, &format!("published: {model}"));
        assert_eq!(v.audited, expected, "{claim} {model}: {}", v.because);
    }
}

#[test]
fn one_record() {
    let s = summary(&three()[..1]);
    check(
        &s,
        "h25.made-up-a.gain.as-published.log.mean",
        1.2f64.ln(),
        1e-12,
    );
    let mean = 1.2 * fixture::SPREAD.cosh();
    check(&s, "h25.made-up-a.gain.as-published.mean", mean, 1e-12);
    let sd = 1.2 * fixture::SPREAD.sinh();
    check(
        &s,
        "h25.made-up-a.gain.as-published.sd-population",
        sd,
        1e-12,
    );
    let v = verdict(&s, "h25.rho-predicts-gain", "measured models");
    assert_eq!(
        (v.as_published.as_str(), v.audited),
        ("INCONCLUSIVE", Verdict::NotRun)
    );
    let v = verdict(&s, "h25.low-rho-expands", "measured: made-up-a");
    assert_eq!(
        (v.as_published.as_str(), v.audited),
        ("EXPANDING", Verdict::Supported)
    );
}

#[test]
fn one_dampening_record_prints_validated() {
    let s = summary(&three()[2..]);
    let v = verdict(&s, "h25.rho-predicts-gain", "measured models");
    assert_eq!(
        (v.as_published.as_str(), v.audited),
        ("VALIDATED", Verdict::NotRun)
    );
}

#[test]
fn three_records() {
    let s = summary(&three());
    check(&s, "h25.across.measured.log.r", -1.0, 1e-12);
    check(&s, "h25.across.measured.log.n", 3.0, 0.0);
    // Two of the six orderings give |r| = 1.
    check(
        &s,
        "h25.across.measured.log.permutation-p",
        1.0 / 3.0,
        1e-12,
    );
}

/// The cells of a table's row, numbers replaced by "#".
#[track_caller]
fn row(summary: &Summary, table: &str, first: &str) -> Vec<String> {
    let table = summary.tables.iter().find(|t| t.id == table).unwrap();
    let cells = |row: &Vec<Cell>| -> Vec<String> {
        row.iter()
            .map(|cell| match cell {
                Cell::Text(text) => text.clone(),
                Cell::Number(_) => "#".to_owned(),
                Cell::Missing(why) => format!("({why})"),
            })
            .collect()
    };
    let mut rows = table.rows.iter().map(cells);
    rows.find(|r| r[0] == first).unwrap()
}

#[test]
fn the_published_rule_on_every_body() {
    let s = summary(&three()[..1]);
    let says = |name: &str| row(&s, "published-rule", name)[4..].to_vec();
    assert_eq!(
        says("Pythia sweep, gain as published"),
        [
            "negative and significant",
            "#",
            "#",
            "VALIDATED",
            "VALIDATED"
        ]
    );
    // E2: p = .43, and yet.
    assert_eq!(
        says("first run, gain with the final norm"),
        ["trend", "#", "#", "VALIDATED", "VALIDATED"]
    );
    check(&s, "h25.rule.first-run.p", 0.431_787_413, 1e-9);
    check(&s, "h25.rule.first-run.high-dampening", 0.75, 0.0);
    assert_eq!(
        says("the author's other models"),
        ["not supported", "#", "#", "NOT_VALIDATED", "FALSIFIED"]
    );
    check(&s, "h25.rule.sixteen.r", 0.008, QUOTED);
    check(&s, "h25.rule.sixteen.n", 16.0, 0.0);
    assert_eq!(
        says("measured models"),
        [
            "no correlation",
            "(no high-rho model)",
            "#",
            "INCONCLUSIVE",
            "never run"
        ]
    );
}

#[test]
fn errata_rest_on_computed_numbers() {
    let s = summary(&[]);
    let ids: Vec<&str> = s.errata.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["E1", "E2", "E3", "E4"]);
    assert!(
        s.errata
            .iter()
            .all(|e| e.computed && e.evidence.contains('{'))
    );
    // The published series are rounded to six decimals.
    check(&s, "h25.errata.e1.penultimate-gap", 0.0, 5e-7);
    check(&s, "h25.errata.e1.final-norm-gap", 0.0, 5e-7);
    // t = 2.447 on 6 and 2.571 on 5 degrees of freedom.
    check(&s, "h25.across.published.critical-r", 0.7067, 5e-5);
    check(&s, "h25.across.published.critical-partial-r", 0.7545, 5e-5);
    check(&s, "h25.errata.e4.growth-low", 2.306, QUOTED);
    check(&s, "h25.errata.e4.growth-high", 6.994, QUOTED);
    // 1.4b, 6.9b and 12b.
    check(&s, "h25.errata.e4.close", 3.0, 0.0);
}

#[test]
fn readings_and_growth_of_a_record() {
    let s = summary(&three());
    let cosh = fixture::SPREAD.cosh();
    check(
        &s,
        "h25.made-up-a.growth.published-range.total",
        1.1 * 1.2,
        1e-12,
    );
    let whole: f64 = 1.1 * 1.2 * 1.05;
    check(
        &s,
        "h25.made-up-a.growth.measured-range.total",
        whole,
        1e-12,
    );
    check(
        &s,
        "h25.made-up-a.growth.measured-range.per-block",
        whole.cbrt(),
        1e-12,
    );
    check(&s, "h25.made-up-a.gain.last-block.mean", 1.05 * cosh, 1e-12);
    check(&s, "h25.made-up-a.share-below-1.measured-range", 0.0, 0.0);
    check(&s, "h25.made-up-c.share-below-1.measured-range", 0.8, 1e-12);
    check(
        &s,
        "h25.made-up-c.share-below-1.published-range",
        0.75,
        1e-12,
    );
    let largest = 9.0 * fixture::SPREAD.exp() * 1e-7;
    check(
        &s,
        "h25.made-up-a.gain-f64.largest-difference",
        largest,
        1e-14,
    );
    let v = verdict(&s, "h25.stack-dampens", "measured: made-up-a");
    assert_eq!(v.audited, Verdict::Reversed);
    let v = verdict(&s, "h25.stack-dampens", "measured: made-up-c");
    assert_eq!(v.audited, Verdict::Supported);
}

#[test]
fn clamp_and_ledger_of_a_record() {
    let s = summary(&three());
    let cosh = fixture::SPREAD.cosh();
    check(
        &s,
        "h25.made-up-a.clamp.kl.penultimate.mean",
        3.0 * fixture::KL * cosh,
        1e-12,
    );
    check(&s, "h25.made-up-a.clamp.kl.largest.block", 3.0, 0.0);
    check(&s, "h25.made-up-a.clamp.kl.all.mean", 2.0 * cosh, 1e-12);
    let v = verdict(&s, "h25.gain-matters", "measured: made-up-a");
    assert_eq!(v.audited, Verdict::Supported);
    let total = 0.03 - 0.15 * cosh;
    check(&s, "h25.made-up-c.ledger.penultimate.total", total, 1e-12);
    // 0.8 f of -0.15 f; the others the rest. Mean f² is cosh of twice the spread.
    let three = -0.12 * (2.0 * fixture::SPREAD).cosh();
    check(&s, "h25.made-up-c.ledger.penultimate.top-3", three, 1e-12);
    let rest = -0.15 * cosh - three;
    check(&s, "h25.made-up-c.ledger.penultimate.rest", rest, 1e-12);
    check(
        &s,
        "h25.made-up-c.ledger.penultimate.excess.mean",
        three - rest,
        1e-12,
    );
    check(
        &s,
        "h25.made-up-c.ledger.penultimate.heads.lowest-share",
        -0.2 * cosh,
        1e-12,
    );
    check(
        &s,
        "h25.made-up-c.ledger.penultimate.heads.negative",
        1.0,
        0.0,
    );
    // 1/1.2, 0.8, 1/1.2 and 0.7 shrink.
    check(&s, "h25.made-up-c.ledger.shrinking.blocks", 4.0, 0.0);
    check(
        &s,
        "h25.made-up-c.ledger.shrinking.top-3",
        4.0 * three,
        1e-12,
    );
    let answer = |model: &str| row(&s, "ledger-dimensions", model).pop().unwrap();
    assert_eq!(answer("made-up-a"), "nothing shrinks here");
    assert_eq!(answer("made-up-c"), "yes, most of it");
}

#[test]
fn a_clamp_that_changes_little_is_refuted() {
    let mut records = three();
    for (i, sample) in records[0].samples.iter_mut().enumerate() {
        let kl = vec![0.01 + 0.001 * (i % 2) as f64; 4];
        let series = Measure::Series(kl);
        sample
            .measures
            .insert("clamp.kl-by-block".to_owned(), series);
    }
    let s = summary(&records);
    let v = verdict(&s, "h25.gain-matters", "measured: made-up-a");
    assert_eq!(v.audited, Verdict::Refuted, "{}", v.because);
}

#[test]
fn every_reading_is_counted() {
    let s = summary(&three());
    // 4 blocks, 5 token poolings and one in f64, 3 poolings of prompts, 11 sets.
    check(&s, "h25.made-up-a.specification.readings", 792.0, 0.0);
    check(&s, "h25.made-up-a.specification.share", 0.0, 0.0);
    check(&s, "h25.made-up-c.specification.share", 1.0, 0.0);
    check(&s, "h25.across.measured.specification.readings", 792.0, 0.0);
    check(
        &s,
        "h25.across.measured.specification.share-negative",
        1.0,
        0.0,
    );
    check(
        &s,
        "h25.published.pythia-70m.specification.readings",
        34.0,
        0.0,
    );
}

#[track_caller]
fn comparison<'s>(summary: &'s Summary, published: &str) -> &'s Comparison {
    let mut found = summary.comparisons.iter();
    found.find(|c| c.published == published).unwrap()
}

#[test]
fn comparisons_are_classed() {
    let mean = 1.201_131_448_202_615_4 / fixture::SPREAD.cosh();
    let pythia = fixture::record("pythia-70m", "pythia", 8, 64, &[9.0, 1.1, mean, 0.9]);
    let s = summary(&[pythia]);
    let of = |id: &str| comparison(&s, id).agreement;
    assert_eq!(
        of("h25.rule.sweep.printed-r"),
        Agreement::SameWithinRounding
    );
    assert_eq!(
        of("h25.rule.first-run.printed-p"),
        Agreement::SameWithinRounding
    );
    let id = "h25.published.pythia-70m.gain.as-published";
    assert_eq!(of(&format!("{id}.mean")), Agreement::SameWithinRounding);
    check(
        &s,
        "h25.difference.published.pythia-70m.gain.as-published.mean",
        0.0,
        1e-12,
    );
    // The spread was made up.
    assert_eq!(of(&format!("{id}.sd-population")), Agreement::Contradicted);
    let absent = comparison(&s, "h25.published.pythia-12b.gain.as-published.mean");
    assert_eq!(absent.agreement, Agreement::NotRun);
    assert_eq!(absent.note, "the hub cannot be reached");
}

#[test]
fn two_revisions_of_a_model_keep_their_numbers_apart() {
    let mut records = three();
    records.push(records[0].clone());
    records[3].key.revision = "another".to_owned();
    let s = summary(&records);
    assert_eq!(s.models.len(), 4);
    // Revisions of one model are not units.
    check(&s, "h25.across.measured.log.n", 3.0, 0.0);
}

#[test]
fn a_record_that_lacks_a_measure_is_refused_by_name() {
    let mut records = three();
    records[1].samples[4].measures.remove("clamp.kl-all-blocks");
    let spec = ExperimentSpec::parse(H25Gain.spec_text(), Path::new("experiment.toml")).unwrap();
    let error = H25Gain
        .summarise(spec, &records, &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("clamp.kl-all-blocks in sample prompt-4"),
        "{error}"
    );
}

#[test]
fn equal_records_give_equal_summaries() {
    assert_eq!(summary(&three()), summary(&three()));
}

#[test]
fn figures_show_measured_models_where_there_are_any() {
    let ids = |s: &Summary| -> Vec<String> { s.figures.iter().map(|f| f.id.clone()).collect() };
    let published = ["gain-and-rho", "gain-by-layer", "specification-curve"];
    assert_eq!(ids(&summary(&[])), published);
    let measured = [
        "gain-and-rho",
        "gain-by-layer",
        "clamp",
        "specification-curve",
        "ledger-made-up-a",
    ];
    assert_eq!(ids(&summary(&three()[..1])), measured);
}

#[test]
fn a_model_whose_norm_is_forced_is_reported_and_not_tested() {
    let mut records = three();
    records[0].facts.norm = "LayerNorm, post".to_owned();
    let s = summary(&records);
    check(&s, "h25.rule.measured.n", 2.0, 0.0);
    let mean = 1.2 * fixture::SPREAD.cosh();
    check(&s, "h25.made-up-a.gain.as-published.mean", mean, 1e-12);
    for claim in ["h25.low-rho-expands", "h25.stack-dampens"] {
        let v = verdict(&s, claim, "measured: made-up-a");
        assert_eq!(v.audited, Verdict::NotApplicable);
    }
}
