//! What follows from the published numbers and from the records, as published
//! and audited side by side.
//!
//! Number ids: `anomaly.published.…` were published or follow from what was;
//! `anomaly.<model>.…` are about one model.

mod errata;
mod figures;
mod measured;
mod printed;
mod tables;
mod tests;

use assay_experiment::ExperimentError;
use assay_experiment::judge::{apart_if_small, judge};
use assay_experiment::page::Page;
use assay_record::{ExperimentSpec, NotRun, Record, Summary};

use crate::published::published;
use measured::{Measured, Settings};

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    let (published, gains) = published()?;
    let mut page = Page::new("pythia-anomaly", spec.clone(), records, not_run)?;
    let set = Settings {
        seed: spec.seed,
        alpha: spec.alpha,
    };
    let measured = Measured::all(records)?;
    let mut candidates = printed::write(&mut page, &published, &gains, set)?;
    for m in &measured {
        tables::write(&mut page, m)?;
        let own = tests::write(&mut page, m, set)?;
        candidates.extend(apart_if_small(own, m.record));
    }
    judge(&mut page, &spec, candidates)?;
    printed::tables(&mut page, &published, &gains, &measured);
    tables::tables(&mut page, &published, &measured);
    printed::compare(&mut page, &published, &gains, &measured, not_run)?;
    errata::write(&mut page, &gains, &measured, set)?;
    figures::write(&mut page, &gains, &measured)?;
    page.summary.check()?;
    Ok(page.summary)
}
