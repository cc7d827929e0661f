//! What follows from the published table and from the records, as published
//! and audited side by side (METHODS §1).
//!
//! Number ids: `h25.published.<model>.…` and `h25.<model>.…` are about one
//! model; `h25.across.<published|measured>.<raw|log>.…` about all models of a
//! body of data; `h25.rule.…` is the published rule; `h25.settings.…` what was
//! declared beforehand.

mod across;
mod claims;
mod clamp;
mod comparisons;
mod errata;
mod figures;
mod growth;
mod ledger;
mod models;
mod printed;
mod relation;
mod rule;
mod spec_curve;
mod within;

use assay_experiment::ExperimentError;
use assay_experiment::judge::judge;
use assay_record::{ExperimentSpec, NotRun, Record, Summary};

use across::Body;
use assay_experiment::page::{Origin, Page, Style};
use comparisons::Looked;
use models::{Measured, ModelGains};
use relation::{POWER, Settings};
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

    let mut page = Page::new("h25-gain", spec.clone(), records, not_run)?;
    let near = spec.claim("h25.high-rho-dampens")?.smallest_effect;
    let inert = spec.claim("h25.gain-matters")?.smallest_effect;
    settings(&mut page, set, near, inert)?;

    // Across models, and the published rule.
    let of_sweep = Body::new(
        "published",
        "published: the Pythia sweep",
        printed.iter().collect(),
        set,
    )?;
    let of_run = Body::new(
        "measured",
        "measured models",
        across_measured(&measured),
        set,
    )?;
    let applied = printed::write(&mut page, &published, &of_run, set)?;
    across::write(&mut page, &[&of_sweep, &of_run])?;

    // Model by model.
    within::write(&mut page, &tested)?;
    for (model, row) in printed.iter().zip(&sweep.models) {
        growth::write_published(&mut page, model, row)?;
    }
    let mut candidates = claims::across(&of_sweep);
    candidates.push(claims::other_models(
        applied.sixteen.verdict.to_string(),
        applied.other_models.clone(),
        &Origin::published(&published.sixteen_models.source),
    ));
    candidates.extend(claims::across(&of_run));
    candidates.extend(tested.iter().flat_map(|(m, test)| claims::by_rho(m, test)));
    let mut answers = Vec::new();
    for m in &measured {
        growth::write(&mut page, m)?;
        let stack = growth::stack(&mut page, m, set)?;
        candidates.push(claims::stack(&m.gains, &stack, &growth::stack_id(&m.gains)));
        candidates.push(if m.recorded() {
            claims::clamp_of_recording(&m.gains)
        } else {
            let clamp = clamp::write(&mut page, m, inert, set)?;
            claims::clamp(&m.gains, &clamp, inert, &clamp::id(m))
        });
        answers.push(ledger::write(&mut page, m, set)?);
    }
    judge(&mut page, &spec, candidates)?;
    let models: Vec<&ModelGains> = gains().collect();
    within::table(&mut page, &tested)?;
    growth::tables(&mut page, &models);
    clamp::table(&mut page, &measured);
    ledger::tables(&mut page, &measured, &answers);

    // Every reading.
    let mut curves = Vec::new();
    for (model, row) in printed.iter().zip(&sweep.models) {
        curves.push(spec_curve::published(model, row)?);
    }
    for m in &measured {
        curves.push(spec_curve::measured(m)?);
    }
    let mut across = spec_curve::write_across(&mut page, &of_sweep, &curves)?;
    across.push_str(&spec_curve::write_across(&mut page, &of_run, &curves)?);
    spec_curve::write(&mut page, &curves, &across)?;

    // What was published against what is true.
    let looked = Looked {
        measured: &measured,
        not_run,
        set,
    };
    comparisons::write(&mut page, &published, &printed, &looked)?;
    errata::write(
        &mut page, &published, &of_sweep, &measured, &applied, near, set,
    )?;

    figures::notebook(&mut page, &models, &of_sweep, &of_run);
    figures::by_layer(&mut page, &measured, &sweep.models)?;
    figures::clamp(&mut page, &measured)?;
    figures::specification(&mut page, &curves);
    for m in &measured {
        figures::ledger(&mut page, m)?;
    }

    page.summary.check()?;
    Ok(page.summary)
}

/// The models of tests across models: one record a model, since revisions of
/// one model are not units, none whose norm is forced, and no recording, which
/// may be of a model that is there.
fn across_measured<'m>(measured: &'m [Measured<'_>]) -> Vec<&'m ModelGains> {
    let mut seen = std::collections::BTreeSet::new();
    // Small models are of a suite that asks the question by itself
    // (crowding-trained).
    let kept = measured
        .iter()
        .filter(|m| !m.gains.post_norm && !m.gains.small && !m.recorded());
    kept.filter(|m| seen.insert(&m.record.key.model))
        .map(|m| &m.gains)
        .collect()
}

/// What was settled before any number was seen, so that texts can refer to it.
fn settings(page: &mut Page, set: Settings, near: f64, inert: f64) -> Result<(), ExperimentError> {
    let declared = Origin::published("experiment.toml of h25-gain");
    let rule = Origin::published("the published notebook's rule");
    let own = Origin::published("METHODS.md, section 1");
    let numbers = [
        (
            "settings.level",
            "level of confidence intervals",
            set.level(),
            &declared,
        ),
        ("settings.power", "power of detectable effects", POWER, &own),
        (
            "settings.draws",
            "orderings drawn where there are too many to enumerate",
            assay_stats::PERMUTATION_DRAWS as f64,
            &own,
        ),
        (
            "settings.resamples",
            "resamples of a bootstrap",
            within::RESAMPLES as f64,
            &own,
        ),
        (
            "settings.near",
            "smallest distance of a log gain from 0 that is of interest",
            near,
            &declared,
        ),
        (
            "settings.inert",
            "KL in nats below which a clamp is called functionally inert",
            inert,
            &declared,
        ),
        (
            "rule.high-rho",
            "rho from which a model is high-rho",
            rule::HIGH_RHO,
            &rule,
        ),
        (
            "rule.rate",
            "dampening rate above which it says VALIDATED",
            rule::RATE,
            &rule,
        ),
        (
            "rule.r",
            "r below which it says VALIDATED",
            rule::R_BELOW,
            &rule,
        ),
        (
            "rule.p",
            "p below which a correlation counts",
            rule::P_BELOW,
            &rule,
        ),
    ];
    for (id, what, value, origin) in numbers {
        page.put(
            &format!("h25.{id}"),
            what,
            value,
            Style::declared(value),
            origin,
        )?;
    }
    Ok(())
}
