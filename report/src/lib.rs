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
mod story;
mod tables;
mod text;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use assay_record::{Number, Summary, write_atomically};

use crate::archive::Packed;
use crate::book::Book;

pub use error::ReportError;
pub use input::{
    GoldenLine, Headline, Outcome, OutcomeLine, PdfOutcome, Records, ReportInput, Written,
};
pub use samples::{samples_csv, samples_parquet};

/// Writes the report into the folder `out`, which is made where it is missing:
/// report.md, report.html (self-contained), report.tex with preamble.tex,
/// macros.tex and tables/, which a paper can take in, report.pdf where latexmk
/// is installed, figures/ with SVG, PDF and CSV of each figure, tables/ with
/// the CSV of each table of a summary, and results.zip with summaries, records, figures, texts and a
/// manifest of SHA-256 hashes. Nothing is written before everything could be
/// made.
///
/// # Errors
/// A summary that refers to a number or record that is not there, a text whose
/// placeholder was not replaced, a figure whose data cannot be drawn, a LaTeX
/// run that stopped, a record that cannot be read, a file that cannot be
/// written.
///
/// `tell` is told (stage, done, total).
pub fn write_report(
    input: &ReportInput,
    records: Records,
    out: &Path,
    tell: &mut dyn FnMut(&str, u64, u64),
) -> Result<Written, ReportError> {
    let mut files = render_files(input, records, tell)?;
    // Nobody knows how far LaTeX is.
    tell("setting report.pdf", 0, 1);
    let pdf = match pdf::typeset(&files)? {
        Some(bytes) => {
            files.insert("report.pdf".to_owned(), bytes);
            PdfOutcome::Written
        }
        None => {
            remove_stale(&out.join("report.pdf"))?;
            PdfOutcome::NoLatexmk
        }
    };
    let mut written = Vec::new();
    for (name, bytes) in &files {
        let path = out.join(name);
        write_atomically(&path, bytes)?;
        written.push(path);
    }
    Ok(Written {
        files: written,
        pdf,
    })
}

/// Every number of the report by its id: those of the summaries, and those that
/// the harness itself states (facts about models, declared thresholds, counts
/// of checks).
///
/// # Errors
/// As [`write_report`], of the numbers.
pub fn all_numbers(input: &ReportInput) -> Result<BTreeMap<String, Number>, ReportError> {
    let book = Book::new(input)?;
    Ok(book
        .iter()
        .map(|(id, n)| (id.to_owned(), n.clone()))
        .collect())
}

/// Every file but report.pdf, by name.
fn render_files(
    input: &ReportInput,
    records: Records,
    tell: &mut dyn FnMut(&str, u64, u64),
) -> Result<BTreeMap<String, Vec<u8>>, ReportError> {
    check_names(&input.summaries)?;
    let book = Arc::new(Book::new(input)?);
    let mut files = BTreeMap::new();
    let mut drawn = Vec::new();
    let figures: usize = input.summaries.iter().map(|s| s.figures.len()).sum();
    for summary in &input.summaries {
        for f in &summary.figures {
            let name = view::figure_name(summary, &f.id);
            let figure = figure::draw(f, &book)?;
            let pdf = figure::pdf(&f.id, &figure)?;
            let svg = figure.svg.clone().into_bytes();
            if files.insert(format!("figures/{name}.svg"), svg).is_some() {
                return Err(ReportError::Duplicate {
                    kind: "figure file",
                    name,
                });
            }
            files.insert(format!("figures/{name}.pdf"), pdf);
            files.insert(format!("figures/{name}.csv"), figure::csv(f)?);
            drawn.push(figure);
            tell("drawing figures", drawn.len() as u64, figures as u64);
        }
    }
    for summary in &input.summaries {
        for table in &summary.tables {
            let name = format!("tables/{}-{}.csv", summary.experiment, table.id);
            files.insert(name, tables::csv(summary, table)?);
        }
    }
    let story = match story::figure(input) {
        Some(f) => {
            let drawn = figure::draw(&f, &book)?;
            files.insert(
                "figures/story.svg".to_owned(),
                drawn.svg.clone().into_bytes(),
            );
            files.insert("figures/story.pdf".to_owned(), figure::pdf(&f.id, &drawn)?);
            files.insert("figures/story.csv".to_owned(), figure::csv(&f)?);
            Some((f, drawn))
        }
        None => None,
    };
    tell("writing tables and texts", 0, 1);
    let view = view::view(input, story, drawn, &book)?;
    for (name, text) in render::render(&view, &book)? {
        files.insert(name, text.into_bytes());
    }
    // Thousands of models fill much memory, and packing wants its own.
    drop(view);
    files.insert("macros.tex".to_owned(), latex::macros(&book).into_bytes());
    drop(book);
    files.insert("preamble.tex".to_owned(), render::PREAMBLE.into());
    let mut packed: BTreeMap<String, Packed> = (files.iter())
        .map(|(name, bytes)| (name.clone(), Packed::Bytes(bytes)))
        .collect();
    for summary in &input.summaries {
        let name = format!("summaries/{}.json", summary.experiment);
        packed.insert(name, Packed::Summary(summary));
    }
    for key in &input.records {
        let name = format!("records/{}.json", archive::record_id(key)?);
        packed.insert(name, Packed::Record(key));
    }
    let zip = archive::pack(&packed, records, tell)?;
    files.insert("results.zip".to_owned(), zip);
    Ok(files)
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

/// A report.pdf of an earlier run would pass for this one's.
fn remove_stale(path: &Path) -> Result<(), ReportError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ReportError::Io {
            action: "remove",
            path: path.to_path_buf(),
            source: e,
        }),
        _ => Ok(()),
    }
}
