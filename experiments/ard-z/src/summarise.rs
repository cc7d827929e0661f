//! What follows from the records, as published and audited side by side.
//!
//! Number ids: `ard.<model>.…` are about one model.

mod claims;
mod errata;
mod figures;
mod tables;

use assay_experiment::ExperimentError;
use assay_experiment::judge::judge;
use assay_experiment::page::Page;
use assay_experiment::subject::{Settings, Subject};
use assay_record::{ExperimentSpec, NotRun, Record, Summary};

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    let mut page = Page::new("ard-z", spec.clone(), records, not_run)?;
    let set = Settings {
        seed: spec.seed,
        alpha: spec.alpha,
    };
    let subjects = Subject::all("ard", records)?;
    let mut candidates = Vec::new();
    for s in &subjects {
        tables::write(&mut page, s)?;
        candidates.extend(claims::write(&mut page, s, set)?);
        figures::write(&mut page, s)?;
    }
    judge(&mut page, &spec, candidates)?;
    errata::write(&mut page, &subjects)?;
    page.summary.check()?;
    Ok(page.summary)
}

/// Shape of a distribution of log lengths, by stated statistics: two-peaked if
/// Sarle's coefficient (g² + 1)/(kurtosis + 3 (n-1)²/((n-2)(n-3))) is above
/// that of a uniform distribution, 5/9; a power law if log length is linear in
/// log rank with r² above .95; else one-peaked.
pub(crate) fn shape(log_lengths: &[f64]) -> (f64, f64, &'static str) {
    let n = log_lengths.len() as f64;
    let mean = log_lengths.iter().sum::<f64>() / n;
    let moment = |p: i32| log_lengths.iter().map(|v| (v - mean).powi(p)).sum::<f64>() / n;
    let variance = moment(2);
    if variance <= 0.0 || n < 4.0 {
        return (0.0, 0.0, "all equal");
    }
    let skew = moment(3) / variance.powf(1.5);
    let excess = moment(4) / variance.powi(2) - 3.0;
    let correction = 3.0 * (n - 1.0).powi(2) / ((n - 2.0) * (n - 3.0));
    let sarle = (skew * skew + 1.0) / (excess + correction);
    let mut sorted = log_lengths.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ranks: Vec<f64> = (1..=sorted.len()).map(|i| (i as f64).ln()).collect();
    let linear = assay_stats::pearson(&ranks, &sorted).map_or(0.0, |r| r.r * r.r);
    let name = if sarle > 5.0 / 9.0 {
        "two-peaked"
    } else if linear > 0.95 {
        "power law"
    } else {
        "one-peaked"
    };
    (sarle, linear, name)
}
