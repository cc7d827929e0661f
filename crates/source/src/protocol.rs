//! The JSON lines that the fetch process writes on its standard output, one
//! [`Event`] a line. Lengths are in bytes.

use serde::{Deserialize, Serialize};

use crate::lock::{Holder, LockedFile};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// What a model needs, before anything is fetched.
    Plan {
        /// Registry name.
        model: String,
        /// Revision asked for.
        revision: String,
        /// Is there a lock entry?
        locked: bool,
        /// Bytes of all files, where known.
        bytes: Option<u64>,
        /// Bytes of the files already here.
        bytes_present: u64,
        /// Bytes that would cross the network, where known.
        bytes_to_fetch: Option<u64>,
        /// The licence.
        licence: String,
        /// Must the licence be accepted by name?
        must_accept: bool,
        /// Does the hub ask for a token?
        gated: bool,
    },
    /// How far one file is.
    Progress {
        /// Registry name.
        model: String,
        /// File name.
        file: String,
        /// Bytes here, those of an interrupted attempt included.
        done: u64,
        /// Bytes of the whole file, where known.
        total: Option<u64>,
        /// Bytes a second since this process began the file.
        bytes_per_s: f64,
    },
    /// An attempt failed and another follows.
    Retry {
        /// Registry name.
        model: String,
        /// File name, or empty while the repository itself is asked.
        file: String,
        /// Why the attempt failed.
        kind: ErrorKind,
        /// Seconds until the next attempt.
        wait_s: f64,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// What happened, in words.
        message: String,
    },
    /// The registry's branch is no longer at the commit that the lock holds;
    /// the locked commit is fetched.
    MovedBranch {
        /// Registry name.
        model: String,
        /// The branch.
        revision: String,
        /// Commit in the lock.
        locked: String,
        /// Commit the branch is at now.
        now: String,
    },
    /// All files of a model are here with the right length and SHA-256.
    Fetched {
        /// Registry name.
        model: String,
        /// Revision asked for.
        revision: String,
        /// Commit or version.
        resolved: String,
        /// Number of files.
        files: usize,
        /// Bytes of all files.
        bytes: u64,
        /// Bytes that crossed the network in this run.
        bytes_fetched: u64,
        /// Seconds it took.
        seconds: f64,
    },
    /// The lock has a new entry.
    Locked {
        /// Registry name.
        model: String,
        /// Revision asked for.
        revision: String,
        /// Commit or version.
        resolved: String,
        /// The files with length and SHA-256.
        files: Vec<LockedFile>,
    },
    /// Weights of this model are also those of another model or revision.
    EqualWeights {
        /// Registry name.
        model: String,
        /// The common SHA-256.
        sha256: String,
        /// Everywhere the content appears.
        holders: Vec<Holder>,
    },
    /// A model could not be had; the others go on.
    Error {
        /// Registry name as asked for.
        model: String,
        /// What kind of reason.
        kind: ErrorKind,
        /// The reason in words.
        message: String,
    },
}

/// Why a model could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// No connection, no name resolution, or no answer in time.
    Unreachable,
    /// The hub wants a token whose owner accepted the terms.
    Gated,
    /// No such model, repository or file.
    NotFound,
    /// Told to wait longer or more often than is reasonable.
    RateLimited,
    /// The server failed again and again, or answered something else than its
    /// protocol says.
    Server,
    /// The bytes received are not the ones expected.
    HashMismatch,
    /// The body ended early again and again.
    Truncated,
    /// The pinned or locked commit is gone.
    VanishedRevision,
    /// pip failed, or the package is not as the registry says.
    Pip,
    /// The licence was not accepted by name.
    Licence,
    /// A local file could not be read or written.
    Disk,
    /// Only local files were allowed and they do not suffice.
    Offline,
}

impl Event {
    /// The event as one line of JSON, without the line's end.
    ///
    /// # Errors
    /// A number that JSON cannot hold; no event of this crate has one.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Read one line.
    ///
    /// # Errors
    /// A line that is no event of this version.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}
