//! What the last run asked for and what came of it: the list that the
//! statistics, the comparison and the report go by. It holds nothing that
//! differs between two equal runs; how records were made lies beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use assay_record::{NotRun, Seal};
use serde::{Deserialize, Serialize};

const LIST: Seal = Seal {
    kind: "list of a run",
    field: "run",
    format: 2,
};

/// The last run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Experiment -> what came of it.
    pub(crate) experiments: BTreeMap<String, Outcomes>,
    /// Experiment -> SHA-256 of its summary.
    pub(crate) summaries: BTreeMap<String, String>,
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
            experiments: BTreeMap::new(),
            summaries: BTreeMap::new(),
        }
    }

    pub(crate) fn load(store: &Path) -> anyhow::Result<Self> {
        let path = path(store);
        if !path.exists() {
            bail!(
                "{} is not there: run cargo xtask reproduce --all first, or look at a finished run with --store golden/run.zip",
                path.display()
            );
        }
        LIST.read(&path).context("run cargo xtask reproduce again")
    }

    pub(crate) fn save(&self, store: &Path) -> anyhow::Result<()> {
        Ok(LIST.write(&path(store), self)?)
    }
}
