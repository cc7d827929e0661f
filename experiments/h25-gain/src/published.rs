//! What was published about H25: facts with their sources, from
//! golden/published/h25.json. Nothing here is computed.

use std::path::Path;

use assay_experiment::ExperimentError;
use assay_record::{PromptFile, PromptFormat, PromptSet, RecordError};
use serde::Deserialize;

const FILE: &str = "golden/published/h25.json";

/// All bodies of published data.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    #[serde(rename = "about")]
    _about: String,
    pub(crate) pythia_sweep: PythiaSweep,
    pub(crate) first_run: FirstRun,
    pub(crate) sixteen_models: SixteenModels,
    pub(crate) block_output_hooks: BlockOutputHooks,
}

/// The sweep that the claim rests on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PythiaSweep {
    pub(crate) source: String,
    pub(crate) setting: String,
    pub(crate) pearson_r: f64,
    pub(crate) pearson_p: f64,
    pub(crate) printed_verdict: String,
    pub(crate) models: Vec<SweepModel>,
}

/// One model of the sweep.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SweepModel {
    pub(crate) model: String,
    pub(crate) n_layers: usize,
    pub(crate) n_heads: usize,
    pub(crate) d_model: usize,
    pub(crate) d_head: usize,
    pub(crate) gain_mean: f64,
    pub(crate) gain_population_sd: f64,
    /// In the order of the prompt file.
    pub(crate) gain_by_prompt: Vec<f64>,
    pub(crate) gain_with_final_norm_mean: f64,
    /// Entry l is the mean gain of block l, but the last is taken after the
    /// final norm (E1).
    pub(crate) gain_by_layer: Vec<f64>,
}

impl SweepModel {
    /// rho = H / d_head.
    pub(crate) fn rho(&self) -> f64 {
        self.n_heads as f64 / self.d_head as f64
    }

    /// Mean gains of blocks 1..L-2: what is left of the series without block 0
    /// and without the entry after the final norm.
    pub(crate) fn inner_gains(&self) -> &[f64] {
        let end = self.gain_by_layer.len().saturating_sub(1);
        self.gain_by_layer.get(1..end).unwrap_or_default()
    }
}

/// The run before the metric was changed, with the final norm in it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FirstRun {
    pub(crate) source: String,
    pub(crate) pearson_r: f64,
    pub(crate) pearson_p: f64,
    pub(crate) printed_verdict: String,
}

/// The author's own attempt on other families.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SixteenModels {
    pub(crate) source: String,
    pub(crate) setting: String,
    pub(crate) author_verdict: String,
    pub(crate) models: Vec<RhoGain>,
}

/// A model of which only rho and the mean gain were printed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RhoGain {
    pub(crate) model: String,
    pub(crate) rho: f64,
    pub(crate) gain: f64,
}

/// Gains of the last block, taken from the outputs of the blocks themselves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockOutputHooks {
    pub(crate) source: String,
    pub(crate) setting: String,
    pub(crate) models: Vec<HookedModel>,
}

/// One model of [`BlockOutputHooks`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HookedModel {
    pub(crate) model: String,
    pub(crate) gain_mean: f64,
    pub(crate) gain_sd: f64,
}

fn malformed(reason: String) -> ExperimentError {
    ExperimentError::Record(RecordError::Malformed {
        path: FILE.into(),
        kind: "table of published numbers",
        reason,
    })
}

/// Reads the published numbers.
pub(crate) fn published() -> Result<Published, ExperimentError> {
    let text = include_str!("../../../golden/published/h25.json");
    let published: Published = serde_json::from_str(text).map_err(|e| malformed(e.to_string()))?;
    for m in &published.pythia_sweep.models {
        if m.gain_by_layer.len() != m.n_layers {
            return Err(malformed(format!(
                "{} has {} blocks and {} gains by layer",
                m.model,
                m.n_layers,
                m.gain_by_layer.len()
            )));
        }
    }
    Ok(published)
}

/// Category of each prompt, in the order of the prompt file, which is that of
/// the published gains by prompt.
pub(crate) fn categories() -> Result<Vec<String>, ExperimentError> {
    let text = include_str!("../../../prompts/h25.jsonl");
    let file = PromptFile {
        path: Path::new("prompts/h25.jsonl"),
        text,
        format: &PromptFormat::Prompts,
    };
    let set = PromptSet::parse(&[file])?;
    Ok(set.prompts.into_iter().map(|p| p.category).collect())
}
