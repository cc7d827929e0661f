//! The published rule applied to every body of data, beside what was printed.

use assay_experiment::ExperimentError;
use assay_record::Cell;
use assay_stats as stats;
use assay_stats::Interval;

use super::across::Body;
use super::relation::{POWER, Settings};
use super::rule::{Printed, published_rule};
use crate::published::{Published, RhoGain, SweepModel};
use assay_experiment::page::{COUNT, Origin, P, Page, R, SHARE, Stat, words};

/// Published models whose norm is forced by post-LN: reported, and left out of
/// audited tests.
const POST_NORM: [&str; 1] = ["opt-350m"];

/// What the rule gives on the published bodies of data.
pub(crate) struct Applied {
    pub(crate) sweep: Printed,
    /// The first run: the same models, with the final norm in the gain.
    pub(crate) first_run: Printed,
    pub(crate) sixteen: Printed,
    /// r of rho and log gain on the author's other models without post-LN, its
    /// interval, and its permutation p.
    pub(crate) other_models: Stat<(f64, Interval, f64)>,
}

/// One row: where it is in ids, its name, the rule's outcome, what was printed.
struct Row<'a> {
    id: &'static str,
    name: &'static str,
    printed: &'a str,
    outcome: Printed,
    origin: Origin,
}

/// Applies the rule, writes its numbers and the table.
pub(crate) fn write(
    page: &mut Page,
    published: &Published,
    measured: &Body<'_>,
    set: Settings,
) -> Result<Applied, ExperimentError> {
    let sweep = &published.pythia_sweep;
    let rho: Vec<f64> = sweep.models.iter().map(|m| m.rho()).collect();
    let column =
        |get: fn(&SweepModel) -> f64| -> Vec<f64> { sweep.models.iter().map(get).collect() };
    let sixteen = &published.sixteen_models;
    let (other_rho, other_gain): (Vec<f64>, Vec<f64>) =
        sixteen.models.iter().map(|m| (m.rho, m.gain)).unzip();
    let of_sweep = Origin::published(&sweep.source);
    let from_author = Origin::published(&sixteen.source);
    let applied = Applied {
        sweep: published_rule(&rho, &column(|m| m.gain_mean)),
        first_run: published_rule(&rho, &column(|m| m.gain_with_final_norm_mean)),
        sixteen: published_rule(&other_rho, &other_gain),
        other_models: audit_of_sixteen(page, &sixteen.models, &from_author, set)?,
    };
    let mut rows = vec![
        Row {
            id: "sweep",
            name: "Pythia sweep, gain as published",
            printed: &sweep.printed_verdict,
            outcome: applied.sweep.clone(),
            origin: of_sweep.clone(),
        },
        Row {
            id: "first-run",
            name: "first run, gain with the final norm",
            printed: &published.first_run.printed_verdict,
            outcome: applied.first_run.clone(),
            origin: of_sweep.clone(),
        },
        Row {
            id: "sixteen",
            name: "the author's other models",
            printed: &sixteen.author_verdict,
            outcome: applied.sixteen.clone(),
            origin: from_author,
        },
    ];
    if !measured.models.is_empty() {
        let rho: Vec<f64> = measured.models.iter().map(|m| m.rho).collect();
        let gain: Vec<f64> = measured.models.iter().map(|m| m.mean).collect();
        rows.push(Row {
            id: "measured",
            name: "measured models",
            printed: "never run",
            outcome: published_rule(&rho, &gain),
            origin: measured.origin.clone(),
        });
    }
    let first = Origin::published(&published.first_run.source);
    for (id, what, value, style, origin) in [
        (
            "sweep.printed-r",
            "printed r of the sweep",
            sweep.pearson_r,
            R,
            &of_sweep,
        ),
        (
            "sweep.printed-p",
            "printed p of the sweep",
            sweep.pearson_p,
            P,
            &of_sweep,
        ),
        (
            "first-run.printed-r",
            "printed r of the first run",
            published.first_run.pearson_r,
            R,
            &first,
        ),
        (
            "first-run.printed-p",
            "printed p of the first run",
            published.first_run.pearson_p,
            P,
            &first,
        ),
    ] {
        page.put(&format!("h25.rule.{id}"), what, value, style, origin)?;
    }
    let cells = rows
        .iter()
        .map(|row| cells(page, row))
        .collect::<Result<_, _>>()?;
    page.table(
        "published-rule",
        "The published rule, on every body of data",
        "In the order of the rule: VALIDATED where a share above {h25.rule.rate} of the models \
         with rho from {h25.rule.high-rho} on has a gain below 1, or where r is below {h25.rule.r}; \
         INCONCLUSIVE with fewer than three models; else NOT_VALIDATED. The correlation cell \
         says \"negative and significant\" where r is below 0 and p below {h25.rule.p}, \
         \"trend\" where only r is, else \"not supported\".",
        &[
            "Data",
            "#Models",
            "#r",
            "#p",
            "Correlation cell",
            "#High-rho dampening",
            "#Low-rho expansion",
            "The rule says",
            "Printed",
        ],
        cells,
    );
    Ok(applied)
}

fn cells(page: &mut Page, row: &Row<'_>) -> Result<Vec<Cell>, ExperimentError> {
    let mut put = |id: &str, what: &str, value: Option<f64>, style, reason: &str| match value {
        Some(value) => {
            let id = format!("h25.rule.{}.{id}", row.id);
            let what = format!("{what}, {}", row.name);
            Ok(Cell::Number(page.put(
                &id,
                &what,
                value,
                style,
                &row.origin,
            )?))
        }
        None => Ok::<_, ExperimentError>(Cell::Missing(reason.to_owned())),
    };
    let o = &row.outcome;
    let few = "a correlation needs three models";
    Ok(vec![
        words(row.name),
        put("n", "models", Some(o.n as f64), COUNT, "")?,
        put("r", "Pearson r of rho and gain", o.r, R, few)?,
        put("p", "p of Pearson r, t-test", o.p, P, few)?,
        words(o.correlation.to_string()),
        put(
            "high-dampening",
            "share of high-rho models with gain below 1",
            o.high_dampening,
            SHARE,
            "no high-rho model",
        )?,
        put(
            "low-expansion",
            "share of low-rho models with gain above 1",
            o.low_expansion,
            SHARE,
            "no low-rho model",
        )?,
        words(o.verdict.to_string()),
        words(row.printed),
    ])
}

/// log gain on the author's other models, without those whose norm is forced.
fn audit_of_sixteen(
    page: &mut Page,
    models: &[RhoGain],
    origin: &Origin,
    set: Settings,
) -> Result<Stat<(f64, Interval, f64)>, ExperimentError> {
    let kept = models
        .iter()
        .filter(|m| !POST_NORM.contains(&m.model.as_str()));
    let (rho, log): (Vec<f64>, Vec<f64>) = kept.map(|m| (m.rho, m.gain.ln())).unzip();
    let r: Stat<_> = stats::pearson(&rho, &log);
    let rng = stats::stream(set.seed, "h25/permutation/sixteen/log");
    let permutation = stats::pearson_permutation(&rho, &log, stats::PERMUTATION_DRAWS, rng);
    let interval = r
        .clone()
        .and_then(|r| stats::fisher_interval(r.r, rho.len(), set.level()));
    let low = interval.clone().map(|i| i.low);
    let high = interval.clone().map(|i| i.high);
    let p = permutation.map(|p| p.p);
    let r = r.map(|r| r.r);
    let detectable = stats::detectable_correlation(rho.len(), set.alpha, POWER);
    for (id, what, value, style) in [
        ("n", "models without post-LN", Ok(rho.len() as f64), COUNT),
        ("r", "Pearson r", r.clone(), R),
        (
            "permutation-p",
            "p of Pearson r, permutation",
            p.clone(),
            P.drawn(),
        ),
        ("low", "r, interval low", low, R),
        ("high", "r, interval high", high, R),
        ("detectable", "detectable r", detectable, R),
    ] {
        let what = format!("{what}, rho and log gain, the author's other models without post-LN");
        page.try_put(
            &format!("h25.sixteen.log.{id}"),
            &what,
            value,
            style,
            origin,
        )?;
    }
    Ok(r.and_then(|r| Ok((r, interval?, p?))))
}
