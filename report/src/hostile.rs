//! Words of others, where escaping is not enough: characters that are not seen
//! but move or hide those around them, and cells that a spreadsheet computes.

use std::borrow::Cow;

/// Does a character only steer how others are shown? Those of writing
/// direction can make one name look like another.
fn steers(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// The code point of such a character in brackets, as the PDF prints what its
/// font lacks; None for any other.
pub(crate) fn code_point(c: char) -> Option<String> {
    steers(c).then(|| format!("[U+{:04X}]", u32::from(c)))
}

/// Words for a drawing, which is XML and may hold no control characters.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() || steers(c)) {
        return text.into();
    }
    let mut out = String::new();
    for c in text.chars() {
        match code_point(c) {
            Some(point) => out.push_str(&point),
            None if c.is_control() => out.push(' '),
            None => out.push(c),
        }
    }
    out.into()
}

/// Words for a cell of a CSV file. A spreadsheet takes a cell that begins with
/// one of these signs for a formula; an apostrophe before it keeps it words.
/// Numbers, and a dash alone, are none.
pub(crate) fn cell(text: &str) -> Cow<'_, str> {
    let begins = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !begins || text == "-" || text.parse::<f64>().is_ok() {
        return text.into();
    }
    format!("'{text}").into()
}

#[cfg(test)]
mod tests {
    use super::{cell, visible};

    #[test]
    fn what_steers_is_named() {
        assert_eq!(visible("ab\u{202e}cd\u{1}"), "ab[U+202E]cd ");
        assert_eq!(visible("3\u{202f}pt, ρ ≤ −1"), "3\u{202f}pt, ρ ≤ −1");
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(cell(text), expected);
    }

    #[test]
    fn no_cell_is_a_formula() {
        check("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0");
        check("@SUM(1)", "'@SUM(1)");
        check("-2+3+cmd", "'-2+3+cmd");
        check("\t=1", "'\t=1");
        check("-0.5", "-0.5");
        check("+1e3", "+1e3");
        check("-", "-");
        check("a=b", "a=b");
        check("", "");
    }
}
