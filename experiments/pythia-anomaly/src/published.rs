//! What was published: facts with their sources, from golden/published. Nothing
//! here is computed.

use assay_experiment::ExperimentError;
use assay_record::RecordError;
use serde::Deserialize;

/// Sublayer gains and block kinds, from golden/published/pythia-anomaly.json.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    #[serde(rename = "about")]
    _about: String,
    pub(crate) sublayer_gains: SublayerGains,
    pub(crate) block_kinds: BlockKinds,
}

/// How often sublayers "contract", and their last gains.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SublayerGains {
    pub(crate) source: String,
    pub(crate) setting: String,
    pub(crate) models: Vec<SublayerRow>,
}

/// One model of them; the first two are shares of layers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SublayerRow {
    pub(crate) model: String,
    pub(crate) attn_contract: f64,
    pub(crate) mlp_contract: f64,
    pub(crate) last_attn_gain: f64,
    pub(crate) last_mlp_gain: f64,
}

/// Beginnings of model names by the kind of their blocks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockKinds {
    pub(crate) source: String,
    /// Models whose norms stand after the sums: their gain is the norms'.
    pub(crate) norm_forced: Vec<String>,
    pub(crate) parallel: Vec<String>,
    pub(crate) sequential: Vec<String>,
}

impl BlockKinds {
    /// (parallel?, family) of a published model.
    pub(crate) fn of(&self, model: &str) -> Option<(bool, &str)> {
        let find = |names: &'_ [String]| -> Option<usize> {
            names.iter().position(|n| model.starts_with(n.as_str()))
        };
        match (find(&self.parallel), find(&self.sequential)) {
            (Some(i), _) => Some((true, &self.parallel[i])),
            (None, Some(i)) => Some((false, &self.sequential[i])),
            (None, None) => None,
        }
    }
}

/// Block gains, from golden/published/h25.json, which holds more.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Gains {
    pub(crate) pythia_sweep: Sweep,
    pub(crate) block_output_hooks: Hooks,
    pub(crate) sixteen_models: Sixteen,
}

/// The sweep over Pythia, whose blocks are parallel.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sweep {
    pub(crate) models: Vec<SweepRow>,
}

/// One model of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SweepRow {
    pub(crate) model: String,
    /// Mean gain of each block, but the last is taken after the final norm (E1).
    pub(crate) gain_by_layer: Vec<f64>,
}

/// Gains of the last block, before the final norm.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Hooks {
    pub(crate) source: String,
    pub(crate) models: Vec<HookRow>,
}

/// One model of them.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct HookRow {
    pub(crate) model: String,
    pub(crate) gain_mean: f64,
    pub(crate) gain_sd: f64,
}

/// Gains of the penultimate block (erratum E1).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sixteen {
    pub(crate) source: String,
    pub(crate) models: Vec<SixteenRow>,
}

/// One model of them.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SixteenRow {
    pub(crate) model: String,
    pub(crate) gain: f64,
}

fn parse<T: for<'d> Deserialize<'d>>(text: &str, path: &str) -> Result<T, ExperimentError> {
    serde_json::from_str(text).map_err(|e| {
        RecordError::Malformed {
            path: path.into(),
            kind: "file of published numbers",
            reason: e.to_string(),
        }
        .into()
    })
}

pub(crate) fn published() -> Result<(Published, Gains), ExperimentError> {
    let own = include_str!("../../../golden/published/pythia-anomaly.json");
    let gains = include_str!("../../../golden/published/h25.json");
    Ok((
        parse(own, "golden/published/pythia-anomaly.json")?,
        parse(gains, "golden/published/h25.json")?,
    ))
}
