//! Participation ratio by layer, R_V by group, R_V against length.

use assay_experiment::ExperimentError;
use assay_experiment::page::{Page, shown};
use assay_record::{Axis, Bar, Figure, Fit, Line, Panel, Plot, Point};
use assay_stats as stats;

use super::groups::AS_PUBLISHED;
use super::measured::{Measured, mean_and_error};
use crate::bank::{MATCHED, is_recursive};

fn axis(label: &str) -> Axis {
    Axis {
        label: label.to_owned(),
        log: false,
    }
}

pub(crate) fn write(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let figure = |id: &str, title: &str, caption: String, alt: &str, panels| Figure {
        id: format!("{id}-{}", m.key),
        title: format!("{title}, {}", m.name),
        caption,
        alt: alt.to_owned(),
        panels,
    };
    let by_layer = vec![
        profile(m, "Definition A, naive", "pr-a.by-layer")?,
        profile(m, "Definition A, row-only", "pr-a-row-only.by-layer")?,
    ];
    let layers = figure(
        "layers",
        "Participation ratio of V by layer",
        format!(
            "Matched set: mean over topics with one standard error to each side. R_V compares layers \
             {} and {}.",
            shown(&m.id("layer.early")),
            shown(&m.id("layer.late"))
        ),
        "Lines of the participation ratio over layers, one a group of prompts, with bands; recursive \
         prompts, plain controls and shuffled tokens.",
        by_layer,
    );
    let groups = figure(
        "groups",
        "R_V by group of prompts",
        "Mean over topics and standard error; left at the published lengths, right at one length."
            .to_owned(),
        "Bars of R_V by group, at the published lengths and at equal length.",
        vec![
            bars(m, "As published", AS_PUBLISHED)?,
            bars(m, "At one length", MATCHED)?,
        ],
    );
    let length = figure(
        "length",
        "R_V against the number of tokens",
        "A point a prompt; each line is fitted to the set of its colour.".to_owned(),
        "A scatter of R_V over tokens: texts of the published lengths spread widely, matched ones \
         stand in a narrow column; a fitted line through either.",
        vec![against_length(m)?],
    );
    page.summary.figures.extend([layers, groups, length]);
    Ok(())
}

/// Groups drawn as lines: too many lines tell nothing.
fn drawn<'m>(m: &'m Measured<'_>) -> Vec<(&'static str, &'m str)> {
    let grades = m.grades();
    let ends = grades
        .first()
        .into_iter()
        .chain(grades.last().filter(|_| grades.len() > 1));
    let others = m
        .groups
        .iter()
        .map(String::as_str)
        .filter(|g| !is_recursive(g));
    let controls = ["factual", "long-control", "pseudo-recursive", "repetitive"];
    let matched = ends.copied().chain(others.filter(|g| controls.contains(g)));
    let mut all: Vec<_> = matched.map(|g| (MATCHED, g)).collect();
    if !m.recorded() {
        all.push(("controls", "shuffled-tokens"));
    }
    all
}

fn profile(m: &Measured<'_>, title: &str, measure: &str) -> Result<Panel, ExperimentError> {
    let mut lines = Vec::new();
    for (set, group) in drawn(m) {
        let samples = m.of_group(set, group);
        let series = samples
            .iter()
            .map(|s| s.get_series(measure))
            .collect::<Result<Vec<_>, _>>()?;
        let (mut points, mut band) = (Vec::new(), Vec::new());
        for layer in 0..m.record.facts.n_layers {
            let values: Vec<f64> = series
                .iter()
                .filter_map(|s| s.get(layer).copied())
                .collect();
            let (mean, error) = mean_and_error(group, &values)?;
            points.push((layer as f64, mean));
            band.push((mean - error, mean + error));
        }
        lines.push(Line {
            label: group.to_owned(),
            points,
            band,
        });
    }
    Ok(Panel {
        title: title.to_owned(),
        x: axis("layer"),
        y: Axis {
            label: "participation ratio".to_owned(),
            log: true,
        },
        plot: Plot::Lines { lines },
        y_lines: Vec::new(),
        note: String::new(),
    })
}

fn bars(m: &Measured<'_>, title: &str, set: &str) -> Result<Panel, ExperimentError> {
    let mut bars = Vec::new();
    for group in &m.groups {
        let samples = m.of_group(set, group).into_iter();
        let values: Vec<f64> = samples.map(|s| s.get("rv.a")).collect::<Result<_, _>>()?;
        if values.is_empty() {
            continue;
        }
        let (mean, error) = mean_and_error(group, &values)?;
        bars.push(Bar {
            label: group.clone(),
            start: None,
            value: mean,
            error: Some(error),
            group: match is_recursive(group) {
                true => "recursive".to_owned(),
                false => "control".to_owned(),
            },
        });
    }
    Ok(Panel {
        title: title.to_owned(),
        x: axis("R_V"),
        y: axis(""),
        plot: Plot::Bars { bars, origin: 1.0 },
        y_lines: Vec::new(),
        note: String::new(),
    })
}

fn against_length(m: &Measured<'_>) -> Result<Panel, ExperimentError> {
    let (mut points, mut fits) = (Vec::new(), Vec::new());
    for (set, label) in [(AS_PUBLISHED, "published lengths"), (MATCHED, "one length")] {
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        for group in &m.groups {
            for sample in m.of_group(set, group) {
                xs.push(sample.get("tokens")?);
                ys.push(sample.get("rv.a")?);
            }
        }
        points.extend(xs.iter().zip(&ys).map(|(x, y)| Point {
            label: String::new(),
            group: label.to_owned(),
            x: *x,
            y: *y,
            error: None,
            record: m.origin.records.first().cloned(),
        }));
        // Lengths that are all equal have no line.
        if let Ok(fit) = stats::least_squares(&ys, &[&xs]) {
            fits.push(Fit {
                label: label.to_owned(),
                group: Some(label.to_owned()),
                slope: fit.coefficients[1].estimate,
                intercept: fit.coefficients[0].estimate,
            });
        }
    }
    Ok(Panel {
        title: "Every prompt".to_owned(),
        x: axis("tokens"),
        y: axis("R_V (A)"),
        plot: Plot::Points { points, fits },
        y_lines: vec![(1.0, "no contraction".to_owned())],
        note: String::new(),
    })
}
