//! Fetch models, check every file, lock what was never locked.

use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use assay_source::protocol::{ErrorKind, Event};
use assay_source::{FileRole, Lock, LockedModel, ModelCache, Registry, Request, Source};

use crate::failure::{Failure, Outcome};
use crate::hub::{Asking, Hub};
use crate::report::Reporter;
use crate::{pip, store};

/// What the command line allows.
pub(crate) struct Options {
    pub(crate) accepted: Vec<String>,
    pub(crate) update_lock: bool,
    pub(crate) registry_folder: PathBuf,
}

/// One model on its way.
pub(crate) struct Job<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) label: String,
    pub(crate) locked: Option<LockedModel>,
    pub(crate) lock: &'a Lock,
    pub(crate) cache: &'a ModelCache,
    pub(crate) report: &'a Reporter,
}

/// What a fetch brought.
pub(crate) struct Brought {
    pub(crate) model: LockedModel,
    pub(crate) bytes_fetched: u64,
}

/// Fetch every model; false when one could not be had.
pub(crate) fn get_all(
    registry: &Registry,
    mut lock: Lock,
    cache: &ModelCache,
    hub: &Hub,
    report: &Reporter,
    models: &[String],
    options: &Options,
) -> anyhow::Result<bool> {
    for model in models {
        let began = Instant::now();
        let failure = match get(registry, &lock, cache, hub, report, model, options) {
            Ok(None) => None,
            Ok(Some(brought)) => {
                if lock.get(&brought.model.name, &brought.model.revision) != Some(&brought.model) {
                    lock = write_lock(registry, report, options, &brought.model)?;
                }
                report.say(&fetched(&brought, began))?;
                None
            }
            Err(failure) => Some(failure),
        };
        if let Some(Failure { kind, message, .. }) = failure {
            report.say(&Event::Error {
                model: model.clone(),
                kind,
                message,
            })?;
        }
    }
    Ok(!report.failed())
}

fn fetched(brought: &Brought, began: Instant) -> Event {
    Event::Fetched {
        model: brought.model.name.clone(),
        revision: brought.model.revision.clone(),
        resolved: brought.model.resolved.clone(),
        files: brought.model.files.len(),
        bytes: brought.model.bytes(),
        bytes_fetched: brought.bytes_fetched,
        seconds: began.elapsed().as_secs_f64(),
    }
}

/// One model; `None` for a local one, which needs no fetching.
fn get(
    registry: &Registry,
    lock: &Lock,
    cache: &ModelCache,
    hub: &Hub,
    report: &Reporter,
    model: &str,
    options: &Options,
) -> Outcome<Option<Brought>> {
    let request = registry.find(model)?;
    if let Source::Local(_) = request.entry.source {
        assay_source::resolve(registry, lock, cache, model)?;
        return Ok(None);
    }
    let locked = lock.get(&request.entry.name, &request.revision).cloned();
    let mut job = Job {
        label: request.label(),
        request,
        locked,
        lock,
        cache,
        report,
    };
    let kept = !options.update_lock;
    if let Some(locked) = job.locked.clone().filter(|_| kept)
        && job.all_right(&locked)?
    {
        job.share_all(&locked)?;
        return Ok(Some(Brought {
            model: locked,
            bytes_fetched: 0,
        }));
    }
    let entry = job.request.entry;
    if entry.must_accept && !options.accepted.contains(&entry.licence) {
        return Err(Failure::new(
            ErrorKind::Licence,
            format!(
                "the licence {:?} must be accepted by name: add --accept {}",
                entry.licence, entry.licence
            ),
        ));
    }
    if !kept && !hub.offline {
        job.locked = None;
    }
    match &entry.source {
        Source::Hub(source) => job.bring_all(source, hub).map(Some),
        Source::Pip(source) => pip::fetch(&job, source, hub.offline).map(Some),
        Source::Local(_) => Ok(None),
    }
}

impl Job<'_> {
    pub(crate) fn asking<'b>(&'b self, file: &'b str) -> Asking<'b> {
        Asking {
            report: self.report,
            model: &self.label,
            file,
        }
    }

    fn all_right(&self, locked: &LockedModel) -> Outcome<bool> {
        for file in &locked.files {
            let path = self
                .cache
                .file(&locked.name, &locked.resolved, &file.name)?;
            if !store::is_right(&path, file)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Files that are here since before another revision brought the same.
    fn share_all(&self, locked: &LockedModel) -> Outcome<()> {
        // A cache that cannot be written to is taken as it is.
        let Ok(_held) = store::hold(&self.cache.folder(&locked.name, &locked.resolved)?) else {
            return Ok(());
        };
        for file in &locked.files {
            let path = self
                .cache
                .file(&locked.name, &locked.resolved, &file.name)?;
            self.share(&path, file)?;
        }
        Ok(())
    }
}

pub(crate) fn offline(model: &str, detail: &str) -> Failure {
    Failure::new(
        ErrorKind::Offline,
        format!("{model} is not complete on this machine ({detail}); fetch it without --offline"),
    )
}

/// Put one entry into the lock on disk, which another process may have changed
/// meanwhile, and report equal weights.
fn write_lock(
    registry: &Registry,
    report: &Reporter,
    options: &Options,
    model: &LockedModel,
) -> anyhow::Result<Lock> {
    let folder = &options.registry_folder;
    let held = File::open(folder)
        .and_then(|handle| handle.lock().map(|()| handle))
        .with_context(|| format!("failed to hold {}", folder.display()))?;
    let mut lock = Lock::load(folder)?;
    lock.insert(model.clone());
    lock.save(folder, registry)?;
    drop(held);
    report.say(&Event::Locked {
        model: model.name.clone(),
        revision: model.revision.clone(),
        resolved: model.resolved.clone(),
        files: model.files.clone(),
    })?;
    for equal in lock.equal_files() {
        let ours = equal
            .holders
            .iter()
            .any(|holder| (&holder.model, &holder.revision) == (&model.name, &model.revision));
        if ours && equal.role == FileRole::Weights {
            report.say(&Event::EqualWeights {
                model: model.name.clone(),
                sha256: equal.sha256,
                holders: equal.holders,
            })?;
        }
    }
    Ok(lock)
}
