//! What stands inside the axes.

use assay_record::{Bar, Fit, Line, Panel, Plot, Point};
use plotters::style::text_anchor::HPos;

use super::cells;
use super::panel::{Frame, Looks, PanelError, empty};
use super::pen::{self, Sheet};
use super::place::{Rect, Room};
use super::style::{self, INK, MUTED, NOTE, tint};

/// Half the size of a marker in units.
const MARKER: i32 = 13;
/// Thickness of lines in units.
const STROKE: u32 = 5;
/// Thickness of error bars.
const ERROR_STROKE: u32 = 3;
/// Half the length of the caps of error bars.
const CAP: i32 = 9;

/// Draws the data and marks what they cover.
pub(super) fn draw(
    sheet: &Sheet<'_>,
    panel: &Panel,
    frame: &Frame<'_, '_>,
    looks: &Looks,
    room: &mut Room,
) -> Result<(), PanelError> {
    match &panel.plot {
        Plot::Points { points, fits } => {
            references(sheet, panel, frame, room)?;
            if points.is_empty() {
                return empty(sheet, frame);
            }
            for fit in fits {
                fitted(sheet, panel, (fit, points), frame, looks, room)?;
            }
            scatter(sheet, points, frame, looks, room)
        }
        Plot::Bars { bars, origin } => {
            if bars.is_empty() {
                return empty(sheet, frame);
            }
            horizontal(sheet, bars, *origin, frame, looks, room)?;
            references(sheet, panel, frame, room)
        }
        Plot::Lines { lines } => {
            if lines.iter().all(|l| l.points.is_empty()) {
                return empty(sheet, frame);
            }
            for line in lines {
                band(sheet, line, frame, looks, room)?;
            }
            references(sheet, panel, frame, room)?;
            for line in lines {
                curve(sheet, line, frame, looks, room)?;
            }
            Ok(())
        }
        Plot::HeatMap { values, .. } => cells::heat(sheet, values, frame),
        Plot::Histogram {
            low, high, counts, ..
        } => {
            if counts.is_empty() {
                return empty(sheet, frame);
            }
            cells::bins(sheet, (*low, *high), counts, frame, room)?;
            references(sheet, panel, frame, room)
        }
    }
}

/// Sets the words that belong to single things, after everything is drawn.
pub(super) fn labels(
    sheet: &Sheet<'_>,
    panel: &Panel,
    frame: &Frame<'_, '_>,
    room: &mut Room,
) -> Result<(), PanelError> {
    for (value, label) in &panel.y_lines {
        let label = style::settable(label);
        let size = pen::extent(sheet, &label, NOTE)?;
        let (from, to) = reference_ends(panel, frame, *value);
        let place = if from.1 == to.1 {
            let above = from.1 - size.1;
            room.choose([
                (Rect::at(to.0 - size.0 - 8, above, size), 0),
                (Rect::at(from.0 + 8, above, size), 0),
                (Rect::at(to.0 - size.0 - 8, from.1, size), 1),
                (Rect::at(from.0 + 8, from.1, size), 1),
            ])
        } else {
            beside_vertical(room, from.0, frame.inside, size)
        };
        if let Some(place) = place {
            pen::text(sheet, &label, NOTE, MUTED, place, HPos::Left)?;
        }
    }
    match &panel.plot {
        // More names than this hide the points; the data beside the figure and
        // the HTML page have them.
        Plot::Points { points, .. } if points.len() > MOST_NAMES => {}
        Plot::Points { points, .. } => {
            for point in points {
                name(sheet, point, frame, room)?;
            }
        }
        Plot::Histogram { marks, .. } => {
            let foot = frame.y.value(frame.y.low);
            let place = |value: f64| frame.at(value, foot).0;
            for (i, (value, _)) in marks.iter().enumerate() {
                let (color, _) = style::series(i + 1);
                let x = place(*value);
                let ends = ((x, frame.inside.bottom), (x, frame.inside.top));
                pen::dashes(sheet, ends.0, ends.1, color, STROKE)?;
                room.take_line(ends.0, ends.1);
            }
            for (value, label) in marks {
                let label = style::settable(label);
                let size = pen::extent(sheet, &label, NOTE)?;
                if let Some(place) = beside_vertical(room, place(*value), frame.inside, size) {
                    pen::text(sheet, &label, NOTE, INK, place, HPos::Left)?;
                }
            }
        }
        Plot::Bars { .. } | Plot::Lines { .. } | Plot::HeatMap { .. } => {}
    }
    Ok(())
}

/// Points of a panel that are named in it.
const MOST_NAMES: usize = 24;

/// Ends of a reference line. Bars lie, so their reference lines stand.
fn reference_ends(
    panel: &Panel,
    frame: &Frame<'_, '_>,
    value: f64,
) -> (super::pen::At, super::pen::At) {
    let inside = frame.inside;
    if matches!(panel.plot, Plot::Bars { .. }) {
        let x = frame.at(value, 0.0).0;
        ((x, inside.bottom), (x, inside.top))
    } else {
        let y = frame.at(frame.x.value(frame.x.low), value).1;
        ((inside.left, y), (inside.right, y))
    }
}

fn references(
    sheet: &Sheet<'_>,
    panel: &Panel,
    frame: &Frame<'_, '_>,
    room: &mut Room,
) -> Result<(), PanelError> {
    for (value, _) in &panel.y_lines {
        let (from, to) = reference_ends(panel, frame, *value);
        pen::dashes(sheet, from, to, MUTED, 3)?;
        room.take_line(from, to);
    }
    Ok(())
}

/// A place beside a vertical line, high before low, right before left.
fn beside_vertical(room: &mut Room, x: i32, inside: Rect, size: (i32, i32)) -> Option<Rect> {
    let tops = (inside.top + 6..inside.bottom - size.1).step_by(24);
    let candidates = tops.enumerate().flat_map(|(i, top)| {
        [
            (Rect::at(x + 10, top, size), i as i64 * 8),
            (Rect::at(x - 10 - size.0, top, size), i as i64 * 8 + 4),
        ]
    });
    room.choose(candidates.collect::<Vec<_>>())
}

/// Was the line fitted to this point?
pub(super) fn covers(fit: &Fit, point: &Point) -> bool {
    fit.group.as_ref().is_none_or(|group| *group == point.group)
}

/// A fitted line across the range of its points.
fn fitted(
    sheet: &Sheet<'_>,
    panel: &Panel,
    (fit, points): (&Fit, &[Point]),
    frame: &Frame<'_, '_>,
    looks: &Looks,
    room: &mut Room,
) -> Result<(), PanelError> {
    let steps = if panel.x.log || panel.y.log { 60 } else { 1 };
    let xs = || points.iter().filter(|p| covers(fit, p)).map(|p| p.x);
    let low = xs().fold(f64::INFINITY, f64::min);
    let high = xs().fold(f64::NEG_INFINITY, f64::max);
    // On a logarithmic axis a straight line is a curve, so it is drawn in
    // steps; what leaves the plot is left out.
    let visible = |y: f64| {
        let at = frame.y.at(y);
        at >= frame.y.low && at <= frame.y.high
    };
    let path: Vec<_> = (0..=steps)
        .map(|i| low + (high - low) * f64::from(i) / f64::from(steps))
        .map(|x| (x, fit.slope * x + fit.intercept))
        .filter(|(_, y)| visible(*y))
        .map(|(x, y)| frame.at(x, y))
        .collect();
    for pair in path.windows(2) {
        if let [from, to] = pair {
            room.take_line(*from, *to);
        }
    }
    let color = match &fit.group {
        Some(group) => looks.get(group).0,
        None => INK,
    };
    Ok(pen::line(sheet, path, color, STROKE)?)
}

fn scatter(
    sheet: &Sheet<'_>,
    points: &[Point],
    frame: &Frame<'_, '_>,
    looks: &Looks,
    room: &mut Room,
) -> Result<(), PanelError> {
    for p in points {
        let (color, _) = looks.get(&p.group);
        if let Some(error) = p.error {
            let x = frame.at(p.x, p.y).0;
            let high = frame.at(p.x, p.y + error).1;
            let low = if frame.y.at(p.y - error) >= frame.y.low {
                frame.at(p.x, p.y - error).1
            } else {
                frame.inside.bottom
            };
            pen::line(sheet, [(x, high), (x, low)], color, ERROR_STROKE)?;
            for y in [high, low] {
                pen::line(sheet, [(x - CAP, y), (x + CAP, y)], color, ERROR_STROKE)?;
            }
            room.take_line((x, high), (x, low));
        }
    }
    for p in points {
        let (color, shape) = looks.get(&p.group);
        let at = frame.at(p.x, p.y);
        pen::marker(sheet, at, MARKER, color, shape)?;
        // Twice: covering a marker is worse than covering a line.
        room.take(Rect::around(at, MARKER + 3));
        room.take(Rect::around(at, MARKER + 3));
    }
    Ok(())
}

/// The name beside a point, with a thin line where it is far away.
fn name(
    sheet: &Sheet<'_>,
    point: &Point,
    frame: &Frame<'_, '_>,
    room: &mut Room,
) -> Result<(), PanelError> {
    const NEAR: i32 = 36;
    let label = style::settable(&point.label);
    if label.is_empty() {
        return Ok(());
    }
    let size = pen::extent(sheet, &label, NOTE)?;
    let at = frame.at(point.x, point.y);
    if let Some(place) = room.beside(at, size) {
        let end = (
            at.0.clamp(place.left, place.right),
            at.1.clamp(place.top, place.bottom),
        );
        if (at.0 - end.0).abs().max((at.1 - end.1).abs()) > NEAR {
            pen::line(sheet, [at, end], MUTED, 2)?;
        }
        pen::text(sheet, &label, NOTE, INK, place, HPos::Left)?;
    }
    Ok(())
}

fn horizontal(
    sheet: &Sheet<'_>,
    bars: &[Bar],
    origin: f64,
    frame: &Frame<'_, '_>,
    looks: &Looks,
    room: &mut Room,
) -> Result<(), PanelError> {
    let middles: Vec<f64> = frame.y.ticks.iter().map(|(at, _)| *at).collect();
    for (bar, middle) in bars.iter().zip(middles) {
        let (color, shape) = looks.get(&bar.group);
        let rect = self::bar(frame, bar, origin, middle);
        pen::fill(sheet, rect, color)?;
        room.take(rect);
        let y = rect.center().1;
        let to = frame.at(bar.value, middle).0;
        if let Some(error) = bar.error {
            let right = frame.at(bar.value + error, middle).0;
            let left = if frame.x.at(bar.value - error) >= frame.x.low {
                frame.at(bar.value - error, middle).0
            } else {
                frame.inside.left
            };
            pen::line(sheet, [(left, y), (right, y)], INK, ERROR_STROKE)?;
            for x in [left, right] {
                pen::line(sheet, [(x, y - CAP), (x, y + CAP)], INK, ERROR_STROKE)?;
            }
            room.take_line((left, y), (right, y));
        }
        // The group's shape at the end of the bar tells groups apart in grey.
        pen::marker(sheet, (to, y), MARKER - 3, color, shape)?;
    }
    let x = frame.at(origin, 0.0).0;
    let ends = [(x, frame.inside.top), (x, frame.inside.bottom)];
    Ok(pen::line(sheet, ends, INK, 3)?)
}

/// What a bar covers.
pub(super) fn bar(frame: &Frame<'_, '_>, bar: &Bar, origin: f64, middle: f64) -> Rect {
    const HALF: f64 = 0.34;
    let (from, top) = frame.at(bar.start.unwrap_or(origin), middle + HALF);
    let (to, bottom) = frame.at(bar.value, middle - HALF);
    Rect {
        left: from.min(to),
        top,
        right: from.max(to),
        bottom,
    }
}

fn band(
    sheet: &Sheet<'_>,
    line: &Line,
    frame: &Frame<'_, '_>,
    looks: &Looks,
    room: &mut Room,
) -> Result<(), PanelError> {
    if line.band.is_empty() {
        return Ok(());
    }
    if line.band.len() != line.points.len() {
        return Err(PanelError::Data(format!(
            "line {:?} has {} points and a band of {}",
            line.label,
            line.points.len(),
            line.band.len()
        )));
    }
    let places = || line.points.iter().zip(&line.band);
    let upper = places().map(|((x, _), (_, high))| frame.at(*x, *high));
    let lower = places().rev().map(|((x, _), (low, _))| frame.at(*x, *low));
    let outline: Vec<_> = upper.chain(lower).collect();
    for pair in outline.windows(2) {
        if let [from, to] = pair {
            room.take_line(*from, *to);
        }
    }
    Ok(pen::polygon(
        sheet,
        outline,
        tint(looks.get(&line.label).0),
    )?)
}

fn curve(
    sheet: &Sheet<'_>,
    line: &Line,
    frame: &Frame<'_, '_>,
    looks: &Looks,
    room: &mut Room,
) -> Result<(), PanelError> {
    /// Markers on one line, so that it can be told apart in grey.
    const MARKERS: usize = 12;
    let (color, shape) = looks.get(&line.label);
    let path: Vec<_> = line.points.iter().map(|(x, y)| frame.at(*x, *y)).collect();
    for pair in path.windows(2) {
        if let [from, to] = pair {
            room.take_line(*from, *to);
        }
    }
    let stride = path.len().div_ceil(MARKERS).max(1);
    let marked: Vec<_> = path.iter().copied().step_by(stride).collect();
    pen::line(sheet, path, color, STROKE)?;
    for at in marked {
        pen::marker(sheet, at, MARKER - 4, color, shape)?;
    }
    Ok(())
}
