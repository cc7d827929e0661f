//! Gain by layer, the waterfall of the norm's change, cos(A, M) by layer.

use assay_experiment::ExperimentError;
use assay_experiment::page::Page;
use assay_record::{Axis, Bar, Figure, Line, Panel, Plot};

use super::measured::Measured;
use super::tables::{NORMAL, TERMS, blocks};
use crate::published::Gains;

fn axis(label: &str, log: bool) -> Axis {
    Axis {
        label: label.to_owned(),
        log,
    }
}

fn over_layers(values: &[f64]) -> Vec<(f64, f64)> {
    values
        .iter()
        .enumerate()
        .map(|(l, v)| (l as f64, *v))
        .collect()
}

pub(crate) fn write(
    page: &mut Page,
    gains: &Gains,
    measured: &[Measured<'_>],
) -> Result<(), ExperimentError> {
    // The last entry is not the block's own (E1), the first turns embeddings
    // into a residual.
    let sweep = gains.pythia_sweep.models.iter().map(|row| {
        let own = row.gain_by_layer.len().saturating_sub(1);
        let points = over_layers(&row.gain_by_layer);
        Line {
            label: format!("{} (published)", row.model),
            points: points.into_iter().take(own).skip(1).collect(),
            band: Vec::new(),
        }
    });
    let mut panels = Vec::new();
    for (parallel, title) in [(true, "Parallel blocks"), (false, "Sequential blocks")] {
        let mut lines: Vec<Line> = match parallel {
            true => sweep.clone().collect(),
            false => Vec::new(),
        };
        for m in measured.iter().filter(|m| m.parallel() == parallel) {
            lines.push(Line {
                label: m.name.clone(),
                points: over_layers(&m.mean("gain.by-layer")?)
                    .into_iter()
                    .skip(1)
                    .collect(),
                band: Vec::new(),
            });
        }
        if !lines.is_empty() {
            panels.push(Panel {
                title: title.to_owned(),
                x: axis("block", false),
                y: axis("gain at the last token", true),
                plot: Plot::Lines { lines },
                y_lines: vec![(1.0, "no change".to_owned())],
                note: String::new(),
            });
        }
    }
    if !panels.is_empty() {
        page.summary.figures.push(Figure {
            id: "gain".to_owned(),
            title: "Gain by layer, by the kind of block".to_owned(),
            caption: "Mean over prompts of |resid_post| / |resid_pre| at the last token, blocks from 1 on; of \
                      published models without the last, which was taken after the final norm (E1)."
                .to_owned(),
            alt:
                "Lines of the gain over blocks, a panel for parallel and one for sequential models."
                    .to_owned(),
            panels,
        });
    }
    for m in measured {
        waterfall(page, m)?;
        angles(page, m)?;
    }
    Ok(())
}

fn waterfall(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut panels = Vec::new();
    for (block, layer) in blocks(m) {
        let bar = |label: &str, start: f64, value: f64, group: &str| Bar {
            label: label.to_owned(),
            start: Some(start),
            value,
            error: None,
            group: group.to_owned(),
        };
        let mut bars = vec![bar("|x|²", 0.0, 1.0, "whole")];
        let mut level = 1.0;
        for (id, words) in TERMS {
            let values = m.at(&format!("split.{id}.by-layer"), layer)?;
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            let group = if mean < 0.0 { "shrinks" } else { "grows" };
            bars.push(bar(words, level, level + mean, group));
            level += mean;
        }
        bars.push(bar("|x + A + M|²", 0.0, level, "whole"));
        panels.push(Panel {
            title: format!("Block {layer} ({block})"),
            x: axis("in units of |x|²", false),
            y: axis("", false),
            plot: Plot::Bars { bars, origin: 0.0 },
            y_lines: Vec::new(),
            note: String::new(),
        });
    }
    page.summary.figures.push(Figure {
        id: format!("waterfall-{}", m.key),
        title: format!("What changes the residual's squared norm, {}", m.name),
        caption:
            "The exact split, mean over prompts at the last token: each bar begins where the one \
                  above it ends."
                .to_owned(),
        alt: "Two waterfalls from the squared norm before a late block to that after it."
            .to_owned(),
        panels,
    });
    Ok(())
}

fn angles(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let line = |label: &str, values: &[f64]| Line {
        label: label.to_owned(),
        points: over_layers(values),
        band: Vec::new(),
    };
    let null = Line {
        label: "random rotations, 95 %".to_owned(),
        points: over_layers(&vec![0.0; m.null.len()]),
        band: m
            .null
            .iter()
            .map(|sd| (-NORMAL * sd, NORMAL * sd))
            .collect(),
    };
    let raw = m.mean("cos.attn-mlp.by-layer")?;
    let (own, other) = (
        m.mean("removed.own.by-layer")?,
        m.mean("removed.other.by-layer")?,
    );
    let (xa, xm) = (
        m.mean("cos.x-attn.by-layer")?,
        m.mean("cos.x-mlp.by-layer")?,
    );
    let panel = |title: &str, label: &str, lines: Vec<Line>| Panel {
        title: title.to_owned(),
        x: axis("block", false),
        y: axis(label, false),
        plot: Plot::Lines { lines },
        y_lines: Vec::new(),
        note: String::new(),
    };
    page.summary.figures.push(Figure {
        id: format!("angles-{}", m.key),
        title: format!("Do attention and MLP oppose each other? {}", m.name),
        caption: "Mean over prompts, tokens from position 1 on. Left: raw, with the band in which random \
                  rotations of A would keep the mean, and less the means over all tokens. Right: the \
                  angles with the residual, which are what can shrink it (E22)."
            .to_owned(),
        alt: "Lines of the cosine between what attention and what MLP adds, by block, with a narrow band \
              about zero; and of their cosines with the residual."
            .to_owned(),
        panels: vec![
            panel(
                "cos(A, M)",
                "cosine",
                vec![
                    null,
                    line("raw", &raw),
                    line("less means, same token", &own),
                    line("less means, other tokens", &other),
                ],
            ),
            panel("With the residual", "cosine", vec![line("cos(x, A)", &xa), line("cos(x, M)", &xm)]),
        ],
    });
    Ok(())
}
