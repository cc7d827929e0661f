//! What follows from the records, as published and audited side by side.
//!
//! Number ids: `z.published.…` were published or follow from what was;
//! `z.<model>.…` are about one model.

mod baseline;
mod errata;
mod figures;
mod held;
mod masks;
mod patching;
mod printed;
mod texts;
mod training;
mod updates;

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, judge};
use assay_experiment::page::Page;
use assay_experiment::subject::{Settings, Subject};
use assay_record::{ExperimentSpec, NotRun, Record, Summary, Verdict};

use crate::published::published;

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    let published = published()?;
    let mut page = Page::new("z-causality", spec.clone(), records, not_run)?;
    let set = Settings {
        seed: spec.seed,
        alpha: spec.alpha,
    };
    let subjects = Subject::all("z", records)?;
    baseline::settings(&mut page)?;
    let mut candidates = printed::write(&mut page, &published)?;
    for s in &subjects {
        training::write(&mut page, s)?;
        let able = baseline::write(&mut page, s, set)?;
        candidates.extend(patching::write(&mut page, s, set, &able)?);
        candidates.extend(held::write(&mut page, s, set, &able)?);
        candidates.push(texts::write(&mut page, s, set)?);
        candidates.extend(masks::write(&mut page, s, set)?);
        candidates.extend(updates::write(&mut page, s, set)?);
        figures::write(&mut page, s)?;
    }
    judge(&mut page, &spec, candidates)?;
    printed::compare(&mut page, &published, &subjects, not_run)?;
    errata::write(&mut page, &published, &subjects)?;
    page.summary.check()?;
    Ok(page.summary)
}

/// A claim on measured data.
fn candidate(s: &Subject<'_>, claim: &'static str, said: &str, finding: Finding) -> Candidate {
    Candidate {
        claim,
        body: "measured",
        data: format!("measured: {}", s.name),
        as_published: said.to_owned(),
        finding,
    }
}

/// Why a claim about answers is not applicable.
fn too_few(s: &Subject<'_>) -> Finding {
    let because = format!(
        "{} of {} pairs prefer their own answer to their partner's in both languages; at least \
         {{z.settings.enough}} are needed.",
        assay_experiment::page::shown(&s.id("able")),
        assay_experiment::page::shown(&s.id("pairs")),
    );
    Finding::Settled(Verdict::NotApplicable, because)
}

/// The name of the primary cell.
fn primary(s: &Subject<'_>, place: &str) -> Result<String, ExperimentError> {
    let k = s.model()?.get("primary-k")?;
    Ok(format!("{place}.l1.k{k}.en-zh"))
}
