use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::canonical::{canonical_json, sha256_hex};
use crate::error::RecordError;
use crate::{Record, RecordKey};

/// Version of the record file.
const FORMAT: u32 = 1;

/// A record file: the record, and the hash of its canonical JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordFile {
    format: u32,
    sha256: String,
    record: serde_json::Value,
}

/// A folder of records, one file each, named by what they were computed from.
///
/// Layout: `records/<experiment>/<id>.json` and `locks/<name>.lock`. A record
/// is written to a temporary file, synced and renamed, so a file under its
/// final name is whole.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens a store, making the folder if need be.
    ///
    /// # Errors
    /// The folder cannot be made (read-only, full disk, a file in its place).
    pub fn open(root: &Path) -> Result<Self, RecordError> {
        std::fs::create_dir_all(root).map_err(RecordError::io("create", root))?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    /// The store's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a record lies.
    #[must_use]
    pub fn record_path(&self, experiment: &str, id: &str) -> PathBuf {
        self.root
            .join("records")
            .join(experiment)
            .join(format!("{id}.json"))
    }

    /// The record of a key, if it is there and says the same key.
    ///
    /// # Errors
    /// The file is damaged, of another format version, or not a record.
    pub fn get(&self, key: &RecordKey) -> Result<Option<Record>, RecordError> {
        let id = key_id(key)?;
        if !self.record_path(&key.experiment, &id).exists() {
            return Ok(None);
        }
        let record = self.read(&key.experiment, &id)?;
        Ok((record.key == *key).then_some(record))
    }

    /// Reads a record by id.
    ///
    /// # Errors
    /// There is none, it is damaged, of another format version, not a record,
    /// or filed under a name that is not its own.
    pub fn read(&self, experiment: &str, id: &str) -> Result<Record, RecordError> {
        let path = self.record_path(experiment, id);
        let malformed = |reason: String| RecordError::Malformed {
            path: path.clone(),
            kind: "record",
            reason,
        };
        let text = std::fs::read_to_string(&path).map_err(RecordError::io("read", &path))?;
        let file: RecordFile = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
        if file.format != FORMAT {
            return Err(RecordError::Version {
                path,
                kind: "record",
                found: file.format,
                expected: FORMAT,
            });
        }
        let found = sha256_hex(
            canonical_json(&file.record)
                .map_err(|e| malformed(e.to_string()))?
                .as_bytes(),
        );
        if found != file.sha256 {
            return Err(RecordError::Damaged {
                path,
                stated: file.sha256,
                found,
            });
        }
        let record: Record =
            serde_json::from_value(file.record).map_err(|e| malformed(e.to_string()))?;
        let own = key_id(&record.key)?;
        if own != id || record.key.experiment != experiment {
            return Err(malformed(format!(
                "it holds record {own} of {}",
                record.key.experiment
            )));
        }
        Ok(record)
    }

    /// Every record of an experiment that can be read, in the order of ids,
    /// and the error of every file that cannot.
    ///
    /// # Errors
    /// The folder cannot be listed.
    #[allow(clippy::type_complexity)]
    pub fn list(&self, experiment: &str) -> Result<(Vec<Record>, Vec<RecordError>), RecordError> {
        let folder = self.root.join("records").join(experiment);
        if !folder.exists() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(RecordError::io("read", &folder))? {
            let path = entry.map_err(RecordError::io("read", &folder))?.path();
            if path.extension().is_some_and(|e| e == "json")
                && let Some(stem) = path.file_stem()
            {
                ids.push(stem.to_string_lossy().into_owned());
            }
        }
        ids.sort();
        let (mut records, mut errors) = (Vec::new(), Vec::new());
        for id in ids {
            match self.read(experiment, &id) {
                Ok(record) => records.push(record),
                Err(error) => errors.push(error),
            }
        }
        Ok((records, errors))
    }

    /// Writes a record under its key and returns its id.
    ///
    /// # Errors
    /// A measure is NaN or infinite, the disk is full, the folder is read-only.
    pub fn commit(&self, record: &Record) -> Result<String, RecordError> {
        record.check_finite()?;
        let id = key_id(&record.key)?;
        let path = self.record_path(&record.key.experiment, &id);
        let malformed = |e: serde_json::Error| RecordError::Malformed {
            path: path.clone(),
            kind: "record",
            reason: e.to_string(),
        };
        let body = serde_json::to_value(record).map_err(malformed)?;
        let file = RecordFile {
            format: FORMAT,
            sha256: sha256_hex(canonical_json(&body).map_err(malformed)?.as_bytes()),
            record: body,
        };
        let mut text = serde_json::to_string_pretty(&file).map_err(malformed)?;
        text.push('\n');
        write_atomically(&path, text.as_bytes())?;
        Ok(id)
    }

    /// Takes the lock of a unit of work; it is let go when the value drops, or
    /// when the process dies.
    ///
    /// # Errors
    /// Another process holds it, or the folder is read-only.
    pub fn lock(&self, unit: &str) -> Result<UnitLock, RecordError> {
        let folder = self.root.join("locks");
        std::fs::create_dir_all(&folder).map_err(RecordError::io("create", &folder))?;
        let name: String = unit
            .chars()
            .map(|c| match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '@' => c,
                _ => '_',
            })
            .collect();
        let path = folder.join(format!("{name}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(RecordError::io("lock", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(UnitLock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(RecordError::Busy { path }),
            Err(std::fs::TryLockError::Error(e)) => Err(RecordError::io("lock", &path)(e)),
        }
    }
}

fn key_id(key: &RecordKey) -> Result<String, RecordError> {
    key.id().map_err(|e| RecordError::Malformed {
        path: PathBuf::from(&key.model),
        kind: "record key",
        reason: e.to_string(),
    })
}

/// A held lock.
#[derive(Debug)]
pub struct UnitLock {
    _file: File,
}

/// Writes a file so that a reader sees the old bytes or the new ones and
/// nothing between: temporary file in the same folder, sync, rename, sync of
/// the folder.
///
/// # Errors
/// The disk is full, the folder is read-only.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    // The parent of a bare file name is the empty path.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(RecordError::io("create", folder))?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder
        .tempfile_in(folder)
        .map_err(RecordError::io("write", path))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(RecordError::io("write", path))?;
    file.persist(path)
        .map_err(|e| RecordError::io("write", path)(e.error))?;
    File::open(folder)
        .and_then(|d| d.sync_all())
        .map_err(RecordError::io("sync", folder))
}
