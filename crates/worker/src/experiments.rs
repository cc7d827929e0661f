use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use assay_experiment::Experiment;
use assay_record::wire::OwnPrompts;
use assay_record::{ExperimentSpec, PromptFile, PromptFormat, PromptSet};

/// Every experiment of the workspace; a new one is a line here.
const EXPERIMENTS: &[&dyn Experiment] = &[
    &ard_z::ArdZ,
    &bridge::LanguageBridge,
    &crowding_trained::CrowdingTrained,
    &decoder_parity::DecoderParity,
    &h25_gain::H25Gain,
    &known_answers::KnownAnswers,
    &pythia_anomaly::PythiaAnomaly,
    &suite_anatomy::SuiteAnatomy,
    &value_contraction::ValueContraction,
    &z_causality::ZCausality,
];

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
    let texts = experiment.prompt_texts();
    if spec.prompts.len() != texts.len() {
        bail!(
            "experiment {name} declares {} prompt files and brings {}",
            spec.prompts.len(),
            texts.len()
        );
    }
    let paths: Vec<PathBuf> = spec.prompts.iter().map(|f| folder.join(f)).collect();
    let files: Vec<PromptFile> = (paths.iter().zip(texts))
        .map(|(path, text)| PromptFile {
            path,
            text,
            format: &PromptFormat::Prompts,
        })
        .collect();
    let prompts = match files.as_slice() {
        [] => PromptSet::none(),
        files => PromptSet::parse(files)?,
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

/// As [`find`], with the user's prompts in place of the experiment's own.
pub(crate) fn find_with(name: &str, own: Option<&OwnPrompts>) -> anyhow::Result<Declared> {
    let declared = find(name)?;
    let Some(own) = own else {
        return Ok(declared);
    };
    if declared.spec.prompts.is_empty() {
        bail!("experiment {name} has no prompts that others could replace: leave --prompts out");
    }
    Ok(Declared {
        prompts: own.read()?,
        ..declared
    })
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
