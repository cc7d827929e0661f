//! Log gain against density, the learning curves, and gain over training.

use std::collections::BTreeMap;

use assay_experiment::page::Page;
use assay_record::{Axis, Figure, Fit, Line, Panel, Plot, Point};
use assay_stats as stats;
use assay_train::CURVE_EVERY;

use crate::design::{Reading, Unit};

fn axis(label: &str, log: bool) -> Axis {
    Axis {
        label: label.to_owned(),
        log,
    }
}

pub(crate) fn write(page: &mut Page, units: &[Unit<'_>], on_the_way: &[Unit<'_>]) {
    if units.is_empty() {
        return;
    }
    page.summary.figures.push(Figure {
        id: "density".to_owned(),
        title: "Log gain against head density, trained models".to_owned(),
        caption:
            "A point is a model, the mean over prompts. Lines are least-squares fits within strata \
                  of at least two densities; the claim is that they fall."
                .to_owned(),
        alt: "Three scatter plots of log gain over head density, by stratum, with a line for each."
            .to_owned(),
        panels: Reading::ALL.map(|r| density(units, r)).into(),
    });
    page.summary.figures.push(Figure {
        id: "learning".to_owned(),
        title: "Learning curves".to_owned(),
        caption: format!(
            "Training loss, mean of every {CURVE_EVERY} steps and over the seeds of a cell. The line \
             across is a trigram model's loss on held-out text."
        ),
        alt: "Falling curves of loss over steps, one a cell, that end below the trigram model's line."
            .to_owned(),
        panels: vec![learning(units)],
    });
    page.summary
        .figures
        .extend(over_training(units, on_the_way));
}

fn density(units: &[Unit<'_>], reading: Reading) -> Panel {
    let mut strata: BTreeMap<String, Vec<&Unit<'_>>> = BTreeMap::new();
    for unit in units {
        strata.entry(unit.stratum()).or_default().push(unit);
    }
    let mut points = Vec::new();
    let mut fits = Vec::new();
    for (stratum, members) in strata {
        let xy: (Vec<f64>, Vec<f64>) = (members.iter())
            .map(|u| (u.rho(), u.log_gain(reading)))
            .unzip();
        if let Ok(fit) = stats::least_squares(&xy.1, &[&xy.0]) {
            fits.push(Fit {
                label: stratum.clone(),
                group: Some(stratum.clone()),
                slope: fit.coefficients[1].estimate,
                intercept: fit.coefficients[0].estimate,
            });
        }
        points.extend(members.iter().map(|u| Point {
            label: u.subject.name.clone(),
            group: stratum.clone(),
            x: u.rho(),
            y: u.log_gain(reading),
            error: None,
            record: u.subject.origin.records.first().cloned(),
        }));
    }
    Panel {
        title: reading.words().to_owned(),
        x: axis("head density rho", false),
        y: axis("log gain", false),
        plot: Plot::Points { points, fits },
        y_lines: vec![(0.0, "no change".to_owned())],
        note: String::new(),
    }
}

fn learning(units: &[Unit<'_>]) -> Panel {
    let mut cells: BTreeMap<&str, Vec<&[f64]>> = BTreeMap::new();
    for unit in units {
        let curve = unit
            .subject
            .model()
            .and_then(|m| Ok(m.get_series("losses")?));
        if let Ok(curve) = curve {
            cells.entry(&unit.cell).or_default().push(curve);
        }
    }
    let of_cell = |(cell, curves): (&str, Vec<&[f64]>)| {
        let length = curves.iter().map(|c| c.len()).min().unwrap_or(0);
        let mean = |i: usize| curves.iter().map(|c| c[i]).sum::<f64>() / curves.len() as f64;
        Line {
            label: cell.to_owned(),
            points: (0..length)
                .map(|i| ((i + 1) as f64 * CURVE_EVERY as f64, mean(i)))
                .collect(),
            band: Vec::new(),
        }
    };
    let trigram = units.first().map(|u| u.trigram_loss).unwrap_or_default();
    Panel {
        title: String::new(),
        x: axis("step", true),
        y: axis("loss, nats a token", true),
        plot: Plot::Lines {
            lines: cells.into_iter().map(of_cell).collect(),
        },
        y_lines: vec![(trigram, "trigram".to_owned())],
        note: String::new(),
    }
}

/// Gain over the steps of the model of which several were kept.
fn over_training(units: &[Unit<'_>], on_the_way: &[Unit<'_>]) -> Option<Figure> {
    let kept = on_the_way.first()?;
    let same = |u: &&Unit<'_>| u.cell == kept.cell && u.seed == kept.seed;
    let mut all: Vec<&Unit<'_>> = on_the_way.iter().chain(units).filter(same).collect();
    all.sort_by(|a, b| a.steps.total_cmp(&b.steps));
    let line = |label: &str, of: &dyn Fn(&Unit<'_>) -> f64| Line {
        label: label.to_owned(),
        points: all.iter().map(|u| (u.steps, of(u))).collect(),
        band: Vec::new(),
    };
    let panel = |y: &str, lines| Panel {
        title: y.to_owned(),
        x: axis("step", false),
        y: axis(y, false),
        plot: Plot::Lines { lines },
        y_lines: Vec::new(),
        note: String::new(),
    };
    let gains = Reading::ALL.map(|r| line(r.words(), &move |u| u.log_gain(r)));
    Some(Figure {
        id: "over-training".to_owned(),
        title: format!("Over training, {} seed {}", kept.cell, kept.seed),
        caption: "Log gains and held-out loss of one model kept at several steps.".to_owned(),
        alt: "Lines of log gain and of loss over the steps of training.".to_owned(),
        panels: vec![
            panel("log gain", gains.into()),
            panel(
                "loss, nats a token",
                vec![line("held-out", &|u| u.valid_loss)],
            ),
        ],
    })
}
