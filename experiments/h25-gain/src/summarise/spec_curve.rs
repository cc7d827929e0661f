//! Specification curve (Simonsohn, Simmons and Nelson 2020): the gain under
//! every defensible reading of its definition.
//!
//! A reading is a block, a way to pool tokens, a way to pool prompts, a set of
//! prompts and a number type. What is asked of all readings of a model is the
//! share with a gain below 1, and across models the share with a negative
//! correlation of rho and log gain.

use std::collections::BTreeMap;

use assay_experiment::ExperimentError;
use assay_record::Cell;
use assay_stats as stats;

use super::across::Body;
use super::models::{Measured, ModelGains};
use crate::published::SweepModel;
use assay_experiment::page::{COUNT, GAIN, Page, R, SHARE, Stat, must, words};

/// Which block, or blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Block {
    Penultimate,
    Last,
    /// Geometric mean over blocks 1..L-2.
    PublishedRange,
    /// Geometric mean over blocks 1..L-1.
    WholeStack,
}

const BLOCKS: [(Block, &str); 4] = [
    (Block::Penultimate, "penultimate"),
    (Block::Last, "last"),
    (Block::PublishedRange, "published-range"),
    (Block::WholeStack, "whole-stack"),
];

/// Gains by layer, the pooling of tokens and the number type they have.
const SERIES: [(&str, &str); 6] = [
    ("gain.by-layer", "last token, f32"),
    ("gain.by-layer.mean-tokens", "mean of ratios, f32"),
    (
        "gain.by-layer.mean-tokens-without-0",
        "mean of ratios without token 0, f32",
    ),
    ("gain.by-layer.norms-tokens", "ratio of mean norms, f32"),
    (
        "gain.by-layer.norms-tokens-without-0",
        "ratio of mean norms without token 0, f32",
    ),
    ("gain-f64.by-layer", "last token, f64"),
];

/// A way to pool prompts.
type Pool = fn(&[f64]) -> Stat<f64>;

const POOLS: [(&str, Pool); 3] = [
    ("mean", stats::mean),
    ("geometric mean", stats::geometric_mean),
    ("median", stats::median),
];

/// One reading and the gain it gives.
struct Reading {
    block: Block,
    /// The other choices, in words.
    rest: String,
    gain: f64,
}

/// All readings of one model.
pub(crate) struct Curve<'m> {
    pub(crate) model: &'m ModelGains,
    readings: Vec<Reading>,
}

impl Curve<'_> {
    /// The gains of all readings, ascending.
    pub(crate) fn sorted(&self) -> Vec<f64> {
        let mut gains: Vec<f64> = self.readings.iter().map(|r| r.gain).collect();
        gains.sort_by(f64::total_cmp);
        gains
    }

    fn share_below_1(&self, of: impl Fn(Block) -> bool) -> Stat<f64> {
        let readings = self.readings.iter().filter(|r| of(r.block));
        let below: Vec<f64> = readings
            .map(|r| f64::from(u8::from(r.gain < 1.0)))
            .collect();
        stats::mean(&below)
    }
}

/// Every reading that a record allows.
pub(crate) fn measured<'m>(m: &'m Measured<'_>) -> Result<Curve<'m>, ExperimentError> {
    let mut readings = Vec::new();
    for (measure, pooled) in SERIES {
        if !m.has(measure) {
            continue;
        }
        let series = m.series(measure)?;
        for (block, _) in BLOCKS {
            let gains = series
                .iter()
                .map(|s| gain_of(block, s))
                .collect::<Stat<Vec<_>>>();
            let gains = must(&format!("{measure} of {}", m.gains.name), gains)?;
            pool_prompts(block, pooled, &gains, &m.gains, &mut readings)?;
        }
    }
    Ok(Curve {
        model: &m.gains,
        readings,
    })
}

/// The readings that the published data allow: block L-2 by prompt, and the
/// mean gains of blocks 1..L-2.
pub(crate) fn published<'m>(
    model: &'m ModelGains,
    printed: &SweepModel,
) -> Result<Curve<'m>, ExperimentError> {
    let mut readings = Vec::new();
    let pooled = "last token, as published";
    pool_prompts(
        Block::Penultimate,
        pooled,
        &model.gains,
        model,
        &mut readings,
    )?;
    readings.push(Reading {
        block: Block::PublishedRange,
        rest: format!("{pooled}, mean, all prompts"),
        gain: must(&model.name, stats::geometric_mean(printed.inner_gains()))?,
    });
    Ok(Curve { model, readings })
}

fn gain_of(block: Block, by_layer: &[f64]) -> Stat<f64> {
    let end = by_layer.len();
    let one = |short: usize| by_layer.get(end.saturating_sub(short)).copied();
    let range = |short: usize| {
        by_layer
            .get(1..end.saturating_sub(short))
            .unwrap_or_default()
    };
    match block {
        Block::Penultimate => stats::mean(one(2).as_slice()),
        Block::Last => stats::mean(one(1).as_slice()),
        Block::PublishedRange => stats::geometric_mean(range(1)),
        Block::WholeStack => stats::geometric_mean(range(0)),
    }
}

/// Every set of prompts and every way to pool them.
fn pool_prompts(
    block: Block,
    pooled: &str,
    gains: &[f64],
    model: &ModelGains,
    readings: &mut Vec<Reading>,
) -> Result<(), ExperimentError> {
    for (set, keep) in prompt_sets(&model.strata) {
        let kept = gains.iter().zip(&keep).filter(|(_, keep)| **keep);
        let kept: Vec<f64> = kept.map(|(gain, _)| *gain).collect();
        for (name, pool) in POOLS {
            let rest = format!("{pooled}, {name}, {set}");
            readings.push(Reading {
                block,
                gain: must(&format!("{rest} of {}", model.name), pool(&kept))?,
                rest,
            });
        }
    }
    Ok(())
}

/// All prompts, each category, and all but each category: names and masks.
fn prompt_sets(strata: &[usize]) -> Vec<(String, Vec<bool>)> {
    let mut sets = vec![("all prompts".to_owned(), vec![true; strata.len()])];
    let categories = strata.iter().max().map_or(0, |last| last + 1);
    if categories < 2 {
        return sets;
    }
    for category in 0..categories {
        let only: Vec<bool> = strata.iter().map(|s| *s == category).collect();
        let without = only.iter().map(|keep| !keep).collect();
        sets.push((format!("category {category} only"), only));
        sets.push((format!("without category {category}"), without));
    }
    sets
}

/// Writes the numbers and the table of all curves; `across` says what holds
/// across models.
pub(crate) fn write(
    page: &mut Page,
    curves: &[Curve<'_>],
    across: &str,
) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for curve in curves {
        let m = curve.model;
        let sorted = curve.sorted();
        let lines = [
            ("readings", "readings", Ok(sorted.len() as f64), COUNT),
            (
                "share",
                "share of readings with gain below 1",
                curve.share_below_1(|_| true),
                SHARE,
            ),
            (
                "lowest",
                "lowest gain of a reading",
                stats::quantile(&sorted, 0.0),
                GAIN,
            ),
            (
                "median",
                "median gain of the readings",
                stats::median(&sorted),
                GAIN,
            ),
            (
                "highest",
                "highest gain of a reading",
                stats::quantile(&sorted, 1.0),
                GAIN,
            ),
        ];
        let data = if m.published { "published" } else { "measured" };
        let mut row = vec![words(&m.name), words(data)];
        for (id, what, value, style) in lines {
            let id = m.id(&format!("specification.{id}"));
            let what = format!("{what}, {}", m.name);
            row.push(page.try_put(&id, &what, value, style, &m.origin)?.cell());
        }
        for (block, name) in BLOCKS {
            let id = m.id(&format!("specification.share.{name}"));
            let what = format!("share of readings with gain below 1, {name}, {}", m.name);
            let share = curve.share_below_1(|b| b == block);
            row.push(match share {
                Ok(_) => page.try_put(&id, &what, share, SHARE, &m.origin)?.cell(),
                Err(_) => Cell::Missing("not published".to_owned()),
            });
        }
        rows.push(row);
    }
    let caption = format!(
        "A reading is a block (L-2, L-1, the geometric mean over 1..L-2 or 1..L-1), a pooling of \
         tokens (last; mean of ratios or ratio of mean norms, with and without token 0), a \
         pooling of prompts (mean, geometric mean, median), a set of prompts (all, each \
         category, all but each) and a number type. Published data allow those of block L-2 at \
         the last token and one of blocks 1..L-2.{across}"
    );
    page.table(
        "specification-curve",
        "Every defensible reading of the gain",
        &caption,
        &[
            "Model",
            "Data",
            "#Readings",
            "#Share below 1",
            "#Lowest",
            "#Median",
            "#Highest",
            "#Share, L-2",
            "#Share, L-1",
            "#Share, 1..L-2",
            "#Share, 1..L-1",
        ],
        rows,
    );
    Ok(())
}

/// r of rho and log gain under every reading that all models of a body allow;
/// returns a sentence.
pub(crate) fn write_across(
    page: &mut Page,
    body: &Body<'_>,
    curves: &[Curve<'_>],
) -> Result<String, ExperimentError> {
    if body.columns.is_none() {
        return Ok(String::new());
    }
    let mut readings: BTreeMap<(Block, &str), Vec<(f64, f64)>> = BTreeMap::new();
    let of_body = |c: &&Curve<'_>| body.models.iter().any(|m| m.key == c.model.key);
    for curve in curves.iter().filter(of_body) {
        for r in &curve.readings {
            let points = readings.entry((r.block, &r.rest)).or_default();
            points.push((curve.model.rho, r.gain.ln()));
        }
    }
    let common = readings.values().filter(|p| p.len() == body.models.len());
    let r: Vec<f64> = common
        .filter_map(|points| {
            let (rho, log): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
            Some(stats::pearson(&rho, &log).ok()?.r)
        })
        .collect();
    let negative: Vec<f64> = r.iter().map(|r| f64::from(u8::from(*r < 0.0))).collect();
    for (id, what, value, style) in [
        (
            "readings",
            "readings with a correlation",
            Ok(r.len() as f64),
            COUNT,
        ),
        (
            "share-negative",
            "share of readings with negative r",
            stats::mean(&negative),
            SHARE,
        ),
        (
            "lowest-r",
            "lowest r of a reading",
            stats::quantile(&r, 0.0),
            R,
        ),
        (
            "highest-r",
            "highest r of a reading",
            stats::quantile(&r, 1.0),
            R,
        ),
    ] {
        let id = format!("h25.across.{}.specification.{id}", body.id);
        let what = format!("{what}, {}", body.data);
        page.try_put(&id, &what, value, style, &body.origin)?;
    }
    let at = |id: &str| {
        let id = format!("h25.across.{}.specification.{id}", body.id);
        page.value(&id, "no reading has a correlation").text()
    };
    Ok(format!(
        " Across the {} models, r of rho and log gain is negative in {} of {} readings, from {} \
         to {}.",
        body.id,
        at("share-negative"),
        at("readings"),
        at("lowest-r"),
        at("highest-r"),
    ))
}

#[cfg(test)]
mod tests {
    use super::{Block, gain_of, prompt_sets};

    #[track_caller]
    fn check(block: Block, expected: f64) {
        let gain = gain_of(block, &[50.0, 2.0, 8.0, 0.5]);
        assert!(gain.is_ok_and(|g| (g - expected).abs() < 1e-12));
    }

    #[test]
    fn blocks_are_counted_from_the_end_and_block_0_is_left_out() {
        check(Block::Penultimate, 8.0);
        check(Block::Last, 0.5);
        check(Block::PublishedRange, 4.0);
        check(Block::WholeStack, 2.0);
    }

    #[test]
    fn each_category_alone_and_left_out() {
        let sets = prompt_sets(&[0, 0, 1]);
        let names: Vec<&str> = sets.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "all prompts",
                "category 0 only",
                "without category 0",
                "category 1 only",
                "without category 1"
            ]
        );
        assert_eq!(sets[2].1, [false, false, true]);
        assert_eq!(prompt_sets(&[0, 0]).len(), 1);
    }
}
