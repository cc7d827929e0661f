//! Axes that hold everything a panel shows.

use assay_record::{Panel, Plot};

use super::cells;
use super::panel::PanelError;
use super::pen::{self, Sheet};
use super::place::Rect;
use super::plots;
use super::scale::Scale;
use super::style::{self, TICK};

/// About how many marks an axis has.
const X_TICKS: usize = 5;
const Y_TICKS: usize = 6;
/// Margin of the data range at each end of an axis.
const RANGE_MARGIN: f64 = 0.07;
/// Height that the words of one mark take, as a share of the axis.
const MARK_ROOM: f64 = 0.08;
/// Share of a panel's width that names of bars may take.
const NAME_SHARE: f64 = 0.42;

/// The horizontal and the vertical axis of a panel.
pub(super) fn scales(
    sheet: &Sheet<'_>,
    panel: &Panel,
    area: Rect,
) -> Result<(Scale, Scale), PanelError> {
    let references = || panel.y_lines.iter().map(|(y, _)| *y);
    let spread = |center: f64, error: Option<f64>, log: bool| {
        let error = error.unwrap_or(0.0);
        // A bar that reaches below zero cannot be shown on a logarithmic axis;
        // it is cut at the edge of the plot.
        let low = Some(center - error).filter(|low| !log || *low > 0.0);
        [Some(center), Some(center + error), low]
            .into_iter()
            .flatten()
    };
    let margin = RANGE_MARGIN;
    let (x, y) = match &panel.plot {
        Plot::Points { points, fits } => {
            let fitted = fits.iter().flat_map(|fit| {
                let covered = points.iter().filter(|p| plots::covers(fit, p));
                covered.map(|p| fit.slope * p.x + fit.intercept)
            });
            let fitted = fitted.filter(|y| !panel.y.log || *y > 0.0);
            let ys = points
                .iter()
                .flat_map(|p| spread(p.y, p.error, panel.y.log))
                .chain(fitted)
                .chain(references());
            (
                Scale::new(points.iter().map(|p| p.x), panel.x.log, margin, X_TICKS)?,
                Scale::new(ys, panel.y.log, margin, Y_TICKS)?,
            )
        }
        Plot::Bars { bars, origin } => {
            let xs = bars
                .iter()
                .flat_map(|b| spread(b.value, b.error, panel.x.log).chain(b.start))
                .chain(references())
                .chain([*origin]);
            let width = (f64::from(area.width()) * NAME_SHARE) as i32;
            let names: Result<Vec<_>, _> = bars
                .iter()
                .map(|b| pen::clipped(sheet, &style::settable(&b.label), TICK, width))
                .collect();
            (
                Scale::new(xs, panel.x.log, margin, X_TICKS)?,
                Scale::named(&names?),
            )
        }
        Plot::Lines { lines } => {
            let xs = lines.iter().flat_map(|l| l.points.iter().map(|p| p.0));
            let ys = lines
                .iter()
                .flat_map(|l| {
                    let band = l.band.iter().flat_map(|(low, high)| [*low, *high]);
                    l.points.iter().map(|p| p.1).chain(band)
                })
                .chain(references());
            (
                Scale::new(xs, panel.x.log, margin / 3.0, X_TICKS)?,
                Scale::new(ys, panel.y.log, margin, Y_TICKS)?,
            )
        }
        Plot::HeatMap { values, .. } => {
            let columns = cells::columns(values)?;
            if panel.x.log || panel.y.log {
                return Err(
                    "the axes of a heat map count rows and columns; they cannot be \
                            logarithmic"
                        .to_owned()
                        .into(),
                );
            }
            // Cells are centred on their indices.
            let over = |n: usize| [-0.5, n as f64 - 0.5];
            (
                Scale::new(over(columns), false, 0.0, X_TICKS)?,
                Scale::new(over(values.len()), false, 0.0, Y_TICKS)?,
            )
        }
        Plot::Histogram {
            low,
            high,
            counts,
            marks,
        } => {
            let xs = marks.iter().map(|(x, _)| *x).chain([*low, *high]);
            let base = (!panel.y.log).then_some(0.0);
            let ys = counts
                .iter()
                .copied()
                .filter(|c| !panel.y.log || *c > 0.0)
                .chain(references())
                .chain(base);
            let mut y = Scale::new(ys, panel.y.log, margin, Y_TICKS)?;
            if !panel.y.log {
                y.low = 0.0;
                y.ticks.retain(|(at, _)| *at >= 0.0);
            }
            // Above the bars, one line of words for each mark.
            y.high += MARK_ROOM * marks.len() as f64 * (y.high - y.low);
            (Scale::new(xs, panel.x.log, 0.02, X_TICKS)?, y)
        }
    };
    Ok((x, y))
}
