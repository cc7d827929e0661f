//! What the jobs of a cluster do: `unit` computes the units of one task,
//! `collect` writes the report when all tasks have ended.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use assay_record::{Seal, Store};
use serde::{Deserialize, Serialize};

use super::attempt::{Attempted, How, attempt};
use super::slurm::Task;
use super::{End, Outcome, Sweep};
use crate::reproduce::Finish;
use crate::say::say;
use crate::{Ending, Place, workspace};

/// A sweep that was handed to a cluster.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Submission {
    pub(crate) sweep: Sweep,
    /// By their place in the job array.
    pub(crate) tasks: Vec<Task>,
    pub(crate) store: PathBuf,
    /// Folder of the report.
    pub(crate) out: PathBuf,
    /// The claim that was asked about.
    pub(crate) claim: Option<String>,
    /// Seconds.
    pub(crate) patience: u64,
}

const SUBMISSION: Seal = Seal {
    kind: "submitted sweep",
    field: "submission",
    format: 1,
};

const OUTCOME: Seal = Seal {
    kind: "outcome of a unit",
    field: "outcome",
    format: 1,
};

/// A unit that failed: not one of which an experiment said that it does not
/// apply.
pub(crate) struct Failure {
    model: String,
    reason: String,
    log: PathBuf,
}

impl Submission {
    pub(crate) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        Ok(SUBMISSION.write(&folder.join("sweep.json"), self)?)
    }

    pub(crate) fn load(folder: &Path) -> anyhow::Result<Self> {
        Ok(SUBMISSION.read(&folder.join("sweep.json"))?)
    }

    /// Open units that have ended, and what failed of them.
    pub(crate) fn ended(&self, folder: &Path) -> (usize, Vec<Failure>) {
        let mut ended = 0;
        let mut failures = Vec::new();
        for (number, task) in self.tasks.iter().enumerate() {
            for unit in &task.units {
                let Ok(outcome) = outcome(folder, *unit) else {
                    continue;
                };
                ended += 1;
                let reasons = outcome.ended.into_values().filter_map(|end| match end {
                    End::Failed(reason) => Some(reason),
                    _ => None,
                });
                failures.extend(reasons.take(1).map(|reason| Failure {
                    model: self.sweep.units[*unit].name.clone(),
                    reason,
                    log: folder.join("logs").join(format!("{number}.log")),
                }));
            }
        }
        (ended, failures)
    }
}

/// Says what failed, with the end of its log.
pub(crate) fn print_failure(failure: &Failure) {
    let Failure { model, reason, log } = failure;
    say!("FAILED {model}: {reason}");
    say!("  its log, {}, ends with", log.display());
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(5)) {
        say!("  | {line}");
    }
}

fn outcome_path(folder: &Path, unit: usize) -> PathBuf {
    folder.join("outcomes").join(format!("{unit}.json"))
}

fn outcome(folder: &Path, unit: usize) -> anyhow::Result<Outcome> {
    Ok(OUTCOME.read(&outcome_path(folder, unit))?)
}

/// Computes the units of one task of a submitted sweep.
#[derive(clap::Args)]
pub(crate) struct UnitOptions {
    /// The submission's folder.
    folder: PathBuf,
    /// The task's number in the job array.
    task: usize,
}

pub(crate) fn unit(options: &UnitOptions) -> anyhow::Result<Ending> {
    let UnitOptions { folder, task } = options;
    let submission = Submission::load(folder)?;
    let of = submission.tasks.get(*task);
    let of = of.with_context(|| format!("{} has no task {task}", folder.display()))?;
    let worker = workspace::program("assay-worker")?;
    let how = How {
        worker: &worker,
        threads: None,
        patience: Duration::from_secs(submission.patience),
        wait: true,
    };
    let mut ending = Ending::Held;
    for unit in &of.units {
        let of = &submission.sweep.units[*unit];
        say!("unit {unit}: {} on {}", of.experiments.join(", "), of.name);
        let outcome = loop {
            // One that was taken over is waited for.
            if let Attempted::Ended(outcome) = attempt(of, how)? {
                break outcome;
            }
        };
        for (experiment, end) in &outcome.ended {
            match end {
                End::Record(record) => say!("{experiment}: record {record}"),
                End::NotRun(reason) => say!("{experiment}: not run: {reason}"),
                End::Failed(reason) => {
                    ending = Ending::Failed;
                    say!("{experiment}: FAILED: {reason}");
                }
            }
        }
        OUTCOME.write(&outcome_path(folder, *unit), &outcome)?;
    }
    Ok(ending)
}

/// Writes the report of a submitted sweep.
#[derive(clap::Args)]
pub(crate) struct CollectOptions {
    /// The submission's folder.
    folder: PathBuf,
}

pub(crate) fn collect(options: &CollectOptions) -> anyhow::Result<Ending> {
    let folder = &options.folder;
    let mut submission = Submission::load(folder)?;
    let (_, failures) = submission.ended(folder);
    failures.iter().for_each(print_failure);
    // What is in the store counts, whatever became of the task that made it;
    // and what a task made counts, also if nodes are of several kinds and this
    // one would look for other keys.
    let worker = workspace::program("assay-worker")?;
    submission.sweep.survey(&worker, None)?;
    let store = Store::open(&submission.store)?;
    let is_whole = |experiment: &str, record: &str| store.read(experiment, record).is_ok();
    let task_of = |unit: usize| {
        submission
            .tasks
            .iter()
            .position(|t| t.units.contains(&unit))
    };
    let manifest = submission.sweep.manifest(|unit| {
        let mut outcome = outcome(folder, unit).unwrap_or_default();
        for experiment in &submission.sweep.units[unit].experiments {
            let end = match outcome.ended.remove(experiment) {
                Some(End::Record(record)) if is_whole(experiment, &record) => End::Record(record),
                Some(End::Record(record)) => End::NotRun(format!(
                    "its record {record} is not whole in the store: run again"
                )),
                Some(end) => end,
                None => End::NotRun(format!(
                    "task {} of the job array ended without a word (killed, out of memory or out of time): see its log",
                    task_of(unit).unwrap_or_default()
                )),
            };
            outcome.ended.insert(experiment.clone(), end);
        }
        outcome
    });
    let finish = Finish {
        out: Some(&submission.out),
        claim: submission.claim.as_deref(),
        json: false,
        patience: Duration::from_secs(submission.patience),
    };
    let place = Place {
        store: Some(submission.store.clone()),
    };
    finish.write(&place, manifest)
}
