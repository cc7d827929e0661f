//! report.pdf, where latexmk is installed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::error::ReportError;

/// Seconds since 1970 that stand in the PDF instead of the time of the run:
/// 2000-01-01, so that equal reports have equal bytes.
const DATE: &str = "946684800";

/// Sets report.tex in a folder of its own and returns the PDF, or `None`
/// where there is no latexmk.
///
/// # Errors
/// LaTeX stopped: its first complaint.
pub(crate) fn typeset(files: &BTreeMap<String, Vec<u8>>) -> Result<Option<Vec<u8>>, ReportError> {
    typeset_with("latexmk", files)
}

fn typeset_with(
    program: &str,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Option<Vec<u8>>, ReportError> {
    let io = |action: &'static str, path: &Path| {
        let path = path.to_path_buf();
        move |source| ReportError::Io {
            action,
            path,
            source,
        }
    };
    let folder = tempfile::tempdir().map_err(io("create a folder for", Path::new("report.tex")))?;
    let needed = files
        .iter()
        .filter(|(name, _)| name.ends_with(".tex") || name.ends_with(".pdf"));
    for (name, bytes) in needed {
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io("create", parent))?;
        }
        std::fs::write(&path, bytes).map_err(io("write", &path))?;
    }
    // -norc: a user's own settings must not change the result.
    let output = Command::new(program)
        .args([
            "-norc",
            "-pdf",
            "-interaction=nonstopmode",
            "-halt-on-error",
        ])
        .args(["-no-shell-escape", "report.tex"])
        .current_dir(folder.path())
        .env("SOURCE_DATE_EPOCH", DATE)
        .env("FORCE_SOURCE_DATE", "1")
        // TeX's own guard behind our escaping: it starts no program, and reads
        // and writes by name nothing outside this folder.
        .env("shell_escape", "f")
        .env("openin_any", "p")
        .env("openout_any", "p")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io("run", Path::new(program))(e)),
    };
    let pdf = folder.path().join("report.pdf");
    if output.status.success() {
        return std::fs::read(&pdf).map_err(io("read", &pdf)).map(Some);
    }
    let log = std::fs::read(folder.path().join("report.log")).unwrap_or(output.stdout);
    Err(ReportError::Latex {
        line: complaint(&String::from_utf8_lossy(&log)),
    })
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

    use std::collections::BTreeMap;

    use super::{complaint, typeset_with};

    #[test]
    fn the_first_complaint_is_quoted() {
        let log = "This is pdfTeX\n! Undefined control sequence.\nl.3 \\foo\n! Emergency stop.\n";
        assert_eq!(complaint(log), "! Undefined control sequence. l.3 \\foo");
        assert_eq!(complaint("one\ntwo\n"), "two");
    }

    #[test]
    fn what_latex_says_reaches_the_user() {
        let tex = br"\documentclass{article}\begin{document}\nosuchcommand\end{document}";
        let files = BTreeMap::from([("report.tex".to_owned(), tex.to_vec())]);
        match typeset_with("latexmk", &files) {
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
        let files = BTreeMap::from([("report.tex".to_owned(), tex.into_bytes())]);
        match typeset_with("latexmk", &files) {
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
        let files = BTreeMap::from([("report.tex".to_owned(), tex.into_bytes())]);
        typeset_with("latexmk", &files).unwrap();
        assert!(!written.exists() && !made.exists());
    }

    #[test]
    fn without_the_program_there_is_no_pdf() {
        let none = typeset_with("a-program-that-is-not-installed", &BTreeMap::new());
        assert_eq!(none.unwrap(), None);
    }
}
