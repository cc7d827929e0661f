use std::path::PathBuf;

use assay_record::RecordError;

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A table cannot be written.
    #[error("table {table}: {reason}")]
    Table {
        /// The table's id.
        table: String,
        /// What went wrong.
        reason: String,
    },
    /// A summary that refers to nothing, a file that cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Two different things under one name.
    #[error("{kind} {name} is given twice; every summary must use its own names")]
    Duplicate {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A name that cannot be part of a file name or an anchor.
    #[error("{kind} {name:?} must be made of ASCII letters, digits, dots and dashes")]
    BadName {
        /// What kind of name.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A number that cannot be printed under its format.
    #[error("number {id} is {value}, which is not {expected}")]
    BadNumber {
        /// Its id.
        id: String,
        /// Its value.
        value: f64,
        /// What its format asks for.
        expected: &'static str,
    },
    /// A number says that it comes from a record that was not given.
    #[error(
        "number {number} is said to come from record {record}, which is not among the report's records"
    )]
    UnknownRecord {
        /// Id of the number.
        number: String,
        /// Id of the record.
        record: String,
    },
    /// A `{id}` that names no number, or an open brace that is never closed.
    #[error("the text {text:?} refers to {{{id}}}, which is no number of this report")]
    Placeholder {
        /// The text.
        text: String,
        /// What stands between the braces.
        id: String,
    },
    /// A `{id}` in a field that holds no placeholders.
    #[error("{{{id}}} was left unreplaced in {file}: the field it stands in holds no placeholders")]
    Unreplaced {
        /// Id of the number.
        id: String,
        /// The output in which it was found.
        file: String,
    },
    /// A figure that cannot be drawn.
    #[error("figure {figure} cannot be drawn: {reason}")]
    Figure {
        /// Its id.
        figure: String,
        /// Why.
        reason: String,
    },
    /// A template that does not fit the data.
    #[error("template {template} cannot be rendered: {reason}")]
    Template {
        /// Its name.
        template: &'static str,
        /// The engine's message.
        reason: String,
    },
    /// The typesetter stopped.
    #[error("latexmk could not set report.tex: {line}")]
    Latex {
        /// The first line of the log that starts with an exclamation mark, or
        /// the last line where there is none.
        line: String,
    },
    /// A folder where a file must go.
    #[error("{path} is a folder, and a file of the report goes there: move or remove it")]
    InTheWay {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or program.
        path: PathBuf,
        /// The system's own word.
        source: std::io::Error,
    },
    /// The raw values cannot be written as a table.
    #[error("cannot write the table of raw values: {0}")]
    Samples(String),
    /// The archive could not be built.
    #[error("cannot pack {name} into results.zip: {reason}")]
    Archive {
        /// The entry.
        name: String,
        /// The library's message.
        reason: String,
    },
}
