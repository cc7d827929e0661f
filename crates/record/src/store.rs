use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::claim::{Attempt, Claim, Holder, PATIENCE};
use crate::error::RecordError;
use crate::{Made, Record, RecordKey, Seal};

/// A record file: the record, and the hash of its canonical JSON.
const RECORD: Seal = Seal {
    kind: "record",
    field: "record",
    format: Record::FORMAT,
};

/// How a record came to be.
const MADE: Seal = Seal {
    kind: "note of how a record was made",
    field: "made",
    format: 1,
};

/// A folder of records, one file each, named by what they were computed from.
///
/// Layout: `records/<experiment>/<id>.json`, `made/<experiment>/<id>.json` and
/// `claims/<name>.claim`. A file is written under a temporary name, synced and
/// renamed, so a file under its final name is whole. How a record was made is
/// written before it, so a record that is there has an origin.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    patience: Duration,
}

impl Store {
    /// Opens a store, making the folder if need be.
    ///
    /// # Errors
    /// The folder cannot be made (read-only, full disk, a file in its place).
    pub fn open(root: &Path) -> Result<Self, RecordError> {
        std::fs::create_dir_all(root).map_err(RecordError::io("create", root))?;
        Ok(Self::at(root))
    }

    /// A store to be looked into; an empty one where there is no folder.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            patience: PATIENCE,
        }
    }

    /// With another time after which a claim that shows no sign of life is
    /// taken over.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
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
        let record: Record = RECORD.read(&path)?;
        check_name(path, &record.key, (experiment, id))?;
        Ok(record)
    }

    /// The canonical JSON of the record of a key.
    ///
    /// # Errors
    /// As [`Store::read`], but that its samples are not looked at.
    pub fn canonical(&self, key: &RecordKey) -> Result<Vec<u8>, RecordError> {
        let id = key_id(key)?;
        let path = self.record_path(&key.experiment, &id);
        let json = RECORD.canonical(&path)?;
        let own = serde_json::from_slice::<OfRecord>(&json);
        let own = own.map_err(|e| RecordError::Malformed {
            path: path.clone(),
            kind: "record",
            reason: e.to_string(),
        })?;
        check_name(path, &own.key, (&key.experiment, &id))?;
        Ok(json)
    }

    /// How a record was made, if that is known.
    ///
    /// # Errors
    /// The note is damaged, of another format version, or not a note.
    pub fn made(&self, experiment: &str, id: &str) -> Result<Option<Made>, RecordError> {
        let path = self.made_path(experiment, id);
        if !path.exists() {
            return Ok(None);
        }
        MADE.read(&path).map(Some)
    }

    fn made_path(&self, experiment: &str, id: &str) -> PathBuf {
        let folder = self.root.join("made").join(experiment);
        folder.join(format!("{id}.json"))
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

    /// Writes a record under its key, and how it was made, and returns its id.
    ///
    /// # Errors
    /// A measure is NaN or infinite, the disk is full, the folder is read-only.
    pub fn commit(&self, record: &Record, made: &Made) -> Result<String, RecordError> {
        record.check_finite()?;
        let id = key_id(&record.key)?;
        let experiment = &record.key.experiment;
        MADE.write(&self.made_path(experiment, &id), made)?;
        RECORD.write(&self.record_path(experiment, &id), record)?;
        Ok(id)
    }

    /// Claims a unit of work, if nobody else is at work on it.
    ///
    /// # Errors
    /// The folder is read-only, the disk is full.
    pub fn claim(&self, unit: &str) -> Result<Attempt, RecordError> {
        Claim::attempt(&self.claim_path(unit))
    }

    /// Claims a unit of work, after others have let it go or shown no sign of
    /// life for this store's patience. `tell` hears who holds it, if somebody
    /// does.
    ///
    /// # Errors
    /// The folder is read-only, the disk is full.
    pub fn wait_for(
        &self,
        unit: &str,
        tell: &mut dyn FnMut(&Holder),
    ) -> Result<Claim, RecordError> {
        Claim::wait(&self.claim_path(unit), self.patience, tell)
    }

    fn claim_path(&self, unit: &str) -> PathBuf {
        let name: String = unit
            .chars()
            .map(|c| match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '@' => c,
                _ => '_',
            })
            .collect();
        self.root.join("claims").join(format!("{name}.claim"))
    }
}

/// A record of which nothing but the key is read.
#[derive(Deserialize)]
struct OfRecord {
    key: RecordKey,
}

/// A record is filed under its own experiment and id.
fn check_name(
    path: PathBuf,
    key: &RecordKey,
    (experiment, id): (&str, &str),
) -> Result<(), RecordError> {
    let own = key_id(key)?;
    if own == id && key.experiment == experiment {
        return Ok(());
    }
    Err(RecordError::Malformed {
        path,
        kind: "record",
        reason: format!("it holds record {own} of {}", key.experiment),
    })
}

fn key_id(key: &RecordKey) -> Result<String, RecordError> {
    key.id().map_err(|e| RecordError::Malformed {
        path: PathBuf::from(&key.model),
        kind: "record key",
        reason: e.to_string(),
    })
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
