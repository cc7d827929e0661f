//! What can go wrong between a model's name and its bytes.

use std::path::PathBuf;

/// An error of the registry, the lock or the model cache.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file could not be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("failed to write {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The registry or the lock is not what its format says.
    #[error("{path} is not valid: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which key is wrong, and how.
        message: String,
    },
    /// A name that could leave its folder or confuse a file system.
    #[error(
        "{what} {name:?} is not a plain name: use 1 to 128 of A-Z a-z 0-9 . _ + - without a leading dot"
    )]
    BadName {
        /// What was named: a model, a file, a revision.
        what: &'static str,
        /// The name as given.
        name: String,
    },
    /// Neither a registry name nor a path that exists.
    #[error(
        "{name:?} is neither a model of the registry nor a folder or file; `cargo xtask models` lists the names"
    )]
    UnknownModel {
        /// The name as given.
        name: String,
    },
    /// A revision the registry does not list for this model.
    #[error("model {model} has no revision {revision:?} in the registry; it has {known}")]
    UnknownRevision {
        /// The model.
        model: String,
        /// The revision asked for.
        revision: String,
        /// The revisions there are, shortened.
        known: String,
    },
    /// The model is known, but its files are not here.
    #[error("model {model} is not fetched ({detail}); run `cargo xtask fetch {model}`")]
    NotFetched {
        /// The model, with its revision when that is not the default one.
        model: String,
        /// What is missing.
        detail: String,
    },
    /// A file is shorter or longer than the lock says.
    #[error(
        "{path} has {found} bytes where the lock says {expected}; delete it and run `cargo xtask fetch {model}`"
    )]
    WrongLength {
        /// The model.
        model: String,
        /// The file.
        path: PathBuf,
        /// Bytes in the lock.
        expected: u64,
        /// Bytes on disk.
        found: u64,
    },
    /// A file's SHA-256 is not the one in the lock.
    #[error(
        "{path} has SHA-256 {found} where the lock says {expected}; delete it and run `cargo xtask fetch {model}`"
    )]
    WrongHash {
        /// The model.
        model: String,
        /// The file.
        path: PathBuf,
        /// Hash in the lock, 64 lower-case hexadecimal digits.
        expected: String,
        /// Hash of the bytes on disk.
        found: String,
    },
    /// A local folder or file that holds no model.
    #[error("{path} holds no model: {detail}")]
    NoModel {
        /// The folder or file.
        path: PathBuf,
        /// What was looked for.
        detail: String,
    },
    /// A repository lacks a file that the registry requires.
    #[error("no file matches {pattern:?}, which the registry requires; there are {there}")]
    NoMatch {
        /// The pattern of the registry.
        pattern: String,
        /// The files there are, shortened.
        there: String,
    },
}

impl SourceError {
    pub(crate) fn read(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn write(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn invalid(path: &std::path::Path, message: impl Into<String>) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            message: message.into(),
        }
    }
}
