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
        let list: Self = LIST
            .read(&path)
            .context("run cargo xtask reproduce again")?;
        list.check_names()
            .with_context(|| format!("{} is not a list of assay's", path.display()))?;
        Ok(list)
    }

    /// As [`Manifest::load`]; an empty list if nothing was run yet.
    pub(crate) fn load_or_new(store: &Path) -> anyhow::Result<Self> {
        match path(store).exists() {
            true => Self::load(store),
            false => Ok(Self::new()),
        }
    }

    /// Experiments and records become names of files, and the list may come
    /// from somebody else's archive.
    fn check_names(&self) -> anyhow::Result<()> {
        let plain = |name: &str| {
            let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !name.is_empty() && name.chars().all(small)
        };
        let of_records = self.experiments.values().flat_map(|o| &o.measured);
        let records = of_records.map(|measured| &measured.record);
        let names = self.experiments.keys().chain(self.summaries.keys());
        match names.chain(records).find(|name| !plain(name)) {
            Some(name) => bail!("{name:?} is no name of an experiment and no record's id"),
            None => Ok(()),
        }
    }

    pub(crate) fn save(&self, store: &Path) -> anyhow::Result<()> {
        Ok(LIST.write(&path(store), self)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Manifest, Measured, Outcomes};

    #[track_caller]
    fn check(experiment: &str, record: &str, accepted: bool) {
        let folder = tempfile::tempdir().unwrap();
        let mut list = Manifest::new();
        let measured = Measured {
            model: "any name: it becomes no file".to_owned(),
            record: record.to_owned(),
        };
        let outcomes = Outcomes {
            measured: vec![measured],
            not_run: Vec::new(),
        };
        list.experiments.insert(experiment.to_owned(), outcomes);
        list.save(folder.path()).unwrap();
        let loaded = Manifest::load(folder.path());
        assert_eq!(loaded.is_ok(), accepted, "{experiment} {record}");
    }

    #[test]
    fn a_list_names_nothing_outside_of_its_store() {
        check("h25-gain", &"0f".repeat(32), true);
        check("../h25-gain", "0f", false);
        check("/etc", "0f", false);
        check("h25-gain", "../../secret", false);
        check("h25-gain", "a\u{0}b", false);
        check("", "0f", false);
    }
}
