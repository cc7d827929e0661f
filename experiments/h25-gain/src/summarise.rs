//! What follows from the published table and from the records, as published
//! and audited side by side (METHODS §1).
//!
//! Number ids: `h25.published.<model>.…` and `h25.<model>.…` are about one
//! model; `h25.across.<published|measured>.<raw|log>.…` about all models of a
//! body of data; `h25.rule.…` is the published rule; `h25.settings.…` what was
//! declared beforehand.

mod across;
mod models;
mod page;
mod rule;
mod verdicts;
mod within;

use assay_experiment::ExperimentError;
use assay_record::{ExperimentSpec, ModelRow, NotRun, Record, Summary};

use across::{Body, Settings};
use models::{Measured, ModelGains, record_id};
use page::{COUNT, Origin, Page, R, SHARE};
use within::{Within, log_gain};

use crate::published::{categories, published};

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    let set = Settings {
        seed: spec.seed,
        alpha: spec.alpha,
    };
    let published = published()?;
    let categories = categories()?;
    let sweep = &published.pythia_sweep;
    let printed: Vec<ModelGains> = (sweep.models.iter())
        .map(|m| ModelGains::of_sweep(sweep, m, &categories))
        .collect::<Result<_, _>>()?;
    let measured = Measured::all(records)?;
    let gains = || printed.iter().chain(measured.iter().map(|m| &m.gains));
    let tests: Vec<Within> = gains().map(|m| log_gain(m, set)).collect();
    let tested: Vec<(&ModelGains, &Within)> = gains().zip(&tests).collect();

    let mut page = Page {
        summary: Summary::new("h25-gain", spec.clone()),
    };
    settings(&mut page, set)?;
    for m in &measured {
        page.summary.models.push(ModelRow {
            model: m.record.key.model.clone(),
            revision: m.record.key.revision.clone(),
            record: record_id(m.record)?,
            facts: m.record.facts.clone(),
        });
    }
    page.summary.not_run = not_run.to_vec();

    let bodies = [
        Body::new(
            "published",
            "published: the Pythia sweep",
            printed.iter().collect(),
            set,
        )?,
        Body::new(
            "measured",
            "measured models",
            across_measured(&measured),
            set,
        )?,
    ];
    across::write(&mut page, &[&bodies[0], &bodies[1]])?;
    within::write(&mut page, &tested)?;

    let mut candidates: Vec<_> = bodies.iter().flat_map(verdicts::across).collect();
    candidates.extend(
        tested
            .iter()
            .flat_map(|(m, test)| verdicts::by_rho(m, test)),
    );
    verdicts::judge(&mut page, &spec, candidates)?;
    within::table(&mut page, &tested);

    page.summary.check()?;
    Ok(page.summary)
}

/// The models of tests across models: one record a model, since revisions of
/// one model are not units, and none whose norm is forced.
fn across_measured<'m>(measured: &'m [Measured<'_>]) -> Vec<&'m ModelGains> {
    let mut seen = std::collections::BTreeSet::new();
    let kept = measured.iter().filter(|m| !m.norm_is_forced());
    kept.filter(|m| seen.insert(&m.record.key.model))
        .map(|m| &m.gains)
        .collect()
}

/// What was settled before any number was seen, so that texts can refer to it.
fn settings(page: &mut Page, set: Settings) -> Result<(), ExperimentError> {
    let declared = Origin::published("experiment.toml of h25-gain");
    let rule = Origin::published("the published notebook's rule");
    let own = Origin::published("METHODS.md, section 1");
    let numbers = [
        (
            "settings.level",
            "level of confidence intervals",
            set.level(),
            SHARE,
            &declared,
        ),
        (
            "settings.power",
            "power of detectable effects",
            across::POWER,
            SHARE,
            &own,
        ),
        (
            "settings.draws",
            "orderings drawn where there are too many to enumerate",
            assay_stats::PERMUTATION_DRAWS as f64,
            COUNT,
            &own,
        ),
        (
            "settings.resamples",
            "resamples of a bootstrap",
            within::RESAMPLES as f64,
            COUNT,
            &own,
        ),
        (
            "rule.high-rho",
            "rho from which a model is high-rho",
            rule::HIGH_RHO,
            R,
            &rule,
        ),
        (
            "rule.rate",
            "dampening rate above which it says VALIDATED",
            rule::RATE,
            SHARE,
            &rule,
        ),
        (
            "rule.r",
            "r below which it says VALIDATED",
            rule::R_BELOW,
            R,
            &rule,
        ),
        (
            "rule.p",
            "p below which a correlation counts",
            rule::P_BELOW,
            R,
            &rule,
        ),
    ];
    for (id, what, value, style, origin) in numbers {
        page.put(&format!("h25.{id}"), what, value, style.exact(), origin)?;
    }
    Ok(())
}
