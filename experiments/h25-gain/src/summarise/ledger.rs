//! The erasure ledger: which terms, dimensions, heads and neurons make the
//! norm change in the last two blocks, and in all blocks that shrink it.
//!
//! |x + A + M|² - |x|² = |A|² + |M|² + 2x·A + 2x·M + 2A·M, in units of |x|².
//! The squares only grow the residual; what shrinks it runs along x. So the
//! question whether late shrinkage is the removal of massive activations
//! becomes a difference: 2x·(A + M) on the three largest dimensions of x, less
//! that on all others. Below 0 in a block that shrinks, the largest dimensions
//! lose more than all others together. (A share of the whole would have no
//! bound where the whole is near 0.)

use assay_experiment::ExperimentError;
use assay_record::Cell;
use assay_stats as stats;

use super::models::Measured;
use super::relation::Settings;
use super::within::{Within, within, write_within};
use assay_experiment::page::{COUNT, GAIN, Page, RECORDED, must, words};

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

/// The answer to the question above, for one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    NoShrinkage,
    Yes,
    No,
    Open,
}

impl Answer {
    /// `excess` is of the largest dimensions over the others.
    fn of(shrinks: bool, excess: &Within) -> Self {
        match &excess.bca {
            _ if !shrinks => Answer::NoShrinkage,
            Ok(bca) if bca.interval.high < 0.0 => Answer::Yes,
            Ok(bca) if bca.interval.low > 0.0 => Answer::No,
            _ => Answer::Open,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Answer::NoShrinkage => "nothing shrinks here",
            Answer::Yes => "yes, most of it",
            Answer::No => "no, most of it is elsewhere",
            Answer::Open => "open",
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
        if !m.recorded() {
            sources(page, m, place, name)?;
        }
    }
    places
        .iter()
        .map(|place| dimensions(page, m, place, set))
        .collect()
}

/// Writes what falls on the largest dimensions of x and answers the question.
fn dimensions(
    page: &mut Page,
    m: &Measured<'_>,
    place: &Place,
    set: Settings,
) -> Result<Answer, ExperimentError> {
    let g = &m.gains;
    let id = |what: &str| g.id(&format!("ledger.{}.{what}", place.id));
    let of = |what: &str| format!("{what}, blocks {}, {}", place.name, g.name);
    let count = place.layers.len() as f64;
    page.put(
        &id("blocks"),
        &of("blocks"),
        count,
        COUNT.drawn(),
        &g.origin,
    )?;
    if place.layers.is_empty() {
        return Ok(Answer::NoShrinkage);
    }
    // [prompt] sums over the blocks, in units of each block's |x|².
    let mut sums = vec![[0.0; 4]; g.gains.len()]; // top-1, top-3, rest, excess
    for layer in &place.layers {
        let part = |part: &str| m.at(&format!("ledger.{part}-by-layer"), *layer);
        let along = part("x-attn")?.into_iter().zip(part("x-mlp")?);
        let shares = part("top-1")?.into_iter().zip(part("top-3")?);
        for (sum, ((attn, mlp), (one, three))) in sums.iter_mut().zip(along.zip(shares)) {
            let whole = attn + mlp;
            let rest = whole * (1.0 - three);
            sum[0] += whole * one;
            sum[1] += whole * three;
            sum[2] += rest;
            sum[3] += whole * three - rest;
        }
    }
    for (column, end, what) in [
        (0, "top-1", "mean 2x·(A + M) on the largest dimension of x"),
        (
            1,
            "top-3",
            "mean 2x·(A + M) on the three largest dimensions of x",
        ),
        (2, "rest", "mean 2x·(A + M) on the other dimensions"),
    ] {
        let values: Vec<f64> = sums.iter().map(|sum| sum[column]).collect();
        page.try_put(&id(end), &of(what), stats::mean(&values), GAIN, &g.origin)?;
    }
    let excess: Vec<f64> = sums.iter().map(|sum| sum[3]).collect();
    let name = format!("{}/ledger/{}", g.key, place.id);
    let excess = within(&excess, &g.strata, 0.0, &name, set);
    let what = of("2x·(A + M) on the three largest dimensions less that on the others");
    write_within(page, &id("excess"), &what, &excess, &g.origin)?;
    Ok(Answer::of(place.shrinks, &excess))
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

/// The three tables over measured models with their answers.
pub(crate) fn tables(page: &mut Page, measured: &[Measured<'_>], answers: &[Vec<Answer>]) {
    if measured.is_empty() {
        return;
    }
    let row = |page: &Page, m: &Measured<'_>, (place, name): (&str, &str), ids: &[&str]| {
        let cell = |id: &&str| {
            let of_model = id.starts_with("heads.") || id.starts_with("neurons.");
            let reason = if m.recorded() && of_model {
                RECORDED
            } else {
                "no block, or no interval"
            };
            let id = m.gains.id(&format!("ledger.{place}.{id}"));
            page.cell(&id, reason)
        };
        let mut cells = vec![words(&m.gains.name), words(name)];
        cells.extend(ids.iter().map(cell));
        cells
    };
    let both = |page: &Page, ids: &[&str]| -> Vec<Vec<Cell>> {
        let places = measured.iter().flat_map(|m| [(m, PENULTIMATE), (m, LAST)]);
        places.map(|(m, place)| row(page, m, place, ids)).collect()
    };
    let terms = both(
        page,
        &["attn", "mlp", "x-attn", "x-mlp", "attn-mlp", "total"],
    );
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
    let mut dimensions = Vec::new();
    for (m, answers) in measured.iter().zip(answers) {
        for (place, answer) in [PENULTIMATE, LAST, SHRINKING].into_iter().zip(answers) {
            let ids = [
                "blocks",
                "top-1",
                "top-3",
                "rest",
                "excess.mean",
                "excess.low",
                "excess.high",
            ];
            let mut cells = row(page, m, place, &ids);
            cells.push(words(answer.words()));
            dimensions.push(cells);
        }
    }
    page.table(
        "ledger-dimensions",
        "Erasure ledger: is late shrinkage the removal of massive activations?",
        "2x·(A + M) in units of |x|² at the last token, by dimension of x; the three largest \
         dimensions stand for massive activations. Means over prompts, summed over blocks where \
         there are several. Difference: three largest less all others, with its BCa interval at \
         level {h25.settings.level}. Where blocks shrink the residual, the answer is yes if the \
         interval lies below 0, no if it lies above, else open.",
        &[
            "Model",
            "Block",
            "#Blocks",
            "#Largest dimension",
            "#Three largest",
            "#All others",
            "#Difference",
            "#Low",
            "#High",
            "Answer",
        ],
        dimensions,
    );
    let sources = [
        "heads.lowest",
        "heads.lowest-share",
        "heads.negative",
        "heads.count",
        "neurons.negative",
        "neurons.positive",
        "neurons.ten-most-negative",
    ];
    let sources = both(page, &sources);
    page.table(
        "ledger-sources",
        "Erasure ledger: heads and neurons along the residual",
        "Shares of heads in 2x·A and of neurons in 2x·M at the last token, means over prompts in \
         units of |x|². Heads are numbered from 0; the lowest has the most negative share. \
         Neurons: sums of their negative and positive shares, and of the ten most negative.",
        &[
            "Model",
            "Block",
            "#Lowest head",
            "#Its share",
            "#Negative heads",
            "#Heads",
            "#Negative neurons",
            "#Positive neurons",
            "#Ten lowest neurons",
        ],
        sources,
    );
}
