use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{RecordError, RecordKey};

/// A measured quantity: one number, or one per layer, position or head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Measure {
    /// One number.
    Scalar(f64),
    /// A series; the measure's name says along what.
    Series(Vec<f64>),
}

/// What was measured on one unit (a prompt, a problem, or the model itself).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Identifier of the unit, unique in the record: the prompt's id, or
    /// "model" for what belongs to the model as a whole.
    pub unit: String,
    /// Category or topic the unit belongs to.
    pub cluster: String,
    /// The text, as given.
    pub text: String,
    /// Token ids fed to the model, special tokens included.
    pub token_ids: Vec<u32>,
    /// How many of them the tokenizer added by itself.
    pub special_tokens: usize,
    /// The prompt's tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Measure name -> value.
    pub measures: BTreeMap<String, Measure>,
}

impl Sample {
    /// Adds one number.
    ///
    /// # Errors
    /// The number is NaN or infinite, or the name is taken.
    pub fn scalar(&mut self, measure: &str, value: f64) -> Result<(), RecordError> {
        self.series_checked(measure, &[value])?;
        self.insert(measure, Measure::Scalar(value))
    }

    /// Adds a series.
    ///
    /// # Errors
    /// A number is NaN or infinite, or the name is taken.
    pub fn series(&mut self, measure: &str, values: Vec<f64>) -> Result<(), RecordError> {
        self.series_checked(measure, &values)?;
        self.insert(measure, Measure::Series(values))
    }

    /// The value of a tag, or nothing.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.get(name).map(String::as_str)
    }

    /// The number under `measure`.
    ///
    /// # Errors
    /// There is none, or it is a series.
    pub fn get(&self, measure: &str) -> Result<f64, RecordError> {
        match self.measures.get(measure) {
            Some(Measure::Scalar(value)) => Ok(*value),
            _ => Err(self.missing("measure", measure)),
        }
    }

    /// The series under `measure`.
    ///
    /// # Errors
    /// There is none, or it is a single number.
    pub fn get_series(&self, measure: &str) -> Result<&[f64], RecordError> {
        match self.measures.get(measure) {
            Some(Measure::Series(values)) => Ok(values),
            _ => Err(self.missing("series", measure)),
        }
    }

    fn missing(&self, kind: &'static str, measure: &str) -> RecordError {
        RecordError::Missing {
            kind,
            name: format!("{measure} in sample {}", self.unit),
        }
    }

    fn series_checked(&self, measure: &str, values: &[f64]) -> Result<(), RecordError> {
        match values.iter().find(|v| !v.is_finite()) {
            Some(value) => Err(RecordError::NotFinite {
                measure: measure.to_owned(),
                unit: self.unit.clone(),
                value: *value,
            }),
            None => Ok(()),
        }
    }

    fn insert(&mut self, measure: &str, value: Measure) -> Result<(), RecordError> {
        if self.measures.insert(measure.to_owned(), value).is_some() {
            return Err(RecordError::Duplicate {
                kind: "measure",
                name: format!("{measure} of {}", self.unit),
            });
        }
        Ok(())
    }
}

/// What the config and the executed code say about a model. Nothing here is
/// typed by hand: `checkpoint` reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// `model_type` of the config, or `general.architecture` of a GGUF.
    pub model_type: String,
    /// Number of blocks, L.
    pub n_layers: usize,
    /// Query heads, H.
    pub n_heads: usize,
    /// Key/value heads, H_kv.
    pub n_kv_heads: usize,
    /// Width of the residual stream, d.
    pub d_model: usize,
    /// Width of one head.
    pub d_head: usize,
    /// Width of the MLP's hidden layer.
    pub d_mlp: usize,
    /// Vocabulary size.
    pub vocab: usize,
    /// rho = H / d_head, "head density" (METHODS §1).
    pub rho: f64,
    /// "parallel" or "sequential": does the MLP read the block's input?
    pub block: String,
    /// "LayerNorm" or "RMSNorm", with where it stands.
    pub norm: String,
    /// How positions enter: "rotary", "learned", "alibi".
    pub position: String,
    /// Parameters in the file.
    pub parameters: u64,
    /// How the weights are stored: "f16", "Q4_1"….
    pub stored: String,
}

/// The samples of one (experiment, model, revision, setting).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Everything that can change a number below.
    pub key: RecordKey,
    /// What the model is.
    pub facts: ModelFacts,
    /// The units, in the order of the prompt set.
    pub samples: Vec<Sample>,
}

impl Record {
    /// The sample of a unit.
    ///
    /// # Errors
    /// There is none.
    pub fn sample(&self, unit: &str) -> Result<&Sample, RecordError> {
        self.samples
            .iter()
            .find(|s| s.unit == unit)
            .ok_or_else(|| RecordError::Missing {
                kind: "sample",
                name: format!("{unit} in the record of {}", self.key.model),
            })
    }

    /// JSON has no NaN and would store null: nothing but finite numbers is
    /// written, by whatever way they came into `measures`.
    pub(crate) fn check_finite(&self) -> Result<(), RecordError> {
        for sample in &self.samples {
            for (name, measure) in &sample.measures {
                match measure {
                    Measure::Scalar(value) => sample.series_checked(name, &[*value])?,
                    Measure::Series(values) => sample.series_checked(name, values)?,
                }
            }
        }
        Ok(())
    }

    /// Samples of prompts, without the "model" sample.
    pub fn prompts(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|s| s.unit != Self::MODEL)
    }

    /// Version of the form in which the store keeps records.
    pub const FORMAT: u32 = 2;

    /// Unit name of what belongs to the model as a whole.
    pub const MODEL: &'static str = "model";
}
