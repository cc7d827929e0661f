//! Sublayers, angles, the split of the norm's change, and the surgery, model by
//! model.

use assay_experiment::ExperimentError;
use assay_experiment::page::{COUNT, GAIN, Page, R, RECORDED, SHARE, must, slug, words};
use assay_record::{Cell, Sample};
use assay_stats as stats;

use super::measured::{Measured, entries};
use crate::published::Published;
use crate::surgery::ALPHAS;

/// Terms of |x + A + M|² / |x|²: id, words.
pub(crate) const TERMS: [(&str, &str); 5] = [
    ("attn", "|A|²"),
    ("mlp", "|M|²"),
    ("x-attn", "2 x·A"),
    ("x-mlp", "2 x·M"),
    ("attn-mlp", "2 A·M"),
];

/// The two blocks that the notes speak of: id, layer.
pub(crate) fn blocks(m: &Measured<'_>) -> Vec<(&'static str, usize)> {
    match m.last() {
        0 => vec![("last", 0)],
        last => vec![("penultimate", last - 1), ("last", last)],
    }
}

pub(crate) fn write(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let put = |page: &mut Page, id: &str, what: &str, value: f64, style| {
        page.put(
            &m.id(id),
            &format!("{what}, {}", m.name),
            value,
            style,
            &m.origin,
        )
    };
    for (block, layer) in blocks(m) {
        for (id, words) in TERMS {
            let values = m.at(&format!("split.{id}.by-layer"), layer)?;
            let mean = must(id, stats::mean(&values))?;
            let what = format!("mean {words} over |x|², {block} block");
            put(page, &format!("split.{block}.{id}"), &what, mean, GAIN)?;
        }
        for (id, words, series) in [
            ("ratio-attn", "mean |A| / |x|", "ratio.attn.by-layer"),
            ("ratio-mlp", "mean |M| / |x|", "ratio.mlp.by-layer"),
            ("cos-am", "mean cos(A, M)", "cos.attn-mlp.by-layer"),
            ("cos-xa", "mean cos(x, A)", "cos.x-attn.by-layer"),
            ("cos-xm", "mean cos(x, M)", "cos.x-mlp.by-layer"),
            (
                "own",
                "mean-removed cos(A, M), same token",
                "removed.own.by-layer",
            ),
            (
                "other",
                "mean-removed cos(A, M), other tokens",
                "removed.other.by-layer",
            ),
            ("gain", "mean gain", "gain.by-layer"),
        ] {
            let mean = must(id, stats::mean(&m.at(series, layer)?))?;
            put(
                page,
                &format!("{block}.{id}"),
                &format!("{words}, {block} block"),
                mean,
                R,
            )?;
        }
        if let Some(sd) = m.null.get(layer) {
            let what =
                format!("95 % of random rotations have a mean cos(A, M) within, {block} block");
            put(page, &format!("{block}.null"), &what, NORMAL * sd, R)?;
        }
    }
    let gains = m.at("gain.by-layer", m.last())?;
    let mean = must("gain", stats::mean(&gains))?;
    put(
        page,
        "gain.last.raw",
        "mean gain of the last block",
        mean,
        GAIN,
    )?;
    let means = m.mean("cos.attn-mlp.by-layer")?;
    let outside = means
        .iter()
        .zip(m.null)
        .filter(|(c, sd)| c.abs() > NORMAL * **sd);
    let share = outside.count() as f64 / means.len().max(1) as f64;
    let what = "share of blocks whose mean cos(A, M) lies outside the band of random rotations";
    put(page, "cos.outside", what, share, SHARE)?;

    for (set, samples) in [("four", &m.four), ("all", &m.prompts)] {
        if samples.is_empty() {
            continue;
        }
        sublayers(page, m, set, samples)?;
    }
    if m.rewired() {
        surgery(page, m)?;
    }
    Ok(())
}

/// 0.975 quantile of the normal distribution.
pub(crate) const NORMAL: f64 = 1.959_963_984_540_054;

/// The published sublayer measures, and the ratio to |x| beside them.
fn sublayers(
    page: &mut Page,
    m: &Measured<'_>,
    set: &str,
    samples: &[&Sample],
) -> Result<(), ExperimentError> {
    let layers = m.last() + 1;
    // Means over all tokens: prompts count by their length.
    let tokens: Vec<f64> = samples
        .iter()
        .map(|s| s.get("tokens"))
        .collect::<Result<_, _>>()?;
    let all: f64 = tokens.iter().sum();
    let mean = |series: &str, layer: usize| -> Result<f64, ExperimentError> {
        let values = entries(samples, series, layer)?;
        Ok(values.iter().zip(&tokens).map(|(v, t)| v * t).sum::<f64>() / all)
    };
    for (id, words) in [("attn", "attention"), ("mlp", "MLP")] {
        let (mut contracts, mut below_x) = (0, 0);
        let mut last = 0.0;
        for layer in 0..layers {
            below_x += usize::from(mean(&format!("ratio.{id}.by-layer"), layer)? < 1.0);
            if m.recorded() {
                continue;
            }
            let gain = mean(&format!("norm.{id}-out.by-layer"), layer)?
                / mean(&format!("norm.{id}-in.by-layer"), layer)?;
            contracts += usize::from(gain < 1.0);
            last = gain;
        }
        let what = |what: &str| format!("{what}, {words}, {set} prompts, {}", m.name);
        let share = |n: usize| n as f64 / layers as f64;
        let numbers = [
            (
                format!("{id}-contract"),
                "share of layers that \"contract\" as published",
                share(contracts),
                SHARE,
            ),
            (format!("last-{id}"), "last gain as published", last, GAIN),
            (
                format!("{id}-below-x"),
                "share of layers whose output is shorter than x",
                share(below_x),
                SHARE,
            ),
        ];
        // The published two divide by what a sublayer is fed.
        let first = if m.recorded() { 2 } else { 0 };
        for (id, words, value, style) in numbers.into_iter().skip(first) {
            page.put(
                &m.id(&format!("{set}.{id}")),
                &what(words),
                value,
                style,
                &m.origin,
            )?;
        }
    }
    Ok(())
}

fn surgery(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    for (i, alpha) in ALPHAS.iter().enumerate() {
        for (id, words, series) in [
            (
                "gain",
                "mean log gain of the last block",
                "surgery.gain.last",
            ),
            ("loss", "mean change of loss in nats", "surgery.loss.last"),
        ] {
            let mean = must(words, stats::mean(&m.at(series, i)?))?;
            let what = format!("{words}, its MLP fed x + {alpha} A, {}", m.name);
            page.put(
                &m.id(&format!("surgery.{id}.{i}")),
                &what,
                mean,
                GAIN,
                &m.origin,
            )?;
        }
    }
    let losses = m.mean("surgery.loss.by-layer")?;
    let worst = losses.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    if let Some((layer, loss)) = worst {
        let what = format!(
            "largest mean change of loss by one block wired the other way, {}",
            m.name
        );
        page.put(&m.id("surgery.largest"), &what, *loss, GAIN, &m.origin)?;
        let what = format!(
            "the block whose other wiring changes the loss most, {}",
            m.name
        );
        page.put(
            &m.id("surgery.largest.block"),
            &what,
            layer as f64,
            COUNT.drawn(),
            &m.origin,
        )?;
    }
    Ok(())
}

pub(crate) fn tables(page: &mut Page, published: &Published, measured: &[Measured<'_>]) {
    let mut rows = Vec::new();
    for r in &published.sublayer_gains.models {
        let id = |what: &str| format!("anomaly.published.sublayer.{}.{what}", slug(&r.model));
        let mut row = vec![words(r.model.as_str()), words("published")];
        row.extend(
            ["attn-contract", "mlp-contract", "last-attn", "last-mlp"].map(|c| Cell::Number(id(c))),
        );
        row.extend([(); 2].map(|()| Cell::Missing("not published".to_owned())));
        rows.push(row);
    }
    for m in measured {
        for (set, said) in [("four", "the four prompts"), ("all", "all prompts")] {
            if set == "four" && m.four.is_empty() {
                continue;
            }
            let mut row = vec![words(m.name.as_str()), words(said)];
            row.extend(
                [
                    "attn-contract",
                    "mlp-contract",
                    "last-attn",
                    "last-mlp",
                    "attn-below-x",
                    "mlp-below-x",
                ]
                .map(|c| page.cell(&m.id(&format!("{set}.{c}")), RECORDED)),
            );
            rows.push(row);
        }
    }
    page.table(
        "sublayers",
        "Sublayer gains, as published and beside the residual",
        &format!(
            "As published: mean |output| over mean |what the sublayer is fed behind its norm|, all tokens; \
             \"contracts\" where that is below 1. That denominator is the norm layer's own scale (E23); \
             beside it the share of layers whose output is shorter than the residual. Published: {}.",
            published.sublayer_gains.setting
        ),
        &["model", "data", "#attention contracts", "#MLP contracts", "#last attention gain",
          "#last MLP gain", "#|A| < |x|", "#|M| < |x|"],
        rows,
    );
    for m in measured {
        let mut rows = Vec::new();
        for (block, layer) in blocks(m) {
            let cell = |id: String| page.cell(&m.id(&id), "");
            let mut row = vec![words(format!("{layer} ({block})"))];
            row.extend(
                [
                    "gain",
                    "ratio-attn",
                    "ratio-mlp",
                    "cos-am",
                    "null",
                    "own",
                    "other",
                    "cos-xa",
                    "cos-xm",
                ]
                .map(|c| cell(format!("{block}.{c}"))),
            );
            rows.push(row);
        }
        page.table(
            &format!("angles-{}", m.key),
            &format!("What the late blocks add, and its angles, {}", m.name),
            &format!(
                "Means over prompts; angles over tokens from position 1 on. By the normal approximation with the exact variance, random rotations of A would \
                 keep the mean cos(A, M) within the null in 95 % of cases; {} of all blocks lie outside. \
                 Mean-removed: less the means of A and M over all tokens, for the same token and for \
                 different ones.",
                format_args!("{{{}}}", m.id("cos.outside"))
            ),
            &["block", "#gain", "#|A|/|x|", "#|M|/|x|", "#cos(A, M)", "#null", "#same token, less means",
              "#other tokens", "#cos(x, A)", "#cos(x, M)"],
            rows,
        );
        if m.rewired() {
            let mut rows = Vec::new();
            for (i, alpha) in ALPHAS.iter().enumerate() {
                let native = (*alpha == 0.0) == m.parallel() && (*alpha == 0.0 || *alpha == 1.0);
                rows.push(vec![
                    words(format!(
                        "x + {alpha} A{}",
                        if native { " (as trained)" } else { "" }
                    )),
                    page.cell(&m.id(&format!("surgery.gain.{i}")), ""),
                    page.cell(&m.id(&format!("surgery.loss.{i}")), ""),
                ]);
            }
            page.table(
                &format!("surgery-{}", m.key),
                &format!("The last block rewired, {}", m.name),
                &format!(
                    "Its MLP is fed x + alpha A: 0 is a parallel block, 1 a sequential one. The change of \
                     loss says how far the block is off what it was trained for; no gain is read beyond \
                     it. Over all blocks, the other wiring of block {{{}}} costs most, {{{}}} nats.",
                    m.id("surgery.largest.block"),
                    m.id("surgery.largest"),
                ),
                &["MLP is fed", "#log gain", "#change of loss, nats"],
                rows,
            );
        }
    }
}
