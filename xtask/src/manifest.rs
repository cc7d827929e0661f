//! What the last run asked for and what came of it: the list that the
//! statistics, the comparison and the report go by. It holds nothing that
//! differs between two equal runs; times live in log.jsonl beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use assay_record::{NotRun, write_atomically};
use serde::{Deserialize, Serialize};

use crate::say::say;

const FORMAT: u32 = 1;

/// The last run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    /// Experiment -> what came of it.
    pub(crate) experiments: BTreeMap<String, Outcomes>,
}

/// What came of one experiment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcomes {
    /// Models measured, in the order of the registry.
    pub(crate) measured: Vec<Measured>,
    /// Models not measured.
    pub(crate) not_run: Vec<NotRun>,
}

/// A model that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Measured {
    /// Name, with the revision if it is not the usual one.
    pub(crate) model: String,
    /// Record id.
    pub(crate) record: String,
}

fn path(store: &Path) -> PathBuf {
    store.join("last-run.json")
}

impl Manifest {
    pub(crate) fn new() -> Self {
        Self {
            format: FORMAT,
            experiments: BTreeMap::new(),
        }
    }

    pub(crate) fn load(store: &Path) -> anyhow::Result<Self> {
        let path = path(store);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "failed to read {}: run cargo xtask reproduce --all first, or look at a finished run with --store golden/run.zip",
                path.display()
            )
        })?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not the list of a run", path.display()))
    }

    pub(crate) fn save(&self, store: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(write_atomically(&path(store), text.as_bytes())?)
    }
}

/// Adds a line to the run log: what differs between two equal runs.
pub(crate) fn log(store: &Path, entry: &serde_json::Value) -> anyhow::Result<()> {
    use std::io::Write;
    let path = store.join("log.jsonl");
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("failed to open {}", path.display()))?;
    writeln!(file, "{entry}").with_context(|| format!("failed to write {}", path.display()))
}

/// What the log says of the making of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Seconds of the epoch.
    pub(crate) at: u64,
    pub(crate) host: String,
    pub(crate) commit: String,
    /// Arguments of cargo xtask.
    pub(crate) command: Vec<String>,
    pub(crate) threads: usize,
    pub(crate) model: String,
    /// Records made with it.
    #[serde(default)]
    pub(crate) records: Vec<String>,
    /// Of the model's whole unit.
    pub(crate) seconds: f64,
}

/// The log by record. A record made twice (a damaged one, made again) goes by
/// its last line.
pub(crate) fn read_log(store: &Path) -> anyhow::Result<BTreeMap<String, Made>> {
    let path = store.join("log.jsonl");
    let mut made = BTreeMap::new();
    if !path.exists() {
        return Ok(made);
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    for (number, line) in text.lines().enumerate() {
        // A run that was killed may leave half a line at the end.
        let Ok(entry) = serde_json::from_str::<Made>(line) else {
            say!(
                "{}: line {} is no entry, and is left out",
                path.display(),
                number + 1
            );
            continue;
        };
        for record in &entry.records {
            made.insert(record.clone(), entry.clone());
        }
    }
    Ok(made)
}
