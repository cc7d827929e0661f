//! One look for every figure: colours that readers with any colour vision tell
//! apart, a marker shape beside each colour for print in grey, and one face of
//! one typeface. Every colour is opaque: svg2pdf is not deterministic otherwise.

use plotters::style::{RGBColor, register_font};
use svg2pdf::usvg::fontdb;

use crate::error::ReportError;
use crate::hostile::visible;

/// Lengths are in quarter points: four units are one point in the PDF.
pub(super) const UNITS_PER_POINT: u32 = 4;
/// Width of a full-width figure: 480 points, the text width of report.tex.
pub(super) const FULL_WIDTH: i32 = 1920;
/// Width of a figure that has one panel.
pub(super) const SINGLE_WIDTH: i32 = 1440;

/// Font sizes in units: 9, 8, 7 and 6.5 points in print.
pub(super) const TITLE: i32 = 36;
pub(super) const LABEL: i32 = 32;
pub(super) const TICK: i32 = 28;
pub(super) const NOTE: i32 = 26;

/// The typeface, and what a browser without it takes; DejaVu Sans and Verdana
/// descend from one design and have nearly the same widths.
pub(super) const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(super) const INK: RGBColor = RGBColor(0x1a, 0x1a, 0x1a);
pub(super) const MUTED: RGBColor = RGBColor(0x6b, 0x6b, 0x6b);
pub(super) const GRID: RGBColor = RGBColor(0xdc, 0xdc, 0xdc);

const DARK_PAPER: RGBColor = RGBColor(0x16, 0x18, 0x1c);
const DARK_INK: RGBColor = RGBColor(0xe6, 0xe6, 0xe6);

/// The neutral colours and what they become on a dark page.
const NEUTRALS: [(RGBColor, RGBColor); 4] = [
    (PAPER, DARK_PAPER),
    (INK, DARK_INK),
    (MUTED, RGBColor(0xa5, 0xaa, 0xb2)),
    (GRID, RGBColor(0x3a, 0x3d, 0x44)),
];

/// Colours of series and what they become on a dark page: blue, gold, green,
/// pink, brown, sky blue, ink. They were searched for: each stands out from its
/// page by a contrast of 3, the dark and light ones alternate so that neighbours
/// differ in grey too, and under these conditions the least difference of two
/// as readers with protanopia, deuteranopia or tritanopia see them is greatest.
const PALETTE: [(RGBColor, RGBColor); 7] = [
    (RGBColor(0x22, 0x3d, 0xbb), RGBColor(0x67, 0x4e, 0xfb)),
    (RGBColor(0xb6, 0x8e, 0x09), RGBColor(0xe4, 0xcf, 0x12)),
    (RGBColor(0x05, 0x76, 0x53), RGBColor(0x35, 0x79, 0x55)),
    (RGBColor(0xe5, 0x67, 0xad), RGBColor(0xcd, 0x83, 0xb7)),
    (RGBColor(0x91, 0x3e, 0x0a), RGBColor(0xb2, 0x50, 0x09)),
    (RGBColor(0x45, 0x95, 0xf1), RGBColor(0xa0, 0x98, 0xff)),
    (INK, DARK_INK),
];

/// Marker shapes; six, so that colour and shape together repeat only after 42
/// series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Circle,
    Square,
    Up,
    Diamond,
    Down,
    Cross,
}

const SHAPES: [Shape; 6] = [
    Shape::Circle,
    Shape::Square,
    Shape::Up,
    Shape::Diamond,
    Shape::Down,
    Shape::Cross,
];

/// Colour and shape of the n-th series.
pub(super) fn series(n: usize) -> (RGBColor, Shape) {
    let color = PALETTE
        .get(n % PALETTE.len())
        .map_or(INK, |(light, _)| *light);
    let shape = SHAPES
        .get(n % SHAPES.len())
        .copied()
        .unwrap_or(Shape::Circle);
    (color, shape)
}

/// The opaque tint of a series colour, for bands.
pub(super) fn tint(color: RGBColor) -> RGBColor {
    mix(color, PAPER, 0.78)
}

/// `share` of the second colour, the rest of the first.
fn mix(a: RGBColor, b: RGBColor, share: f64) -> RGBColor {
    let channel =
        |a: u8, b: u8| (f64::from(a) * (1.0 - share) + f64::from(b) * share).round() as u8;
    RGBColor(channel(a.0, b.0), channel(a.1, b.1), channel(a.2, b.2))
}

fn hex(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

/// Style rules that recolour an inline figure on a dark page.
pub(crate) fn dark_rules() -> String {
    let tints = PALETTE.map(|(light, dark)| (tint(light), mix(dark, DARK_PAPER, 0.65)));
    NEUTRALS
        .into_iter()
        .chain(PALETTE)
        .chain(tints)
        .map(|(light, dark)| {
            let (light, dark) = (hex(light), hex(dark));
            format!(
                "figure svg [fill=\"{light}\"]{{fill:{dark}}}\
                 figure svg [stroke=\"{light}\"]{{stroke:{dark}}}\n"
            )
        })
        .collect()
}

/// Tells plotters the typeface, so that it measures text as it will be set.
pub(super) fn register() -> Result<(), ReportError> {
    let regular = plotters::style::FontStyle::Normal;
    register_font(FAMILY, regular, dejavu::sans::regular()).map_err(|_| ReportError::Figure {
        figure: "(all)".to_owned(),
        reason: "the DejaVu Sans typeface cannot be read".to_owned(),
    })
}

/// The typeface for svg2pdf; no font of the machine is looked at. There is one
/// face and no bold: svg2pdf writes several faces in the order of a hash map.
pub(super) fn fonts() -> fontdb::Database {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    fonts
}

/// A text in which every character that the typeface lacks is replaced by
/// U+FFFD, the replacement character: svg2pdf would drop it unseen. What only
/// steers how others are shown is named.
pub(super) fn settable(text: &str) -> String {
    let text = visible(text);
    let Ok(face) = ttf_parser::Face::parse(dejavu::sans::regular(), 0) else {
        return text.into_owned();
    };
    text.chars()
        .map(|c| match face.glyph_index(c) {
            Some(_) => c,
            None => '\u{fffd}',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use plotters::style::RGBColor;

    use super::{DARK_PAPER, PALETTE, PAPER};

    /// Relative luminance as WCAG defines it.
    fn luminance(color: RGBColor) -> f64 {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.040_45 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(color.0) + 0.7152 * linear(color.1) + 0.0722 * linear(color.2)
    }

    fn contrast(a: RGBColor, b: RGBColor) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn series_stand_out_from_the_page_and_neighbours_differ_in_grey() {
        for (light, dark) in PALETTE {
            assert!(contrast(light, PAPER) >= 3.0, "{light:?}");
            assert!(contrast(dark, DARK_PAPER) >= 3.0, "{dark:?}");
        }
        for pair in PALETTE.windows(2) {
            let [(a, dark_a), (b, dark_b)] = pair else {
                continue;
            };
            assert!(contrast(*a, *b) >= 1.7, "{a:?} beside {b:?}");
            assert!(
                contrast(*dark_a, *dark_b) >= 1.7,
                "{dark_a:?} beside {dark_b:?}"
            );
        }
    }
}
