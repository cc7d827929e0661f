use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::canonical::sha256_hex;
use crate::error::{RecordError, toml_reason};

/// experiment.toml: what is declared before a run. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExperimentSpec {
    /// Rises when the meaning of a sample changes.
    pub version: u32,
    /// One line, for headings.
    pub title: String,
    /// The claim under test, in a sentence.
    pub hypothesis: String,
    /// What the claim predicts for the primary measure.
    pub predicts: String,
    /// What would refute it.
    pub falsified_by: String,
    /// What counts as one unit of the tests across units: "model", "prompt".
    pub unit: String,
    /// Computation type, "f32" unless a reason is given.
    pub dtype: String,
    /// Hook sites that the experiment reads (TransformerLens names, globs).
    pub sites: Vec<String>,
    /// Prompt files, relative to experiment.toml; none for an experiment
    /// without prompts.
    pub prompts: Vec<String>,
    /// Seed of the experiment's named random streams.
    pub seed: u64,
    /// Family-wise error rate.
    pub alpha: f64,
    /// Registry names of the models that the claim speaks of.
    pub models: Vec<String>,
    /// Folder whose subfolders are the models that this experiment runs on
    /// instead of the registry's default ones; relative to the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_models: Option<String>,
    /// Does it follow a model over its training? Then it runs on the
    /// checkpoints of the project's own models too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows_training: bool,
    /// The claims, each with its own direction and smallest effect of interest.
    pub claims: Vec<Claim>,
}

/// One pre-registered claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Claim {
    /// Identifier, unique in the project: "h25.rho-predicts-gain".
    pub id: String,
    /// The claim in a sentence.
    pub statement: String,
    /// Name of the statistic that decides.
    pub metric: String,
    /// Sign that the claim predicts.
    pub direction: Direction,
    /// Smallest effect of interest in the metric's own units, > 0.
    pub smallest_effect: f64,
    /// Holm family: p values of one family are adjusted together.
    pub family: String,
}

/// Sign that a claim predicts for its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Above the null value.
    Positive,
    /// Below the null value.
    Negative,
}

impl ExperimentSpec {
    /// Parses experiment.toml; `path` is for messages.
    ///
    /// # Errors
    /// Not TOML, an unknown or missing key, a field out of its range.
    pub fn parse(text: &str, path: &Path) -> Result<Self, RecordError> {
        let malformed = |reason: String| RecordError::Malformed {
            path: path.to_path_buf(),
            kind: "experiment.toml",
            reason,
        };
        let spec: Self = toml::from_str(text).map_err(|e| malformed(toml_reason(text, &e)))?;
        if !(spec.alpha > 0.0 && spec.alpha < 1.0) {
            return Err(malformed(format!(
                "alpha is {}, not between 0 and 1",
                spec.alpha
            )));
        }
        let mut ids = BTreeSet::new();
        for claim in &spec.claims {
            if !ids.insert(&claim.id) {
                return Err(malformed(format!("claim {} is given twice", claim.id)));
            }
            if !(claim.smallest_effect > 0.0 && claim.smallest_effect.is_finite()) {
                return Err(malformed(format!(
                    "smallest-effect of claim {} is {}, not a positive number",
                    claim.id, claim.smallest_effect
                )));
            }
        }
        Ok(spec)
    }

    /// The claim with this id.
    ///
    /// # Errors
    /// There is none.
    pub fn claim(&self, id: &str) -> Result<&Claim, RecordError> {
        self.claims
            .iter()
            .find(|c| c.id == id)
            .ok_or_else(|| RecordError::Missing {
                kind: "claim",
                name: id.to_owned(),
            })
    }
}

/// One text put to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// Unique in the set.
    pub id: String,
    /// Category: the cluster in statistics over prompts.
    pub category: String,
    /// The text; never empty.
    pub text: String,
    /// What else an experiment needs to know of it: "group"…, and its "set",
    /// which is named like the file where it is not given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Prompt {
    /// The value of a tag, or nothing.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.get(name).map(String::as_str)
    }
}

/// A list of prompts and the hash of the files it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptSet {
    /// In file order.
    pub prompts: Vec<Prompt>,
    /// SHA-256 of the files, end to end.
    pub sha256: String,
}

/// How a file holds its prompts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptFormat {
    /// JSON lines, each a whole [`Prompt`].
    Prompts,
    /// One text a line. Ids are the file's name and the line's number; the
    /// category and the tag "set" are the file's name.
    Lines,
    /// JSON lines of any shape, the text in this field; the rest as in
    /// [`PromptFormat::Lines`].
    Field(String),
}

/// A file of prompts.
#[derive(Debug, Clone, Copy)]
pub struct PromptFile<'a> {
    /// Its path, for messages and for the names of [`PromptFormat::Lines`].
    pub path: &'a Path,
    /// What is in it.
    pub text: &'a str,
    /// How.
    pub format: &'a PromptFormat,
}

impl PromptSet {
    /// The set of an experiment without prompts of its own.
    #[must_use]
    pub fn none() -> Self {
        Self {
            prompts: Vec::new(),
            sha256: sha256_hex(b""),
        }
    }

    /// Parses files of prompts, one set from all of them.
    ///
    /// # Errors
    /// A line that is not a prompt, an empty text, an id given twice, a file
    /// without prompts, no files at all.
    pub fn parse(files: &[PromptFile]) -> Result<Self, RecordError> {
        let mut ids = BTreeSet::new();
        let mut prompts = Vec::new();
        let mut hashed = Vec::new();
        for file in files {
            let malformed = |line: usize, reason: String| RecordError::Malformed {
                path: file.path.to_path_buf(),
                kind: "prompt file",
                reason: format!("line {line}: {reason}"),
            };
            hashed.extend_from_slice(file.text.as_bytes());
            let before = prompts.len();
            for (i, line) in file.text.lines().enumerate() {
                if line.trim().is_empty() {
                    continue;
                }
                let prompt = file
                    .prompt(i + 1, line)
                    .map_err(|reason| malformed(i + 1, reason))?;
                if prompt.text.is_empty() {
                    return Err(malformed(i + 1, format!("prompt {} is empty", prompt.id)));
                }
                if !ids.insert(prompt.id.clone()) {
                    return Err(malformed(
                        i + 1,
                        format!("prompt {} is given twice", prompt.id),
                    ));
                }
                prompts.push(prompt);
            }
            if prompts.len() == before {
                return Err(malformed(1, "there are no prompts".to_owned()));
            }
        }
        Ok(Self {
            prompts,
            sha256: sha256_hex(&hashed),
        })
    }

    /// The prompts with this value of a tag, in order. The hash stays that of
    /// the whole set, which is what a record's key names.
    #[must_use]
    pub fn with_tag(&self, tag: &str, value: &str) -> Self {
        let fits = |p: &&Prompt| p.tag(tag) == Some(value);
        Self {
            prompts: self.prompts.iter().filter(fits).cloned().collect(),
            sha256: self.sha256.clone(),
        }
    }

    /// The values of a tag, in the order in which they first come up.
    #[must_use]
    pub fn values_of(&self, tag: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for value in self.prompts.iter().filter_map(|p| p.tag(tag)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }
}

impl PromptFile<'_> {
    /// A prompt that names no set belongs to the one named like its file.
    fn in_a_set(&self, mut prompt: Prompt) -> Prompt {
        let stem = self.path.file_stem().unwrap_or_default();
        let set = prompt.tags.entry("set".to_owned());
        set.or_insert_with(|| stem.to_string_lossy().into_owned());
        prompt
    }

    fn prompt(&self, number: usize, line: &str) -> Result<Prompt, String> {
        let text = match self.format {
            PromptFormat::Prompts => {
                let prompt: Prompt = serde_json::from_str(line).map_err(|e| e.to_string())?;
                return Ok(self.in_a_set(prompt));
            }
            PromptFormat::Lines => line.to_owned(),
            PromptFormat::Field(field) => {
                let value: serde_json::Value =
                    serde_json::from_str(line).map_err(|e| e.to_string())?;
                match value.get(field) {
                    Some(serde_json::Value::String(text)) => text.clone(),
                    Some(_) => return Err(format!("field {field} is not a text")),
                    None => return Err(format!("there is no field {field}")),
                }
            }
        };
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Prompt {
            id: format!("{stem}-{number}"),
            category: stem.clone().into_owned(),
            text,
            tags: BTreeMap::from([("set".to_owned(), stem.into_owned())]),
        })
    }
}
