//! report.pdf, where latexmk is installed.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::error::ReportError;
use crate::latex::MACROS;
use crate::staging::{Staging, io};

/// Seconds since 1970 that stand in the PDF instead of the time of the run:
/// 2000-01-01, so that equal reports have equal bytes.
const DATE: &str = "946684800";

/// report.tex with what it takes in, in a folder of its own.
pub(crate) struct Source {
    folder: TempDir,
}

impl Source {
    /// Copies what LaTeX needs.
    pub(crate) fn copy(files: &Staging) -> Result<Self, ReportError> {
        let folder = files.scratch()?;
        let needed = files
            .names()
            .filter(|name| name.ends_with(".tex") || name.ends_with(".pdf"));
        for name in needed {
            let path = folder.path().join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(io("create", parent))?;
            }
            std::fs::copy(files.path(name), &path).map_err(io("write", &path))?;
        }
        keep_used_macros(folder.path(), files)?;
        Ok(Self { folder })
    }

    /// The PDF, or `None` where there is no latexmk.
    ///
    /// # Errors
    /// LaTeX stopped: its first complaint.
    pub(crate) fn typeset(&self) -> Result<Option<Vec<u8>>, ReportError> {
        self.typeset_with("latexmk")
    }

    fn typeset_with(&self, program: &str) -> Result<Option<Vec<u8>>, ReportError> {
        // -norc: a user's own settings must not change the result.
        let output = Command::new(program)
            .args([
                "-norc",
                "-pdf",
                "-interaction=nonstopmode",
                "-halt-on-error",
            ])
            .args(["-no-shell-escape", "report.tex"])
            .current_dir(self.folder.path())
            .env("SOURCE_DATE_EPOCH", DATE)
            .env("FORCE_SOURCE_DATE", "1")
            // TeX's own guard behind our escaping: it starts no program, and
            // reads and writes by name nothing outside this folder.
            .env("shell_escape", "f")
            .env("openin_any", "p")
            .env("openout_any", "p")
            .output();
        let output = match output {
            Ok(output) => output,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io("run", Path::new(program))(e)),
        };
        if output.status.success() {
            let pdf = self.folder.path().join("report.pdf");
            return std::fs::read(&pdf).map_err(io("read", &pdf)).map(Some);
        }
        let log = std::fs::read(self.folder.path().join("report.log"));
        Err(ReportError::Latex {
            line: complaint(&String::from_utf8_lossy(&log.unwrap_or(output.stdout))),
        })
    }
}

/// Of the macros for papers, hundreds of thousands for thousands of models,
/// LaTeX is given those that the report itself uses.
fn keep_used_macros(folder: &Path, files: &Staging) -> Result<(), ReportError> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(io("read", path));
    let mut texts = String::new();
    for name in files
        .names()
        .filter(|n| n.ends_with(".tex") && *n != MACROS)
    {
        texts.push_str(&read(&folder.join(name))?);
    }
    let path = folder.join(MACROS);
    std::fs::write(&path, used(&read(&path)?, &texts)).map_err(io("write", &path))
}

/// The definitions of commands that are in a text.
fn used(definitions: &str, text: &str) -> String {
    let names: HashSet<&str> = text.split('\\').skip(1).map(letters).collect();
    let is_used = |line: &&str| {
        let defined = line.strip_prefix("\\newcommand{\\").map(letters);
        defined.is_some_and(|name| names.contains(name))
    };
    let lines = definitions.lines().filter(is_used);
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The letters that a text begins with.
fn letters(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphabetic());
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// The first line of a log that starts with an exclamation mark, with the place
/// that it names behind it, or the last line where there is none.
fn complaint(log: &str) -> String {
    let mut lines = log.lines().filter(|l| !l.trim().is_empty());
    let last = lines.clone().next_back().unwrap_or("it left no log");
    let Some(first) = lines.find(|l| l.starts_with('!')) else {
        return last.to_owned();
    };
    match lines.find(|l| l.starts_with("l.")) {
        Some(place) => format!("{first} {place}"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Source, complaint, used};

    fn source(tex: &str) -> Source {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("report.tex"), tex).unwrap();
        Source { folder }
    }

    #[test]
    fn the_first_complaint_is_quoted() {
        let log = "This is pdfTeX\n! Undefined control sequence.\nl.3 \\foo\n! Emergency stop.\n";
        assert_eq!(complaint(log), "! Undefined control sequence. l.3 \\foo");
        assert_eq!(complaint("one\ntwo\n"), "two");
    }

    #[test]
    fn latex_is_given_what_it_uses() {
        let all =
            "% one\n\\newcommand{\\NumOne}{\\num{1}}\n% two\n\\newcommand{\\NumOneTwo}{\\num{2}}\n";
        let of = |text| used(all, text);
        assert_eq!(of("a \\NumOne{} b"), "\\newcommand{\\NumOne}{\\num{1}}\n");
        assert_eq!(of("\\NumOneTwo"), "\\newcommand{\\NumOneTwo}{\\num{2}}\n");
        assert_eq!(of("NumOne"), "");
    }

    #[test]
    fn what_latex_says_reaches_the_user() {
        let tex = r"\documentclass{article}\begin{document}\nosuchcommand\end{document}";
        match source(tex).typeset() {
            Ok(None) => println!("latexmk is not installed: its complaint was not provoked"),
            other => assert_eq!(
                other.unwrap_err().to_string(),
                "latexmk could not set report.tex: ! Undefined control sequence. l.1 \
                 ...lass{article}\\begin{document}\\nosuchcommand"
            ),
        }
    }

    /// A document that does this; what LaTeX says to it.
    #[track_caller]
    fn check_refused(does: &str) {
        let tex =
            format!("\\documentclass{{article}}\\begin{{document}}{does} text\\end{{document}}");
        match source(&tex).typeset() {
            Ok(None) => println!("latexmk is not installed: it was asked to do no harm"),
            Ok(Some(_)) => panic!("LaTeX did it: {does}"),
            Err(_) => (),
        }
    }

    #[test]
    fn a_document_that_means_harm_does_none() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside.tex");
        std::fs::write(&outside, "secret").unwrap();
        check_refused(&format!("\\input{{{}}}", outside.display()));
        let written = folder.path().join("written");
        check_refused(&format!(
            "\\newwrite\\w\\immediate\\openout\\w={} \\immediate\\write\\w{{x}}",
            written.display()
        ));
        // A program that is not started is no error, only nothing.
        let made = folder.path().join("made");
        let tex = format!(
            "\\documentclass{{article}}\\begin{{document}}\\immediate\\write18{{touch {}}} text\\end{{document}}",
            made.display()
        );
        source(&tex).typeset().unwrap();
        assert!(!written.exists() && !made.exists());
    }

    #[test]
    fn without_the_program_there_is_no_pdf() {
        let none = source("").typeset_with("a-program-that-is-not-installed");
        assert_eq!(none.unwrap(), None);
    }
}
