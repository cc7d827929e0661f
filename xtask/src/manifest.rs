//! What the last run asked for and what came of it: the list that the
//! statistics, the comparison and the report go by. It holds nothing that
//! differs between two equal runs; times live in log.jsonl beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use assay_record::{NotRun, write_atomically};
use serde::{Deserialize, Serialize};

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
                "failed to read {}: run cargo xtask reproduce --all first",
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
