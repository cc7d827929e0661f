//! The report of a run: Markdown, HTML, LaTeX and PDF, figures, and an archive
//! of it all.
//!
//! It formats and computes nothing: every printed number is one of a
//! [`Summary`](assay_record::Summary), a model fact, a declared threshold or a
//! count of checks, and no number is typed into a template. Equal inputs give
//! equal bytes: there is no clock, no randomness and no unordered map here.

mod archive;
mod book;
mod columns;
mod dialect;
mod error;
mod figure;
mod hostile;
mod input;
mod latex;
mod pdf;
mod render;
mod samples;
mod sections;
mod shown;
mod staging;
mod story;
mod tables;
mod text;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;

use assay_record::{Figure, Number, Summary};

use crate::archive::Packed;
use crate::book::Book;
use crate::staging::Staging;

pub use error::ReportError;
pub use input::{
    GoldenLine, Headline, Outcome, OutcomeLine, PdfOutcome, Records, ReportInput, Written,
};
pub use samples::{samples_csv, samples_parquet};

/// Writes the report into the folder `out`, which is made where it is missing:
/// report.md, report.html (self-contained), report.tex with preamble.tex,
/// macros.tex and tables/, which a paper can take in, report.pdf where latexmk
/// is installed, figures/ with SVG, PDF and CSV of each figure, tables/ with
/// the CSV of each table of a summary, and results.zip with summaries, records,
/// figures, texts and a manifest of SHA-256 hashes. Nothing is written before
/// everything could be made. Figures and tables of an earlier report there
/// that this one lacks are removed.
///
/// # Errors
/// A summary that refers to a number or record that is not there, a text whose
/// placeholder was not replaced, a figure whose data cannot be drawn, a LaTeX
/// run that stopped, a record that cannot be read, a file that cannot be
/// written, a folder where a file must go.
///
/// `tell` is told (stage, done, total).
pub fn write_report(
    input: &Arc<ReportInput>,
    records: Records,
    out: &Path,
    tell: &mut dyn FnMut(&str, u64, u64),
) -> Result<Written, ReportError> {
    check_names(&input.summaries)?;
    let mut files = Staging::new(out, tell)?;
    write_texts(input, &mut files, tell)?;
    // LaTeX takes seconds, in which the archive is packed.
    let source = pdf::Source::copy(&files)?;
    let pdf = std::thread::scope(|scope| {
        let pdf = scope.spawn(|| source.typeset());
        let packed = pack(input, records, &mut files, tell);
        // Nobody knows how far LaTeX is.
        tell("setting report.pdf", 0, 1);
        packed.and(pdf.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })?;
    let outcome = match pdf {
        Some(bytes) => {
            files.write("report.pdf", &bytes)?;
            PdfOutcome::Written
        }
        None => PdfOutcome::NoLatexmk,
    };
    Ok(Written {
        files: files.into_place()?,
        pdf: outcome,
    })
}

/// Every number of the report by its id: those of the summaries, and those that
/// the harness itself states (facts about models, declared thresholds, counts
/// of checks).
///
/// # Errors
/// As [`write_report`], of the numbers.
pub fn all_numbers(input: &Arc<ReportInput>) -> Result<BTreeMap<String, Number>, ReportError> {
    let book = Book::new(input)?;
    Ok(book
        .iter()
        .map(|(id, n)| (id.to_owned(), n.clone()))
        .collect())
}

/// Writes figures, tables and texts.
fn write_texts(
    input: &Arc<ReportInput>,
    files: &mut Staging,
    tell: &mut dyn FnMut(&str, u64, u64),
) -> Result<(), ReportError> {
    let book = Arc::new(Book::new(input)?);
    let mut drawn = Vec::new();
    let figures: usize = input.summaries.iter().map(|s| s.figures.len()).sum();
    for summary in &input.summaries {
        for f in &summary.figures {
            let name = view::figure_name(summary, &f.id);
            drawn.push(write_figure(f, &name, &book, files)?);
            tell("drawing figures", drawn.len() as u64, figures as u64);
        }
    }
    for summary in &input.summaries {
        for table in &summary.tables {
            let name = format!("tables/{}-{}.csv", summary.experiment, table.id);
            files.write(&name, &tables::csv(summary, table)?)?;
        }
    }
    let story = match story::figure(input) {
        Some(f) => {
            let drawn = write_figure(&f, "story", &book, files)?;
            Some((f, drawn))
        }
        None => None,
    };
    tell("writing tables and texts", 0, 1);
    let view = view::view(input, story, drawn, &book)?;
    render::render(&view, &book, files)?;
    files.write(latex::MACROS, latex::macros(&book).as_bytes())?;
    files.write("preamble.tex", render::PREAMBLE.as_bytes())
}

/// Draws a figure and writes it as SVG, PDF and CSV.
fn write_figure(
    figure: &Figure,
    name: &str,
    book: &Book,
    files: &mut Staging,
) -> Result<figure::Drawn, ReportError> {
    let drawn = figure::draw(figure, book)?;
    files.write(&format!("figures/{name}.svg"), drawn.svg.as_bytes())?;
    let pdf = figure::pdf(&figure.id, &drawn)?;
    files.write(&format!("figures/{name}.pdf"), &pdf)?;
    files.write(&format!("figures/{name}.csv"), &figure::csv(figure)?)?;
    Ok(drawn)
}

/// Packs results.zip: every file that is there, the summaries and the records.
fn pack(
    input: &ReportInput,
    records: Records,
    files: &mut Staging,
    tell: &mut dyn FnMut(&str, u64, u64),
) -> Result<(), ReportError> {
    let mut packed: BTreeMap<String, Packed> = (files.names())
        .map(|name| (name.to_owned(), Packed::File(files.path(name))))
        .collect();
    for summary in &input.summaries {
        let name = format!("summaries/{}.json", summary.experiment);
        packed.insert(name, Packed::Summary(summary));
    }
    for key in &input.records {
        let name = format!("records/{}.json", archive::record_id(key)?);
        packed.insert(name, Packed::Record(key));
    }
    archive::pack(&packed, records, files.create("results.zip")?, tell)
}

/// Names that become file names or anchors: of few characters, and used once.
fn check_names(summaries: &[Summary]) -> Result<(), ReportError> {
    let mut seen = BTreeSet::new();
    let mut check = |kind: &'static str, scope: &str, name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(ReportError::BadName {
                kind,
                name: name.to_owned(),
            });
        }
        if !seen.insert(format!("{kind} {scope} {name}")) {
            return Err(ReportError::Duplicate {
                kind,
                name: name.to_owned(),
            });
        }
        Ok(())
    };
    for summary in summaries {
        check("experiment", "", &summary.experiment)?;
        for table in &summary.tables {
            check("table", &summary.experiment, &table.id)?;
        }
        for figure in &summary.figures {
            check("figure", &summary.experiment, &figure.id)?;
        }
    }
    Ok(())
}
