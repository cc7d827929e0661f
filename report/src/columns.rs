//! Widths of LaTeX table columns. Columns are as wide as makes the tallest cells
//! of each equally tall. A table is set in the largest size in which its
//! unbreakable words fit the page and its cells are not tall, then in a smaller
//! one, then on a turned page, and only then is text allowed to be hyphenated.

use serde::Serialize;

use crate::latex::unbreakable;

/// Width of the text block in points (480 bp); report.tex sets the same.
const PORTRAIT: f64 = 481.0;
/// Width of a turned page's text block in points; the height of the portrait
/// text block that report.tex sets.
const LANDSCAPE: f64 = 700.0;
/// Space between two columns in points: twice \tabcolsep, as report.tex sets.
const GAP: f64 = 7.0;
/// Lines beyond which a cell is tall.
const TALL: f64 = 8.0;
/// Font sizes to try, in points.
pub(crate) const SIZES: &[f64] = &[8.5, 7.5, 6.5];
/// That of a table that shares its page with a figure.
pub(crate) const SMALL: &[f64] = &[6.5];

/// How much wider bold letters are.
const BOLD: f64 = 1.15;

/// Width of a letter of the typewriter face, in ems.
const TYPEWRITER: f64 = 0.56;

/// What a column holds, as far as its width is concerned.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extent {
    /// Width of the longest cell in ems.
    pub(crate) natural: f64,
    /// Width of the longest piece that cannot be broken, in ems.
    pub(crate) unbreakable: f64,
    /// Holds numbers only, which are never broken.
    pub(crate) numeric: bool,
    /// Set right-aligned.
    pub(crate) right: bool,
}

impl Extent {
    /// Widens the extent so that it holds this text.
    pub(crate) fn add(&mut self, text: &str, breakable: bool) {
        let whole = ems(text);
        let longest = unbreakable(text).map(ems).fold(0.0, f64::max);
        self.natural = self.natural.max(whole);
        self.unbreakable = self
            .unbreakable
            .max(if breakable { longest } else { whole });
    }

    /// Widens the extent so that these bold words fit in one line.
    pub(crate) fn add_bold(&mut self, text: &str) {
        let whole = BOLD * ems(text);
        self.natural = self.natural.max(whole);
        self.unbreakable = self.unbreakable.max(whole);
    }

    /// Widens the extent so that these letters of one width fit in one line.
    pub(crate) fn add_typewriter(&mut self, text: &str) {
        let whole = TYPEWRITER * text.chars().count() as f64;
        self.natural = self.natural.max(whole);
        self.unbreakable = self.unbreakable.max(whole);
    }

    /// Widens the extent so that the longest word of a heading fits; headings
    /// may take several lines.
    pub(crate) fn add_heading(&mut self, text: &str) {
        let longest = BOLD * unbreakable(text).map(ems).fold(0.0, f64::max);
        self.natural = self.natural.max(longest);
        self.unbreakable = self.unbreakable.max(longest);
    }

    fn least(&self) -> f64 {
        if self.numeric {
            self.natural
        } else {
            self.unbreakable
        }
    }

    /// Width at which its longest cell takes so many lines.
    fn at(&self, lines: f64) -> f64 {
        (self.natural / lines).max(self.least())
    }
}

/// A rough width: Latin Modern's classes of characters, a little too wide.
fn ems(text: &str) -> f64 {
    text.chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 't' | 'f' | 'r' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.36,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.9,
            'A'..='Z' => 0.75,
            c if c.is_ascii() => 0.54,
            _ => 0.8,
        })
        .sum()
}

/// How LaTeX is to set a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Layout {
    /// Font size and line distance in points, as `\fontsize` takes them.
    pub(crate) size: String,
    /// Column specification.
    pub(crate) spec: String,
    /// Whether the page is turned.
    pub(crate) landscape: bool,
}

/// The fewest lines, not below one, at which these columns fit the room; none
/// where their unbreakable words do not.
fn lines(columns: &[Extent], room: f64) -> Option<f64> {
    let width = |lines: f64| columns.iter().map(|c| c.at(lines)).sum::<f64>();
    if width(f64::INFINITY) > room {
        return None;
    }
    let (mut low, mut high) = (1.0, 1.0);
    while width(high) > room {
        low = high;
        high *= 2.0;
    }
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if width(middle) > room {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

/// The layout of a table with these columns, in one of some font sizes.
pub(crate) fn layout(columns: &[Extent], sizes: &[f64]) -> Layout {
    let gaps = GAP * columns.len().saturating_sub(1) as f64;
    let tries: Vec<(f64, bool, Option<f64>)> = [(PORTRAIT, false), (LANDSCAPE, true)]
        .into_iter()
        .flat_map(|(width, turned)| sizes.iter().map(move |size| (width, *size, turned)))
        .map(|(width, size, turned)| (size, turned, lines(columns, (width - gaps) / size)))
        .collect();
    let low = |t: &&(f64, bool, Option<f64>)| t.2.is_some_and(|lines| lines <= TALL);
    let fits = |t: &&(f64, bool, Option<f64>)| t.2.is_some();
    let smallest = (sizes.last().copied().unwrap_or(SMALL[0]), true, None);
    let (size, landscape, lines) =
        *(tries.iter().find(low).or_else(|| tries.iter().find(fits))).unwrap_or(&smallest);
    let widths: Vec<f64> = match lines {
        Some(lines) => columns.iter().map(|c| c.at(lines)).collect(),
        // A table that does not fit at all is scaled down.
        None => {
            let least: f64 = columns.iter().map(Extent::least).sum();
            let scale = (LANDSCAPE - gaps) / size / least;
            columns.iter().map(|c| scale * c.least()).collect()
        }
    };
    let spec: Vec<String> = columns
        .iter()
        .zip(widths)
        .map(|(c, ems)| {
            let side = if c.right { "R" } else { "L" };
            format!("{side}{{{:.1}pt}}", ems * size)
        })
        .collect();
    Layout {
        size: format!("{{{size}}}{{{:.1}}}", size * 1.2),
        spec: spec.join(""),
        landscape,
    }
}

#[cfg(test)]
mod tests {
    use super::{Extent, PORTRAIT, SIZES, layout};

    fn column(text: &str, numeric: bool) -> Extent {
        let mut extent = Extent {
            numeric,
            ..Extent::default()
        };
        extent.add(text, !numeric);
        extent
    }

    #[test]
    fn a_narrow_table_keeps_its_natural_width() {
        let found = layout(&[column("model", false), column("0.123", true)], SIZES);
        assert!(!found.landscape);
        assert_eq!(found.size, "{8.5}{10.2}");
    }

    #[test]
    fn prose_takes_the_rest_of_the_page() {
        let prose = "a long reason with many words ".repeat(20);
        let found = layout(&[column("claim", false), column(&prose, false)], SIZES);
        let widths: f64 = found
            .spec
            .split(['{', '}'])
            .filter_map(|part| part.strip_suffix("pt")?.parse::<f64>().ok())
            .sum();
        assert!((PORTRAIT - 10.0..=PORTRAIT).contains(&widths), "{widths}");
    }

    #[test]
    fn many_wide_numbers_turn_the_page() {
        let columns: Vec<_> = (0..14).map(|_| column("134,515,008.123", true)).collect();
        assert!(layout(&columns, SIZES).landscape);
    }
}
