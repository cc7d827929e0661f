//! A sweep: units of work, each some experiments on one model at one revision,
//! that any number of processes and machines may share.
//!
//! One protocol serves them all. What a unit needs is surveyed before it is
//! begun ([`survey`]). Whoever has time attempts a unit ([`attempt`]): its
//! worker claims it on the shared folder, computes what the store lacks and
//! commits each record by rename. What came of all units is brought together
//! in the order of the plan ([`Sweep::manifest`]), so that the report does not
//! show who did what when.

pub(crate) mod attempt;
pub(crate) mod local;
pub(crate) mod slurm;

mod survey;
pub(crate) mod task;

use std::collections::BTreeMap;

use assay_record::NotRun;
use assay_record::wire::{RunRequest, Work};
use serde::{Deserialize, Serialize};

use crate::manifest::{Manifest, Measured, Outcomes};

/// Some experiments on one model at one revision.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unit {
    /// The model, as asked for.
    pub(crate) name: String,
    /// What the report calls it.
    pub(crate) label: String,
    pub(crate) experiments: Vec<String>,
    /// Is each of its lines said? Not where there are hundreds of units.
    pub(crate) said: bool,
    /// What a worker is asked to do, or why nothing can be done.
    pub(crate) request: Result<RunRequest, String>,
    /// Records that were in the store before the sweep began, by experiment.
    pub(crate) present: BTreeMap<String, String>,
    /// What the rest takes; None if there is no rest.
    pub(crate) work: Option<Work>,
}

impl Unit {
    pub(crate) fn request(&self) -> Option<&RunRequest> {
        self.request.as_ref().ok()
    }

    /// Is there anything to compute?
    pub(crate) fn is_open(&self) -> bool {
        self.request.is_ok() && self.work.is_some()
    }
}

/// What came of each experiment of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcome {
    pub(crate) ended: BTreeMap<String, End>,
}

/// What came of one experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    /// Id of its record.
    Record(String),
    /// Why there is none: the experiment does not apply.
    NotRun(String),
    /// Why there is none: the worker failed.
    Failed(String),
}

impl End {
    /// Why the worker failed, if it did.
    pub(crate) fn failure(self) -> Option<String> {
        match self {
            Self::Failed(reason) => Some(reason),
            Self::Record(_) | Self::NotRun(_) => None,
        }
    }
}

/// What is to be done, in the order in which the report shows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sweep {
    pub(crate) experiments: Vec<String>,
    pub(crate) units: Vec<Unit>,
}

impl Sweep {
    /// Places of the units that are to be computed.
    pub(crate) fn open(&self) -> Vec<usize> {
        let all = (0..).zip(&self.units);
        all.filter(|(_, u)| u.is_open()).map(|(i, _)| i).collect()
    }

    /// What came of all units: `outcome` says it of an open one.
    pub(crate) fn manifest(&self, mut outcome: impl FnMut(usize) -> Outcome) -> Manifest {
        let mut manifest = Manifest::new();
        for experiment in &self.experiments {
            let none = Outcomes::default();
            manifest.experiments.insert(experiment.clone(), none);
        }
        for (i, unit) in self.units.iter().enumerate() {
            let ended = match &unit.request {
                Ok(_) if unit.work.is_some() => outcome(i).ended,
                _ => BTreeMap::new(),
            };
            for experiment in &unit.experiments {
                let end = match (&unit.request, unit.present.get(experiment)) {
                    (_, Some(record)) => End::Record(record.clone()),
                    (Err(reason), None) => End::NotRun(reason.clone()),
                    (Ok(_), None) => ended
                        .get(experiment)
                        .cloned()
                        .unwrap_or_else(|| End::NotRun("the worker said nothing of it".to_owned())),
                };
                if let Some(outcomes) = manifest.experiments.get_mut(experiment) {
                    add(outcomes, unit.label.clone(), end);
                }
            }
        }
        manifest
    }
}

fn add(outcomes: &mut Outcomes, model: String, end: End) {
    match end {
        // Two ways to one model lead to one record.
        End::Record(record) if outcomes.measured.iter().any(|m| m.record == record) => {}
        End::Record(record) => outcomes.measured.push(Measured { model, record }),
        End::NotRun(reason) | End::Failed(reason) => {
            outcomes.not_run.push(NotRun { model, reason })
        }
    }
}
