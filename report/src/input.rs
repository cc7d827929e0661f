use std::path::PathBuf;

use assay_record::{RecordError, RecordKey, Summary};

/// Everything a report is made from. Equal inputs give equal bytes.
#[derive(Debug, Clone)]
pub struct ReportInput {
    /// One a experiment, in reading order.
    pub summaries: Vec<Summary>,
    /// Keys of every record that a number of the summaries comes from.
    pub records: Vec<RecordKey>,
    /// What was compared with expected values.
    pub golden: Vec<GoldenLine>,
    /// What the whole run rests on, as (name, value): versions, switches. Only
    /// what is the same in a second run belongs here.
    pub provenance: Vec<(String, String)>,
    /// The command that makes this report.
    pub command: String,
    /// The claims of the first page, in order.
    pub headlines: Vec<Headline>,
    /// What was asked for, and what came of it.
    pub outcomes: Vec<OutcomeLine>,
}

/// Where the canonical JSON of records is read from, a few at a time: all at
/// once would fill the memory.
pub type Records<'a> = &'a (dyn Fn(&RecordKey) -> Result<Vec<u8>, RecordError> + Sync);

/// A claim of the first page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headline {
    /// Its id.
    pub claim: String,
    /// Faults of the published work that bear on it.
    pub errata: Vec<String>,
}

/// The comparison of one experiment on one model with its expected values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldenLine {
    /// Experiment name.
    pub experiment: String,
    /// Registry name.
    pub model: String,
    /// How many values were compared.
    pub compared: usize,
    /// One sentence a value that did not hold.
    pub failures: Vec<String>,
}

/// What became of one experiment on one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeLine {
    /// Experiment name.
    pub experiment: String,
    /// Registry name.
    pub model: String,
    /// Whether there is a record.
    pub outcome: Outcome,
}

/// Whether an experiment was measured on a model. A record that was in the
/// store already is measured: a second run must print the same report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is a record.
    Measured,
    /// There is none, and why.
    NotRun(String),
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Every file, in alphabetical order.
    pub files: Vec<PathBuf>,
    /// What became of report.pdf.
    pub pdf: PdfOutcome,
}

/// What became of report.pdf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PdfOutcome {
    /// latexmk wrote it.
    Written,
    /// There is no latexmk on this machine; report.tex is there to be set
    /// elsewhere, and a report.pdf of an earlier run was removed.
    NoLatexmk,
}
