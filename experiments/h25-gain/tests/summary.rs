//! The summary, looked at from outside: the published table against known
//! values, and made-up records against values worked out by hand.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod fixture;

use std::path::Path;

use assay_experiment::Experiment;
use assay_record::{Cell, ClaimVerdict, ExperimentSpec, NotRun, Record, Summary, Verdict};
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
        fixture::record("made-up-a", "a", 8, 64, &[9.0, 1.1, 1.2, 1.0]),
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
        assert!(matches!(&row[3], Cell::Missing(why) if why == "no model was measured"));
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
