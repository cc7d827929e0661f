//! What follows from the records, as published and audited side by side.
//!
//! Number ids: `rv.published.…` were published or follow from what was;
//! `rv.<model>.…` are about one model.

mod causal;
mod contrasts;
mod errata;
mod figures;
mod groups;
mod measured;
mod printed;

use assay_experiment::ExperimentError;
use assay_experiment::judge::{judge, unless_small};
use assay_experiment::page::{Origin, Page, Style};
use assay_record::{ExperimentSpec, NotRun, Record, Summary};

use crate::published::published;
use crate::values::WINDOW;
use measured::{Measured, RESAMPLES, Settings};

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    let published = published()?;
    let mut page = Page::new("value-contraction", spec.clone(), records, not_run)?;
    let set = Settings {
        seed: spec.seed,
        alpha: spec.alpha,
    };
    settings(&mut page)?;
    let measured = Measured::all(records)?;
    let mut candidates = printed::write(&mut page, &published)?;
    for m in &measured {
        groups::write(&mut page, m)?;
        let mut own = contrasts::write(&mut page, m, set)?;
        own.extend(causal::write(&mut page, m, set)?);
        let recursion = ("Recursion in natural language does", |_: &str| true);
        candidates.extend(unless_small(own, m.record, recursion));
    }
    judge(&mut page, &spec, candidates)?;
    contrasts::judge_universal(&mut page, &spec, records)?;
    groups::tables(&mut page, &measured);
    contrasts::tables(&mut page, &measured);
    causal::table(&mut page, &measured);
    printed::table(&mut page, &published);
    printed::compare(&mut page, &published, &measured, not_run)?;
    errata::write(&mut page, &measured)?;
    for m in &measured {
        figures::write(&mut page, m)?;
    }
    page.summary.check()?;
    Ok(page.summary)
}

/// What was settled before any number was seen.
fn settings(page: &mut Page) -> Result<(), ExperimentError> {
    let own = Origin::published("METHODS.md, section 2");
    let numbers = [
        ("window", "positions of a window", WINDOW as f64),
        ("resamples", "resamples of a bootstrap", RESAMPLES as f64),
    ];
    for (id, what, value) in numbers {
        page.put(
            &format!("rv.settings.{id}"),
            what,
            value,
            Style::declared(value),
            &own,
        )?;
    }
    Ok(())
}
