//! The lock: for every model and revision fetched once, the exact commit or
//! package version and every file with its length and SHA-256.
//!
//! Only a fetch writes it, and only from bytes it has received: a hash is never
//! typed in.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::is_sha256;
use crate::names::check_name;
use crate::registry::{Registry, Source};
use crate::{FileRole, SourceError};

/// File name of the lock inside the registry folder.
pub const LOCK_FILE: &str = "models.lock.toml";

const VERSION: u32 = 1;

const HEADER: &str = "\
# Written by `assay-fetch`; do not edit.
#
# version: format of this file.
# unlocked: models of the registry whose default revision nobody fetched yet.
# model.name, model.revision: the registry's name and the revision asked for.
# model.resolved: the commit (hub) or version (package) that this revision was.
# model.download_bytes: bytes that crossed the network, where they differ from
#   the files' own (a package is a compressed archive).
# model.file: every file, with its length in bytes and its SHA-256.

";

/// What was fetched, by model and revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    models: BTreeMap<(String, String), LockedModel>,
}

/// One model at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedModel {
    /// The registry's name.
    pub name: String,
    /// The revision asked for.
    pub revision: String,
    /// The commit (hub) or version (package) it was.
    pub resolved: String,
    /// Bytes to download, where they differ from the sum of the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_bytes: Option<u64>,
    /// The files, sorted by name.
    #[serde(rename = "file")]
    pub files: Vec<LockedFile>,
}

/// One file of a locked model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// File name, one path component.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Is a model's revision in the lock?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockStatus {
    /// Every file has a known length and SHA-256.
    Locked,
    /// Nobody fetched it yet.
    Unlocked,
}

/// Files with one content under several models or revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EqualFiles {
    /// The common SHA-256.
    pub sha256: String,
    /// The common length in bytes.
    pub bytes: u64,
    /// What the first holder's file is for. Equal configurations and tokenizers
    /// are ordinary; equal weights mean that one checkpoint is served twice.
    pub role: FileRole,
    /// Where the content appears, at least two places.
    pub holders: Vec<Holder>,
}

/// One place where a content appears.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// The model.
    pub model: String,
    /// The revision.
    pub revision: String,
    /// The file.
    pub file: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLock {
    version: u32,
    unlocked: Vec<String>,
    #[serde(default)]
    model: Vec<LockedModel>,
}

impl LockedModel {
    /// Sum of the files' lengths in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

impl Lock {
    /// Read `models.lock.toml` of a registry folder. A missing file is an empty
    /// lock.
    ///
    /// # Errors
    /// [`SourceError::Read`], [`SourceError::Invalid`].
    pub fn load(folder: &Path) -> Result<Self, SourceError> {
        let path = folder.join(LOCK_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(SourceError::read(&path, error)),
        }
    }

    /// Read a lock from text; `path` is named in errors.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] naming the entry.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SourceError> {
        let raw: RawLock = toml::from_str(text)
            .map_err(|error| SourceError::invalid(path, error.to_string().trim_end()))?;
        if raw.version != VERSION {
            return Err(SourceError::invalid(
                path,
                format!("version is {}, this program reads {VERSION}", raw.version),
            ));
        }
        let mut lock = Self::default();
        for model in raw.model {
            let label = format!("{}@{}", model.name, model.revision);
            check(&model).map_err(|m| SourceError::invalid(path, format!("{label}: {m}")))?;
            if lock.get(&model.name, &model.revision).is_some() {
                return Err(SourceError::invalid(
                    path,
                    format!("{label} is listed twice"),
                ));
            }
            lock.insert(model);
        }
        Ok(lock)
    }

    /// The entry of a model's revision.
    #[must_use]
    pub fn get(&self, name: &str, revision: &str) -> Option<&LockedModel> {
        self.models.get(&(name.to_owned(), revision.to_owned()))
    }

    /// Is a model's revision locked?
    #[must_use]
    pub fn status(&self, name: &str, revision: &str) -> LockStatus {
        match self.get(name, revision) {
            Some(_) => LockStatus::Locked,
            None => LockStatus::Unlocked,
        }
    }

    /// All entries, by name and revision.
    pub fn models(&self) -> impl Iterator<Item = &LockedModel> {
        self.models.values()
    }

    /// Where a content lies, as far as the lock knows: every locked model and
    /// its file of this SHA-256.
    pub fn holders_of(&self, sha256: &str) -> impl Iterator<Item = (&LockedModel, &LockedFile)> {
        let files = self
            .models()
            .flat_map(|m| m.files.iter().map(move |f| (m, f)));
        files.filter(move |(_, file)| file.sha256 == sha256)
    }

    /// Add an entry, or replace the one of the same name and revision.
    pub fn insert(&mut self, mut model: LockedModel) {
        model.files.sort_by(|a, b| a.name.cmp(&b.name));
        self.models
            .insert((model.name.clone(), model.revision.clone()), model);
    }

    /// The text of the lock file. `registry` names the models that are still
    /// unlocked.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] when an entry does not follow the format.
    pub fn render(&self, registry: &Registry) -> Result<String, SourceError> {
        let unlocked = |entry: &&crate::ModelEntry| {
            !matches!(entry.source, Source::Local(_))
                && self.status(&entry.name, entry.default_revision()) == LockStatus::Unlocked
        };
        let path = Path::new(LOCK_FILE);
        for model in self.models() {
            check(model).map_err(|message| {
                SourceError::invalid(
                    path,
                    format!("{}@{}: {message}", model.name, model.revision),
                )
            })?;
        }
        let raw = RawLock {
            version: VERSION,
            unlocked: registry
                .models()
                .iter()
                .filter(unlocked)
                .map(|e| e.name.clone())
                .collect(),
            model: self.models().cloned().collect(),
        };
        let body = toml::to_string_pretty(&raw)
            .map_err(|error| SourceError::invalid(path, error.to_string()))?;
        Ok(format!("{HEADER}{body}"))
    }

    /// Write the lock into a registry folder: a temporary file, synced, renamed.
    ///
    /// # Errors
    /// [`SourceError::Write`], [`SourceError::Invalid`].
    pub fn save(&self, folder: &Path, registry: &Registry) -> Result<(), SourceError> {
        let path = folder.join(LOCK_FILE);
        let partial = folder.join(format!(".{LOCK_FILE}.{}", std::process::id()));
        let text = self.render(registry)?;
        let written = std::fs::File::create(&partial)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())
                    .and_then(|()| file.sync_all())
            })
            .and_then(|()| std::fs::rename(&partial, &path));
        written.map_err(|source| {
            // The rename did not happen, so only the temporary file can be left;
            // if it cannot be removed either, the first error says more.
            let _ = std::fs::remove_file(&partial);
            SourceError::write(&path, source)
        })
    }

    /// Contents that appear under more than one model or revision, ordered by
    /// their first holder.
    #[must_use]
    pub fn equal_files(&self) -> Vec<EqualFiles> {
        let mut by_content: BTreeMap<(&str, u64), Vec<Holder>> = BTreeMap::new();
        for model in self.models() {
            for file in &model.files {
                by_content
                    .entry((&file.sha256, file.bytes))
                    .or_default()
                    .push(Holder {
                        model: model.name.clone(),
                        revision: model.revision.clone(),
                        file: file.name.clone(),
                    });
            }
        }
        let mut equal = Vec::new();
        for ((sha256, bytes), mut holders) in by_content {
            holders.sort();
            let Some(first) = holders.first() else {
                continue;
            };
            let apart = |h: &Holder| (&h.model, &h.revision) != (&first.model, &first.revision);
            if holders.iter().any(apart) {
                let role = FileRole::of(&first.file);
                equal.push(EqualFiles {
                    sha256: sha256.to_owned(),
                    bytes,
                    role,
                    holders,
                });
            }
        }
        equal.sort_by(|a, b| a.holders.cmp(&b.holders));
        equal
    }
}

fn check(model: &LockedModel) -> Result<(), String> {
    let named = |what, name: &str| check_name(what, name).map_err(|error| error.to_string());
    named("model", &model.name)?;
    named("revision", &model.revision)?;
    named("resolved revision", &model.resolved)?;
    if model.files.is_empty() {
        return Err("it has no files".to_owned());
    }
    for file in &model.files {
        named("file", &file.name)?;
        if !is_sha256(&file.sha256) {
            return Err(format!(
                "sha256 of {} is not 64 lower-case hexadecimal digits",
                file.name
            ));
        }
        if model
            .files
            .iter()
            // Where case does not count they are one file.
            .filter(|other| other.name.eq_ignore_ascii_case(&file.name))
            .count()
            > 1
        {
            return Err(format!("file {} is listed twice", file.name));
        }
    }
    Ok(())
}
