//! The figures of the section.

use assay_experiment::ExperimentError;
use assay_record::{Axis, Bar, Figure, Fit, Line, Panel, Plot, Point};
use assay_stats as stats;

use super::across::Body;
use super::ledger::TERMS;
use super::models::{Measured, ModelGains};
use super::relation::Scale;
use super::spec_curve::Curve;
use crate::published::SweepModel;
use assay_experiment::page::{Page, must, shown};

fn axis(label: &str) -> Axis {
    Axis {
        label: label.to_owned(),
        log: false,
    }
}

/// The line at which a block neither shrinks nor grows the residual.
fn at_one() -> Vec<(f64, String)> {
    vec![(1.0, "G = 1".to_owned())]
}

fn lines(title: &str, x: &str, y: Axis, lines: Vec<Line>) -> Panel {
    Panel {
        title: title.to_owned(),
        x: axis(x),
        y,
        plot: Plot::Lines { lines },
        y_lines: Vec::new(),
        note: String::new(),
    }
}

/// Values by block from block `first` on.
fn by_block(label: &str, values: &[f64], first: usize) -> Line {
    let points = values.iter().enumerate().skip(first);
    Line {
        label: label.to_owned(),
        points: points.map(|(block, v)| (block as f64, *v)).collect(),
        band: Vec::new(),
    }
}

fn figure(id: &str, title: &str, caption: &str, alt: &str, panels: Vec<Panel>) -> Figure {
    Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        caption: caption.to_owned(),
        alt: alt.to_owned(),
        panels,
    }
}

/// The three panels of the notebook, with measured models as a second group.
pub(crate) fn notebook(
    page: &mut Page,
    models: &[&ModelGains],
    sweep: &Body<'_>,
    measured: &Body<'_>,
) {
    let mut named = Vec::new();
    let mut plain = Vec::new();
    let mut bars = Vec::new();
    for m in models {
        let group = if m.published { "published" } else { "measured" };
        let point = Point {
            label: m.name.clone(),
            group: group.to_owned(),
            x: m.rho,
            y: m.mean,
            error: Some(m.sd_population),
            record: m.origin.records.first().cloned(),
        };
        plain.push(Point {
            label: String::new(),
            error: None,
            ..point.clone()
        });
        named.push(point);
        bars.push(Bar {
            label: if m.published {
                m.name.clone()
            } else {
                format!("{}*", m.name)
            },
            start: None,
            value: m.mean,
            error: Some(m.sd_population),
            group: if m.mean < 1.0 {
                "dampening"
            } else {
                "expanding"
            }
            .to_owned(),
        });
    }
    bars.sort_by(|a, b| {
        a.value
            .total_cmp(&b.value)
            .then_with(|| a.label.cmp(&b.label))
    });
    let at = |body: &Body<'_>, what: &str| shown(&body.number_id(Scale::Raw, what));
    let mut note = format!("r = {}, p = {}", at(sweep, "r"), at(sweep, "p"));
    if measured.raw.is_some() {
        let id = measured.number_id(Scale::Raw, "r");
        if page.summary.numbers.contains_key(&id) {
            note.push_str(&format!("; measured r = {}", shown(&id)));
        }
    }
    let value = |what: &str| {
        let id = sweep.number_id(Scale::Raw, what);
        page.summary.numbers.get(&id).map(|n| n.value)
    };
    let fits = value("slope").zip(value("intercept"));
    let fits = fits.map(|(slope, intercept)| Fit {
        label: sweep.data.to_owned(),
        group: None,
        slope,
        intercept,
    });
    let scatter = |title: &str, points, fits, y_lines, note| Panel {
        title: title.to_owned(),
        x: axis("head density rho = H / d_head"),
        y: axis("gain G of block L-2"),
        plot: Plot::Points { points, fits },
        y_lines,
        note,
    };
    let panels = vec![
        scatter(
            "Gain against head density",
            named,
            Vec::new(),
            at_one(),
            String::new(),
        ),
        Panel {
            title: "Gain by model".to_owned(),
            x: axis("gain G of block L-2"),
            y: axis(""),
            plot: Plot::Bars { bars, origin: 1.0 },
            y_lines: at_one(),
            note: String::new(),
        },
        scatter(
            "Line through the published models",
            plain,
            fits.into_iter().collect(),
            Vec::new(),
            note,
        ),
    ];
    page.summary.figures.push(figure(
        "gain-and-rho",
        "Head density and gain, as published",
        "The published figure: mean gain of the penultimate block at the last token over the \
         prompts, with the population SD as error bars. Models with a gain below 1 are called \
         dampening; an asterisk marks measured ones. The line is fitted to the published models \
         only.",
        "Three panels. First, points of models with head density to the right and gain upward, \
         with error bars, names and a line where the gain is one: the published models fall \
         from the upper left to the lower right. Second, one bar a model, from one to the left \
         where the model dampens and to the right where it expands. Third, the same points with \
         a falling line.",
        panels,
    ));
}

/// Gain by layer: measured models with quartiles over prompts, and the
/// published stacks.
pub(crate) fn by_layer(
    page: &mut Page,
    measured: &[Measured<'_>],
    sweep: &[SweepModel],
) -> Result<(), ExperimentError> {
    // Block 0 turns embeddings into a residual; its gain would hide the others.
    let first = 1;
    let y = || axis("gain G, last token");
    let mut panels = Vec::new();
    if !measured.is_empty() {
        let curves = measured.iter().map(|m| {
            let mut line = by_block(&m.gains.name, &m.mean_by_layer("gain.by-layer")?, first);
            for layer in first..m.gains.layers {
                let gains = m.at("gain.by-layer", layer)?;
                let quartile = |q| must(&m.gains.name, stats::quantile(&gains, q));
                line.band.push((quartile(0.25)?, quartile(0.75)?));
            }
            Ok(line)
        });
        let curves = curves.collect::<Result<_, ExperimentError>>()?;
        panels.push(Panel {
            y_lines: at_one(),
            ..lines("Measured", "block", y(), curves)
        });
    }
    let curves = sweep.iter().map(|m| {
        // The last entry is taken after the final norm (E1).
        let end = m.gain_by_layer.len().saturating_sub(1);
        by_block(
            &m.model,
            m.gain_by_layer.get(..end).unwrap_or_default(),
            first,
        )
    });
    panels.push(Panel {
        y_lines: at_one(),
        ..lines(
            "Published, without the last block",
            "block",
            y(),
            curves.collect(),
        )
    });
    page.summary.figures.push(figure(
        "gain-by-layer",
        "Gain by layer",
        "Norm of the residual after a block over the norm before it, at the last token, mean \
         over prompts, from block 1 on; bands are quartiles over prompts. Block 0, which turns \
         embeddings into a residual, stands in the table of growth. The published series ends \
         with a value taken after the final norm, which is left out. Above the line the block \
         grows the residual.",
        "Lines of gain against block number from block one on, with a line where the gain is \
         one. Most published blocks lie a little above it.",
        panels,
    ));
    Ok(())
}

/// KL of the next token by clamped block.
pub(crate) fn clamp(page: &mut Page, measured: &[Measured<'_>]) -> Result<(), ExperimentError> {
    let clamped = || measured.iter().filter(|m| !m.recorded());
    if clamped().next().is_none() {
        return Ok(());
    }
    let curves: Vec<Line> = clamped()
        .map(|m| {
            // The final norm undoes the clamp of the last block.
            let kl = m.mean_by_layer("clamp.kl-by-block")?;
            let kl = kl.get(..m.last()).unwrap_or_default();
            Ok(by_block(&m.gains.name, kl, 0))
        })
        .collect::<Result<_, ExperimentError>>()?;
    // A clamp that changes nothing at all has no place on a logarithmic axis.
    let log = curves
        .iter()
        .flat_map(|l| &l.points)
        .all(|(_, kl)| *kl > 0.0);
    let y = Axis {
        label: "KL of the next token, nats".to_owned(),
        log,
    };
    let inert = page.summary.numbers.get("h25.settings.inert");
    let inert = inert.map(|n| (n.value, "called inert below".to_owned()));
    page.summary.figures.push(figure(
        "clamp",
        "What holding one block at gain 1 changes",
        "Mean KL in nats of the plain from the clamped next-token distribution, one block \
         clamped at a time; the last is left out, since the final norm undoes its clamp. Below {h25.settings.inert} the gain is called functionally inert.",
        "One line a model: the divergence of the next-token distribution against the number of \
         the block that was held at gain one, with a line below which it is called inert.",
        vec![Panel {
            y_lines: inert.into_iter().collect(),
            ..lines("Gain clamp", "clamped block", y, curves)
        }],
    ));
    Ok(())
}

/// All readings of each model, ascending.
pub(crate) fn specification(page: &mut Page, curves: &[Curve<'_>]) {
    let of = |published: bool| -> Vec<Line> {
        let curves = curves.iter().filter(|c| c.model.published == published);
        curves
            .map(|c| Line {
                label: c.model.name.clone(),
                points: (1..)
                    .zip(c.sorted())
                    .map(|(rank, gain)| (f64::from(rank), gain))
                    .collect(),
                band: Vec::new(),
            })
            .collect()
    };
    let panel = |title: &str, curves: Vec<Line>| Panel {
        y_lines: at_one(),
        ..lines(title, "reading, by gain", axis("gain G"), curves)
    };
    let mut panels = Vec::new();
    let measured = of(false);
    if !measured.is_empty() {
        panels.push(panel("Measured", measured));
    }
    panels.push(panel("Published", of(true)));
    page.summary.figures.push(figure(
        "specification-curve",
        "The gain under every defensible reading",
        "Each point is one reading of the definition: block, tokens, prompts, pooling, number \
         type. Readings are sorted by the gain they give; those below the line dampen.",
        "One rising line a model: the gains of all its readings from the smallest to the \
         largest, with a line where the gain is one.",
        panels,
    ));
}

/// The terms of the ledger by block, one figure a measured model.
pub(crate) fn ledger(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    // In block 0 the terms are many times those of the others.
    let first = 1;
    let mut curves = Vec::new();
    for (term, symbol) in TERMS {
        let values = m.mean_by_layer(&format!("ledger.{term}-by-layer"))?;
        curves.push(by_block(symbol, &values, first));
    }
    let mut massive = Vec::new();
    for layer in 0..m.gains.layers {
        let part = |part: &str| m.at(&format!("ledger.{part}-by-layer"), layer);
        let (share, attn, mlp) = (part("top-3")?, part("x-attn")?, part("x-mlp")?);
        let along = share.iter().zip(attn.iter().zip(&mlp));
        let along: Vec<f64> = along.map(|(s, (a, m))| s * (a + m)).collect();
        massive.push(must(&m.gains.name, stats::mean(&along))?);
    }
    curves.push(by_block(
        "2x·(A + M), top three dimensions",
        &massive,
        first,
    ));
    let id = format!("ledger-{}", m.gains.key.replace('.', "-"));
    page.summary.figures.push(figure(
        &id,
        &format!("Erasure ledger by block, {}", m.gains.name),
        "Terms of the change of the squared norm in units of |x|² at the last token, means over \
         prompts, from block 1 on. Below 0 a term shrinks the residual.",
        "Lines of the five terms of the squared norm against block number, and of the part of \
         the change along the residual that falls on its three largest dimensions. The squares \
         lie above zero; terms below zero shrink the residual.",
        vec![Panel {
            y_lines: vec![(0.0, "no change".to_owned())],
            ..lines("Ledger", "block", axis("share of |x|²"), curves)
        }],
    ));
    Ok(())
}
