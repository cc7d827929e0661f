//! Talking to worker processes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use assay_record::wire::Event;

/// Starts the worker with some arguments, gives it `request` on standard
/// input, and hands over every event.
///
/// A worker that fails or dies is an error with its own words; the events
/// before that have been handed over.
pub(crate) fn talk(
    worker: &Path,
    arguments: &[&str],
    request: Option<&str>,
    on_event: &mut dyn FnMut(Event) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    talk_with(worker, arguments, request, &[], on_event)
}

/// As [`talk`], with variables of the environment.
pub(crate) fn talk_with(
    worker: &Path,
    arguments: &[&str],
    request: Option<&str>,
    environment: &[(&str, &str)],
    on_event: &mut dyn FnMut(Event) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut child = Command::new(worker)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", worker.display()))?;
    if let (Some(mut stdin), Some(text)) = (child.stdin.take(), request) {
        // A worker that ended before it read says why in its events.
        let _ = stdin.write_all(text.as_bytes());
    }
    let mut failure = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("failed to read from the worker")?;
            let event: Event = serde_json::from_str(&line)
                .with_context(|| format!("the worker wrote {line:?}, which is no event"))?;
            match event {
                Event::Failed { reason } => failure = Some(reason),
                event => on_event(event)?,
            }
        }
    }
    let status = child.wait().context("failed to wait for the worker")?;
    match failure {
        Some(reason) => bail!("{reason}"),
        None if status.success() => Ok(()),
        None => bail!("the worker ended with {status} (out of memory, or killed)"),
    }
}

/// Output of a worker command that prints one JSON value.
pub(crate) fn json(worker: &Path, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
    let output = Command::new(worker)
        .args(arguments)
        .output()
        .with_context(|| format!("failed to start {}", worker.display()))?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the worker's answer to {} is no JSON", arguments.join(" ")))?;
    if let Some(reason) = answer.pointer("/reason").and_then(|r| r.as_str()) {
        bail!("{reason}");
    }
    Ok(answer)
}

/// An experiment that the worker knows.
pub(crate) struct Known {
    pub(crate) name: String,
    /// Folder of the models that it runs on instead of the registry's.
    pub(crate) own_models: Option<String>,
    /// Does it run on checkpoints too?
    pub(crate) follows_training: bool,
}

/// The experiments that the worker knows.
pub(crate) fn experiments(worker: &Path) -> anyhow::Result<Vec<Known>> {
    let value = json(worker, &["experiments"])?;
    let all = value.as_array().into_iter().flatten();
    Ok(all
        .filter_map(|e| {
            let own_models = e.pointer("/spec/own-models").and_then(|v| v.as_str());
            let follows = e
                .pointer("/spec/follows-training")
                .and_then(|v| v.as_bool());
            Some(Known {
                name: e.get("name")?.as_str()?.to_owned(),
                follows_training: follows.unwrap_or(false),
                own_models: own_models.map(str::to_owned),
            })
        })
        .collect())
}
