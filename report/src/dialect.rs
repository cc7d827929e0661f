//! The three languages that a report is written in: how each escapes words and
//! sets numbers.

use std::io::Write;

use assay_record::Number;

use crate::book::{Book, short};
use crate::hostile::{code_point, visible};
use crate::latex;
use crate::shown::Shown;

/// An output language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// GitHub-flavoured Markdown.
    Markdown,
    /// HTML 5.
    Html,
    /// LaTeX for pdflatex.
    Latex,
}

impl Dialect {
    /// Rows of a table that are shown: on paper about four pages, since nobody
    /// leafs through thousands of models.
    pub(crate) fn rows(self) -> usize {
        match self {
            Dialect::Markdown | Dialect::Html => usize::MAX,
            Dialect::Latex => 200,
        }
    }

    /// Words of any origin, made harmless. Line breaks become spaces.
    pub(crate) fn words(self, text: &str) -> String {
        match self {
            Dialect::Markdown => markdown(text),
            Dialect::Html => html(text),
            Dialect::Latex => latex::words(text),
        }
    }

    /// A name or command that a machine reads.
    pub(crate) fn code(self, text: &str) -> String {
        match self {
            Dialect::Markdown => markdown_code(text),
            Dialect::Html => format!("<code>{}</code>", html(text)),
            Dialect::Latex => format!("\\texttt{{{}}}", latex::words(text)),
        }
    }

    /// The engine's own escape function for this language.
    pub(crate) fn escape_fn(self) -> tera::EscapeFn {
        fn to(text: String, out: &mut dyn Write) -> std::io::Result<()> {
            out.write_all(text.as_bytes())
        }
        match self {
            Dialect::Markdown => |text, out| to(markdown(text), out),
            Dialect::Html => |text, out| to(html(text), out),
            Dialect::Latex => |text, out| to(latex::words(text), out),
        }
    }

    /// A number with its origin, as far as the language can say it: a measured
    /// one links to its first record.
    pub(crate) fn number(self, id: &str, book: &Book) -> Option<String> {
        let number = book.get(id)?;
        let shown = book.shown(id)?;
        Some(match self {
            Dialect::Markdown => {
                let text = markdown(&shown.plain("-"));
                match number.records.first() {
                    Some(record) => {
                        let title = markdown(id).replace('"', "&quot;");
                        format!("[{text}](#record-{} \"{title}\")", short(record))
                    }
                    None => text,
                }
            }
            Dialect::Html => html_number(id, number, &shown),
            Dialect::Latex => {
                let text = format!("\\{}{{}}", book.macro_name(id)?);
                match number.records.first() {
                    Some(record) => format!("\\fromrecord{{{}}}{{{text}}}", short(record)),
                    None => text,
                }
            }
        })
    }
}

/// Backslash before everything that Markdown could read as markup.
fn markdown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' | '#' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => push(&mut out, c),
        }
    }
    out
}

/// What needs no escape; what is not seen by itself is named.
fn push(out: &mut String, c: char) {
    match code_point(c) {
        Some(point) => out.push_str(&point),
        None => out.push(c),
    }
}

/// A code span: its fence is longer than any run of backticks inside. Bars are
/// escaped even there, since tables are cut before code is read.
fn markdown_code(text: &str) -> String {
    let longest = text
        .split(|c| c != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    let inside = visible(text);
    format!("{fence}{space}{}{space}{fence}", inside.replace('|', "\\|"))
}

fn html(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => push(&mut out, c),
        }
    }
    out
}

/// Everything that is known of a number, in a sentence.
pub(crate) fn origin(id: &str, number: &Number) -> String {
    let mut text = format!("{id} = {:?}: {}", number.value, number.what);
    if let Some(source) = &number.source {
        text.push_str(&format!("; source: {source}"));
    }
    if !number.records.is_empty() {
        let records: Vec<_> = number.records.iter().map(|r| short(r)).collect();
        text.push_str(&format!("; records: {}", records.join(", ")));
    }
    text
}

/// A measured number links to its first record in the provenance table.
fn html_number(id: &str, number: &Number, shown: &Shown) -> String {
    let text = match shown.exponent {
        Some(e) => {
            let sign = if shown.negative { "\u{2212}" } else { "" };
            let power = e.to_string().replace('-', "\u{2212}");
            format!(
                "{sign}{}\u{202f}×\u{202f}10<sup>{power}</sup>",
                shown.digits
            )
        }
        None => html(&shown.plain("\u{2212}")),
    };
    let about = format!(
        "data-id=\"{}\" title=\"{}\"",
        html(id),
        html(&origin(id, number))
    );
    match number.records.first() {
        Some(record) => format!(
            "<a class=\"n\" href=\"#record-{}\" {about}>{text}</a>",
            html(short(record))
        ),
        None => format!("<span class=\"n\" {about}>{text}</span>"),
    }
}

#[cfg(test)]
mod tests {
    use super::Dialect;

    #[track_caller]
    fn check(dialect: Dialect, text: &str, expected: &str) {
        assert_eq!(dialect.words(text), expected);
    }

    #[test]
    fn hostile_words_are_harmless() {
        check(
            Dialect::Html,
            "</script><b a=\"x\">",
            "&lt;/script&gt;&lt;b a=&quot;x&quot;&gt;",
        );
        check(Dialect::Markdown, "a|b\n# [x](y)", "a\\|b \\# \\[x\\](y)");
        check(Dialect::Latex, "[9cm]*", "{[}9cm{]}{*}");
        check(
            Dialect::Latex,
            "\\input{/etc/passwd} 5% of $x_1$ & #2",
            "\\textbackslash{}input\\{/\\allowbreak{}etc/\\allowbreak{}passwd\\} 5\\% of \
             \\$x\\_1\\$ \\& \\#2",
        );
    }

    #[test]
    fn code_cannot_be_left() {
        assert_eq!(Dialect::Markdown.code("a`b|c"), "`` a`b\\|c ``");
        assert_eq!(Dialect::Html.code("</code>"), "<code>&lt;/code&gt;</code>");
    }

    #[test]
    fn latex_sets_mathematics_and_names_what_it_cannot_set() {
        check(
            Dialect::Latex,
            "ρ ≤ −1",
            "\\ensuremath{\\rho} \\ensuremath{\\leq} \\ensuremath{-}1",
        );
        check(Dialect::Latex, "中", "{[U+4E2D]}");
        check(Dialect::Latex, "Schölkopf", "Schölkopf");
    }
}
