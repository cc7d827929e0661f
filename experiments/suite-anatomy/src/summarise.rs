//! What follows from the records (METHODS §4).
//!
//! Number ids: `anatomy.<model>.…`, for a checkpoint with its revision behind
//! its name; `anatomy.training.<model>.…` over
//! revisions; `anatomy.errata.…`.

mod claims;
mod comparisons;
mod errata;
mod figures;
mod measured;
mod tables;
mod training;

use assay_experiment::ExperimentError;
use assay_experiment::judge::{judge, unless_small};
use assay_experiment::page::Page;
use assay_record::{ExperimentSpec, NotRun, Record, Summary};

use measured::Measured;

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    let mut page = Page::new("suite-anatomy", spec.clone(), records, not_run)?;
    let all = Measured::all(records)?;
    // A checkpoint of a model that was measured in its last state is a point of
    // its curves, and nothing more.
    let on_the_way = |m: &Measured<'_>| {
        let last =
            |o: &Measured<'_>| o.record.key.model == m.record.key.model && o.step().is_none();
        m.step().is_some() && all.iter().any(last)
    };
    let measured: Vec<Measured<'_>> = all.iter().filter(|m| !on_the_way(m)).cloned().collect();
    let mut candidates = Vec::new();
    for m in &measured {
        let own = claims::of_model(&mut page, m, spec.alpha)?;
        let massive = |claim: &str| claim.starts_with("anatomy.massive");
        let massive = ("Massive activations do", massive);
        candidates.extend(unless_small(own, m.record, massive));
    }
    candidates.extend(training::write(&mut page, &all, spec.alpha)?);
    judge(&mut page, &spec, candidates)?;
    claims::table(&mut page, &measured);
    for m in &measured {
        tables::write(&mut page, m)?;
        figures::write(&mut page, m)?;
    }
    comparisons::write(&mut page, &measured, not_run)?;
    errata::write(&mut page, &measured)?;
    page.summary.check()?;
    Ok(page.summary)
}
