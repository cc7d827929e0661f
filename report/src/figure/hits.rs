//! Invisible elements over what is drawn, so that a page can say of each thing
//! what it is. They have neither fill nor stroke, so that nothing shows them;
//! the PDF is made without them.
//!
//! `data-about` is the value on the vertical axis, `data-at` the place on the
//! horizontal one, `data-name` and `data-series` the names, `data-record` the
//! record. Full values are in the figure's CSV file.

use std::fmt::Write;

use assay_record::{Line, Panel, Plot, Point};

use super::cells;
use super::panel::{Frame, series_names};
use super::place::Rect;
use super::plots;
use crate::book::short;
use crate::dialect::Dialect;

/// Radius of a place to point at: wider than a marker, for fingers too.
const REACH: i32 = 22;

/// The elements of a panel; none where nothing is drawn.
pub(super) fn hits(panel: &Panel, frame: &Frame<'_, '_>) -> String {
    // Bars lie, so their values are on the horizontal axis.
    let (x, y, inside) = match &panel.plot {
        Plot::Points { points, .. } => (&panel.x, &panel.y, scattered(panel, points, frame)),
        Plot::Bars { .. } => (&panel.y, &panel.x, bars(panel, frame)),
        Plot::Lines { lines } => (&panel.x, &panel.y, curves(lines, frame)),
        Plot::HeatMap { values, label } => (&panel.x, &panel.y, heat(values, label, frame)),
        Plot::Histogram { .. } => (&panel.x, &panel.y, bins(panel, frame)),
    };
    if inside.is_empty() {
        return inside;
    }
    format!(
        "<g class=\"hits\" fill=\"none\" pointer-events=\"all\" role=\"group\"{}{}{}>\n{inside}</g>\n",
        attribute("aria-label", &panel.title),
        attribute("data-x", &x.label),
        attribute("data-y", &y.label),
    )
}

/// An attribute, left out where it says nothing.
fn attribute(name: &str, words: &str) -> String {
    if words.is_empty() {
        return String::new();
    }
    format!(" {name}=\"{}\"", Dialect::Html.words(words))
}

fn series(name: &str, inside: &str) -> String {
    format!("<g{}>\n{inside}</g>\n", attribute("data-series", name))
}

fn circle(out: &mut String, (x, y): (i32, i32), attributes: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<circle cx=\"{x}\" cy=\"{y}\" r=\"{REACH}\"{attributes}/>"
    );
}

fn rect(out: &mut String, r: Rect, attributes: &str) {
    let (left, top, width, height) = (r.left, r.top, r.width(), r.height());
    let _ = writeln!(
        out,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"{attributes}/>"
    );
}

fn scattered(panel: &Panel, points: &[Point], frame: &Frame<'_, '_>) -> String {
    let one = |group: &String| {
        let mut inside = String::new();
        for p in points.iter().filter(|p| p.group == *group) {
            let record = p.record.as_deref().map_or("", short);
            let attributes = [
                attribute("data-name", &p.label),
                attribute("data-at", &digits(p.x)),
                attribute("data-about", &with_error(p.y, p.error)),
                attribute("data-record", record),
            ];
            circle(&mut inside, frame.at(p.x, p.y), &attributes.concat());
        }
        series(group, &inside)
    };
    series_names(panel).iter().map(one).collect()
}

fn bars(panel: &Panel, frame: &Frame<'_, '_>) -> String {
    let Plot::Bars { bars, origin } = &panel.plot else {
        return String::new();
    };
    let mut out = String::new();
    for (bar, middle) in bars.iter().zip(frame.y.ticks.iter().map(|(at, _)| *at)) {
        let mut place = plots::bar(frame, bar, *origin, middle);
        // A short bar is pointed at by its marker.
        place.left -= REACH;
        place.right += REACH;
        let attributes = [
            attribute("data-name", &bar.label),
            attribute("data-about", &with_error(bar.value, bar.error)),
        ];
        let mut inside = String::new();
        rect(&mut inside, place, &attributes.concat());
        out.push_str(&series(&bar.group, &inside));
    }
    out
}

fn curves(lines: &[Line], frame: &Frame<'_, '_>) -> String {
    let one = |line: &Line| {
        let mut inside = String::new();
        for (i, (x, y)) in line.points.iter().enumerate() {
            let about = match line.band.get(i) {
                Some((low, high)) => {
                    format!("{} ({} to {})", digits(*y), digits(*low), digits(*high))
                }
                None => digits(*y),
            };
            let attributes = [
                attribute("data-at", &digits(*x)),
                attribute("data-about", &about),
            ];
            circle(&mut inside, frame.at(*x, *y), &attributes.concat());
        }
        series(&line.label, &inside)
    };
    let drawn = lines.iter().filter(|l| !l.points.is_empty());
    drawn.map(one).collect()
}

/// One element for the whole matrix, its rows from the bottom: an element for
/// each cell would double the file.
fn heat(values: &[Vec<f64>], label: &str, frame: &Frame<'_, '_>) -> String {
    let columns = values.first().map_or(0, Vec::len);
    let (left, bottom) = frame.at(-0.5, -0.5);
    let (right, top) = frame.at(columns as f64 - 0.5, values.len() as f64 - 0.5);
    let place = Rect {
        left,
        top,
        right,
        bottom,
    };
    let all: Vec<_> = values.iter().flatten().map(|v| digits(*v)).collect();
    let attributes = [
        attribute("data-name", label),
        attribute("data-columns", &columns.to_string()),
        attribute("data-about", &all.join(" ")),
    ];
    let mut inside = String::new();
    rect(&mut inside, place, &attributes.concat());
    series("", &inside)
}

fn bins(panel: &Panel, frame: &Frame<'_, '_>) -> String {
    let Plot::Histogram {
        low, high, counts, ..
    } = &panel.plot
    else {
        return String::new();
    };
    let width = (high - low) / counts.len() as f64;
    let mut inside = String::new();
    for (i, count) in counts.iter().enumerate() {
        let Some(mut place) = cells::bin(frame, (*low, width), i, *count) else {
            continue;
        };
        // Low bins are pointed at above their bar, too.
        place.top = place.top.min(place.bottom - REACH);
        let from = low + width * i as f64;
        let attributes = [
            attribute(
                "data-at",
                &format!("{} to {}", digits(from), digits(from + width)),
            ),
            attribute("data-about", &digits(*count)),
        ];
        rect(&mut inside, place, &attributes.concat());
    }
    if inside.is_empty() {
        return inside;
    }
    series("", &inside)
}

fn with_error(value: f64, error: Option<f64>) -> String {
    match error {
        Some(error) => format!("{} ± {}", digits(value), digits(error)),
        None => digits(value),
    }
}

/// A value to five significant digits, without trailing zeros.
fn digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.4e}").parse().unwrap_or(value);
    let text = if rounded == 0.0 {
        "0".to_owned()
    } else if (1e-4..1e7).contains(&rounded.abs()) {
        format!("{rounded}")
    } else {
        format!("{rounded:e}")
    };
    text.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn values_have_five_digits_and_a_minus_sign() {
        assert_eq!(digits(3.0), "3");
        assert_eq!(digits(-0.123_456_7), "\u{2212}0.12346");
        assert_eq!(digits(-0.0), "0");
        assert_eq!(digits(123_456.7), "123460");
        assert_eq!(digits(1.234_567e-7), "1.2346e\u{2212}7");
    }
}
