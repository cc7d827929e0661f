//! Figures: one drawing gives the SVG, and the SVG gives the PDF.

mod cells;
mod data;
mod hits;
mod panel;
mod pen;
mod place;
mod plots;
mod ranges;
mod scale;
mod style;

use std::sync::Arc;

use assay_record::{Figure, Panel, Plot};
use plotters::prelude::{IntoDrawingArea, SVGBackend};
use svg2pdf::usvg;

use crate::book::Book;
use crate::dialect::Dialect;
use crate::error::ReportError;
use place::Rect;
use style::{FULL_WIDTH, SINGLE_WIDTH, UNITS_PER_POINT};

pub(crate) use data::csv;
pub(crate) use style::dark_rules;

/// A drawn figure.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    /// The SVG file, text as text; over it what a page can point at.
    pub(crate) svg: String,
    /// The drawing alone, as the PDF has it.
    plain: String,
    /// Width in points at which its words have their intended size.
    pub(crate) points_wide: u32,
    /// Height in points at that width.
    pub(crate) points_high: u32,
}

/// Draws a figure: panels left to right, two a row; a last one alone takes the
/// whole row. Panels of a figure with several are lettered.
pub(crate) fn draw(figure: &Figure, book: &Book) -> Result<Drawn, ReportError> {
    style::register()?;
    let fault = |reason: String| ReportError::Figure {
        figure: figure.id.clone(),
        reason,
    };
    if figure.panels.is_empty() {
        return Err(fault("it has no panels".to_owned()));
    }
    let looks = panel::Looks::of(figure);
    let width = if figure.panels.len() == 1 {
        SINGLE_WIDTH
    } else {
        FULL_WIDTH
    };
    let mut places = Vec::new();
    let mut top = 0;
    for row in figure.panels.chunks(2) {
        let high = row.iter().map(panel::height).max().unwrap_or(0);
        let each = width / i32::try_from(row.len()).unwrap_or(1);
        let lefts = (0..).step_by(usize::try_from(each).unwrap_or(1));
        places.extend(
            row.iter()
                .zip(lefts)
                .map(|(panel, left)| (panel, Rect::at(left, top, (each, high)))),
        );
        top += high;
    }
    let size = |v: i32| u32::try_from(v).unwrap_or(0);
    let mut svg = String::new();
    let sheet = SVGBackend::with_string(&mut svg, (size(width), size(top))).into_drawing_area();
    sheet
        .fill(&style::PAPER)
        .map_err(|e| fault(e.to_string()))?;
    let mut hits = String::new();
    for (i, (panel, rect)) in places.iter().enumerate() {
        let letter = (figure.panels.len() > 1)
            .then(|| u8::try_from(i).ok().and_then(|i| b'a'.checked_add(i)))
            .flatten()
            .map(char::from);
        let over = panel::draw(&sheet, panel, *rect, letter, &looks, book)
            .map_err(|e| e.of(&figure.id, &panel.title))?;
        hits.push_str(&over);
    }
    sheet.present().map_err(|e| fault(e.to_string()))?;
    drop(sheet);
    // What is the default only makes files longer. Quotes in words are
    // escaped, so these texts stand in tags only.
    let plain = svg
        .replace(" opacity=\"1\"", "")
        .replace(" stroke=\"none\" stroke-width=\"1\"", "")
        .replace(" stroke=\"none\"", "");
    let svg = under(&plain, figure, &hits).ok_or_else(|| fault("it is no SVG".to_owned()))?;
    Ok(Drawn {
        svg,
        plain,
        points_wide: size(width) / UNITS_PER_POINT,
        points_high: size(top) / UNITS_PER_POINT,
    })
}

/// The drawing as one image with its words, and over it what can be pointed at,
/// which must not be part of an image: that would hide it from assistive
/// technology.
fn under(plain: &str, figure: &Figure, hits: &str) -> Option<String> {
    let (head, rest) = plain.split_once(">\n")?;
    let (inside, _) = rest.rsplit_once("</svg>")?;
    let alt = Dialect::Html.words(&figure.alt);
    Some(format!(
        "{head}>\n<g role=\"img\" aria-label=\"{alt}\">\n{inside}</g>\n{hits}</svg>\n"
    ))
}

/// How many bars a panel shows, if it shows bars.
fn bar_count(panel: &Panel) -> Option<usize> {
    match &panel.plot {
        Plot::Bars { bars, .. } => Some(bars.len()),
        _ => None,
    }
}

/// The PDF of a drawn figure, with its typeface embedded.
pub(crate) fn pdf(figure: &str, drawn: &Drawn) -> Result<Vec<u8>, ReportError> {
    let fault = |reason: String| ReportError::Figure {
        figure: figure.to_owned(),
        reason,
    };
    let options = usvg::Options {
        fontdb: Arc::new(style::fonts()),
        font_family: "DejaVu Sans".to_owned(),
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_str(&drawn.plain, &options).map_err(|e| fault(e.to_string()))?;
    let page = svg2pdf::PageOptions {
        dpi: 72.0 * UNITS_PER_POINT as f32,
    };
    svg2pdf::to_pdf(&tree, svg2pdf::ConversionOptions::default(), page)
        .map_err(|e| fault(e.to_string()))
}
