//! |Z| by layer, spectra of lengths, overlap by layer.

use assay_experiment::ExperimentError;
use assay_experiment::page::{Page, shown};
use assay_experiment::subject::Subject;
use assay_record::{Axis, Figure, Line, Panel, Plot};

use super::tables::threshold;

fn panel(title: &str, x: &str, y: &str, lines: Vec<Line>) -> Panel {
    let axis = |label: &str| Axis {
        label: label.to_owned(),
        log: false,
    };
    Panel {
        title: title.to_owned(),
        x: axis(x),
        y: axis(y),
        plot: Plot::Lines { lines },
        y_lines: Vec::new(),
        note: String::new(),
    }
}

fn line(label: &str, points: Vec<(f64, f64)>) -> Line {
    Line {
        label: label.to_owned(),
        points,
        band: Vec::new(),
    }
}

pub(crate) fn write(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let model = s.model()?;
    let layers = model.get_series("layers")?;
    let threshold = threshold(s)?;
    let starts = [("zeros", "from log l = 0"), ("svd", "from Z's energies")];
    let mut sizes = Vec::new();
    for (start, label) in starts {
        let mut points = Vec::new();
        for layer in layers {
            let values = model.get_series(&format!("log-lengths.{layer}.{start}"))?;
            let below = values.iter().filter(|v| **v < threshold).count();
            points.push((*layer, below as f64));
        }
        sizes.push(line(label, points));
    }
    let l1 = model.get("l1")?;
    let mut spectra = Vec::new();
    for (start, label) in starts {
        let mut values = model
            .get_series(&format!("log-lengths.{l1}.{start}"))?
            .to_vec();
        values.sort_by(f64::total_cmp);
        let points = values.into_iter().enumerate();
        spectra.push(line(
            label,
            points.map(|(i, v)| ((i + 1) as f64, v)).collect(),
        ));
    }
    let mut overlaps = Vec::new();
    for (at, label) in [
        (0, "audited, cold start"),
        (1, "matched in variance"),
        (3, "chance"),
    ] {
        let mut points = Vec::new();
        for layer in layers {
            let found = model.get_series(&format!("contrast-overlap.{layer}"))?;
            points.push((*layer, found[at]));
        }
        overlaps.push(line(label, points));
    }
    let mut warm = Vec::new();
    for layer in layers {
        warm.push((*layer, model.get(&format!("overlap.{layer}.svd"))?));
    }
    overlaps.push(line("published, started at Z", warm));
    page.summary.figures.push(Figure {
        id: format!("ard-{}", s.key),
        title: format!("Relevance by layer, {}", s.name),
        caption: format!(
            "Left: number of lengths below one threshold ({}) at lambda = .01. Middle: log lengths at layer \
             {} in their order. Right: share of the {} most relevant dimensions among Z's.",
            shown(&s.id("threshold")),
            shown(&s.id("l1")),
            shown(&s.id("k"))
        ),
        alt: "Lines of the number of short lengths over layers, of sorted log lengths, and of the overlap \
              with Z over layers beside chance."
            .to_owned(),
        panels: vec![
            panel("", "layer", "|Z|", sizes),
            panel("", "rank", "log l", spectra),
            panel("", "layer", "overlap with Z", overlaps),
        ],
    });
    Ok(())
}
