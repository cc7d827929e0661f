//! LaTeX: escaping, one macro a number, and table columns that fit the page.

use std::collections::{BTreeMap, BTreeSet};

use crate::book::Book;
use crate::dialect::origin;
use crate::shown::Shown;

/// Names longer than this may be broken after slashes, dots and underscores.
const LONG_NAME: usize = 16;

/// The pieces of a text between which LaTeX may break a line.
pub(crate) fn unbreakable(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().flat_map(|name| {
        let long = name.chars().count() > LONG_NAME;
        name.split_inclusive(move |c| c == '-' || (long && matches!(c, '/' | '_' | '.')))
    })
}

/// Words made harmless. A line may break after slashes, dots and underscores
/// inside long names. Characters that the Latin fonts lack are set as mathematics
/// where they have a command, and as their code point in brackets otherwise,
/// so that nothing is lost unseen.
pub(crate) fn words(text: &str) -> String {
    text.split_inclusive(|c: char| c.is_whitespace())
        .map(|name| escaped(name, name.trim_end().chars().count() > LONG_NAME))
        .collect()
}

fn escaped(text: &str, long: bool) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let inside_name = long && chars.peek().is_some_and(|next| next.is_alphanumeric());
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '{' | '}' | '%' | '$' | '#' | '&' => {
                out.push('\\');
                out.push(c);
            }
            '_' => out.push_str("\\_"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '"' => out.push_str("\\textquotedbl{}"),
            '`' => out.push_str("\\textasciigrave{}"),
            // After a line's end these would belong to the command that ends
            // it, and a bracket ends what stands in brackets.
            '[' | ']' | '*' => {
                out.push('{');
                out.push(c);
                out.push('}');
            }
            // Braces keep "--" from becoming a dash and "?`" a Spanish mark.
            '-' if chars.peek() == Some(&'-') => out.push_str("-{}"),
            c if c.is_control() => out.push(' '),
            c if c.is_ascii() || is_latin(c) => out.push(c),
            c => match mathematics(c) {
                Some(command) => out.push_str(&format!("\\ensuremath{{{command}}}")),
                None => out.push_str(&format!("{{[U+{:04X}]}}", u32::from(c))),
            },
        }
        if inside_name && matches!(c, '/' | '_' | '.') {
            out.push_str("\\allowbreak{}");
        }
    }
    out
}

/// Letters of the T1 encoding, and the punctuation that LaTeX sets in text.
fn is_latin(c: char) -> bool {
    matches!(c, '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{ff}'
        | '\u{a7}' | '\u{2013}' | '\u{2014}' | '\u{2018}' | '\u{2019}' | '\u{201c}'
        | '\u{201d}' | '\u{2026}')
}

fn mathematics(c: char) -> Option<&'static str> {
    Some(match c {
        'α' => "\\alpha",
        'β' => "\\beta",
        'γ' => "\\gamma",
        'δ' => "\\delta",
        'ε' => "\\varepsilon",
        'η' => "\\eta",
        'θ' => "\\theta",
        'κ' => "\\kappa",
        'λ' => "\\lambda",
        'μ' | 'µ' => "\\mu",
        'ν' => "\\nu",
        'π' => "\\pi",
        'ρ' => "\\rho",
        'σ' => "\\sigma",
        'τ' => "\\tau",
        'φ' => "\\varphi",
        'χ' => "\\chi",
        'ω' => "\\omega",
        'Γ' => "\\Gamma",
        'Δ' => "\\Delta",
        'Λ' => "\\Lambda",
        'Π' => "\\Pi",
        'Σ' => "\\Sigma",
        'Φ' => "\\Phi",
        'Ω' => "\\Omega",
        '∂' => "\\partial",
        '∑' => "\\sum",
        '√' => "\\surd",
        '∞' => "\\infty",
        '−' => "-",
        '±' => "\\pm",
        '×' => "\\times",
        '·' => "\\cdot",
        '÷' => "\\div",
        '≤' => "\\leq",
        '≥' => "\\geq",
        '≠' => "\\neq",
        '≈' => "\\approx",
        '∼' => "\\sim",
        '‖' | '∥' => "\\Vert",
        '⊥' => "\\perp",
        '∈' => "\\in",
        '→' => "\\rightarrow",
        '←' => "\\leftarrow",
        '↔' => "\\leftrightarrow",
        '⇒' => "\\Rightarrow",
        '²' => "{}^2",
        '³' => "{}^3",
        '¹' => "{}^1",
        '½' => "\\frac{1}{2}",
        '°' => "{}^\\circ",
        'ℓ' => "\\ell",
        '\u{a0}' | '\u{202f}' => "\\,",
        _ => return None,
    })
}

/// The macro of a number: its id with each part capitalised and digits spelt
/// out, since LaTeX names hold letters only.
fn macro_name(id: &str) -> String {
    const DIGITS: [&str; 10] = [
        "Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine",
    ];
    let mut name = "Num".to_owned();
    let mut capital = true;
    for c in id.chars() {
        if let Some(word) = c.to_digit(10).and_then(|d| DIGITS.get(d as usize)) {
            name.push_str(word);
            capital = true;
        } else if c.is_ascii_alphabetic() {
            name.push(if capital { c.to_ascii_uppercase() } else { c });
            capital = false;
        } else {
            capital = true;
        }
    }
    name
}

/// A macro for each id. Ids that differ only in what a macro cannot hold get
/// a letter more, in the order of the ids.
pub(crate) fn macro_names<'a>(
    ids: impl IntoIterator<Item = &'a String>,
) -> BTreeMap<String, String> {
    let mut taken = BTreeSet::new();
    let mut names = BTreeMap::new();
    for id in ids {
        let mut name = macro_name(id);
        while !taken.insert(name.clone()) {
            name.push('X');
        }
        names.insert(id.clone(), name);
    }
    names
}

/// Where the macros stand.
pub(crate) const MACROS: &str = "macros.tex";

/// One macro a number, with its origin in a comment above it.
pub(crate) fn macros(book: &Book) -> String {
    let mut out = String::from("% Every number of the report; written by assay, not by hand.\n");
    for (id, number) in book.iter() {
        let about: String = origin(id, number)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let name = book.macro_name(id).unwrap_or_default();
        let value = book.shown(id).map(|s| set(&s)).unwrap_or_default();
        out.push_str(&format!("% {about}\n\\newcommand{{\\{name}}}{{{value}}}\n"));
    }
    out
}

/// The printed number as siunitx takes it.
fn set(shown: &Shown) -> String {
    let below = if shown.below { "< " } else { "" };
    let sign = if shown.negative { "-" } else { "" };
    let digits = shown.digits.replace(',', "");
    let power = shown.exponent.map(|e| format!("e{e}")).unwrap_or_default();
    // A p value is printed without the zero before its point.
    let bare = if shown.digits.starts_with('.') {
        "[print-zero-integer=false]"
    } else {
        ""
    };
    let number = format!("{below}{sign}{digits}{power}");
    if shown.percent {
        format!("\\qty{{{number}}}{{\\percent}}")
    } else {
        format!("\\num{bare}{{{number}}}")
    }
}

#[cfg(test)]
mod tests {
    use assay_record::Format;

    use super::{macro_name, macro_names, set};
    use crate::shown::shown;

    #[test]
    fn macro_names_hold_letters_only() {
        assert_eq!(
            macro_name("h25.smollm2-135m.as-published"),
            "NumHTwoFiveSmollmTwoOneThreeFiveMAsPublished"
        );
    }

    #[track_caller]
    fn check(value: f64, format: Format, expected: &str) {
        assert_eq!(set(&shown(value, format)), expected);
    }

    #[test]
    fn every_id_has_its_own_macro() {
        let ids = ["a.b", "a-b", "a.c"].map(str::to_owned);
        let names = macro_names(&ids);
        assert_eq!(names["a.b"], "NumAB");
        assert_eq!(names["a-b"], "NumABX");
        assert_eq!(names["a.c"], "NumAC");
    }

    #[test]
    fn numbers_are_set() {
        check(-0.8116, Format::Fixed(2), "\\num{-0.81}");
        check(
            0.0002,
            Format::PValue,
            "\\num[print-zero-integer=false]{< .001}",
        );
        check(0.123, Format::Percent, "\\qty{12.3}{\\percent}");
        check(-3.2e-9, Format::Significant(2), "\\num{-3.2e-9}");
        check(49_152.0, Format::Integer, "\\num{49152}");
    }
}
