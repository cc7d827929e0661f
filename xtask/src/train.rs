//! Training the models that the project brings.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, bail};
use assay_record::PATIENCE;
use assay_record::wire::{Event, SuiteModel};
use clap::Args;

use crate::bars::{Bar, human_seconds};
use crate::say::say;
use crate::{Ending, worker, workspace};

/// Train the models of a suite that are not there yet.
#[derive(Args)]
pub(crate) struct Options {
    /// Folder in organisms/ with a suite.toml, as crowding, or the path of one.
    suite: PathBuf,
    /// Models at a time, each on one thread [default: one a core].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Train only these, separated by commas; those that are there are made
    /// again.
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
}

/// What all threads share.
struct Progress {
    bar: Bar,
    /// Steps behind of each model.
    done: Vec<u64>,
    failed: Vec<String>,
}

pub(crate) fn train(options: &Options) -> anyhow::Result<Ending> {
    let own = workspace::root().join("organisms").join(&options.suite);
    let suite = if own.join("suite.toml").exists() {
        own
    } else {
        options.suite.clone()
    };
    let name = suite
        .file_name()
        .unwrap_or(suite.as_os_str())
        .to_string_lossy();
    let program = workspace::program("assay-worker")?;
    let folder = suite.display().to_string();
    let listed = worker::json(&program, &["suite", &folder])?;
    let all: Vec<SuiteModel> =
        serde_json::from_value(listed).context("failed to read the worker's list of models")?;
    let missing = (options.models.iter()).find(|n| all.iter().all(|m| m.name != **n));
    if let Some(missing) = missing {
        let names: Vec<&str> = all.iter().map(|m| m.name.as_str()).collect();
        bail!(
            "there is no {missing} in {folder}; there are {}",
            names.join(", ")
        );
    }
    let wanted: Vec<SuiteModel> = all
        .into_iter()
        .filter(|m| match options.models.as_slice() {
            [] => !m.there,
            some => some.contains(&m.name),
        })
        .collect();
    let total: u64 = wanted.iter().map(|m| m.steps).sum();
    say!(
        "plan: {} models of {name} to train, {total} steps in all",
        wanted.len()
    );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.map_or(cores, usize::from).min(wanted.len());
    let work = suite.join(".training");
    let started = Instant::now();
    let progress = Mutex::new(Progress {
        bar: Bar::new(&name),
        done: vec![0; wanted.len()],
        failed: Vec::new(),
    });
    let next = Mutex::new(0..wanted.len());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(at) = lock(&next).next() {
                    let model = &wanted[at];
                    let arguments = ["train", &folder, &model.name, &work.display().to_string()];
                    let one_thread = [("RAYON_NUM_THREADS", "1")];
                    let mut hear = |event| {
                        heard(&mut lock(&progress), at, total, event);
                        Ok(())
                    };
                    let process = worker::Process {
                        worker: &program,
                        arguments: &arguments,
                        request: None,
                        environment: &one_thread,
                        patience: PATIENCE,
                    };
                    if let Err(error) = process.talk(&mut hear) {
                        let mut progress = lock(&progress);
                        let line = format!("{}: {error}", model.name);
                        progress.bar.say(&line);
                        progress.failed.push(line);
                    }
                }
            });
        }
    });
    let failed = lock(&progress).failed.len();
    say!(
        "{} trained in {}, {failed} failed: {folder}",
        wanted.len() - failed,
        human_seconds(started.elapsed().as_secs_f64())
    );
    Ok(if failed == 0 {
        Ending::Held
    } else {
        Ending::Failed
    })
}

/// The value, also where another thread panicked: nothing is left half-done
/// under these locks.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn heard(progress: &mut Progress, at: usize, total: u64, event: Event) {
    match event {
        Event::Progress { stage, done, .. } => {
            progress.done[at] = done;
            let behind = progress.done.iter().sum();
            progress
                .bar
                .steps_of("training", &format!("loss {stage}"), behind, total);
        }
        Event::Trained {
            model,
            valid_loss,
            trigram_loss,
            ..
        } => progress.bar.say(&format!(
            "{model}: loss {valid_loss:.3} nats a token, of a trigram model {trigram_loss:.3}"
        )),
        _ => {}
    }
}
