//! What was published: facts with their source, from
//! golden/published/z-causality.json. Nothing here is computed.

use assay_experiment::ExperimentError;
use assay_record::RecordError;
use serde::Deserialize;

const FILE: &str = "golden/published/z-causality.json";

/// All of it, about Qwen2.5-3B.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Published {
    #[serde(rename = "about")]
    _about: String,
    pub(crate) source: String,
    pub(crate) model: String,
    pub(crate) patching: Vec<Patching>,
    /// Number of problems that counts are out of.
    pub(crate) problems: f64,
    pub(crate) random: Random,
    pub(crate) effective_rank: Vec<Rank>,
    pub(crate) effective_rank_mean: f64,
    pub(crate) similarity: Similarity,
    pub(crate) ffn_over_chance: Vec<Avoidance>,
    pub(crate) distance: Distance,
    pub(crate) update: Update,
}

/// Counts of one cell.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patching {
    pub(crate) cell: String,
    pub(crate) changed: Counts,
    pub(crate) switched: Counts,
}

/// Texts of which something is so, by condition.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Counts {
    pub(crate) z: f64,
    pub(crate) z_perp: f64,
    pub(crate) full: f64,
}

/// Answers changed under random subspaces.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Random {
    pub(crate) cell: String,
    pub(crate) z_changed: Vec<f64>,
    pub(crate) perp_changed: Vec<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rank {
    pub(crate) layer: String,
    pub(crate) mean: f64,
    pub(crate) sd: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Similarity {
    #[serde(rename = "l32-l33-head-0-k20")]
    pub(crate) neighbours: f64,
    pub(crate) off_diagonal_mean: f64,
    pub(crate) chance: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Avoidance {
    pub(crate) layer: String,
    pub(crate) value: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Distance {
    pub(crate) ratio_z: f64,
    pub(crate) ratio_perp: f64,
    pub(crate) energy: f64,
    pub(crate) chance: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Update {
    pub(crate) max_r: f64,
    pub(crate) chance: f64,
}

pub(crate) fn published() -> Result<Published, ExperimentError> {
    let text = include_str!("../../../golden/published/z-causality.json");
    serde_json::from_str(text).map_err(|e| {
        ExperimentError::Record(RecordError::Malformed {
            path: FILE.into(),
            kind: "published numbers",
            reason: e.to_string(),
        })
    })
}
