//! The note's words about its heat maps, as statistics over texts.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, Tested, of_recording};
use assay_experiment::page::{COUNT, GAIN, P, PLAIN, Page, shown, words};
use assay_record::{Sample, Verdict};
use assay_stats as stats;
use assay_stats::{Interval, StatsError};

use super::measured::{Measured, argmax, mean};

/// A power that is usual.
const POWER: f64 = 0.8;

/// Thousand times the median: a massive activation (Sun et al. 2024).
const MASSIVE: f64 = 1000.0;

/// A claim's statistic of one text, the measure it is made from, and the
/// reason to give where no text has it.
struct Stat {
    claim: &'static str,
    slug: &'static str,
    measure: &'static str,
    absent: &'static str,
    /// Shares are tested as counts of units above and below one half.
    share: bool,
    value: fn(&Measured<'_>, &Sample) -> Result<f64, ExperimentError>,
}

/// First and last quarter of L layers and the half between, as sums of means.
fn quarters(series: &[f64]) -> (f64, f64, f64) {
    let quarter = ((series.len() as f64 / 4.0 + 0.5).floor() as usize).max(1);
    let quarter = quarter.min(series.len() / 2).max(1);
    let end = series.len() - quarter;
    let middle = series.get(quarter..end).filter(|m| !m.is_empty());
    (
        mean(&series[..quarter]),
        mean(middle.unwrap_or(series)),
        mean(&series[end..]),
    )
}

/// Number of runs of layers above the middle of the series' range.
pub(crate) fn strips(series: &[f64]) -> usize {
    let low = series.iter().copied().fold(f64::INFINITY, f64::min);
    let high = series.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let above = |v: &f64| *v > (low + high) / 2.0;
    let mut before = false;
    let mut runs = 0;
    for v in series {
        runs += usize::from(above(v) && !before);
        before = above(v);
    }
    runs
}

/// Share of a series' sum in the layers whose middle lies in [from, to) of the
/// depth, less that of equal layers.
pub(crate) fn excess(series: &[f64], from: f64, to: f64) -> f64 {
    let depth = |l: usize| (l as f64 + 0.5) / series.len() as f64;
    let inside: Vec<usize> = (0..series.len())
        .filter(|l| (from..to).contains(&depth(*l)))
        .collect();
    let total: f64 = series.iter().sum();
    let part: f64 = inside.iter().map(|l| series[*l]).sum();
    part / total - inside.len() as f64 / series.len() as f64
}

const GRADIENTS: &str = "a norm stands between projection and residual, so the gradient of the weights is not at a site";

const STATS: [Stat; 11] = [
    Stat {
        claim: "anatomy.attention-peaks-last",
        slug: "attention-peaks-last",
        measure: "norm.attn-out.by-layer",
        absent: "no norms",
        share: false,
        value: |m, s| {
            let series = m.by_layer(s, "norm.attn-out.by-layer")?;
            let (last, rest) = (series[series.len() - 1], &series[..series.len() - 1]);
            Ok(last - rest.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        },
    },
    Stat {
        claim: "anatomy.mlp-u",
        slug: "mlp-u",
        measure: "norm.mlp-out.by-layer",
        absent: "no norms",
        share: false,
        value: |m, s| {
            let (first, middle, last) = quarters(m.by_layer(s, "norm.mlp-out.by-layer")?);
            Ok(first.min(last) - middle)
        },
    },
    Stat {
        claim: "anatomy.residual-block",
        slug: "residual-block",
        measure: "norm.resid-post.by-layer",
        absent: "no norms",
        share: false,
        value: |m, s| {
            let (first, middle, last) = quarters(m.by_layer(s, "norm.resid-post.by-layer")?);
            Ok(middle - first.max(last))
        },
    },
    Stat {
        claim: "anatomy.two-strips",
        slug: "two-strips",
        measure: "norm.attn-out.by-layer",
        absent: "no norms",
        share: true,
        value: |m, s| {
            let two = strips(m.by_layer(s, "norm.attn-out.by-layer")?) == 2;
            Ok(f64::from(u8::from(two)) - 0.5)
        },
    },
    Stat {
        claim: "anatomy.mlp-gradient-late",
        slug: "mlp-gradient-late",
        measure: "gradient.mlp-weight.by-layer",
        absent: GRADIENTS,
        share: false,
        value: |m, s| {
            let series = m.by_layer(s, "gradient.mlp-weight.by-layer")?;
            Ok(excess(series, 0.625, 0.875))
        },
    },
    Stat {
        claim: "anatomy.attention-gradient-early",
        slug: "attention-gradient-early",
        measure: "gradient.attn-weight.by-layer",
        absent: GRADIENTS,
        share: false,
        value: |m, s| {
            let series = m.by_layer(s, "gradient.attn-weight.by-layer")?;
            Ok(excess(series, 0.0, 0.25))
        },
    },
    Stat {
        claim: "anatomy.massive",
        slug: "massive",
        measure: "massive.top-1.by-layer",
        absent: "no activations",
        share: false,
        value: |m, s| {
            let ratios = ratios(m, s)?;
            Ok((ratios[argmax(&ratios)] / MASSIVE).log10())
        },
    },
    Stat {
        claim: "anatomy.massive-first-token",
        slug: "massive-first-token",
        measure: "massive.top-1.by-layer",
        absent: "no activations",
        share: true,
        value: |m, s| {
            let position = m.by_layer(s, "massive.position.by-layer")?;
            let at = argmax(&ratios(m, s)?);
            Ok(f64::from(u8::from(position[at] == 0.0)) - 0.5)
        },
    },
    Stat {
        claim: "anatomy.sink",
        slug: "sink",
        measure: "sink.first.by-layer",
        absent: "no patterns",
        share: false,
        value: |m, s| {
            let first = mean(m.by_layer(s, "sink.first.by-layer")?);
            Ok(first - s.get("sink.expected")?)
        },
    },
    Stat {
        claim: "anatomy.own-influence",
        slug: "own-influence",
        measure: "influence.own.by-layer",
        absent: "fewer than two text sets of two texts",
        share: false,
        value: |m, s| {
            let own = mean(m.by_layer(s, "influence.own.by-layer")?);
            Ok(own - mean(m.by_layer(s, "influence.others.by-layer")?))
        },
    },
    Stat {
        claim: "anatomy.attribution-ranks",
        slug: "attribution-ranks",
        measure: "patch.attn-out.true",
        absent: "no pair of texts whose token counts and answers fit this tokenizer",
        share: false,
        value: |m, s| {
            let both = |what: &str| -> Result<Vec<f64>, ExperimentError> {
                let attn = m.by_layer(s, &format!("patch.attn-out.{what}"))?;
                let mlp = m.by_layer(s, &format!("patch.mlp-out.{what}"))?;
                Ok([attn, mlp].concat())
            };
            let rho = stats::spearman(&both("attribution")?, &both("true")?);
            assay_experiment::page::must(&format!("rank correlation of {}", s.unit), rho)
                .map(|r| r.r)
        },
    },
];

/// Largest activation over the median, by layer.
pub(crate) fn ratios(m: &Measured<'_>, s: &Sample) -> Result<Vec<f64>, ExperimentError> {
    let top = m.by_layer(s, "massive.top-1.by-layer")?;
    let median = m.by_layer(s, "massive.median.by-layer")?;
    Ok(top.iter().zip(median).map(|(t, m)| t / m).collect())
}

/// Writes every claim's statistic of one model, and what there is to judge.
pub(crate) fn of_model(
    page: &mut Page,
    m: &Measured<'_>,
    alpha: f64,
) -> Result<Vec<Candidate>, ExperimentError> {
    let mut candidates = Vec::new();
    for stat in &STATS {
        // The note says this of one model.
        if stat.slug == "two-strips" && m.record.key.model != "pythia-1.4b" {
            continue;
        }
        let units = m.units(stat.measure, |s| (stat.value)(m, s))?;
        let finding = if units.is_empty() && m.record.key.is_recording() {
            of_recording()
        } else if units.is_empty() {
            Finding::Settled(Verdict::NotApplicable, format!("{}.", stat.absent))
        } else {
            test(page, m, stat, &units, alpha)?
        };
        candidates.push(Candidate {
            claim: stat.claim,
            body: "measured",
            data: format!("measured, {}", m.name),
            as_published: "read off heat maps".to_owned(),
            finding,
        });
    }
    Ok(candidates)
}

/// Estimate, interval and two-sided p of some units.
fn tested(units: &[f64], share: bool, level: f64) -> Result<(f64, Interval, f64), StatsError> {
    if share {
        let above = units.iter().filter(|u| **u > 0.0).count() as u64;
        let below = units.iter().filter(|u| **u < 0.0).count() as u64;
        let interval = stats::wilson_interval(above, (above + below).max(1), level)?;
        return Ok((
            above as f64 / (above + below).max(1) as f64 - 0.5,
            Interval {
                low: interval.low - 0.5,
                high: interval.high - 0.5,
            },
            stats::mcnemar_exact(above, below)?,
        ));
    }
    let t = stats::one_sample_t(units, 0.0, level)?;
    Ok((t.estimate, t.interval, t.p))
}

fn test(
    page: &mut Page,
    m: &Measured<'_>,
    stat: &Stat,
    units: &[f64],
    alpha: f64,
) -> Result<Finding, ExperimentError> {
    let id = m.id(stat.slug);
    let what = format!("{}, {}", stat.slug, m.name);
    let put = |page: &mut Page, part: &str, value, style| {
        let (id, what) = (format!("{id}.{part}"), format!("{part} of {what}"));
        page.put(&id, &what, value, style, &m.origin)
    };
    put(page, "units", units.len() as f64, COUNT)?;
    let (estimate, interval, p) = match tested(units, stat.share, 1.0 - alpha) {
        Ok(found) => found,
        Err(reason) => {
            return Ok(Finding::Settled(
                Verdict::Inconclusive,
                format!("{reason}."),
            ));
        }
    };
    put(page, "estimate", estimate, GAIN)?;
    put(page, "low", interval.low, GAIN)?;
    put(page, "high", interval.high, GAIN)?;
    put(page, "p", p, P)?;
    let mut because = format!(
        "Estimate {}, interval {} to {}, over {} units.",
        shown(&format!("{id}.estimate")),
        shown(&format!("{id}.low")),
        shown(&format!("{id}.high")),
        shown(&format!("{id}.units")),
    );
    let detectable = stats::sd_sample(units)
        .and_then(|sd| Ok(sd * stats::detectable_mean_shift(units.len(), alpha, POWER)?));
    // Of a share it would be that of a t-test that was not made.
    if let (Ok(detectable), false) = (detectable, stat.share) {
        put(page, "detectable", detectable, PLAIN)?;
        because.push_str(&format!(
            " Detectable with four fifths power: {}.",
            shown(&format!("{id}.detectable"))
        ));
    }
    Ok(Finding::Tested(Tested {
        id,
        estimate,
        interval,
        p,
        because,
        origin: m.origin.clone(),
    }))
}

/// All statistics of all models.
pub(crate) fn table(page: &mut Page, measured: &[Measured<'_>]) {
    let mut rows = Vec::new();
    for m in measured {
        for stat in &STATS {
            let id = m.id(stat.slug);
            if !page.summary.numbers.contains_key(&format!("{id}.units")) {
                continue;
            }
            let mut row = vec![words(m.name.clone()), words(stat.slug.replace('-', " "))];
            for part in ["units", "estimate", "low", "high", "p", "holm-p"] {
                row.push(page.cell(&format!("{id}.{part}"), "the units do not differ"));
            }
            rows.push(row);
        }
    }
    page.table(
        "anatomy-claims",
        "The note's patterns as statistics",
        "One unit is a category of a text set, whose texts are averaged, or a pair; definitions \
         of the statistics are the metrics of the claims. Above 0 the pattern shows.",
        &[
            "model",
            "statistic",
            "#units",
            "#estimate",
            "#low",
            "#high",
            "#p",
            "#Holm p",
        ],
        rows,
    );
}
