//! Other readings of a model's gain: the last block, the final norm, the whole
//! stack, and the same arithmetic in f64.

use assay_experiment::ExperimentError;
use assay_record::Cell;
use assay_stats as stats;

use super::models::{Measured, ModelGains};
use super::relation::Settings;
use super::within::{Within, within, write_within};
use crate::published::SweepModel;
use assay_experiment::page::{GAIN, NOISE, Page, RECORDED, SHARE, Stat, must, words};

/// A range of blocks: its name in ids, and how many blocks short of L it ends.
const RANGES: [(&str, usize, &str); 2] = [
    ("published-range", 1, "blocks 1..L-2"),
    ("measured-range", 0, "blocks 1..L-1"),
];

/// Which tokens: the ending of the measure's name, and words.
const TOKENS: [(&str, &str); 3] = [
    ("", "last token"),
    (".tokens", "all tokens"),
    (".tokens-without-0", "all tokens but the first"),
];

/// Writes what is printed about one model of the sweep.
pub(crate) fn write_published(
    page: &mut Page,
    model: &ModelGains,
    printed: &SweepModel,
) -> Result<(), ExperimentError> {
    let inner = printed.inner_gains();
    let block_0 = printed.gain_by_layer.first().copied();
    let lines: [(&str, &str, Stat<f64>, _); 5] = [
        (
            "gain.block-0.mean",
            "mean gain of block 0",
            stats::mean(block_0.as_slice()),
            GAIN,
        ),
        (
            "gain.with-final-norm.mean",
            "mean gain with the final norm",
            Ok(printed.gain_with_final_norm_mean),
            GAIN,
        ),
        (
            "growth.published-range.total",
            "product of the mean gains of blocks 1..L-2",
            Ok(inner.iter().product()),
            GAIN,
        ),
        (
            "growth.published-range.per-block",
            "geometric mean of the mean gains of blocks 1..L-2",
            stats::geometric_mean(inner),
            GAIN,
        ),
        (
            "share-below-1.published-range",
            "share of blocks 1..L-2 with mean gain below 1",
            stats::mean(&below_one(inner)),
            SHARE,
        ),
    ];
    for (id, what, value, style) in lines {
        let what = format!("{what}, {}", model.name);
        page.try_put(&model.id(id), &what, value, style, &model.origin)?;
    }
    Ok(())
}

/// Writes the other readings of a measured model.
pub(crate) fn write(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let g = &m.gains;
    let of = |what: &str| format!("{what}, {}", g.name);
    for (measure, what) in [
        ("gain.last-block", "gain of block L-1"),
        ("gain.with-final-norm", "gain with the final norm"),
    ] {
        if m.recorded() && !m.has(measure) {
            continue;
        }
        let values = m.scalars(measure)?;
        for (id, words, value) in [
            ("mean", "mean", stats::mean(&values)),
            (
                "geometric-mean",
                "geometric mean",
                stats::geometric_mean(&values),
            ),
            (
                "sd-population",
                "population SD",
                stats::sd_population(&values),
            ),
            ("sd-sample", "sample SD", stats::sd_sample(&values)),
        ] {
            let what = of(&format!("{words} over prompts of the {what}"));
            page.try_put(
                &g.id(&format!("{measure}.{id}")),
                &what,
                value,
                GAIN,
                &g.origin,
            )?;
        }
    }
    for (range, short, blocks) in RANGES {
        let count = (g.layers - 1 - short) as f64;
        for (ending, tokens) in TOKENS {
            let measure = format!("growth.{range}{ending}");
            let total = stats::geometric_mean(&m.scalars(&measure)?);
            let per_block = total.clone().map(|t| t.powf(1.0 / count));
            for (id, words, value) in [
                ("total", "growth over", total),
                ("per-block", "geometric mean gain of", per_block),
            ] {
                let what = of(&format!(
                    "{words} {blocks}, {tokens}, geometric mean over prompts"
                ));
                page.try_put(
                    &g.id(&format!("{measure}.{id}")),
                    &what,
                    value,
                    GAIN,
                    &g.origin,
                )?;
            }
        }
        let means = m.mean_by_layer("gain.by-layer")?;
        let product = means
            .get(1..g.layers - short)
            .unwrap_or_default()
            .iter()
            .product();
        let what = of(&format!(
            "product of the mean gains of {blocks}, last token"
        ));
        let id = g.id(&format!("growth.{range}.product-of-means"));
        page.put(&id, &what, product, GAIN, &g.origin)?;
        for (ending, series, tokens) in [
            ("", "gain.by-layer", "last token"),
            (
                ".tokens-without-0",
                "gain.by-layer.mean-tokens-without-0",
                "all tokens but the first",
            ),
        ] {
            let means = m.mean_by_layer(series)?;
            let inner = means.get(1..g.layers - short).unwrap_or_default();
            let what = of(&format!(
                "share of {blocks} with mean gain below 1, {tokens}"
            ));
            let id = g.id(&format!("share-below-1.{range}{ending}"));
            page.try_put(&id, &what, stats::mean(&below_one(inner)), SHARE, &g.origin)?;
        }
    }
    let block_0 = must(&g.name, stats::mean(&m.at("gain.by-layer", 0)?))?;
    let what = of("mean gain of block 0");
    page.put(&g.id("gain.block-0.mean"), &what, block_0, GAIN, &g.origin)?;
    f64_difference(page, m)
}

/// How far f32 gains lie from those of the f64 pass, where there was one.
fn f64_difference(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    if !m.has("gain-f64.by-layer") {
        return Ok(());
    }
    let (single, double) = (m.series("gain.by-layer")?, m.series("gain-f64.by-layer")?);
    let pairs = single.iter().zip(&double);
    let distances = pairs.flat_map(|(s, d)| s.iter().zip(*d).map(|(s, d)| (s - d).abs()));
    let largest = distances.fold(0.0, f64::max);
    let g = &m.gains;
    let what = format!(
        "largest |gain in f32 - gain in f64| of any prompt and block, {}",
        g.name
    );
    page.put(
        &g.id("gain-f64.largest-difference"),
        &what,
        largest,
        NOISE,
        &g.origin,
    )?;
    let mean = must(
        &g.name,
        stats::mean(&m.at("gain-f64.by-layer", m.penultimate())?),
    )?;
    let what = format!("mean gain of block L-2 computed in f64, {}", g.name);
    page.put(
        &g.id("gain-f64.as-published.mean"),
        &what,
        mean,
        GAIN,
        &g.origin,
    )?;
    Ok(())
}

/// Id of the growth over the blocks that published data allow.
pub(crate) fn total_id(model: &ModelGains) -> String {
    model.id("growth.published-range.total")
}

/// Id of the test of the log growth over blocks 1..L-1.
pub(crate) fn stack_id(model: &ModelGains) -> String {
    model.id("growth.measured-range.log")
}

/// The test of the log growth over blocks 1..L-1 against 0, written.
pub(crate) fn stack(
    page: &mut Page,
    m: &Measured<'_>,
    set: Settings,
) -> Result<Within, ExperimentError> {
    let growth = m.scalars("growth.measured-range")?;
    let logs: Vec<f64> = growth.iter().map(|g| g.ln()).collect();
    let name = format!("{}/log-growth", m.gains.key);
    let test = within(&logs, &m.gains.strata, 0.0, &name, set);
    let what = format!("log growth over blocks 1..L-1 of {}", m.gains.name);
    write_within(page, &stack_id(&m.gains), &what, &test, &m.gains.origin)?;
    Ok(test)
}

/// 1 for each gain below 1, else 0: its mean is their share.
fn below_one(gains: &[f64]) -> Vec<f64> {
    gains
        .iter()
        .map(|g| f64::from(u8::from(*g < 1.0)))
        .collect()
}

/// Is a number of what activations alone do not give?
fn is_of_model(id: &str) -> bool {
    id.starts_with("gain-f64") || id.starts_with("gain.with-final-norm")
}

/// The tables of readings and of growth over all models.
pub(crate) fn tables(page: &mut Page, models: &[&ModelGains]) {
    let row = |page: &Page, m: &ModelGains, ids: &[&str]| -> Vec<Cell> {
        let cell = |id: &&str| {
            let reason = match (m.published, *id) {
                (true, _) => "not published",
                (_, id) if m.recorded && is_of_model(id) => RECORDED,
                (false, id) if id.starts_with("gain-f64") => {
                    "not rerun in f64: the model is above the size limit"
                }
                _ => "no value on these data",
            };
            page.cell(&m.id(id), reason)
        };
        let data = if m.published { "published" } else { "measured" };
        let mut cells = vec![words(&m.name), words(data)];
        cells.extend(ids.iter().map(cell));
        cells
    };
    let readings = [
        "gain.as-published.mean",
        "gain.as-published.geometric-mean",
        "gain.last-block.mean",
        "gain.with-final-norm.mean",
        "share-below-1.published-range",
        "share-below-1.measured-range",
        "gain-f64.as-published.mean",
        "gain-f64.largest-difference",
    ];
    let rows = models.iter().map(|m| row(page, m, &readings)).collect();
    page.table(
        "gain-readings",
        "Which block, and with which norm",
        "Gains at the last token, means over prompts. As published: block L-2. Last block: block \
         L-1 before the final norm. With final norm: what the last of the hidden states gives. \
         The shares are of blocks whose mean gain is below 1. f32 against f64: the largest \
         difference of a gain over all prompts and blocks.",
        &[
            "Model",
            "Data",
            "#As published",
            "#Geometric mean",
            "#Last block",
            "#With final norm",
            "#Share below 1, blocks 1..L-2",
            "#Share below 1, blocks 1..L-1",
            "#As published, f64",
            "#f32 against f64",
        ],
        rows,
    );
    let growth = [
        "gain.block-0.mean",
        "growth.published-range.total",
        "growth.published-range.per-block",
        "growth.published-range.tokens.total",
        "growth.published-range.tokens-without-0.total",
        "growth.measured-range.total",
        "growth.measured-range.per-block",
        "growth.measured-range.tokens.total",
        "growth.measured-range.tokens-without-0.total",
    ];
    let rows = models.iter().map(|m| row(page, m, &growth)).collect();
    page.table(
        "growth",
        "Growth of the whole stack",
        "How many times the residual's norm grows after block 0, and, apart, in block 0. \
         Published: the product of the printed mean gains. Measured: the geometric mean over prompts, at the last token unless \
         said otherwise. Per block: the geometric mean gain. Blocks 1..L-2 are what the \
         published series allows; blocks 1..L-1 are the whole stack.",
        &[
            "Model",
            "Data",
            "#Block 0",
            "#1..L-2",
            "#1..L-2, per block",
            "#1..L-2, all tokens",
            "#1..L-2, without token 0",
            "#1..L-1",
            "#1..L-1, per block",
            "#1..L-1, all tokens",
            "#1..L-1, without token 0",
        ],
        rows,
    );
}
