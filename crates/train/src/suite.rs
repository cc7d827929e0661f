//! suite.toml: models that are trained on one kind of data by one schedule.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Form, InterchangeSpec, TrainError};

/// suite.toml. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Suite {
    /// One line.
    pub title: String,
    /// What the suite is for.
    pub about: String,
    /// Width of the residual stream of every model.
    pub d_model: usize,
    /// What they are trained on.
    pub data: DataSpec,
    /// How.
    pub training: Training,
    /// Models that differ in nothing but their seed.
    #[serde(rename = "cell")]
    pub cells: Vec<Cell>,
}

/// What models are trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataSpec {
    /// Where sequences come from.
    pub kind: DataKind,
    /// Seed of the text. The order of the data is the same for all models.
    pub seed: u64,
    /// Tokens of a sequence; the most of one where sequences end by
    /// themselves.
    pub length: usize,
    /// About how many tokens the tokenizer has.
    pub vocab: usize,
    /// Sequences that the loss at the end is taken over.
    pub valid: u64,
}

/// Where sequences come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataKind {
    /// [`crate::story`]s end to end.
    Stories,
    /// Small problems in Chinese and English.
    Problems,
}

/// How models are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Training {
    /// Steps.
    pub steps: u64,
    /// Sequences a step.
    pub batch: u64,
    /// Highest learning rate.
    pub peak: f64,
    /// Steps to reach it.
    pub warm_up: u64,
    /// Where it ends, as a share of the peak.
    pub floor: f64,
    /// AdamW's.
    pub weight_decay: f64,
    /// AdamW's.
    pub beta2: f64,
    /// Longest gradient.
    pub clip: f64,
    /// Standard deviation of weights at the start.
    pub init_sd: f64,
}

/// Models that differ in nothing but their seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cell {
    /// Models are named after it and their seed: "name-s1".
    pub name: String,
    /// Architecture.
    #[serde(flatten)]
    pub form: Form,
    /// Seeds of the weights at the start.
    pub seeds: Vec<u64>,
    /// Is the text of every sequence shuffled, so that there is nothing to
    /// learn but how frequent a token is?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shuffled: bool,
    /// Is it trained to hold the answers in a subspace?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interchange: Option<InterchangeSpec>,
    /// Steps after which the first seed's model is kept, beside the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<u64>,
}

/// One model of a suite: all that its weights follow from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Organism {
    /// Its folder's name.
    pub name: String,
    /// Name of its cell.
    pub cell: String,
    /// Seed of its weights at the start.
    pub seed: u64,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Architecture.
    pub architecture: Form,
    /// Is there nothing to learn but frequencies?
    pub shuffled: bool,
    /// Is it trained to hold the answers in a subspace?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interchange: Option<InterchangeSpec>,
    /// Steps after which it is kept, beside the last.
    pub keep: Vec<u64>,
    /// What it is trained on.
    pub data: DataSpec,
    /// How.
    pub training: Training,
}

impl Suite {
    /// Parses suite.toml; `path` is for messages.
    ///
    /// # Errors
    /// Not TOML, an unknown or missing key, a field out of its range, a name
    /// given twice.
    pub fn parse(text: &str, path: &Path) -> Result<Self, TrainError> {
        let wrong = |reason: String| TrainError::Suite {
            path: path.to_path_buf(),
            reason,
        };
        let suite: Self = toml::from_str(text).map_err(|e| wrong(e.message().to_owned()))?;
        let Training { steps, batch, .. } = suite.training;
        for (key, value) in [
            ("d-model", suite.d_model),
            ("length", suite.data.length),
            ("vocab", suite.data.vocab),
        ] {
            if value < 2 {
                return Err(wrong(format!("{key} is {value}; it must be 2 or more")));
            }
        }
        for (key, value) in [
            ("steps", steps),
            ("batch", batch),
            ("valid", suite.data.valid),
        ] {
            if value == 0 {
                return Err(wrong(format!("{key} is 0")));
            }
        }
        let mut names = BTreeSet::new();
        for cell in &suite.cells {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            if cell.name.is_empty() || !cell.name.chars().all(plain) {
                let name = &cell.name;
                return Err(wrong(format!(
                    "{name:?} is no cell's name: use letters, digits, - and ."
                )));
            }
            if !names.insert(&cell.name) {
                return Err(wrong(format!("cell {} is given twice", cell.name)));
            }
            if let Some(late) = cell.keep.iter().find(|s| **s >= steps) {
                return Err(wrong(format!(
                    "cell {} keeps step {late} of {steps} steps",
                    cell.name
                )));
            }
            let (layers, heads, d_head) = cell.form.sizes(suite.d_model);
            if layers == 0 || heads == 0 || d_head == 0 || d_head % 2 != 0 {
                return Err(wrong(format!(
                    "cell {} has {layers} layers and {heads} heads of width {d_head}; \
                     layers and heads must be 1 or more, and the width even",
                    cell.name
                )));
            }
            if let Some(of) = &cell.interchange
                && !((1..suite.d_model).contains(&of.dimensions) && of.block < layers)
            {
                return Err(wrong(format!(
                    "cell {} interchanges {} dimensions before block {}; it has {} and {layers} blocks",
                    cell.name, of.dimensions, of.block, suite.d_model
                )));
            }
        }
        Ok(suite)
    }

    /// Its models in order.
    #[must_use]
    pub fn organisms(&self) -> Vec<Organism> {
        let of_cell = |cell: &Cell| {
            let make = |(i, seed): (usize, &u64)| Organism {
                name: format!("{}-s{seed}", cell.name),
                cell: cell.name.clone(),
                seed: *seed,
                d_model: self.d_model,
                architecture: cell.form.clone(),
                shuffled: cell.shuffled,
                interchange: cell.interchange.clone(),
                keep: if i == 0 {
                    cell.keep.clone()
                } else {
                    Vec::new()
                },
                data: self.data.clone(),
                training: self.training.clone(),
            };
            cell.seeds.iter().enumerate().map(make).collect::<Vec<_>>()
        };
        self.cells.iter().flat_map(of_cell).collect()
    }
}
