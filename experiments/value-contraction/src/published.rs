//! What was published: facts with their sources, from
//! golden/published/value-contraction.json. Nothing here is computed.

use assay_experiment::ExperimentError;
use assay_record::RecordError;
use serde::Deserialize;

const FILE: &str = "golden/published/value-contraction.json";

/// All bodies of published data.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    #[serde(rename = "about")]
    _about: String,
    pub(crate) groups: Groups,
    pub(crate) headline: Headline,
    pub(crate) other_readings: OtherReadings,
    pub(crate) patching: Patching,
}

/// Mean R_V of sixteen groups of prompts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Groups {
    pub(crate) source: String,
    pub(crate) setting: String,
    pub(crate) model: String,
    pub(crate) rows: Vec<Group>,
}

/// One group.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) group: String,
    /// "recursive", "baseline" or "other-long".
    pub(crate) kind: String,
    pub(crate) rv: f64,
    pub(crate) sem: f64,
    pub(crate) words: f64,
}

/// The two models of the claim.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Headline {
    pub(crate) source: String,
    pub(crate) rows: Vec<HeadlineRow>,
}

/// Mean R_V of recursive and of factual prompts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeadlineRow {
    pub(crate) model: String,
    pub(crate) recursive: f64,
    pub(crate) factual: f64,
}

/// The same comparison elsewhere in the author's work.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtherReadings {
    pub(crate) source: String,
    pub(crate) rows: Vec<OtherReading>,
}

/// One of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtherReading {
    pub(crate) model: String,
    pub(crate) recursive: f64,
    pub(crate) baseline: f64,
}

/// The published effects of patching.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patching {
    pub(crate) source: String,
    pub(crate) right_layer: f64,
    pub(crate) wrong_layer: f64,
}

pub(crate) fn published() -> Result<Published, ExperimentError> {
    let text = include_str!("../../../golden/published/value-contraction.json");
    serde_json::from_str(text).map_err(|e| {
        RecordError::Malformed {
            path: FILE.into(),
            kind: "file of published numbers",
            reason: e.to_string(),
        }
        .into()
    })
}
