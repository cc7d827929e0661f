//! The erasure ledger: which terms, dimensions, heads and neurons make the
//! norm change in the last two blocks.
//!
//! |x + A + M|² - |x|² = |A|² + |M|² + 2x·A + 2x·M + 2A·M, in units of |x|².
//! Only the terms along x can shrink the residual by more than the squares
//! add. The question whether late shrinkage is the removal of massive
//! activations becomes a share: how much of 2x·(A + M) falls on the three
//! largest dimensions of x.

use assay_experiment::ExperimentError;
use assay_record::Cell;
use assay_stats as stats;
use assay_stats::{Bca, StatsError};

use super::models::Measured;
use super::page::{COUNT, GAIN, Page, SHARE, Stat, must, words};
use super::relation::Settings;
use super::within::RESAMPLES;

/// Share of the change along x above which the largest dimensions explain it.
pub(crate) const MAJORITY: f64 = 0.5;

/// The terms: ending of the measure, and words.
pub(crate) const TERMS: [(&str, &str); 5] = [
    ("attn", "|A|²"),
    ("mlp", "|M|²"),
    ("x-attn", "2x·A"),
    ("x-mlp", "2x·M"),
    ("attn-mlp", "2A·M"),
];

/// The two blocks looked into.
const PLACES: [(&str, &str); 2] = [("penultimate", "L-2"), ("last", "L-1")];

/// The answer to the question above, for one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    NoShrinkage,
    Yes,
    No,
    Open,
}

impl Answer {
    /// `share` is the interval of the share on the largest dimensions.
    fn of(gain: f64, share: &Stat<Bca>) -> Self {
        match share {
            _ if gain >= 1.0 => Answer::NoShrinkage,
            Ok(bca) if bca.interval.low > MAJORITY => Answer::Yes,
            Ok(bca) if bca.interval.high < MAJORITY => Answer::No,
            _ => Answer::Open,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Answer::NoShrinkage => "the block does not shrink the residual",
            Answer::Yes => "yes, most of it",
            Answer::No => "no, most of it is elsewhere",
            Answer::Open => "open: the interval holds one half, or there is none",
        }
    }
}

/// Σ top · whole / Σ whole over prompts: a share of sums, since the share of
/// one prompt has no bound where its whole is near 0.
fn pooled_share(units: &[usize], share: &[f64], whole: &[f64]) -> Stat<f64> {
    let (mut top, mut all) = (0.0, 0.0);
    for unit in units {
        if let (Some(share), Some(whole)) = (share.get(*unit), whole.get(*unit)) {
            top += share * whole;
            all += whole;
        }
    }
    if all == 0.0 {
        return Err(StatsError::ZeroVariance {
            argument: "the change along x",
        });
    }
    Ok(top / all)
}

/// Writes both blocks of a measured model and returns the answer for each.
pub(crate) fn write(
    page: &mut Page,
    m: &Measured<'_>,
    set: Settings,
) -> Result<Vec<Answer>, ExperimentError> {
    let mut answers = Vec::new();
    let last_gain = must(&m.gains.name, stats::mean(&m.scalars("gain.last-block")?))?;
    let blocks = [(m.penultimate(), m.gains.mean), (m.last(), last_gain)];
    for ((place, name), (layer, gain)) in PLACES.into_iter().zip(blocks) {
        terms(page, m, place, name, layer)?;
        sources(page, m, place, name)?;
        for top in ["top-1", "top-3"] {
            let bca = share(m, place, layer, top, set)?;
            let lines = [
                ("share", "share", bca.as_ref().map(|b| b.estimate), SHARE),
                (
                    "low",
                    "BCa interval, low, of the share",
                    bca.as_ref().map(|b| b.interval.low),
                    SHARE,
                ),
                (
                    "high",
                    "BCa interval, high, of the share",
                    bca.as_ref().map(|b| b.interval.high),
                    SHARE,
                ),
            ];
            for (id, what, value, style) in lines {
                let id = m.gains.id(&format!("ledger.{place}.{top}.{id}"));
                let what = format!(
                    "{what} of 2x·(A + M) on the {top} dimensions of x, block {name}, {}",
                    m.gains.name
                );
                let value = value.map_err(StatsError::clone);
                page.try_put(&id, &what, value, style, &m.gains.origin)?;
            }
            if top == "top-3" {
                answers.push(Answer::of(gain, &bca));
            }
        }
    }
    Ok(answers)
}

fn share(
    m: &Measured<'_>,
    place: &str,
    layer: usize,
    top: &str,
    set: Settings,
) -> Result<Stat<Bca>, ExperimentError> {
    let shares = m.at(&format!("ledger.{top}-by-layer"), layer)?;
    let along = |part: &str| m.at(&format!("ledger.{part}-by-layer"), layer);
    let (attn, mlp) = (along("x-attn")?, along("x-mlp")?);
    let whole: Vec<f64> = attn.iter().zip(&mlp).map(|(a, m)| a + m).collect();
    let name = format!("h25/bootstrap/{}/ledger/{place}/{top}", m.gains.key);
    Ok(stats::bootstrap_bca_stratified(
        &m.gains.strata,
        |units| pooled_share(units, &shares, &whole),
        RESAMPLES,
        set.level(),
        stats::stream(set.seed, &name),
    ))
}

fn terms(
    page: &mut Page,
    m: &Measured<'_>,
    place: &str,
    name: &str,
    layer: usize,
) -> Result<(), ExperimentError> {
    let mut total = 0.0;
    let put = |page: &mut Page, id: &str, what: &str, value: f64| {
        let what = format!("{what} in units of |x|², block {name}, {}", m.gains.name);
        let id = m.gains.id(&format!("ledger.{place}.{id}"));
        page.put(&id, &what, value, GAIN, &m.gains.origin)
    };
    for (term, symbol) in TERMS {
        let mean = stats::mean(&m.at(&format!("ledger.{term}-by-layer"), layer)?);
        let mean = must(symbol, mean)?;
        put(page, term, &format!("mean {symbol}"), mean)?;
        total += mean;
    }
    put(page, "total", "mean change of |x|²", total)?;
    Ok(())
}

fn sources(
    page: &mut Page,
    m: &Measured<'_>,
    place: &str,
    name: &str,
) -> Result<(), ExperimentError> {
    let g = &m.gains;
    let id = |part: &str| g.id(&format!("ledger.{place}.{part}"));
    let heads = mean_of_heads(m, place)?;
    let lowest = heads.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
    if let Some((head, share)) = lowest {
        let what = format!(
            "head with the lowest mean 2x·A share, block {name}, {}",
            g.name
        );
        page.put(
            &id("heads.lowest"),
            &what,
            head as f64,
            COUNT.drawn(),
            &g.origin,
        )?;
        let what = format!("its mean share in units of |x|², block {name}, {}", g.name);
        page.put(&id("heads.lowest-share"), &what, *share, GAIN, &g.origin)?;
    }
    let negative = heads.iter().filter(|s| **s < 0.0).count();
    let what = format!(
        "heads whose mean share is negative, block {name}, {}",
        g.name
    );
    page.put(
        &id("heads.negative"),
        &what,
        negative as f64,
        COUNT.drawn(),
        &g.origin,
    )?;
    let what = format!("heads, block {name}, {}", g.name);
    page.put(
        &id("heads.count"),
        &what,
        heads.len() as f64,
        COUNT,
        &g.origin,
    )?;
    for (part, words) in [
        ("negative", "sum of the negative neurons' shares of 2x·M"),
        ("positive", "sum of the positive neurons' shares of 2x·M"),
        (
            "ten-most-negative",
            "sum of the ten most negative neurons' shares of 2x·M",
        ),
    ] {
        let mean = stats::mean(&m.scalars(&format!("ledger.neurons.{place}.{part}"))?);
        let what = format!("{words} in units of |x|², mean, block {name}, {}", g.name);
        page.try_put(
            &id(&format!("neurons.{part}")),
            &what,
            mean,
            GAIN,
            &g.origin,
        )?;
    }
    Ok(())
}

/// [head] mean over prompts of 2x·(the head's share of A) / |x|².
fn mean_of_heads(m: &Measured<'_>, place: &str) -> Result<Vec<f64>, ExperimentError> {
    let measure = format!("ledger.heads.{place}");
    let mut sums: Vec<f64> = Vec::new();
    let mut prompts = 0.0;
    for sample in m.prompts() {
        let heads = sample.get_series(&measure)?;
        sums.resize(heads.len(), 0.0);
        sums.iter_mut()
            .zip(heads)
            .for_each(|(sum, share)| *sum += share);
        prompts += 1.0;
    }
    Ok(sums.into_iter().map(|sum| sum / prompts).collect())
}

/// The two tables over measured models with their answers.
pub(crate) fn tables(page: &mut Page, measured: &[Measured<'_>], answers: &[Vec<Answer>]) {
    if measured.is_empty() {
        return;
    }
    let row = |page: &Page, m: &Measured<'_>, (place, name): (&str, &str), ids: &[&str]| {
        let cell = |id: &&str| {
            let id = m.gains.id(&format!("ledger.{place}.{id}"));
            page.cell(&id, "the change along x allows no interval")
        };
        let mut cells = vec![words(&m.gains.name), words(name)];
        cells.extend(ids.iter().map(cell));
        cells
    };
    let mut terms: Vec<Vec<Cell>> = Vec::new();
    let mut sources: Vec<Vec<Cell>> = Vec::new();
    for (m, answers) in measured.iter().zip(answers) {
        for (place, answer) in PLACES.into_iter().zip(answers) {
            let ids = ["attn", "mlp", "x-attn", "x-mlp", "attn-mlp", "total"];
            terms.push(row(page, m, place, &ids));
            let ids = [
                "top-1.share",
                "top-3.share",
                "top-3.low",
                "top-3.high",
                "heads.lowest",
                "heads.lowest-share",
                "heads.negative",
                "heads.count",
                "neurons.negative",
                "neurons.positive",
                "neurons.ten-most-negative",
            ];
            let mut cells = row(page, m, place, &ids);
            cells.push(words(answer.words()));
            sources.push(cells);
        }
    }
    page.table(
        "ledger-terms",
        "Erasure ledger: what changes the squared norm",
        "x is the block's input, A what attention adds, M what the MLP adds, at the last token; \
         means over prompts in units of |x|². The terms add up to the squared gain less one.",
        &[
            "Model", "Block", "#|A|²", "#|M|²", "#2x·A", "#2x·M", "#2A·M", "#Sum",
        ],
        terms,
    );
    page.table(
        "ledger-sources",
        "Erasure ledger: who acts along the residual",
        "Shares of 2x·(A + M) on the largest and the three largest dimensions of x, which stand \
         for massive activations, pooled over prompts, with the BCa interval of the latter at \
         level {h25.settings.level}. Shares of heads in 2x·A and of neurons in 2x·M are in units \
         of |x|²; head numbers count from 0. The answer is yes where the interval lies above \
         {h25.settings.majority}, no where it lies below.",
        &[
            "Model",
            "Block",
            "#Top dimension",
            "#Top three",
            "#Low",
            "#High",
            "#Lowest head",
            "#Its share",
            "#Negative heads",
            "#Heads",
            "#Negative neurons",
            "#Positive neurons",
            "#Ten lowest neurons",
            "Is late shrinkage the removal of massive activations?",
        ],
        sources,
    );
}
