//! claims.toml: what experiment.toml does not say of a claim.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::toml_reason;
use crate::{ExperimentSpec, RecordError};

/// The claims file: experiment -> what is known of its claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimsFile {
    /// By experiment.
    pub experiments: BTreeMap<String, ExperimentClaims>,
}

/// The claims of one experiment, and what it costs to judge them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentClaims {
    /// Minutes on two cores once everything is built, with the default models.
    pub minutes: f64,
    /// What must be had for it, in words.
    pub needs: String,
    /// By id.
    pub claims: BTreeMap<String, ClaimEntry>,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimEntry {
    /// Its place among the claims of the report's first page, if it is one.
    #[serde(default)]
    pub headline: Option<u32>,
    /// Ids of the tables that decide it; `*` at the end stands for any model.
    pub tables: Vec<String>,
    /// Faults of the published work that bear on it: "E6".
    #[serde(default)]
    pub errata: Vec<String>,
    /// Ids of the published numbers that it rests on.
    #[serde(default)]
    pub published: Vec<String>,
    /// Claims about planted cases that the measure behind it must pass.
    #[serde(default)]
    pub instruments: Vec<String>,
    /// Claims about the same data without which it says little.
    #[serde(default)]
    pub controls: Vec<String>,
}

impl ClaimsFile {
    /// Parses claims.toml; `path` is for messages.
    ///
    /// # Errors
    /// Not TOML, an unknown or missing key, a number of minutes that is none,
    /// a claim without a table.
    pub fn parse(text: &str, path: &Path) -> Result<Self, RecordError> {
        let malformed = |reason: String| RecordError::Malformed {
            path: path.to_path_buf(),
            kind: "claims file",
            reason,
        };
        let file: Self = toml::from_str(text).map_err(|e| malformed(toml_reason(text, &e)))?;
        for (name, experiment) in &file.experiments {
            if !(experiment.minutes > 0.0 && experiment.minutes.is_finite()) {
                return Err(malformed(format!(
                    "minutes of {name} is {}, not a positive number",
                    experiment.minutes
                )));
            }
            if let Some((id, _)) = experiment.claims.iter().find(|(_, c)| c.tables.is_empty()) {
                return Err(malformed(format!("claim {id} names no table")));
            }
        }
        Ok(file)
    }

    /// The entry of a claim.
    #[must_use]
    pub fn claim(&self, id: &str) -> Option<&ClaimEntry> {
        self.experiments.values().find_map(|e| e.claims.get(id))
    }

    /// Where the file and the declarations say different things, a sentence
    /// each: a claim that only one of them has, a claim that names another
    /// which nobody declares.
    #[must_use]
    pub fn differences(&self, specs: &BTreeMap<String, ExperimentSpec>) -> Vec<String> {
        let mut faults = Vec::new();
        let declared = |id: &str| specs.values().any(|s| s.claims.iter().any(|c| c.id == id));
        for (name, spec) in specs.iter().filter(|(_, s)| !s.claims.is_empty()) {
            for claim in &spec.claims {
                let entry = self.experiments.get(name);
                if entry.is_none_or(|e| !e.claims.contains_key(&claim.id)) {
                    faults.push(format!(
                        "claim {} of {name} is declared and not in claims.toml",
                        claim.id
                    ));
                }
            }
        }
        for (name, experiment) in &self.experiments {
            for (id, entry) in &experiment.claims {
                let of = specs.get(name);
                if of.is_none_or(|s| s.claims.iter().all(|c| c.id != *id)) {
                    faults.push(format!(
                        "claim {id} stands in claims.toml under {name}, which does not declare it"
                    ));
                }
                let others = entry.instruments.iter().chain(&entry.controls);
                for other in others.filter(|o| !declared(o)) {
                    faults.push(format!(
                        "claim {id} names {other} in claims.toml, which no experiment declares"
                    ));
                }
            }
        }
        faults
    }
}
