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

/// Blocks that are asked the question together.
struct Place {
    id: &'static str,
    name: &'static str,
    layers: Vec<usize>,
    /// Whether they shrink the residual.
    shrinks: bool,
}

const PENULTIMATE: (&str, &str) = ("penultimate", "L-2");
const LAST: (&str, &str) = ("last", "L-1");
const SHRINKING: (&str, &str) = ("shrinking", "all that shrink, from 1 on");

fn places(m: &Measured<'_>) -> Result<[Place; 3], ExperimentError> {
    let gains = m.mean_by_layer("gain.by-layer")?;
    let below_1 = |layer: &usize| gains.get(*layer).is_some_and(|g| *g < 1.0);
    let shrinking: Vec<usize> = (1..m.gains.layers).filter(below_1).collect();
    let one = |(id, name), layer: usize| Place {
        id,
        name,
        layers: vec![layer],
        shrinks: below_1(&layer),
    };
    Ok([
        one(PENULTIMATE, m.penultimate()),
        one(LAST, m.last()),
        Place {
            id: SHRINKING.0,
            name: SHRINKING.1,
            shrinks: !shrinking.is_empty(),
            layers: shrinking,
        },
    ])
}

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
    fn of(shrinks: bool, share: &Stat<Bca>) -> Self {
        match share {
            _ if !shrinks => Answer::NoShrinkage,
            Ok(bca) if bca.interval.low > MAJORITY => Answer::Yes,
            Ok(bca) if bca.interval.high < MAJORITY => Answer::No,
            _ => Answer::Open,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Answer::NoShrinkage => "nothing shrinks here",
            Answer::Yes => "yes, most of it",
            Answer::No => "no, most of it is elsewhere",
            Answer::Open => "open: the interval holds one half, or there is none",
        }
    }
}

/// Writes the places of a measured model and returns the answer for each.
pub(crate) fn write(
    page: &mut Page,
    m: &Measured<'_>,
    set: Settings,
) -> Result<Vec<Answer>, ExperimentError> {
    let places = places(m)?;
    for ((place, name), layer) in [(PENULTIMATE, m.penultimate()), (LAST, m.last())] {
        terms(page, m, place, name, layer)?;
        sources(page, m, place, name)?;
    }
    places
        .iter()
        .map(|place| shares(page, m, place, set))
        .collect()
}

/// Writes the shares on the largest dimensions of x and answers the question.
fn shares(
    page: &mut Page,
    m: &Measured<'_>,
    place: &Place,
    set: Settings,
) -> Result<Answer, ExperimentError> {
    let g = &m.gains;
    let id = |what: &str| g.id(&format!("ledger.{}.{what}", place.id));
    let what = format!("blocks {}, {}", place.name, g.name);
    let count = place.layers.len() as f64;
    page.put(&id("blocks"), &what, count, COUNT.drawn(), &g.origin)?;
    let mut of_three = Err(StatsError::NothingToPermute);
    for top in ["top-1", "top-3"] {
        let bca = share(m, place, top, set)?;
        let part = |get: fn(&Bca) -> f64| bca.as_ref().map(get).map_err(StatsError::clone);
        for (end, words, value) in [
            ("share", "share", part(|b| b.estimate)),
            (
                "low",
                "BCa interval, low, of the share",
                part(|b| b.interval.low),
            ),
            (
                "high",
                "BCa interval, high, of the share",
                part(|b| b.interval.high),
            ),
        ] {
            let what = format!("{words} of 2x·(A + M) on the {top} dimensions of x, {what}");
            let id = id(&format!("{top}.{end}"));
            page.try_put(&id, &what, value, SHARE, &g.origin)?;
        }
        of_three = bca;
    }
    Ok(Answer::of(place.shrinks, &of_three))
}

/// Σ top / Σ whole over blocks and prompts, prompts drawn within categories: a
/// share of sums, since the share of one prompt has no bound where its whole
/// is near 0.
fn share(
    m: &Measured<'_>,
    place: &Place,
    top: &str,
    set: Settings,
) -> Result<Stat<Bca>, ExperimentError> {
    let mut sums = vec![(0.0, 0.0); m.gains.gains.len()]; // [prompt] (top, whole)
    for layer in &place.layers {
        let part = |part: &str| m.at(&format!("ledger.{part}-by-layer"), *layer);
        let (share, attn, mlp) = (part(top)?, part("x-attn")?, part("x-mlp")?);
        for (sum, (share, along)) in sums.iter_mut().zip(share.iter().zip(attn.iter().zip(&mlp))) {
            let whole = along.0 + along.1;
            sum.0 += share * whole;
            sum.1 += whole;
        }
    }
    let pooled = |units: &[usize]| {
        let drawn = || units.iter().filter_map(|unit| sums.get(*unit));
        let whole: f64 = drawn().map(|sum| sum.1).sum();
        if whole == 0.0 {
            return Err(StatsError::ZeroVariance {
                argument: "the change along x",
            });
        }
        Ok(drawn().map(|sum| sum.0).sum::<f64>() / whole)
    };
    let name = format!("h25/bootstrap/{}/ledger/{}/{top}", m.gains.key, place.id);
    Ok(stats::bootstrap_bca_stratified(
        &m.gains.strata,
        pooled,
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
            let reason = if id.starts_with("top") {
                "the change along x allows no interval"
            } else {
                "recorded in the last two blocks only"
            };
            page.cell(&m.gains.id(&format!("ledger.{place}.{id}")), reason)
        };
        let mut cells = vec![words(&m.gains.name), words(name)];
        cells.extend(ids.iter().map(cell));
        cells
    };
    let mut terms: Vec<Vec<Cell>> = Vec::new();
    let mut sources: Vec<Vec<Cell>> = Vec::new();
    for (m, answers) in measured.iter().zip(answers) {
        for place in [PENULTIMATE, LAST] {
            let ids = ["attn", "mlp", "x-attn", "x-mlp", "attn-mlp", "total"];
            terms.push(row(page, m, place, &ids));
        }
        for (place, answer) in [PENULTIMATE, LAST, SHRINKING].into_iter().zip(answers) {
            let ids = [
                "blocks",
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
            "#Blocks",
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
