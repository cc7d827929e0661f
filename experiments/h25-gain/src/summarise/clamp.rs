//! The gain clamp: does it matter to the next token that a block changes the
//! residual's norm?

use assay_experiment::ExperimentError;
use assay_stats as stats;

use super::models::Measured;
use super::relation::Settings;
use super::within::{Within, within, write_within};
use assay_experiment::page::{COUNT, NOISE, PLAIN, Page, RECORDED, must, words};

const MEASURE: &str = "clamp.kl-by-block";

/// Id of the test of the penultimate block's clamp.
pub(crate) fn id(m: &Measured<'_>) -> String {
    m.gains.id("clamp.kl.penultimate")
}

/// Writes the KL of one model's clamps and returns the test of the penultimate
/// block's against `smallest`, the smallest effect of interest in nats.
pub(crate) fn write(
    page: &mut Page,
    m: &Measured<'_>,
    smallest: f64,
    set: Settings,
) -> Result<Within, ExperimentError> {
    let g = &m.gains;
    let kl = m.at(MEASURE, m.penultimate())?;
    let test = within(&kl, &g.strata, smallest, &format!("{}/clamp", g.key), set);
    let what = format!("KL in nats, block L-2 of {} clamped", g.name);
    write_within(page, &id(m), &what, &test, &g.origin)?;

    let by_block = m.mean_by_layer(MEASURE)?;
    let put = |page: &mut Page, id: &str, what: &str, value: f64, style| {
        let what = format!("{what}, {}", g.name);
        page.put(
            &g.id(&format!("clamp.kl.{id}")),
            &what,
            value,
            style,
            &g.origin,
        )
    };
    if let Some(last) = by_block.last() {
        // The final norm undoes this clamp; what is left is rounding.
        put(
            page,
            "last.mean",
            "mean KL in nats, block L-1 clamped",
            *last,
            NOISE,
        )?;
    }
    // Block 0 turns embeddings into a residual; its gain is another thing.
    let later = by_block.iter().enumerate().skip(1);
    if let Some((block, largest)) = later.max_by(|a, b| a.1.total_cmp(b.1)) {
        let what = "largest mean KL in nats of a clamped block from 1 on";
        put(page, "largest.mean", what, *largest, PLAIN)?;
        let what = "block from 1 on whose clamp has the largest mean KL";
        put(page, "largest.block", what, block as f64, COUNT.drawn())?;
    }
    let all = must(&g.name, stats::mean(&m.scalars("clamp.kl-all-blocks")?))?;
    put(
        page,
        "all.mean",
        "mean KL in nats, blocks 1..L-1 clamped together",
        all,
        PLAIN,
    )?;
    Ok(test)
}

/// The table over measured models; Holm's p values must have been written.
pub(crate) fn table(page: &mut Page, measured: &[Measured<'_>]) {
    if measured.is_empty() {
        return;
    }
    let ids = [
        "penultimate.mean",
        "penultimate.low",
        "penultimate.high",
        "penultimate.holm-p",
        "last.mean",
        "largest.mean",
        "largest.block",
        "all.mean",
    ];
    let rows = measured.iter().map(|m| {
        let cell = |id: &&str| {
            let reason = if m.recorded() {
                RECORDED
            } else {
                "no value on these data"
            };
            page.cell(&m.gains.id(&format!("clamp.kl.{id}")), reason)
        };
        let mut row = vec![words(&m.gains.name)];
        row.extend(ids.iter().map(cell));
        row
    });
    let rows = rows.collect();
    page.table(
        "clamp",
        "What holding the gain at 1 does to the next token",
        "Each block's output is rescaled to the norm of its input at every token, and the model \
         runs on; KL of the plain from the clamped next-token distribution in nats, means over \
         prompts. Below {h25.settings.inert} the gain is called functionally inert. A KL is \
         never negative, so p is of a t-test against that value, and counts only above it. Blocks \
         read a normalised residual, so a clamp changes only what later additions weigh; after \
         the last block the final norm undoes it, and what is left is rounding.",
        &[
            "Model",
            "#Block L-2",
            "#Low",
            "#High",
            "#p, Holm",
            "#Block L-1",
            "#Largest from block 1 on",
            "#At block",
            "#Blocks 1..L-1 together",
        ],
        rows,
    );
}
