//! golden/drift.toml: what is run again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::plan::{self, Candidate};
use crate::{worker, workspace};

const VERSION: u32 = 1;

/// An emulated processor is slower by about this much.
const SLOWDOWN: f64 = 60.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    rerun: Vec<Rerun>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rerun {
    experiment: String,
    models: Option<Vec<String>>,
    emulated: Option<Vec<String>>,
    #[serde(default, rename = "statistics-by-host")]
    statistics_by_host: bool,
    seconds: f64,
}

/// A model and the experiments to run on it.
pub(super) struct Unit {
    pub(super) candidate: Candidate,
    pub(super) experiments: Vec<String>,
}

/// What one variation runs, and about how long.
pub(super) struct Set {
    pub(super) units: Vec<Unit>,
    /// Experiments of which an emulated processor leaves the statistics to the
    /// one that there is.
    pub(super) by_host: Vec<String>,
    pub(super) seconds: f64,
}

/// The declared set, as far as it is asked for; what is asked for and not
/// declared is an error.
pub(super) fn of(
    emulated: bool,
    experiments: &[String],
    models: &[String],
    known: &[worker::Known],
) -> anyhow::Result<Set> {
    let path = workspace::golden().join("drift.toml");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let file: File = toml::from_str(&text)
        .with_context(|| format!("{} is no list of reruns", path.display()))?;
    if file.version != VERSION {
        bail!(
            "{} is of version {}, and this program reads {VERSION}",
            path.display(),
            file.version
        );
    }
    let declared: Vec<&str> = file.rerun.iter().map(|r| r.experiment.as_str()).collect();
    if let Some(name) = experiments.iter().find(|e| !declared.contains(&e.as_str())) {
        bail!(
            "{} does not declare {name}; it declares {}",
            path.display(),
            declared.join(", ")
        );
    }
    let wanted = |asked: &[String], name: &String| asked.is_empty() || asked.contains(name);
    let mut units: BTreeMap<String, Unit> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let (mut seconds, mut by_host) = (0.0, Vec::new());
    for rerun in file.rerun {
        if !wanted(experiments, &rerun.experiment) {
            continue;
        }
        let Some(spec) = known.iter().find(|k| k.name == rerun.experiment) else {
            bail!(
                "{} names {}, which the worker does not know",
                path.display(),
                rerun.experiment
            );
        };
        let names = match (emulated, &rerun.emulated) {
            (true, Some(names)) => Some(names),
            _ => rerun.models.as_ref(),
        };
        if emulated && rerun.statistics_by_host {
            by_host.push(rerun.experiment.clone());
        }
        let candidates = match &spec.own_models {
            Some(folder) => plan::own(&workspace::root().join(folder), spec.follows_training)?,
            None => plan::local(names.map_or(&[], Vec::as_slice))?,
        };
        let lacks = |n: &&String| candidates.iter().all(|c| c.label != **n);
        if let Some(name) = names.into_iter().flatten().find(lacks) {
            bail!(
                "{} names {name} for {}, and there is no such model",
                path.display(),
                rerun.experiment
            );
        }
        for candidate in candidates {
            let label = &candidate.label;
            seen.insert(label.clone());
            let declared = names.is_none_or(|n| n.contains(label));
            if !declared || !wanted(models, label) {
                continue;
            }
            seconds += rerun.seconds * if emulated { SLOWDOWN } else { 1.0 };
            // Experiments that share a model share its passes; the suites'
            // models may be known under the same name in two ways.
            let key = format!("{label} {}", spec.own_models.as_deref().unwrap_or_default());
            let unit = units.entry(key).or_insert_with(|| Unit {
                candidate,
                experiments: Vec::new(),
            });
            unit.experiments.push(rerun.experiment.clone());
        }
    }
    if let Some(name) = models.iter().find(|m| !seen.contains(*m)) {
        bail!(
            "{} has no model {name} for what is asked; it has {}",
            path.display(),
            seen.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
    Ok(Set {
        units: units.into_values().collect(),
        by_host,
        seconds,
    })
}
