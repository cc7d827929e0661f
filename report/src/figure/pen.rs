//! Drawing in units on one sheet; every colour is opaque.

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::prelude::{IntoFont, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, RGBColor, TextStyle};

use super::place::Rect;
use super::style::{FAMILY, INK, PAPER, Shape};

/// A point in units.
pub(super) type At = (i32, i32);

/// What the drawing library reports.
pub(super) type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// The sheet.
pub(super) type Sheet<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// plotters divides sizes by this before it writes them.
const SIZE_FACTOR: f64 = 1.24;

/// A text style of this size in units.
pub(super) fn words(size: i32, color: RGBColor) -> TextStyle<'static> {
    (FAMILY, f64::from(size) * SIZE_FACTOR)
        .into_font()
        .color(&color)
}

/// Width and height that a line of words takes.
pub(super) fn extent(sheet: &Sheet<'_>, text: &str, size: i32) -> Result<At, DrawError> {
    let (width, _) = sheet.estimate_text_size(text, &words(size, INK))?;
    Ok((i32::try_from(width).unwrap_or(i32::MAX), size * 5 / 4))
}

/// Words in a rectangle of their extent, or centred in a wider one.
pub(super) fn text(
    sheet: &Sheet<'_>,
    text: &str,
    size: i32,
    color: RGBColor,
    rect: Rect,
    h: HPos,
) -> Result<(), DrawError> {
    let x = match h {
        HPos::Left => rect.left,
        HPos::Center => rect.center().0,
        HPos::Right => rect.right,
    };
    let style = words(size, color).pos(Pos::new(h, VPos::Center));
    sheet.draw_text(text, &style, (x, rect.center().1))
}

pub(super) fn line(
    sheet: &Sheet<'_>,
    points: impl Into<Vec<At>>,
    color: RGBColor,
    width: u32,
) -> Result<(), DrawError> {
    sheet.draw(&PathElement::new(points, color.stroke_width(width)))
}

/// A dashed straight line.
pub(super) fn dashes(
    sheet: &Sheet<'_>,
    (x0, y0): At,
    (x1, y1): At,
    color: RGBColor,
    width: u32,
) -> Result<(), DrawError> {
    const DASH: f64 = 16.0;
    let (dx, dy) = (f64::from(x1 - x0), f64::from(y1 - y0));
    let count = (dx.hypot(dy) / DASH).max(1.0) as i32;
    let at = |i: i32| {
        let share = f64::from(i) / f64::from(count);
        (x0 + (dx * share) as i32, y0 + (dy * share) as i32)
    };
    for i in (0..count).step_by(2) {
        line(sheet, vec![at(i), at((i + 1).min(count))], color, width)?;
    }
    Ok(())
}

pub(super) fn fill(sheet: &Sheet<'_>, rect: Rect, color: RGBColor) -> Result<(), DrawError> {
    let corners = [(rect.left, rect.top), (rect.right, rect.bottom)];
    sheet.draw(&Rectangle::new(corners, color.filled()))
}

pub(super) fn frame(sheet: &Sheet<'_>, rect: Rect, color: RGBColor) -> Result<(), DrawError> {
    let corners = [(rect.left, rect.top), (rect.right, rect.bottom)];
    sheet.draw(&Rectangle::new(corners, color.stroke_width(2)))
}

pub(super) fn polygon(
    sheet: &Sheet<'_>,
    points: impl Into<Vec<At>>,
    color: RGBColor,
) -> Result<(), DrawError> {
    sheet.draw(&Polygon::new(points, color.filled()))
}

/// A marker with a rim of paper, so that it stands out on lines and bars.
pub(super) fn marker(
    sheet: &Sheet<'_>,
    at: At,
    half: i32,
    color: RGBColor,
    shape: Shape,
) -> Result<(), DrawError> {
    shape_of(sheet, at, half + 3, PAPER, shape)?;
    shape_of(sheet, at, half, color, shape)
}

fn shape_of(
    sheet: &Sheet<'_>,
    (x, y): At,
    h: i32,
    color: RGBColor,
    shape: Shape,
) -> Result<(), DrawError> {
    // Shapes of one area look equally heavy.
    let wide = h * 5 / 4;
    let slim = h * 9 / 10;
    let arm = (h / 3).max(1);
    match shape {
        Shape::Circle => sheet.draw(&Circle::new((x, y), h, color.filled())),
        Shape::Square => fill(sheet, Rect::around((x, y), slim), color),
        Shape::Up => polygon(
            sheet,
            [(x - wide, y + slim), (x + wide, y + slim), (x, y - wide)],
            color,
        ),
        Shape::Down => polygon(
            sheet,
            [(x - wide, y - slim), (x + wide, y - slim), (x, y + wide)],
            color,
        ),
        Shape::Diamond => polygon(
            sheet,
            [(x - wide, y), (x, y - wide), (x + wide, y), (x, y + wide)],
            color,
        ),
        Shape::Cross => {
            fill(
                sheet,
                Rect::at(x - arm, y - wide, (2 * arm, 2 * wide)),
                color,
            )?;
            fill(
                sheet,
                Rect::at(x - wide, y - arm, (2 * wide, 2 * arm)),
                color,
            )
        }
    }
}

/// Breaks a text into lines of at most `width` units.
pub(super) fn wrap(
    sheet: &Sheet<'_>,
    text: &str,
    size: i32,
    width: i32,
) -> Result<Vec<String>, DrawError> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let longer = lines.last().map(|l| format!("{l} {word}"));
        match (longer, lines.last_mut()) {
            (Some(longer), Some(last)) if extent(sheet, &longer, size)?.0 <= width => {
                *last = longer;
            }
            _ => lines.push(word.to_owned()),
        }
    }
    Ok(lines)
}

/// Shortens a text with an ellipsis until it is at most `width` units wide.
pub(super) fn clipped(
    sheet: &Sheet<'_>,
    text: &str,
    size: i32,
    width: i32,
) -> Result<String, DrawError> {
    let mut kept = text.to_owned();
    let mut shown = kept.clone();
    while extent(sheet, &shown, size)?.0 > width && kept.pop().is_some() {
        shown = format!("{}…", kept.trim_end());
    }
    Ok(shown)
}
