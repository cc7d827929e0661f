//! What was published: facts with their sources, from
//! golden/published/suite-anatomy.json.

use assay_experiment::ExperimentError;
use assay_record::RecordError;
use serde::Deserialize;

const FILE: &str = "golden/published/suite-anatomy.json";

/// All bodies of published data.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    #[serde(rename = "about")]
    _about: String,
    pub(crate) massive_activations: Massive,
}

/// Largest activations of the residual.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Massive {
    pub(crate) source: String,
    pub(crate) models: Vec<Top>,
}

/// The largest activation of one model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Top {
    pub(crate) model: String,
    /// None where the publication names none: the trained model.
    pub(crate) revision: Option<String>,
    pub(crate) top_1: f64,
}

/// Reads the published numbers.
pub(crate) fn published() -> Result<Published, ExperimentError> {
    let text = include_str!("../../../golden/published/suite-anatomy.json");
    serde_json::from_str(text).map_err(|e| {
        ExperimentError::Record(RecordError::Malformed {
            path: FILE.into(),
            kind: "table of published numbers",
            reason: e.to_string(),
        })
    })
}
