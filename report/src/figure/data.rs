//! The data of a figure as CSV, one row a thing drawn.

use assay_record::{Figure, Panel, Plot};
use serde::Serialize;

use crate::error::ReportError;
use crate::hostile;

/// One row; fields that a kind of thing lacks stay empty.
#[derive(Debug, Clone, Default, Serialize)]
struct Row<'a> {
    panel: &'a str,
    kind: &'static str,
    series: &'a str,
    label: &'a str,
    x: Option<f64>,
    y: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    value: Option<f64>,
    record: &'a str,
}

/// The CSV file of a figure: values in full, without rounding.
pub(crate) fn csv(figure: &Figure) -> Result<Vec<u8>, ReportError> {
    let fault = |reason: String| ReportError::Figure {
        figure: figure.id.clone(),
        reason,
    };
    let mut out = csv::Writer::from_writer(Vec::new());
    for row in figure.panels.iter().flat_map(rows) {
        let [panel, series, label] = [row.panel, row.series, row.label].map(hostile::cell);
        let row = Row {
            panel: &panel,
            series: &series,
            label: &label,
            ..row
        };
        out.serialize(row).map_err(|e| fault(e.to_string()))?;
    }
    out.into_inner().map_err(|e| fault(e.to_string()))
}

fn rows(panel: &Panel) -> Vec<Row<'_>> {
    let of = |kind: &'static str| Row {
        panel: &panel.title,
        kind,
        ..Row::default()
    };
    let references = panel.y_lines.iter().map(|(value, label)| Row {
        label,
        value: Some(*value),
        ..of("reference")
    });
    let mut rows: Vec<_> = references.collect();
    match &panel.plot {
        Plot::Points { points, fits } => {
            rows.extend(points.iter().map(|p| Row {
                series: &p.group,
                label: &p.label,
                x: Some(p.x),
                y: Some(p.y),
                low: p.error.map(|e| p.y - e),
                high: p.error.map(|e| p.y + e),
                record: p.record.as_deref().unwrap_or_default(),
                ..of("point")
            }));
            for fit in fits {
                for (label, value) in [("slope", fit.slope), ("intercept", fit.intercept)] {
                    rows.push(Row {
                        series: &fit.label,
                        label,
                        value: Some(value),
                        ..of("fit")
                    });
                }
            }
        }
        Plot::Bars { bars, origin } => {
            rows.push(Row {
                value: Some(*origin),
                ..of("origin")
            });
            rows.extend(bars.iter().map(|b| Row {
                series: &b.group,
                label: &b.label,
                x: b.start,
                low: b.error.map(|e| b.value - e),
                high: b.error.map(|e| b.value + e),
                value: Some(b.value),
                ..of("bar")
            }));
        }
        Plot::Lines { lines } => rows.extend(lines.iter().flat_map(|line| {
            line.points.iter().enumerate().map(move |(i, (x, y))| Row {
                series: &line.label,
                x: Some(*x),
                y: Some(*y),
                low: line.band.get(i).map(|b| b.0),
                high: line.band.get(i).map(|b| b.1),
                ..of("line")
            })
        })),
        Plot::HeatMap { values, .. } => {
            rows.extend(values.iter().enumerate().flat_map(|(y, line)| {
                line.iter().enumerate().map(move |(x, value)| Row {
                    x: Some(x as f64),
                    y: Some(y as f64),
                    value: Some(*value),
                    ..of("cell")
                })
            }))
        }
        Plot::Histogram {
            low,
            high,
            counts,
            marks,
        } => {
            let width = (high - low) / counts.len().max(1) as f64;
            rows.extend(counts.iter().enumerate().map(|(i, count)| Row {
                low: Some(low + width * i as f64),
                high: Some(low + width * (i + 1) as f64),
                value: Some(*count),
                ..of("bin")
            }));
            rows.extend(marks.iter().map(|(x, label)| Row {
                label,
                x: Some(*x),
                ..of("mark")
            }));
        }
    }
    rows
}
