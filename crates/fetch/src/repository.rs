//! The files of a hub repository: which ones, at which commit, and the proof of
//! each.

use std::path::Path;

use assay_source::protocol::{ErrorKind, Event};
use assay_source::{HubSource, LockedFile, LockedModel};

use crate::failure::{Failure, Outcome};
use crate::get::{Brought, Job, offline};
use crate::hub::{Hub, RemoteFile, gone};
use crate::{git, store};

impl Job<'_> {
    /// Every file of the model, in the model cache and checked.
    pub(crate) fn bring_all(&self, source: &HubSource, hub: &Hub) -> Outcome<Brought> {
        let (commit, files) = match (&self.locked, hub.offline) {
            (Some(locked), true) => (
                locked.resolved.clone(),
                locked.files.iter().map(unlisted).collect(),
            ),
            (None, true) => return Err(offline(&self.label, "nobody has fetched it before")),
            (Some(locked), false) => (
                locked.resolved.clone(),
                self.locked_files(source, hub, locked)?,
            ),
            (None, false) => self.new_files(source, hub)?,
        };
        let name = &self.request.entry.name;
        let folder = self.cache.folder(name, &commit)?;
        let held = store::hold(&folder)?;
        let mut brought = Brought {
            model: LockedModel {
                name: name.clone(),
                revision: self.request.revision.clone(),
                resolved: commit.clone(),
                download_bytes: None,
                files: Vec::new(),
            },
            bytes_fetched: 0,
        };
        for file in &files {
            let path = self.cache.file(name, &commit, &file.name)?;
            let (file, bytes) = self.bring(source, hub, &commit, file, &path)?;
            brought.model.files.push(file);
            brought.bytes_fetched += bytes;
        }
        drop(held);
        brought.model.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(brought)
    }

    /// The locked commit's files, which must be as long as the lock says.
    fn locked_files(
        &self,
        source: &HubSource,
        hub: &Hub,
        locked: &LockedModel,
    ) -> Outcome<Vec<RemoteFile>> {
        if !source.pinned {
            // Only told: a branch that moved changes nothing that is locked.
            if let Ok(now) = hub.commit(self.asking(""), &source.repo, &self.request.revision)
                && now != locked.resolved
            {
                let event = Event::MovedBranch {
                    model: self.label.clone(),
                    revision: self.request.revision.clone(),
                    locked: locked.resolved.clone(),
                    now,
                };
                self.report.say(&event).map_err(gone)?;
            }
        }
        let there = self.list(source, hub, &locked.resolved)?;
        let mut files = Vec::with_capacity(locked.files.len());
        for file in &locked.files {
            match there.iter().find(|remote| remote.name == file.name) {
                Some(remote) if remote.bytes == file.bytes => files.push(remote.clone()),
                Some(remote) => {
                    return Err(Failure::new(
                        ErrorKind::HashMismatch,
                        format!(
                            "the hub lists {} with {} bytes where the lock says {}",
                            file.name, remote.bytes, file.bytes
                        ),
                    ));
                }
                None => {
                    let message = format!("{} is not in {} any more", file.name, source.repo);
                    return Err(Failure::new(ErrorKind::NotFound, message));
                }
            }
        }
        Ok(files)
    }

    /// The commit a revision is at now, and the files the registry wants of it.
    fn new_files(&self, source: &HubSource, hub: &Hub) -> Outcome<(String, Vec<RemoteFile>)> {
        let revision = &self.request.revision;
        let commit = hub
            .commit(self.asking(""), &source.repo, revision)
            .map_err(|failure| {
                // A branch that the hub does not have never was; only a commit vanishes.
                let never = failure.kind == ErrorKind::VanishedRevision && !source.pinned;
                let kind = if never {
                    ErrorKind::NotFound
                } else {
                    failure.kind
                };
                Failure { kind, ..failure }
            })?;
        if source.pinned && *revision == source.revision && commit != *revision {
            let message = format!("the hub answers commit {commit} where {revision} was asked for");
            return Err(Failure::new(ErrorKind::Server, message));
        }
        let there = self.list(source, hub, &commit)?;
        let names: Vec<String> = there.iter().map(|file| file.name.clone()).collect();
        let wanted = source.files.select(&names)?;
        Ok((
            commit,
            there
                .into_iter()
                .filter(|file| wanted.contains(&file.name))
                .collect(),
        ))
    }

    /// The files at a commit; without the commit there is nothing to list.
    fn list(&self, source: &HubSource, hub: &Hub, commit: &str) -> Outcome<Vec<RemoteFile>> {
        hub.commit(self.asking(""), &source.repo, commit)?;
        hub.list(self.asking(""), &source.repo, commit)
    }

    /// One file under its final name: already here, from the hub's cache on
    /// this machine, or over the network.
    fn bring(
        &self,
        source: &HubSource,
        hub: &Hub,
        commit: &str,
        file: &RemoteFile,
        path: &Path,
    ) -> Outcome<(LockedFile, u64)> {
        if path.exists() {
            match self.check(file, path) {
                Ok(right) => return Ok((right, 0)),
                Err(failure) if hub.offline || failure.kind == ErrorKind::Disk => {
                    return Err(failure);
                }
                Err(_) => store::remove(path)?,
            }
        }
        if let Some(known) = self.known(file)
            && self.share(path, &known)?
        {
            return Ok((self.check(file, path)?, 0));
        }
        let partial = store::partial(path);
        if let Some(cached) = hub.cached(&source.repo, commit, &file.name)
            && let Ok(right) = self.check(file, &cached)
        {
            // A link costs no space and appears at once; across file systems the
            // content is copied.
            if std::fs::hard_link(&cached, path).is_err() {
                std::fs::copy(&cached, &partial).map_err(|e| Failure::disk(&partial, &e))?;
                store::publish(&partial, path)?;
            }
            return Ok((right, 0));
        }
        if hub.offline {
            return Err(offline(
                &self.label,
                &format!("{} is missing", path.display()),
            ));
        }
        let resumed = std::fs::metadata(&partial).is_ok_and(|metadata| metadata.len() > 0);
        let mut fetched = hub.download(
            self.asking(&file.name),
            &source.repo,
            commit,
            file,
            &partial,
        )?;
        let mut checked = self.check(file, &partial);
        if checked.is_err() && resumed {
            // The start came from an earlier run and may be at fault.
            store::remove(&partial)?;
            fetched += hub.download(
                self.asking(&file.name),
                &source.repo,
                commit,
                file,
                &partial,
            )?;
            checked = self.check(file, &partial);
        }
        match checked {
            Ok(right) => {
                store::publish(&partial, path)?;
                self.share(path, &right)?;
                Ok((right, fetched))
            }
            Err(failure) => {
                store::remove(&partial)?;
                Err(failure)
            }
        }
    }

    /// A file as it must be, as far as that is known before it is here: from
    /// its lock entry, or because the pointer that the hub lists is that of a
    /// content which is locked already.
    fn known(&self, file: &RemoteFile) -> Option<LockedFile> {
        let own = self.locked.as_ref().map(|locked| &locked.files);
        let own = own.and_then(|files| files.iter().find(|known| known.name == file.name));
        if own.is_some() || !file.pointer {
            return own.cloned();
        }
        let all = self.lock.models().flat_map(|model| &model.files);
        let mut same = all.filter(|known| known.bytes == file.bytes);
        let same = same.find(|k| git::blob_of_pointer(&k.sha256, k.bytes) == file.oid)?;
        Some(LockedFile {
            name: file.name.clone(),
            ..same.clone()
        })
    }

    /// Length, SHA-256 of the lock, and git's identity of the hub's listing.
    fn check(&self, file: &RemoteFile, path: &Path) -> Outcome<LockedFile> {
        let wrong = |what: &str, expected: &str, found: &str| {
            Failure::new(
                ErrorKind::HashMismatch,
                format!(
                    "{} has {what} {found} where {expected} was expected",
                    file.name
                ),
            )
        };
        let found = store::measure(&file.name, path)?;
        if found.bytes != file.bytes {
            return Err(wrong(
                "length",
                &file.bytes.to_string(),
                &found.bytes.to_string(),
            ));
        }
        let locked = self.locked.as_ref().map(|locked| &locked.files);
        let known = locked.and_then(|files| files.iter().find(|known| known.name == file.name));
        if let Some(known) = known.filter(|known| known.sha256 != found.sha256) {
            return Err(wrong("SHA-256", &known.sha256, &found.sha256));
        }
        if !file.oid.is_empty() {
            let oid = if file.pointer {
                git::blob_of_pointer(&found.sha256, found.bytes)
            } else {
                git::blob_of_file(path, found.bytes).map_err(|e| Failure::disk(path, &e))?
            };
            if oid != file.oid {
                return Err(wrong("the git identity", &file.oid, &oid));
            }
        }
        Ok(found)
    }
}

/// A locked file, when the hub is not asked: only the lock speaks for it.
fn unlisted(file: &LockedFile) -> RemoteFile {
    RemoteFile {
        name: file.name.clone(),
        bytes: file.bytes,
        oid: String::new(),
        pointer: false,
    }
}
