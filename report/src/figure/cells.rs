//! Plots made of cells: heat maps and histograms.

use plotters::style::colors::colormaps::{ColorMap, ViridisRGB};
use plotters::style::text_anchor::HPos;

use super::panel::{Frame, PanelError};
use super::pen::{self, Sheet};
use super::place::{Rect, Room};
use super::scale::Scale;
use super::style::{self, GRID, INK, TICK};

/// How far coloured cells reach under their neighbours.
const SEAM: i32 = 2;

/// Number of columns of a matrix.
pub(super) fn columns(values: &[Vec<f64>]) -> Result<usize, String> {
    let columns = values.first().map_or(0, Vec::len);
    match values.iter().position(|row| row.len() != columns) {
        Some(row) => Err(format!(
            "row {row} of the heat map is not {columns} columns long as row 0 is"
        )),
        None if columns == 0 => Err("the heat map is empty".to_owned()),
        None => Ok(columns),
    }
}

/// Smallest and largest value; equal ones are spread so that a colour exists.
fn range(values: &[Vec<f64>]) -> (f64, f64) {
    let all = || values.iter().flatten().copied();
    let low = all().fold(f64::INFINITY, f64::min);
    let high = all().fold(f64::NEG_INFINITY, f64::max);
    if low < high {
        (low, high)
    } else {
        (low - 0.5, high + 0.5)
    }
}

/// Draws a matrix as coloured cells.
pub(super) fn heat(
    sheet: &Sheet<'_>,
    values: &[Vec<f64>],
    frame: &Frame<'_, '_>,
) -> Result<(), PanelError> {
    let (low, high) = range(values);
    for (row, line) in values.iter().enumerate() {
        for (column, value) in line.iter().enumerate() {
            let (left, bottom) = frame.at(column as f64 - 0.5, row as f64 - 0.5);
            let (right, top) = frame.at(column as f64 + 0.5, row as f64 + 0.5);
            // Cells reach under the next ones, so that no seams show when a
            // viewer smooths edges.
            let rect = Rect {
                left,
                top: (top - SEAM).max(frame.inside.top),
                right: (right + SEAM).min(frame.inside.right),
                bottom,
            };
            let color = ViridisRGB.get_color_normalized(*value, low, high);
            pen::fill(sheet, rect, color)?;
        }
    }
    Ok(())
}

/// Draws the colour bar of a heat map at the right edge and returns the width
/// it took.
pub(super) fn color_bar(
    sheet: &Sheet<'_>,
    values: &[Vec<f64>],
    area: Rect,
) -> Result<i32, PanelError> {
    const STEPS: i32 = 64;
    const BAR: i32 = 34;
    const GAP: i32 = 30;
    let scale = Scale::new(values.iter().flatten().copied(), false, 0.0, 5)?;
    let mut widest = 0;
    for (_, label) in &scale.ticks {
        widest = widest.max(pen::extent(sheet, label, TICK)?.0);
    }
    let right = area.right - widest - 14;
    let bar = Rect {
        left: right - BAR,
        top: area.top + 10,
        right,
        // Level with the foot of the plot: tick marks and axis label below.
        bottom: area.bottom - 106,
    };
    let height = |share: f64| bar.bottom - (f64::from(bar.height()) * share).round() as i32;
    for i in 0..STEPS {
        let share = f64::from(i) / f64::from(STEPS);
        let color = ViridisRGB.get_color_normalized(share, 0.0, 1.0);
        let rect = Rect {
            top: (height(f64::from(i + 1) / f64::from(STEPS)) - SEAM).max(bar.top),
            bottom: height(share),
            ..bar
        };
        pen::fill(sheet, rect, color)?;
    }
    pen::frame(sheet, bar, GRID)?;
    for (at, label) in &scale.ticks {
        let y = height((at - scale.low) / (scale.high - scale.low));
        pen::line(sheet, [(right, y), (right + 8, y)], INK, 3)?;
        let place = Rect::at(right + 14, y - TICK / 2, (widest, TICK));
        pen::text(sheet, label, TICK, INK, place, HPos::Left)?;
    }
    Ok(widest + 14 + BAR + GAP)
}

/// Draws the bars of a histogram and marks what they cover.
pub(super) fn bins(
    sheet: &Sheet<'_>,
    (low, high): (f64, f64),
    counts: &[f64],
    frame: &Frame<'_, '_>,
    room: &mut Room,
) -> Result<(), PanelError> {
    let (color, _) = style::series(0);
    let width = (high - low) / counts.len() as f64;
    for (i, count) in counts.iter().enumerate() {
        if let Some(rect) = bin(frame, (low, width), i, *count) {
            pen::fill(sheet, rect, color)?;
            room.take(rect);
        }
    }
    Ok(())
}

/// The i-th bar of a histogram that begins at `low`. On a logarithmic axis an
/// empty bin has no height, and no bar.
pub(super) fn bin(
    frame: &Frame<'_, '_>,
    (low, width): (f64, f64),
    i: usize,
    count: f64,
) -> Option<Rect> {
    if frame.y.at(count) < frame.y.low {
        return None;
    }
    let (left, top) = frame.at(low + width * i as f64, count);
    let right = frame.at(low + width * (i + 1) as f64, count).0;
    Some(Rect {
        left,
        top,
        // A hair of paper between neighbours.
        right: (right - 2).max(left + 1),
        bottom: frame.inside.bottom,
    })
}
