//! Talking to worker processes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, bail};
use assay_record::PATIENCE;
use assay_record::wire::Event;

/// Starts the worker with some arguments, gives it `request` on standard
/// input, and hands over every event.
///
/// A worker that fails, dies or hangs is an error with its own words; the
/// events before that have been handed over.
pub(crate) fn talk(
    worker: &Path,
    arguments: &[&str],
    request: Option<&str>,
    on_event: &mut dyn FnMut(Event) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let process = Process {
        worker,
        arguments,
        request,
        environment: &[],
        patience: PATIENCE,
    };
    process.talk(on_event)
}

/// A worker process to be started.
pub(crate) struct Process<'a> {
    pub(crate) worker: &'a Path,
    pub(crate) arguments: &'a [&'a str],
    /// For its standard input.
    pub(crate) request: Option<&'a str>,
    /// Variables that it gets beside those of this process.
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// How long it may say nothing, not even that it lives.
    pub(crate) patience: Duration,
}

/// How a worker that did not fail ended.
pub(crate) enum Ended {
    Well,
    /// It said nothing for as long as patience lasts, and was killed.
    Hung,
}

impl Process<'_> {
    /// As [`talk`].
    pub(crate) fn talk(
        &self,
        on_event: &mut dyn FnMut(Event) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self.watch(on_event)? {
            Ended::Well => Ok(()),
            Ended::Hung => bail!(
                "the worker showed no sign of life for {} s and was ended; run the command again",
                self.patience.as_secs()
            ),
        }
    }

    /// As [`talk`], but that a worker that hangs is no error.
    pub(crate) fn watch(
        &self,
        on_event: &mut dyn FnMut(Event) -> anyhow::Result<()>,
    ) -> anyhow::Result<Ended> {
        let child = Command::new(self.worker)
            .args(self.arguments)
            .envs(self.environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}", self.worker.display()))?;
        let mut child = Child(child);
        if let (Some(mut stdin), Some(text)) = (child.0.stdin.take(), self.request) {
            // A worker that ended before it read says why in its events.
            let _ = stdin.write_all(text.as_bytes());
        }
        let mut failure = None;
        if let Some(stdout) = child.0.stdout.take() {
            let lines = lines(stdout);
            loop {
                let line = match next(&lines, self.patience) {
                    Next::Line(line) => line.context("failed to read from the worker")?,
                    Next::End => break,
                    Next::Silence => return Ok(Ended::Hung),
                };
                let event: Event = serde_json::from_str(&line)
                    .with_context(|| format!("the worker wrote {line:?}, which is no event"))?;
                match event {
                    Event::Failed { reason } => failure = Some(reason),
                    event => on_event(event)?,
                }
            }
        }
        let status = child.0.wait().context("failed to wait for the worker")?;
        match failure {
            Some(reason) => bail!("{reason}"),
            None if status.success() => Ok(Ended::Well),
            None => bail!("the worker ended with {status} (out of memory, or killed)"),
        }
    }
}

/// A process that does not outlive the talk with it.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // Neither does anything to one that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a process, read by a thread that ends with it.
fn lines(stdout: ChildStdout) -> Receiver<std::io::Result<String>> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

enum Next {
    Line(std::io::Result<String>),
    End,
    Silence,
}

fn next(lines: &Receiver<std::io::Result<String>>, patience: Duration) -> Next {
    match lines.recv_timeout(patience) {
        Ok(line) => Next::Line(line),
        Err(RecvTimeoutError::Disconnected) => Next::End,
        Err(RecvTimeoutError::Timeout) => Next::Silence,
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
