//! What follows from the records, as published and audited side by side.
//!
//! Number ids: `bridge.published.…` were published or follow from what was;
//! `bridge.<model>.…` are about one model.

mod claims;
mod figures;
mod printed;
mod tables;

use assay_experiment::ExperimentError;
use assay_experiment::judge::judge;
use assay_experiment::page::Page;
use assay_experiment::subject::{Settings, Subject};
use assay_record::{ExperimentSpec, NotRun, Record, Summary};

use crate::published::published;

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    let published = published()?;
    let mut page = Page::new("bridge", spec.clone(), records, not_run)?;
    let set = Settings {
        seed: spec.seed,
        alpha: spec.alpha,
    };
    let subjects = Subject::all("bridge", records)?;
    let mut candidates = printed::write(&mut page, &published)?;
    for s in &subjects {
        tables::write(&mut page, s)?;
        candidates.extend(claims::write(&mut page, s, set)?);
        figures::write(&mut page, s)?;
    }
    judge(&mut page, &spec, candidates)?;
    printed::compare(&mut page, &published, &subjects, not_run)?;
    printed::erratum(&mut page, &published, &subjects)?;
    page.summary.check()?;
    Ok(page.summary)
}
