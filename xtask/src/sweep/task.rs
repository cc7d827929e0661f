//! What the jobs of a cluster do: `unit` computes the units of one task,
//! `collect` writes the report when all tasks have ended.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use assay_record::wire::in_one_line;
use assay_record::{RecordError, Seal, Store, sha256_hex};
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
    /// SHA-256 of what it was read from.
    #[serde(skip)]
    pub(crate) id: String,
}

const SUBMISSION: Seal = Seal {
    kind: "submitted sweep",
    field: "submission",
    format: 1,
};

const OUTCOME: Seal = Seal {
    kind: "outcome of a unit",
    field: "said",
    format: 2,
};

/// What a task says of a unit. Folders of two sweeps may have been merged.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// Of which submission.
    sweep: String,
    outcome: Outcome,
}

/// A unit that failed: not one of which an experiment said that it does not
/// apply.
pub(crate) struct Failure {
    model: String,
    pub(crate) reason: String,
    log: PathBuf,
}

impl Submission {
    pub(crate) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        Ok(SUBMISSION.write(&folder.join("sweep.json"), self)?)
    }

    pub(crate) fn load(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("sweep.json");
        let content = SUBMISSION.canonical(&path)?;
        let submission = serde_json::from_slice(&content);
        let mut submission: Self =
            submission.with_context(|| format!("{} is no submitted sweep", path.display()))?;
        submission.id = sha256_hex(&content);
        let units = submission.sweep.units.len();
        let mut of_tasks = submission.tasks.iter().flat_map(|t| &t.units);
        if let Some(unit) = of_tasks.find(|unit| **unit >= units) {
            bail!(
                "{} gives a task unit {unit} of {units}: submit the sweep again",
                path.display()
            );
        }
        Ok(submission)
    }

    /// Open units that have ended, and what failed of them. When no task is
    /// left, one that said nothing has died.
    pub(crate) fn ended(&self, folder: &Path, none_left: bool) -> (usize, Vec<Failure>) {
        let mut ended = 0;
        let mut failures = Vec::new();
        for (number, task) in self.tasks.iter().enumerate() {
            for unit in &task.units {
                let of = &self.sweep.units[*unit];
                let reason = match self.outcome(folder, *unit) {
                    Ok(None) if none_left && of.is_open() => Some(silent(number)),
                    Ok(None) => continue,
                    Ok(Some(outcome)) => outcome.ended.into_values().find_map(End::failure),
                    Err(e) => Some(in_one_line(e.as_ref())),
                };
                ended += 1;
                failures.extend(reason.map(|reason| Failure {
                    model: of.name.clone(),
                    reason,
                    log: folder.join("logs").join(format!("{number}.log")),
                }));
            }
        }
        (ended, failures)
    }

    /// What came of a unit, if its task has ended.
    fn outcome(&self, folder: &Path, unit: usize) -> anyhow::Result<Option<Outcome>> {
        let path = outcome_path(folder, unit);
        match OUTCOME.read::<Said>(&path) {
            Err(RecordError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Ok(said) if said.sweep != self.id => {
                bail!(
                    "{} is of another sweep than {}: run again",
                    path.display(),
                    folder.join("sweep.json").display()
                )
            }
            said => Ok(Some(said?.outcome)),
        }
    }
}

/// What is said of a unit of a task that said nothing.
fn silent(task: usize) -> String {
    format!(
        "task {task} of the job array ended without a word (killed, out of memory or out of time): see its log"
    )
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
        let said = Said {
            sweep: submission.id.clone(),
            outcome,
        };
        OUTCOME.write(&outcome_path(folder, *unit), &said)?;
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
    // What is in the store counts, whatever became of the task that made it;
    // and what a task made counts, also if nodes are of several kinds and this
    // one would look for other keys.
    let worker = workspace::program("assay-worker")?;
    submission.sweep.survey(&worker, None)?;
    let (_, failures) = submission.ended(folder, true);
    failures.iter().for_each(print_failure);
    let store = Store::open(&submission.store)?;
    let is_whole = |experiment: &str, record: &str| store.read(experiment, record).is_ok();
    let nothing = |unit: usize| {
        let task = submission
            .tasks
            .iter()
            .position(|t| t.units.contains(&unit));
        match task {
            Some(task) => silent(task),
            // It was in the store when the sweep was submitted.
            None => "it is in the store no more: run again".to_owned(),
        }
    };
    let manifest = submission.sweep.manifest(|unit| {
        let (mut outcome, missing) = match submission.outcome(folder, unit) {
            Ok(outcome) => (outcome.unwrap_or_default(), nothing(unit)),
            Err(e) => (Outcome::default(), in_one_line(e.as_ref())),
        };
        for experiment in &submission.sweep.units[unit].experiments {
            let end = match outcome.ended.remove(experiment) {
                Some(End::Record(record)) if is_whole(experiment, &record) => End::Record(record),
                Some(End::Record(record)) => End::NotRun(format!(
                    "its record {record} is not whole in the store: run again"
                )),
                Some(end) => end,
                None => End::NotRun(missing.clone()),
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
