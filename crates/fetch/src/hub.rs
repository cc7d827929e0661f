//! Requests to the hub: bounded in time, in bytes and in number.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use assay_source::protocol::{ErrorKind, Event};
use futures_util::StreamExt as _;
use hf_hub::repository::{HFRepository, RepoTreeEntry, RepoTypeModel};
use hf_hub::{HFClient, split_id};

use crate::failure::{Failure, Outcome};
use crate::report::{Meter, Reporter};

/// The most bytes asked for in one request, 64 MiB: what an interruption can
/// cost when nothing of the answer was kept.
pub(crate) const MAX_PIECE: u64 = 64 << 20;

/// Attempts of one request (of one piece, for a file) before giving up.
const ATTEMPTS: u32 = 5;
/// Attempts to reach a hub that does not answer at all.
const ATTEMPTS_TO_REACH: u32 = 2;
/// The longest pause between attempts that doubling may lead to.
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);
/// The longest pause a server may ask for; beyond it the user decides.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);
/// How long an answer may take to begin.
const ANSWER: Duration = Duration::from_secs(30);
/// How long an answer may pause.
const STALL: Duration = Duration::from_secs(60);
/// The most entries of one repository that are read.
const MOST_ENTRIES: usize = 10_000;

/// Sizes and times a user may set.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) piece_bytes: u64,
    pub(crate) backoff: Duration,
}

/// One file as the hub lists it at a commit.
#[derive(Debug, Clone)]
pub(crate) struct RemoteFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// Git's identity of the file, or of the pointer to it.
    pub(crate) oid: String,
    /// Is it kept behind a pointer?
    pub(crate) pointer: bool,
}

/// The connection to the hub. Once it could not be reached, later requests of
/// this process fail at once.
pub(crate) struct Hub {
    client: HFClient,
    runtime: tokio::runtime::Runtime,
    limits: Limits,
    pub(crate) offline: bool,
    unreachable: RefCell<Option<String>>,
}

/// What an attempt is made for, to be named in events.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) report: &'a Reporter,
    pub(crate) model: &'a str,
    pub(crate) file: &'a str,
}

impl Hub {
    pub(crate) fn new(limits: Limits, offline: bool) -> anyhow::Result<Self> {
        // The library's own repetitions are off: they ignore Retry-After.
        let client = HFClient::builder()
            .retry_max_attempts(0)
            .build()
            .context("failed to set up the hub's client; check HF_ENDPOINT")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start the network runtime")?;
        Ok(Self {
            client,
            runtime,
            limits,
            offline,
            unreachable: RefCell::new(None),
        })
    }

    fn repository(&self, repo: &str) -> HFRepository<RepoTypeModel> {
        let (owner, name) = split_id(repo);
        self.client.model(owner, name)
    }

    /// The commit that a branch or commit of a repository is.
    pub(crate) fn commit(&self, asking: Asking<'_>, repo: &str, revision: &str) -> Outcome<String> {
        let asked = format!("{repo} at {revision}");
        let info = self.repeat(asking, || {
            let repository = self.repository(repo);
            let request = repository
                .info()
                .revision(revision)
                .expand(vec!["sha".to_owned()])
                .send();
            self.answer(request, &asked)
        })?;
        info.sha.ok_or_else(|| {
            Failure::new(
                ErrorKind::Server,
                format!("the hub named no commit ({asked})"),
            )
        })
    }

    /// The files of a repository's top level at a commit.
    pub(crate) fn list(
        &self,
        asking: Asking<'_>,
        repo: &str,
        commit: &str,
    ) -> Outcome<Vec<RemoteFile>> {
        let asked = format!("files of {repo} at {commit}");
        self.repeat(asking, || {
            let repository = self.repository(repo);
            let listing = async {
                let entries = repository
                    .list_tree()
                    .revision(commit)
                    .limit(MOST_ENTRIES)
                    .send()?;
                let mut entries = std::pin::pin!(entries);
                let mut files = Vec::new();
                while let Some(entry) = entries.next().await {
                    if let RepoTreeEntry::File {
                        oid,
                        size,
                        path,
                        lfs,
                        ..
                    } = entry?
                    {
                        let pointer = lfs.is_some();
                        files.push(RemoteFile {
                            name: path,
                            bytes: size,
                            oid,
                            pointer,
                        });
                    }
                }
                Ok(files)
            };
            self.answer(listing, &asked)
        })
    }

    /// A file that the hub's own cache on this machine already holds.
    pub(crate) fn cached(&self, repo: &str, commit: &str, file: &str) -> Option<PathBuf> {
        let repository = self.repository(repo);
        let lookup = repository
            .download_file()
            .filename(file)
            .revision(commit)
            .local_files_only(true);
        let path = self.runtime.block_on(lookup.send()).ok()?;
        // The cache keeps links; what is wanted is the content.
        path.canonicalize().ok()
    }

    /// Bring `partial` to the file's full length, from the length it has. The
    /// number of bytes that crossed the network comes back.
    pub(crate) fn download(
        &self,
        asking: Asking<'_>,
        repo: &str,
        commit: &str,
        file: &RemoteFile,
        partial: &Path,
    ) -> Outcome<u64> {
        let disk = |error: std::io::Error| Failure::disk(partial, &error);
        let mut target = OpenOptions::new()
            .create(true)
            .append(true)
            .open(partial)
            .map_err(disk)?;
        let mut have = target.metadata().map_err(disk)?.len();
        if have > file.bytes {
            target.set_len(0).map_err(disk)?;
            have = 0;
        }
        let before = have;
        let mut meter = Meter::new(
            asking.report,
            asking.model,
            asking.file,
            Some(file.bytes),
            before,
        );
        while have < file.bytes {
            let end = file.bytes.min(have.saturating_add(self.limits.piece_bytes));
            self.repeat(asking, || {
                self.piece(repo, commit, file, &mut target, &mut have, end, &mut meter)
            })?;
        }
        target.sync_all().map_err(disk)?;
        Ok(have - before)
    }

    /// Append the bytes from `have` to `end`. What arrives is kept even when
    /// the answer ends early.
    #[allow(clippy::too_many_arguments)]
    fn piece(
        &self,
        repo: &str,
        commit: &str,
        file: &RemoteFile,
        target: &mut std::fs::File,
        have: &mut u64,
        end: u64,
        meter: &mut Meter<'_>,
    ) -> Outcome<()> {
        if *have >= end {
            return Ok(());
        }
        let asked = format!("{} of {repo} at {commit}, bytes {have} to {end}", file.name);
        let repository = self.repository(repo);
        let request = repository
            .download_file_stream()
            .filename(&file.name)
            .revision(commit)
            .range(*have..end);
        let (_, mut body) = self.answer(request.send(), &asked)?;
        loop {
            let next = async { tokio::time::timeout(STALL, body.next()).await };
            let chunk = match self.runtime.block_on(next) {
                Err(_) => {
                    let message = format!("the answer stalled for {} s ({asked})", STALL.as_secs());
                    return Err(Failure::passing(ErrorKind::Unreachable, message));
                }
                Ok(None) => break,
                Ok(Some(chunk)) => chunk.map_err(|error| Failure::from_hub(error, &asked))?,
            };
            if chunk.len() as u64 > end - *have {
                let message = format!("the server ignores byte ranges ({asked})");
                return Err(Failure::new(ErrorKind::Server, message));
            }
            target
                .write_all(&chunk)
                .map_err(|error| Failure::new(ErrorKind::Disk, format!("{asked}: {error}")))?;
            *have += chunk.len() as u64;
            meter.at(*have).map_err(gone)?;
        }
        if *have < end {
            let message = format!("the answer ended early ({asked})");
            return Err(Failure::passing(ErrorKind::Truncated, message));
        }
        Ok(())
    }

    fn answer<T>(
        &self,
        request: impl Future<Output = hf_hub::HFResult<T>>,
        asked: &str,
    ) -> Outcome<T> {
        let bounded = async { tokio::time::timeout(ANSWER, request).await };
        match self.runtime.block_on(bounded) {
            Ok(result) => result.map_err(|error| Failure::from_hub(error, asked)),
            Err(_) => Err(Failure::passing(
                ErrorKind::Unreachable,
                format!(
                    "no answer from the hub within {} s ({asked})",
                    ANSWER.as_secs()
                ),
            )),
        }
    }

    /// Try until it succeeds, cannot succeed, or was tried often enough.
    fn repeat<T>(&self, asking: Asking<'_>, mut attempt: impl FnMut() -> Outcome<T>) -> Outcome<T> {
        if let Some(message) = self.unreachable.borrow().clone() {
            let message = format!("not asked again, the hub did not answer before: {message}");
            return Err(Failure::new(ErrorKind::Unreachable, message));
        }
        let mut backoff = self.limits.backoff;
        let mut number = 1;
        loop {
            let failure = match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let most = match failure.kind {
                ErrorKind::Unreachable => ATTEMPTS_TO_REACH,
                _ => ATTEMPTS,
            };
            let wait = failure.retry_after.unwrap_or(backoff);
            if !failure.again || number >= most || wait > LONGEST_RETRY_AFTER {
                if failure.kind == ErrorKind::Unreachable {
                    *self.unreachable.borrow_mut() = Some(failure.message.clone());
                }
                return Err(gave_up(failure, number, wait));
            }
            let event = Event::Retry {
                model: asking.model.to_owned(),
                file: asking.file.to_owned(),
                kind: failure.kind,
                wait_s: wait.as_secs_f64(),
                attempt: number,
                message: failure.message,
            };
            asking.report.say(&event).map_err(gone)?;
            std::thread::sleep(wait);
            backoff = LONGEST_BACKOFF.min(backoff * 2);
            number += 1;
        }
    }
}

fn gave_up(failure: Failure, attempts: u32, wait: Duration) -> Failure {
    let message = if wait > LONGEST_RETRY_AFTER {
        format!(
            "{}; it asks to wait {} s: try again later",
            failure.message,
            wait.as_secs()
        )
    } else if failure.again {
        format!("{}; given up after {attempts} attempts", failure.message)
    } else {
        failure.message
    };
    Failure {
        message,
        again: false,
        ..failure
    }
}

/// Nobody reads our output any more.
pub(crate) fn gone(error: anyhow::Error) -> Failure {
    Failure::new(ErrorKind::Disk, format!("standard output: {error}"))
}
