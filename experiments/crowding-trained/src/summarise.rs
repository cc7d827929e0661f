//! What follows from the records.
//!
//! Number ids: `crowding.<comparison>.…` are about one comparison,
//! `crowding.cell.<cell>.…` about one cell and `crowding.<model>.…` about one
//! model.

mod figures;
mod published;
mod tables;

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, Tested, judge};
use assay_experiment::page::{COUNT, GAIN, Origin, P, PLAIN, Page, shown};
use assay_experiment::subject::{Settings, Subject};
use assay_record::{ExperimentSpec, NotRun, Record, Summary, Verdict};

use crate::design::{COMPARISONS, Comparison, Effect, POWER, Unit, compare};

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    let mut page = Page::new("crowding-trained", spec.clone(), records, not_run)?;
    let set = Settings {
        seed: spec.seed,
        alpha: spec.alpha,
    };
    let subjects = Subject::all("crowding", records)?;
    let all: Vec<Unit> = subjects.iter().map(Unit::new).collect::<Result<_, _>>()?;
    let (units, others): (Vec<Unit>, Vec<Unit>) =
        all.into_iter().partition(|u| u.whole && !u.shuffled);
    let (controls, on_the_way): (Vec<Unit>, Vec<Unit>) =
        others.into_iter().partition(|u| u.shuffled);
    let mut candidates = Vec::new();
    for comparison in &COMPARISONS {
        candidates.push(weigh(&mut page, comparison, &units, set)?);
    }
    judge(&mut page, &spec, candidates)?;
    published::write(&mut page)?;
    tables::write(&mut page, &units, &controls)?;
    figures::write(&mut page, &units, &on_the_way);
    page.summary.check()?;
    Ok(page.summary)
}

/// The id of a comparison's numbers: its claim's.
fn id(comparison: &Comparison, rest: &str) -> String {
    format!("{}{rest}", comparison.claim)
}

/// Makes a comparison on the trained models and on the same untrained.
fn weigh(
    page: &mut Page,
    comparison: &Comparison,
    units: &[Unit<'_>],
    set: Settings,
) -> Result<Candidate, ExperimentError> {
    let reading = comparison.reading;
    let name = comparison.claim;
    let origin = Origin::join(units.iter().map(|u| &u.subject.origin));
    let what = format!(
        "change of log gain of the {} a {}",
        reading.words(),
        comparison.per
    );
    let finding = match compare(comparison, units, |u| u.log_gain(reading), (name, set)) {
        Err(reason) if units.is_empty() => Finding::Settled(
            Verdict::NotRun,
            format!("No model of the suite was measured ({reason})."),
        ),
        Err(reason) => Finding::Settled(
            Verdict::NotRun,
            format!("The models measured do not make the comparison: {reason}."),
        ),
        Ok(effect) => {
            put(page, (&id(comparison, ""), &what), &effect, &origin)?;
            Finding::Tested(Tested {
                because: format!(
                    "{} [{}, {}] a {}, p = {} by permuting within {} strata of {} models; a change \
                     of {} would be found with a power of {POWER}.",
                    shown(&id(comparison, "")),
                    shown(&id(comparison, ".low")),
                    shown(&id(comparison, ".high")),
                    comparison.per,
                    shown(&id(comparison, ".p")),
                    shown(&id(comparison, ".strata")),
                    shown(&id(comparison, ".models")),
                    shown(&id(comparison, ".detectable")),
                ),
                id: id(comparison, ""),
                estimate: effect.estimate,
                interval: effect.interval,
                p: effect.p,
                origin: origin.clone(),
            })
        }
    };
    let untrained = format!("{name}/untrained");
    let before = compare(
        comparison,
        units,
        |u| u.log_gain_untrained(reading),
        (&untrained, set),
    );
    if let Ok(effect) = before {
        let what = format!("{what}, before training");
        put(
            page,
            (&id(comparison, ".untrained"), &what),
            &effect,
            &origin,
        )?;
    }
    Ok(Candidate {
        claim: comparison.claim,
        body: "measured",
        data: "measured: organisms/crowding".to_owned(),
        as_published: "not asked: nobody trained twins".to_owned(),
        finding,
    })
}

fn put(
    page: &mut Page,
    (id, what): (&str, &str),
    effect: &Effect,
    origin: &Origin,
) -> Result<(), ExperimentError> {
    page.put(id, what, effect.estimate, GAIN, origin)?;
    for (end, value) in [("low", effect.interval.low), ("high", effect.interval.high)] {
        let what = format!("{what}: {end} end of the interval");
        page.put(&format!("{id}.{end}"), &what, value, GAIN, origin)?;
    }
    let p = format!("{what}: p by permutation within strata");
    page.put(&format!("{id}.p"), &p, effect.p, P.drawn(), origin)?;
    let detectable = format!("change found with a power of {POWER} at alpha");
    for (name, words, value, style) in [
        ("models", "models compared", effect.n as f64, COUNT),
        ("strata", "strata", effect.strata as f64, COUNT),
        ("sd", "standard deviation of the residuals", effect.sd, GAIN),
        (
            "spread",
            "sum of squares of the predictor given the other terms",
            effect.spread,
            PLAIN,
        ),
        ("detectable", &detectable, effect.detectable, GAIN),
    ] {
        let what = format!("{what}: {words}");
        page.put(&format!("{id}.{name}"), &what, value, style, origin)?;
    }
    Ok(())
}
