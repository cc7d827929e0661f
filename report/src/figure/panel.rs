//! One panel: heading, legend, axes, what is plotted, words inside.

use assay_record::{Figure, Panel, Plot};
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::cartesian::Cartesian2d;
use plotters::prelude::SVGBackend;
use plotters::style::text_anchor::HPos;
use plotters::style::{Color, RGBColor, TRANSPARENT};

use super::pen::{self, At, DrawError, Sheet};
use super::place::{Rect, Room};
use super::scale::Scale;
use super::style::{self, GRID, INK, LABEL, MUTED, NOTE, PAPER, Shape, TICK, TITLE};
use super::{bar_count, cells, hits, plots, ranges};
use crate::book::Book;
use crate::error::ReportError;
use crate::text::unmarked;

/// Space around a panel, in units.
const MARGIN: i32 = 20;
/// Height of a panel with its words, unless bars need more.
const HEIGHT: i32 = 860;
/// Height that a panel needs for everything but its bars.
const AROUND_BARS: i32 = 300;
/// Height of one bar with the gap to the next.
const BAR: i32 = 50;
/// Why a panel could not be drawn.
#[derive(Debug)]
pub(super) enum PanelError {
    Draw(DrawError),
    Data(String),
    Text(ReportError),
}

impl PanelError {
    pub(super) fn of(self, figure: &str, panel: &str) -> ReportError {
        let reason = match self {
            PanelError::Text(error) => return error,
            PanelError::Draw(error) => error.to_string(),
            PanelError::Data(reason) => reason,
        };
        ReportError::Figure {
            figure: figure.to_owned(),
            reason: format!("panel {panel:?}: {reason}"),
        }
    }
}

impl From<DrawError> for PanelError {
    fn from(error: DrawError) -> Self {
        PanelError::Draw(error)
    }
}

impl From<String> for PanelError {
    fn from(reason: String) -> Self {
        PanelError::Data(reason)
    }
}

/// Which colour and shape a group or line has, the same in all panels of a
/// figure.
#[derive(Debug)]
pub(super) struct Looks {
    names: Vec<String>,
}

impl Looks {
    /// Groups and lines in order of appearance.
    pub(super) fn of(figure: &Figure) -> Self {
        let mut names: Vec<String> = Vec::new();
        for name in figure.panels.iter().flat_map(series_names) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self { names }
    }

    pub(super) fn get(&self, name: &str) -> (RGBColor, Shape) {
        style::series(self.names.iter().position(|n| n == name).unwrap_or(0))
    }
}

/// Groups or lines of a panel, each once, in order of appearance.
pub(super) fn series_names(panel: &Panel) -> Vec<String> {
    let all: Vec<&String> = match &panel.plot {
        Plot::Points { points, .. } => points.iter().map(|p| &p.group).collect(),
        Plot::Bars { bars, .. } => bars.iter().map(|b| &b.group).collect(),
        Plot::Lines { lines } => lines.iter().map(|l| &l.label).collect(),
        Plot::HeatMap { .. } | Plot::Histogram { .. } => Vec::new(),
    };
    let mut names: Vec<String> = Vec::new();
    for name in all {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Height that a panel asks for.
pub(super) fn height(panel: &Panel) -> i32 {
    let bars = bar_count(panel).and_then(|n| i32::try_from(n).ok());
    HEIGHT.max(bars.map_or(0, |n| AROUND_BARS + n.saturating_mul(BAR)))
}

/// A plot's axes, and how data reach the sheet.
pub(super) struct Frame<'s, 'b> {
    chart: ChartContext<'s, SVGBackend<'b>, Cartesian2d<Scale, Scale>>,
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) inside: Rect,
}

impl Frame<'_, '_> {
    /// Where a pair of values stands on the sheet.
    pub(super) fn at(&self, x: f64, y: f64) -> At {
        self.chart.backend_coord(&(x, y))
    }
}

/// Draws a panel, and gives the invisible elements that lie over it.
pub(super) fn draw(
    sheet: &Sheet<'_>,
    panel: &Panel,
    rect: Rect,
    letter: Option<char>,
    looks: &Looks,
    book: &Book,
) -> Result<String, PanelError> {
    let mut area = Rect {
        left: rect.left + MARGIN,
        top: rect.top + MARGIN,
        right: rect.right - MARGIN,
        bottom: rect.bottom - MARGIN / 2,
    };
    area.top += title(sheet, panel, area, letter)?;
    area.top += legend(sheet, panel, area, looks)?;
    if let Plot::HeatMap { values, label } = &panel.plot {
        area.top += scale_label(sheet, label, area)?;
        area.right -= cells::color_bar(sheet, values, area)?;
    }
    let frame = axes(sheet, panel, area)?;
    let mut room = Room::new(frame.inside);
    plots::draw(sheet, panel, &frame, looks, &mut room)?;
    note(sheet, &panel.note, &frame, &mut room, book)?;
    plots::labels(sheet, panel, &frame, &mut room)?;
    Ok(hits::hits(panel, &frame))
}

/// Sets the heading and returns its height.
fn title(
    sheet: &Sheet<'_>,
    panel: &Panel,
    area: Rect,
    letter: Option<char>,
) -> Result<i32, PanelError> {
    let words = style::settable(&panel.title);
    let words = match letter {
        Some(letter) => format!("({letter}) {words}"),
        None => words,
    };
    let lines = pen::wrap(sheet, &words, TITLE, area.width())?;
    let mut top = area.top;
    for line in &lines {
        let rect = Rect::at(area.left, top, (area.width(), TITLE * 5 / 4));
        pen::text(sheet, line, TITLE, INK, rect, HPos::Left)?;
        top += rect.height();
    }
    Ok(top - area.top + 10)
}

/// Says above a heat map's colour bar what its colours stand for, and returns
/// the height of the words.
fn scale_label(sheet: &Sheet<'_>, label: &str, area: Rect) -> Result<i32, PanelError> {
    let words = pen::clipped(sheet, &style::settable(label), NOTE, area.width())?;
    let rect = Rect::at(area.left, area.top, (area.width(), NOTE * 5 / 4));
    pen::text(sheet, &words, NOTE, INK, rect, HPos::Right)?;
    Ok(rect.height() + 10)
}

/// Sets the legend where there is more than one series, and returns its
/// height.
fn legend(sheet: &Sheet<'_>, panel: &Panel, area: Rect, looks: &Looks) -> Result<i32, PanelError> {
    const KEY: i32 = 44;
    const GAP: i32 = 30;
    const LINE: i32 = 38;
    let names = series_names(panel);
    if names.len() < 2 {
        return Ok(0);
    }
    let lines = matches!(panel.plot, Plot::Lines { .. });
    let (mut left, mut top) = (area.left, area.top);
    for name in &names {
        let words = pen::clipped(sheet, &style::settable(name), NOTE, area.width() - KEY)?;
        let size = pen::extent(sheet, &words, NOTE)?;
        if left > area.left && left + KEY + size.0 > area.right {
            (left, top) = (area.left, top + LINE);
        }
        let (color, shape) = looks.get(name);
        let middle = (left + KEY / 2 - 6, top + LINE / 2);
        if lines {
            let ends = [(left, middle.1), (left + KEY - 12, middle.1)];
            pen::line(sheet, ends, color, 5)?;
        }
        pen::marker(sheet, middle, 10, color, shape)?;
        let place = Rect::at(left + KEY, top, (size.0, LINE));
        pen::text(sheet, &words, NOTE, INK, place, HPos::Left)?;
        left += KEY + size.0 + GAP;
    }
    Ok(top - area.top + LINE + 10)
}

/// Draws grid, axes and labels.
fn axes<'s, 'b>(
    sheet: &'s Sheet<'b>,
    panel: &Panel,
    area: Rect,
) -> Result<Frame<'s, 'b>, PanelError> {
    let (x, y) = ranges::scales(sheet, panel, area)?;
    let mut widest = 0;
    for (_, label) in &y.ticks {
        widest = widest.max(pen::extent(sheet, label, TICK)?.0);
    }
    let label = |text: &str| style::settable(text);
    let named = bar_count(panel).is_some();
    let line = |words: &str| if words.is_empty() { 0 } else { LABEL * 3 / 2 };
    let (width, height) = sheet.dim_in_pixel();
    let inner = |v: i32| u32::try_from(v).unwrap_or(0);
    let mut builder = ChartBuilder::on(sheet);
    builder
        .margin_left(area.left)
        .margin_top(area.top)
        .margin_right(i32::try_from(width).unwrap_or(i32::MAX) - area.right)
        .margin_bottom(i32::try_from(height).unwrap_or(i32::MAX) - area.bottom)
        .y_label_area_size(inner(widest + 24 + line(&panel.y.label)))
        .x_label_area_size(inner(TICK + 30 + line(&panel.x.label)));
    let mut chart = builder.build_cartesian_2d(x.clone(), y.clone())?;
    let mut mesh = chart.configure_mesh();
    mesh.bold_line_style(GRID.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.stroke_width(3))
        .label_style(pen::words(TICK, INK))
        .axis_desc_style(pen::words(LABEL, INK))
        .x_desc(label(&panel.x.label))
        .y_desc(label(&panel.y.label));
    if named {
        mesh.disable_y_mesh();
    }
    if matches!(panel.plot, Plot::HeatMap { .. }) {
        mesh.disable_mesh();
    }
    mesh.draw()?;
    let (xs, ys) = chart.plotting_area().get_pixel_range();
    let inside = Rect {
        left: xs.start,
        top: ys.start,
        right: xs.end,
        bottom: ys.end,
    };
    Ok(Frame {
        chart,
        x,
        y,
        inside,
    })
}

/// Sets the words inside a panel where they cover least.
fn note(
    sheet: &Sheet<'_>,
    words: &str,
    frame: &Frame<'_, '_>,
    room: &mut Room,
    book: &Book,
) -> Result<(), PanelError> {
    const INSET: i32 = 14;
    const PAD: i32 = 8;
    let words = unmarked(words, book).map_err(PanelError::Text)?;
    let lines = pen::wrap(
        sheet,
        &style::settable(&words),
        NOTE,
        frame.inside.width() * 3 / 5,
    )?;
    if lines.is_empty() {
        return Ok(());
    }
    let mut width = 0;
    for line in &lines {
        width = width.max(pen::extent(sheet, line, NOTE)?.0);
    }
    let step = NOTE * 5 / 4;
    let height = step * i32::try_from(lines.len()).unwrap_or(1);
    let size = (width + 2 * PAD, height + 2 * PAD);
    if let Some(place) = room.corner(size, INSET) {
        pen::fill(sheet, place, PAPER)?;
        pen::frame(sheet, place, GRID)?;
        for (line, top) in lines.iter().zip((place.top + PAD..).step_by(step as usize)) {
            let rect = Rect::at(place.left + PAD, top, (width, step));
            pen::text(sheet, line, NOTE, INK, rect, HPos::Left)?;
        }
    }
    Ok(())
}

/// Says in an empty plot that it is empty.
pub(super) fn empty(sheet: &Sheet<'_>, frame: &Frame<'_, '_>) -> Result<(), PanelError> {
    Ok(pen::text(
        sheet,
        "no data",
        LABEL,
        MUTED,
        frame.inside,
        HPos::Center,
    )?)
}
