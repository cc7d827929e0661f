use std::path::Path;

use anyhow::{Context, anyhow};
use assay_experiment::Experiment;
use assay_record::{ExperimentSpec, PromptSet};

/// Every experiment of the workspace; a new one is a line here.
const EXPERIMENTS: &[&dyn Experiment] = &[&decoder_parity::DecoderParity, &h25_gain::H25Gain];

/// Numeric fingerprints by experiment, made at build time.
const FINGERPRINTS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/fingerprints.rs"));

/// An experiment with its declaration and prompts parsed.
pub(crate) struct Declared {
    pub(crate) experiment: &'static dyn Experiment,
    pub(crate) spec: ExperimentSpec,
    pub(crate) prompts: PromptSet,
    pub(crate) fingerprint: &'static str,
}

pub(crate) fn find(name: &str) -> anyhow::Result<Declared> {
    let experiment = EXPERIMENTS.iter().find(|e| e.name() == name);
    let experiment = *experiment.ok_or_else(|| {
        let known: Vec<&str> = EXPERIMENTS.iter().map(|e| e.name()).collect();
        anyhow!(
            "there is no experiment {name}; there are {}",
            known.join(", ")
        )
    })?;
    let folder = Path::new("experiments").join(name);
    let spec = ExperimentSpec::parse(experiment.spec_text(), &folder.join("experiment.toml"))?;
    let prompts = match spec.prompts.as_str() {
        "" => PromptSet::none(),
        file => PromptSet::parse(experiment.prompts_text(), &folder.join(file))?,
    };
    let fingerprint = FINGERPRINTS
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, f)| *f)
        .with_context(|| format!("experiment {name} has no fingerprint: build again"))?;
    Ok(Declared {
        experiment,
        spec,
        prompts,
        fingerprint,
    })
}

/// Names of all experiments.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    EXPERIMENTS.iter().map(|e| e.name())
}

/// Prints `[{"name": …, "spec": …}]`.
pub(crate) fn list() -> anyhow::Result<()> {
    let mut all = Vec::new();
    for experiment in EXPERIMENTS {
        let declared = find(experiment.name())?;
        all.push(serde_json::json!({"name": experiment.name(), "spec": declared.spec}));
    }
    println!("{}", serde_json::to_string(&all)?);
    Ok(())
}
