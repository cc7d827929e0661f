//! One attempt at one unit: a worker process, and what it says.

use std::path::Path;
use std::time::Duration;

use assay_record::wire::{Event, in_one_line};

use super::{End, Outcome, Unit};
use crate::bars::{Bar, human_seconds};
use crate::worker;

/// How a unit is attempted.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) worker: &'a Path,
    /// Threads of the worker; as many as there are if None.
    pub(crate) threads: Option<usize>,
    /// How long somebody may show no sign of life.
    pub(crate) patience: Duration,
    /// Wait for a unit that somebody else is at work on.
    pub(crate) wait: bool,
}

/// What came of an attempt.
pub(crate) enum Attempted {
    Ended(Outcome),
    /// Somebody else is at work on the unit.
    Held,
}

/// Computes what the store lacks of a unit.
///
/// # Errors
/// What no other unit would escape: a store that cannot be written.
pub(crate) fn attempt(unit: &Unit, how: How) -> anyhow::Result<Attempted> {
    let Some(request) = unit.request() else {
        return Ok(Attempted::Ended(Outcome::default()));
    };
    let request = serde_json::to_string(request)?;
    let mut attempted = once(unit, &request, how)?;
    if let Tried::Hung = attempted {
        // It was ended, so its claim is free, and what it committed stays.
        attempted = once(unit, &request, how)?;
    }
    Ok(match attempted {
        Tried::Ended(outcome) => Attempted::Ended(outcome),
        Tried::Held => Attempted::Held,
        Tried::Hung => {
            let reason = format!(
                "its worker hung twice: no sign of life for {}",
                human_seconds(how.patience.as_secs_f64())
            );
            let ends = unit.experiments.iter();
            Attempted::Ended(Outcome {
                ended: ends
                    .map(|e| (e.clone(), End::Failed(reason.clone())))
                    .collect(),
            })
        }
    })
}

enum Tried {
    Ended(Outcome),
    Held,
    Hung,
}

fn once(unit: &Unit, request: &str, how: How) -> anyhow::Result<Tried> {
    let name = &unit.name;
    let mut bar = Bar::new(name);
    let mut outcome = Outcome::default();
    let mut held = false;
    let threads = how.threads.map(|n| n.to_string());
    let environment: Vec<(&str, &str)> = (threads.iter())
        .map(|n| ("RAYON_NUM_THREADS", n.as_str()))
        .collect();
    let patience = how.patience.as_secs().to_string();
    let mut arguments = vec!["run", "--patience", &patience];
    if how.wait {
        arguments.push("--wait");
    }
    let process = worker::Process {
        worker: how.worker,
        arguments: &arguments,
        request: Some(request),
        environment: &environment,
        patience: how.patience,
    };
    let ended = process.watch(&mut |event| {
        match event {
            Event::Progress { stage, done, total } => bar.steps(&stage, done, total),
            Event::Warning { message } => bar.say(&message),
            Event::Committed {
                experiment,
                record,
                computed,
                seconds,
            } => {
                if unit.said && computed {
                    let time = human_seconds(seconds);
                    bar.say(&format!("{name}: {experiment} measured in {time}"));
                } else if unit.said && !unit.present.contains_key(&experiment) {
                    bar.say(&format!("{name}: {experiment} is in the store"));
                }
                outcome.ended.insert(experiment, End::Record(record));
            }
            Event::Refused { experiment, reason } => {
                outcome.ended.insert(experiment, End::NotRun(reason));
            }
            Event::Held => held = true,
            _ => {}
        }
        Ok(())
    });
    drop(bar);
    match ended {
        Ok(worker::Ended::Well) if held => return Ok(Tried::Held),
        Ok(worker::Ended::Well) => {}
        Ok(worker::Ended::Hung) => {
            crate::say::say!(
                "{name}: its worker showed no sign of life for {} and was ended; trying again",
                human_seconds(how.patience.as_secs_f64())
            );
            return Ok(Tried::Hung);
        }
        Err(error) => {
            let reason = in_one_line(error.as_ref());
            let open = unit.experiments.iter();
            let open: Vec<&String> = open.filter(|e| !outcome.ended.contains_key(*e)).collect();
            // A store that cannot be written stops the run; a model that
            // cannot be read is that model's row.
            if is_about_the_store(&reason) {
                return Err(error);
            }
            if open.is_empty() {
                crate::say::say!("{name}: its worker failed after its last record: {reason}");
            }
            for experiment in open {
                let end = End::Failed(reason.clone());
                outcome.ended.insert(experiment.clone(), end);
            }
        }
    }
    Ok(Tried::Ended(outcome))
}

/// Failures that no other unit would escape.
fn is_about_the_store(reason: &str) -> bool {
    [
        "cannot write",
        "cannot create",
        "cannot claim",
        "cannot read the claim",
        "cannot sync",
    ]
    .iter()
    .any(|words| reason.contains(words))
}
