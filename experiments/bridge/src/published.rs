//! What was published: facts with their source, from
//! golden/published/bridge.json. Nothing here is computed.

use assay_experiment::ExperimentError;
use assay_record::RecordError;
use serde::Deserialize;

const FILE: &str = "golden/published/bridge.json";

/// All of it, about Qwen2.5-3B.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Published {
    #[serde(rename = "about")]
    _about: String,
    pub(crate) source: String,
    pub(crate) model: String,
    pub(crate) pairs: f64,
    pub(crate) headline: Headline,
    pub(crate) by_k: Vec<ByK>,
}

/// The bridge at k = 50.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Headline {
    pub(crate) k: f64,
    pub(crate) in_sample: f64,
    pub(crate) nonzero_singular_values: f64,
    pub(crate) orthogonality_error: f64,
    pub(crate) left_out: f64,
}

/// R² at one k.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ByK {
    pub(crate) k: f64,
    pub(crate) in_sample: f64,
    pub(crate) left_out: f64,
}

pub(crate) fn published() -> Result<Published, ExperimentError> {
    let text = include_str!("../../../golden/published/bridge.json");
    serde_json::from_str(text).map_err(|e| {
        ExperimentError::Record(RecordError::Malformed {
            path: FILE.into(),
            kind: "published numbers",
            reason: e.to_string(),
        })
    })
}
