//! One model's gain over prompts: location, spread, and whether it is 1.

use assay_experiment::ExperimentError;
use assay_stats as stats;
use assay_stats::{Bca, StatsError, TTest};

use super::models::ModelGains;
use super::relation::{POWER, Settings};
use assay_experiment::page::{COUNT, GAIN, NOISE, Origin, P, PLAIN, Page, Stat, must, words};

/// Resamples of every bootstrap.
pub(crate) const RESAMPLES: usize = 10_000;

/// A mean over prompts against a null value.
pub(crate) struct Within {
    pub(crate) test: Stat<TTest>,
    /// Prompts drawn within their categories.
    pub(crate) bca: Stat<Bca>,
    /// The distance from the null that would have been found, in the unit of
    /// the values.
    pub(crate) detectable: Stat<f64>,
}

/// Tests `values` [prompt] against `null`; `name` names the random stream.
pub(crate) fn within(
    values: &[f64],
    strata: &[usize],
    null: f64,
    name: &str,
    set: Settings,
) -> Within {
    let mean_of = |units: &[usize]| {
        let drawn: Vec<f64> = units
            .iter()
            .filter_map(|u| values.get(*u).copied())
            .collect();
        stats::mean(&drawn)
    };
    let rng = stats::stream(set.seed, &format!("h25/bootstrap/{name}"));
    Within {
        test: stats::one_sample_t(values, null, set.level()),
        bca: stats::bootstrap_bca_stratified(strata, mean_of, RESAMPLES, set.level(), rng),
        detectable: stats::sd_sample(values)
            .and_then(|sd| Ok(sd * stats::detectable_mean_shift(values.len(), set.alpha, POWER)?)),
    }
}

/// Writes a test under `id`.mean, .low, .high, .t, .p and .detectable.
pub(crate) fn write_within(
    page: &mut Page,
    id: &str,
    what: &str,
    test: &Within,
    origin: &Origin,
) -> Result<(), ExperimentError> {
    let t = |get: fn(&TTest) -> f64| test.test.as_ref().map(get).map_err(StatsError::clone);
    let bca = |get: fn(&Bca) -> f64| test.bca.as_ref().map(get).map_err(StatsError::clone);
    let lines = [
        ("mean", "mean of", t(|t| t.estimate), GAIN),
        (
            "low",
            "BCa interval, low, of the mean of",
            bca(|b| b.interval.low),
            GAIN.drawn(),
        ),
        (
            "high",
            "BCa interval, high, of the mean of",
            bca(|b| b.interval.high),
            GAIN.drawn(),
        ),
        ("t", "t of", t(|t| t.t), PLAIN),
        ("p", "p of", t(|t| t.p), P),
        (
            "detectable",
            "detectable distance from the null of",
            test.detectable.clone(),
            GAIN,
        ),
    ];
    for (name, words, value, style) in lines {
        let what = format!("{words} {what}");
        page.try_put(&format!("{id}.{name}"), &what, value, style, origin)?;
    }
    Ok(())
}

/// Id under which the audited test of a model's log gain stands.
pub(crate) fn log_gain_id(model: &ModelGains) -> String {
    model.id("gain.as-published.log")
}

/// The audited test of a model's log gain.
pub(crate) fn log_gain(model: &ModelGains, set: Settings) -> Within {
    let name = format!("{}/log-gain", model.key);
    within(&model.logs(), &model.strata, 0.0, &name, set)
}

/// Writes location, spread and test of every model.
pub(crate) fn write(
    page: &mut Page,
    models: &[(&ModelGains, &Within)],
) -> Result<(), ExperimentError> {
    for (m, test) in models {
        let put = |page: &mut Page, id: &str, what: &str, value: Stat<f64>, style| {
            let what = format!("{what}, {}", m.name);
            page.try_put(&m.id(id), &what, value, style, &m.origin)
        };
        let mean = Ok(m.mean);
        put(page, "rho", "head density H / d_head", Ok(m.rho), GAIN)?;
        put(page, "prompts", "prompts", Ok(m.gains.len() as f64), COUNT)?;
        put(
            page,
            "gain.as-published.mean",
            "mean gain of block L-2 over prompts",
            mean,
            GAIN,
        )?;
        let sd = Ok(m.sd_population);
        put(
            page,
            "gain.as-published.sd-population",
            "population SD of the gain over prompts",
            sd,
            GAIN,
        )?;
        let sd = stats::sd_sample(&m.gains);
        put(
            page,
            "gain.as-published.sd-sample",
            "sample SD of the gain over prompts",
            sd,
            GAIN,
        )?;
        let geometric = stats::geometric_mean(&m.gains);
        put(
            page,
            "gain.as-published.geometric-mean",
            "geometric mean gain of block L-2 over prompts",
            geometric,
            GAIN,
        )?;
        let what = format!("log gain of block L-2 of {}", m.name);
        write_within(page, &log_gain_id(m), &what, test, &m.origin)?;
    }
    Ok(())
}

/// The table over models; Holm's p values must have been written.
pub(crate) fn table(
    page: &mut Page,
    models: &[(&ModelGains, &Within)],
) -> Result<(), ExperimentError> {
    let published = || models.iter().map(|(m, _)| *m).filter(|m| m.published);
    let gaps = published().map(|m| {
        let mean = must(&m.name, stats::mean(&m.gains))?;
        let sd = must(&m.name, stats::sd_population(&m.gains))?;
        Ok((mean - m.mean).abs().max((sd - m.sd_population).abs()))
    });
    let gaps: Vec<f64> = gaps.collect::<Result<_, ExperimentError>>()?;
    page.put(
        "h25.published.largest-gap",
        "largest distance of a printed mean or SD from that of the printed gains by prompt",
        gaps.into_iter().fold(0.0, f64::max),
        NOISE,
        &Origin::join(published().map(|m| &m.origin)),
    )?;
    let mut rows = Vec::new();
    for (m, test) in models {
        let reason = match (&test.bca, &test.test) {
            (_, Err(e)) | (Err(e), _) => e.to_string(),
            _ => "not part of a claim".to_owned(),
        };
        let log = log_gain_id(m);
        let mut row = vec![
            words(&m.name),
            words(if m.published { "published" } else { "measured" }),
        ];
        let gain = |what: &str| m.id(&format!("gain.as-published.{what}"));
        let ids = [
            m.id("rho"),
            gain("mean"),
            gain("sd-population"),
            gain("sd-sample"),
        ];
        let tests = ["mean", "low", "high", "t", "p", "holm-p"].map(|s| format!("{log}.{s}"));
        row.extend(ids.iter().chain(&tests).map(|id| page.cell(id, &reason)));
        rows.push(row);
    }
    page.table(
        "within-models",
        "Gain of the penultimate block, model by model",
        "|resid_post[L-2]| / |resid_post[L-3]| at the last token over the prompts. Population SD \
         as published; printed means and SDs are those of the printed prompts within \
         {h25.published.largest-gap}. Audited: mean log gain with its BCa interval at level \
         {h25.settings.level} from {h25.settings.resamples} resamples of prompts within their \
         categories, and a t-test against 0 with Holm's correction over the models of the same \
         data. A log gain below 0 is a gain below 1.",
        &[
            "Model",
            "Data",
            "#rho",
            "#Mean gain",
            "#Population SD",
            "#Sample SD",
            "#Mean log gain",
            "#Low",
            "#High",
            "#t",
            "#p",
            "#p, Holm",
        ],
        rows,
    );
    Ok(())
}
