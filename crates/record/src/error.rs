use std::path::{Path, PathBuf};

/// What can be wrong with a file that assay reads or writes.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done: "read", "write", "lock"….
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own word.
        source: std::io::Error,
    },
    /// The text is not of the expected form.
    #[error("{path} is not a readable {kind}: {}", one_line(reason))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        kind: &'static str,
        /// The parser's message, with line and field where it knows them.
        reason: String,
    },
    /// The bytes are not those that were written.
    #[error(
        "{path} is damaged: its content hashes to {found} and says {}; delete it and run again",
        one_line(stated)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The hash that the file states.
        stated: String,
        /// The hash of what the file holds.
        found: String,
    },
    /// A format version that this build does not know.
    #[error("{path} has {kind} format {found}; this build reads format {expected}")]
    Version {
        /// The file.
        path: PathBuf,
        /// What it holds.
        kind: &'static str,
        /// The version in the file.
        found: u32,
        /// The version this build reads.
        expected: u32,
    },
    /// A measure that is not a number.
    #[error("measure {measure} of {unit} is {value}: a record holds finite numbers only")]
    NotFinite {
        /// The measure's name.
        measure: String,
        /// The prompt, problem or model.
        unit: String,
        /// NaN or an infinity.
        value: f64,
    },
    /// Two values under one name.
    #[error("{kind} {name} is given twice")]
    Duplicate {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A name that is not in the record or summary.
    #[error("there is no {kind} named {name}")]
    Missing {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl RecordError {
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> RecordError {
        let path = path.to_path_buf();
        move |source| RecordError::Io {
            action,
            path,
            source,
        }
    }
}

/// A reason may quote a file; what it quotes must not break the line.
fn one_line(reason: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    reason.chars().map(plain).collect()
}

/// What a TOML parser says, with the line it is about.
pub(crate) fn toml_reason(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
        None => message.to_owned(),
    }
}
