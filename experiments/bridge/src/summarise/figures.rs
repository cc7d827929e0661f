//! R² against dimensions, the spectrum, the nulls and the power.

use assay_experiment::ExperimentError;
use assay_experiment::page::{Page, shown};
use assay_experiment::subject::Subject;
use assay_record::{Axis, Figure, Line, Panel, Plot};

fn axis(label: &str) -> Axis {
    Axis {
        label: label.to_owned(),
        log: false,
    }
}

fn lines(title: &str, x: &str, y: &str, lines: Vec<Line>) -> Panel {
    Panel {
        title: title.to_owned(),
        x: axis(x),
        y: axis(y),
        plot: Plot::Lines { lines },
        y_lines: Vec::new(),
        note: String::new(),
    }
}

/// R² below which a line is cut off: what lies there is as bad.
const FLOOR: f64 = -1.0;

pub(crate) fn write(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let model = s.model()?;
    let (ns, ks) = (model.get_series("ns")?, model.get_series("ks")?);
    let (Some(few), Some(many)) = (ns.first(), ns.last()) else {
        return Ok(());
    };
    let mut panels = Vec::new();
    for n in [few, many] {
        let mut all = Vec::new();
        for (fit, at, label) in [
            ("ols", 0, "OLS, in-sample"),
            ("ols", 1, "OLS, left out"),
            ("ridge", 1, "ridge, left out"),
            ("procrustes", 1, "rotation, left out"),
        ] {
            let mut points = Vec::new();
            for k in ks {
                let found = model.get_series(&format!("r2.z.mean.{fit}.n{n}.k{k}"))?;
                points.push((*k, found[at].max(FLOOR)));
            }
            all.push(Line {
                label: label.to_owned(),
                points,
                band: Vec::new(),
            });
        }
        panels.push(lines(&format!("{n} pairs"), "dimensions k", "R²", all));
    }
    page.summary.figures.push(Figure {
        id: format!("by-k-{}", s.key),
        title: format!("R² of a bridge inside Z, {}", s.name),
        caption: format!(
            "With 20 pairs the in-sample R² goes to 1 as k does to 20, whatever the data (E19); left-out \
             values below {FLOOR} are drawn there. With all pairs the in-sample and the left-out R² are \
             near each other."
        ),
        alt: "Lines of R squared over the number of dimensions for three fits, at 20 pairs and at all."
            .to_owned(),
        panels,
    });
    let histogram = |title: &str, values: &[f64], mark: f64, label: &str| {
        let all = values.iter().copied().chain([mark]);
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let room = 0.05 * (high - low).max(1e-6);
        let (low, high) = (low - room, high + room);
        let mut counts = vec![0.0; 30];
        for value in values {
            let bin = ((value - low) / (high - low) * 30.0) as usize;
            counts[bin.min(29)] += 1.0;
        }
        Panel {
            title: title.to_owned(),
            x: axis("R²"),
            y: axis("draws"),
            plot: Plot::Histogram {
                low,
                high,
                counts,
                marks: vec![(mark, label.to_owned())],
            },
            y_lines: Vec::new(),
            note: String::new(),
        }
    };
    let k = model.get("primary-k")?;
    let kinds = model.get(&format!("kinds.z.mean.ridge.n{many}.k{k}"))?;
    let spectrum = model.get_series("spectrum")?;
    let spectrum = vec![Line {
        label: "ridge".to_owned(),
        points: spectrum
            .iter()
            .enumerate()
            .map(|(i, v)| ((i + 1) as f64, *v))
            .collect(),
        band: Vec::new(),
    }];
    let own = model.get("null.shuffled.own")?;
    page.summary.figures.push(Figure {
        id: format!("nulls-{}", s.key),
        title: format!("The primary bridge among its nulls, {}", s.name),
        caption: format!(
            "Left: shuffled pairings, one pair left out, least squares. Middle: random subspaces, one \
             category left out, ridge; Z has {}. Right: singular values of the primary map; those of a \
             rotation are all 1.",
            shown(&s.id("primary-kinds"))
        ),
        alt: "Two histograms of R squared under null hypotheses with a line at the bridge's own, and a \
              falling line of singular values."
            .to_owned(),
        panels: vec![
            histogram("shuffled pairings", model.get_series("null.shuffled")?, own, "pairs"),
            histogram("random subspaces", model.get_series("null.random")?, kinds, "Z"),
            lines("", "rank", "singular value", spectrum),
        ],
    });
    let mut power = Vec::new();
    for k in [5, 20] {
        let mut all = Vec::new();
        for r2 in ["0.2", "0.5", "0.8"] {
            let mut points = Vec::new();
            for n in [20, 50, 100, 200] {
                let found = model.get_series(&format!("planted.n{n}.k{k}.r{r2}"))?;
                points.push((f64::from(n), found[0]));
            }
            all.push(Line {
                label: format!("R² = {r2}"),
                points,
                band: Vec::new(),
            });
        }
        power.push(lines(&format!("k = {k}"), "pairs", "share found", all));
    }
    page.summary.figures.push(Figure {
        id: format!("power-{}", s.key),
        title: "Which planted bridges are found".to_owned(),
        caption:
            "Forty planted rotations a point, found where the left-out R² is above that of all 19 \
                  shuffled pairings."
                .to_owned(),
        alt:
            "Rising lines of the share of planted bridges that are found over the number of pairs."
                .to_owned(),
        panels: power,
    });
    Ok(())
}
