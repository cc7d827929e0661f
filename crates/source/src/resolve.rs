//! From a name, a folder or a GGUF file to the files of a model.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::{sha256_bytes, sha256_file};
use crate::names::check_name;
use crate::registry::{Registry, Request, Source};
use crate::{Lock, LockedModel, ModelCache, SourceError};

/// A model whose files are on this machine, each of the length that the lock
/// says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedModel {
    /// Registry name, or the stem of the folder or file.
    pub name: String,
    /// Revision asked for; of a local model `local`, or what its folder says
    /// behind an @.
    pub revision: String,
    /// Commit or version; of a local model its revision.
    pub resolved: String,
    /// Family of the registry; a local model is its own family.
    pub family: String,
    /// Where the files came from.
    pub origin: Origin,
    /// The files, sorted by name.
    pub files: Vec<ResolvedFile>,
}

/// Where a model's files came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The hub's repository `owner/name`.
    Hub(String),
    /// Python packages, `name==version`.
    Pip(Vec<String>),
    /// A folder or file given by path.
    Local,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedFile {
    /// File name.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Length in bytes.
    pub len: u64,
    /// SHA-256: the lock's, or `None` for a local file nobody hashed yet.
    pub sha256: Option<String>,
    /// What it is for.
    pub role: FileRole,
}

/// What a model's file is for, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileRole {
    /// Tensors (a GGUF file also holds configuration and tokenizer).
    Weights,
    /// `config.json` and the index of sharded weights.
    Config,
    /// Vocabulary, merges, tokenizer settings.
    Tokenizer,
    /// Anything else.
    Other,
}

impl FileRole {
    /// The role of a file of this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        const TOKENIZER: [&str; 5] = [
            "vocab.json",
            "merges.txt",
            "special_tokens_map.json",
            "added_tokens.json",
            "vocab.txt",
        ];
        if name.ends_with(".safetensors") || name.ends_with(".gguf") || name.ends_with(".bin") {
            Self::Weights
        } else if name == "config.json" || name.ends_with(".index.json") {
            Self::Config
        } else if name.starts_with("tokenizer") || TOKENIZER.contains(&name) {
            Self::Tokenizer
        } else {
            Self::Other
        }
    }
}

impl ResolvedModel {
    /// The file of this name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&ResolvedFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Sum of the files' lengths in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.len))
    }

    /// What a loader opens: the GGUF file, or the folder that holds the others.
    #[must_use]
    pub fn location(&self) -> &Path {
        let gguf = self.files.iter().find(|file| file.name.ends_with(".gguf"));
        match (gguf, self.files.first()) {
            (Some(file), _) => &file.path,
            (None, Some(file)) => file.path.parent().unwrap_or(&file.path),
            (None, None) => Path::new(""),
        }
    }

    /// Hash every file and compare with the lock. The copy returned has a
    /// SHA-256 for every file, local ones included.
    ///
    /// # Errors
    /// [`SourceError::WrongLength`] (also when a file changed since
    /// [`resolve`]), [`SourceError::WrongHash`] with both hashes,
    /// [`SourceError::Read`].
    pub fn verify(&self) -> Result<Self, SourceError> {
        let mut verified = self.clone();
        for file in &mut verified.files {
            let (found, len) = sha256_file(&file.path)?;
            if len != file.len {
                return Err(SourceError::WrongLength {
                    model: self.label(),
                    path: file.path.clone(),
                    expected: file.len,
                    found: len,
                });
            }
            match &file.sha256 {
                Some(expected) if *expected != found => {
                    return Err(SourceError::WrongHash {
                        model: self.label(),
                        path: file.path.clone(),
                        expected: expected.clone(),
                        found,
                    });
                }
                _ => file.sha256 = Some(found),
            }
        }
        Ok(verified)
    }

    /// Digests of the weights and of the tokenizer, as a record's key names
    /// them; none while a file is not hashed ([`verify`](Self::verify) hashes
    /// all).
    #[must_use]
    pub fn digests(&self) -> Option<Digests> {
        let hashed = |f: &ResolvedFile| Some((f.name.clone(), f.sha256.clone()?));
        let files: Option<Vec<_>> = self.files.iter().map(hashed).collect();
        Some(Digests::of(&files?))
    }

    fn label(&self) -> String {
        match self.origin {
            Origin::Local => self.name.clone(),
            _ => format!("{}@{}", self.name, self.revision),
        }
    }
}

/// What a model's files hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Of everything but the tokenizer.
    pub weights: String,
    /// Of the tokenizer's files, or of all where it lies inside the weights.
    pub tokenizer: String,
}

impl Digests {
    /// Of files given by name and SHA-256: the SHA-256 of the lines `sha256`,
    /// a space, `name`, in order.
    #[must_use]
    pub fn of(files: &[(String, String)]) -> Self {
        let is_tokenizer = |name: &str| FileRole::of(name) == FileRole::Tokenizer;
        let apart = files.iter().any(|(name, _)| is_tokenizer(name));
        let over = |take: &dyn Fn(&str) -> bool| {
            let taken = files.iter().filter(|(name, _)| take(name));
            let mut lines: Vec<String> = taken.map(|(n, sha)| format!("{sha} {n}\n")).collect();
            lines.sort();
            sha256_bytes(lines.concat().as_bytes())
        };
        Self {
            weights: over(&|name| !is_tokenizer(name)),
            tokenizer: over(&|name| is_tokenizer(name) || !apart),
        }
    }
}

/// Find the files of a model: `name` or `name@revision` of the registry, or the
/// path of a folder or of a GGUF file. Lengths are checked here, hashes by
/// [`ResolvedModel::verify`].
///
/// # Errors
/// [`SourceError::UnknownModel`], [`SourceError::UnknownRevision`],
/// [`SourceError::NotFetched`] with the command that helps,
/// [`SourceError::WrongLength`], [`SourceError::NoModel`],
/// [`SourceError::Read`].
pub fn resolve(
    registry: &Registry,
    lock: &Lock,
    cache: &ModelCache,
    request: &str,
) -> Result<ResolvedModel, SourceError> {
    let name = request.split('@').next().unwrap_or(request);
    if registry.get(name).is_none() {
        let path = Path::new(request);
        if path.exists() {
            return resolve_local(path);
        }
        // Something that looks like a path is a missing file, not a bad name.
        if request.contains(['/', '\\']) || request.ends_with(".gguf") {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(SourceError::read(path, missing));
        }
    }
    let request = registry.find(request)?;
    let origin = match &request.entry.source {
        Source::Hub(hub) => Origin::Hub(hub.repo.clone()),
        Source::Pip(pip) => Origin::Pip(pip.parts.iter().map(|p| p.package.clone()).collect()),
        Source::Local(path) => {
            let local = if request.revision == request.entry.default_revision() {
                resolve_local(path)?
            } else {
                // A checkpoint lies beside it.
                let folder = format!("{}@{}", file_name(path), request.revision);
                resolve_local(&path.with_file_name(folder))?
            };
            let (name, family) = (request.entry.name.clone(), request.entry.family.clone());
            return Ok(ResolvedModel {
                name,
                family,
                ..local
            });
        }
    };
    let Some(locked) = lock.get(&request.entry.name, &request.revision) else {
        return Err(SourceError::NotFetched {
            model: request.label(),
            detail: "the lock has no entry for it".to_owned(),
        });
    };
    Ok(ResolvedModel {
        name: request.entry.name.clone(),
        revision: request.revision.clone(),
        resolved: locked.resolved.clone(),
        family: request.entry.family.clone(),
        origin,
        files: locked_files(&request, locked, cache)?,
    })
}

fn locked_files(
    request: &Request<'_>,
    locked: &LockedModel,
    cache: &ModelCache,
) -> Result<Vec<ResolvedFile>, SourceError> {
    let mut files = Vec::with_capacity(locked.files.len());
    for file in &locked.files {
        let path = cache.file(&locked.name, &locked.resolved, &file.name)?;
        let found = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SourceError::NotFetched {
                    model: request.label(),
                    detail: format!("{} is missing", path.display()),
                });
            }
            Err(error) => return Err(SourceError::read(&path, error)),
        };
        if found != file.bytes {
            return Err(SourceError::WrongLength {
                model: request.label(),
                path,
                expected: file.bytes,
                found,
            });
        }
        files.push(ResolvedFile {
            name: file.name.clone(),
            path,
            len: file.bytes,
            sha256: Some(file.sha256.clone()),
            role: FileRole::of(&file.name),
        });
    }
    Ok(files)
}

fn resolve_local(path: &Path) -> Result<ResolvedModel, SourceError> {
    let metadata = std::fs::metadata(path).map_err(|source| SourceError::read(path, source))?;
    let files = if metadata.is_dir() {
        folder_files(path)?
    } else {
        let name = file_name(path);
        if !name.ends_with(".gguf") {
            let detail = "a single file must be a .gguf; give the folder of the others".to_owned();
            return Err(SourceError::NoModel {
                path: path.to_owned(),
                detail,
            });
        }
        vec![local_file(path.to_owned(), name, metadata.len())]
    };
    if !files.iter().any(|file| file.role == FileRole::Weights) {
        let detail = "there is no .safetensors and no .gguf file in it".to_owned();
        return Err(SourceError::NoModel {
            path: path.to_owned(),
            detail,
        });
    }
    // `.` and `..` have no name of their own until they are made absolute.
    let absolute = path
        .canonicalize()
        .map_err(|source| SourceError::read(path, source))?;
    let full = file_name(&absolute);
    let full = full.strip_suffix(".gguf").unwrap_or(&full);
    // A folder "name@step10" is a checkpoint of the training of "name".
    let (name, revision) = full.split_once('@').unwrap_or((full, "local"));
    let name = name.to_owned();
    check_name("model", &name)?;
    check_name("revision", revision)?;
    Ok(ResolvedModel {
        family: name.clone(),
        name,
        revision: revision.to_owned(),
        resolved: revision.to_owned(),
        origin: Origin::Local,
        files,
    })
}

fn folder_files(folder: &Path) -> Result<Vec<ResolvedFile>, SourceError> {
    let failed = |source| SourceError::read(folder, source);
    let mut files = Vec::new();
    for found in std::fs::read_dir(folder).map_err(failed)? {
        let path = found.map_err(failed)?.path();
        let name = file_name(&path);
        // Followed, because the hub's own cache keeps links in its folders.
        let metadata =
            std::fs::metadata(&path).map_err(|source| SourceError::read(&path, source))?;
        if metadata.is_file() && !name.starts_with('.') && !name.ends_with(".partial") {
            files.push(local_file(path, name, metadata.len()));
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn local_file(path: PathBuf, name: String, len: u64) -> ResolvedFile {
    let role = FileRole::of(&name);
    ResolvedFile {
        name,
        path,
        len,
        sha256: None,
        role,
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
