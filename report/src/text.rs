//! Texts with `{id}` placeholders, cut into words and numbers.

use crate::book::Book;
use crate::error::ReportError;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Words.
    Words(&'a str),
    /// Id of a number.
    Number(&'a str),
}

/// Cuts a text at its placeholders. Where a number prints as "< .001", an
/// equals sign before it is dropped: "p = {id}" reads "p < .001".
pub(crate) fn pieces<'a>(text: &'a str, book: &Book) -> Result<Vec<Piece<'a>>, ReportError> {
    let fault = |id: &str| ReportError::Placeholder {
        text: text.to_owned(),
        id: id.to_owned(),
    };
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((words, after)) = rest.split_once('{') {
        let (id, tail) = after.split_once('}').ok_or_else(|| fault(after))?;
        let shown = book.shown(id).ok_or_else(|| fault(id))?;
        let words = if shown.below {
            words.strip_suffix("= ").unwrap_or(words)
        } else {
            words
        };
        if !words.is_empty() {
            out.push(Piece::Words(words));
        }
        out.push(Piece::Number(id));
        rest = tail;
    }
    if !rest.is_empty() {
        out.push(Piece::Words(rest));
    }
    Ok(out)
}

/// Renders a text, with one function for words and one for numbers.
pub(crate) fn rich(
    text: &str,
    book: &Book,
    words: impl Fn(&str) -> String,
    number: impl Fn(&str) -> String,
) -> Result<String, ReportError> {
    Ok(pieces(text, book)?
        .into_iter()
        .map(|piece| match piece {
            Piece::Words(w) => words(w),
            Piece::Number(id) => number(id),
        })
        .collect())
}

/// A text with its numbers, without markup and with real minus signs, as set
/// inside figures.
pub(crate) fn unmarked(text: &str, book: &Book) -> Result<String, ReportError> {
    rich(text, book, str::to_owned, |id| {
        book.shown(id)
            .map(|s| s.plain("\u{2212}"))
            .unwrap_or_default()
    })
}
