//! The files of a report before they are all there: beside their places, so
//! that each gets its name at once, and not in memory, which thousands of
//! models would fill.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use assay_record::sha256_hex;
use tempfile::TempDir;

use crate::archive::listed;
use crate::error::ReportError;

/// How the name of a folder begins that holds files until all are there.
const PREFIX: &str = ".assay-report-";

/// Files to be, by name; gone with this value unless they are put in place.
pub(crate) struct Staging {
    out: PathBuf,
    folder: TempDir,
    names: BTreeSet<String>,
    /// Whoever else writes a report to the same folder waits.
    _hold: Option<File>,
}

impl Staging {
    /// For the folder `out`, which is made where it is missing. Another report
    /// that is being written there is waited for.
    pub(crate) fn new(
        out: &Path,
        tell: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<Self, ReportError> {
        std::fs::create_dir_all(out).map_err(io("create", out))?;
        let hold = hold(out, tell)?;
        if hold.is_some() {
            sweep(out)?;
        }
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(out);
        Ok(Self {
            out: out.to_path_buf(),
            folder: folder.map_err(io("write to", out))?,
            names: BTreeSet::new(),
            _hold: hold,
        })
    }

    /// A folder for what is made on the way.
    pub(crate) fn scratch(&self) -> Result<TempDir, ReportError> {
        tempfile::tempdir_in(self.folder.path()).map_err(io("write to", &self.out))
    }

    /// Adds a file.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), ReportError> {
        let path = self.add(name)?;
        std::fs::write(path, bytes).map_err(io("write", &self.out.join(name)))
    }

    /// Adds a file that is written as it is made.
    pub(crate) fn create(&mut self, name: &str) -> Result<File, ReportError> {
        let path = self.add(name)?;
        File::create_new(path).map_err(io("write", &self.out.join(name)))
    }

    /// Where a new file is written.
    fn add(&mut self, name: &str) -> Result<PathBuf, ReportError> {
        if !self.names.insert(name.to_owned()) {
            return Err(ReportError::Duplicate {
                kind: "file",
                name: name.to_owned(),
            });
        }
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io("create", parent))?;
        }
        Ok(path)
    }

    /// Where a file lies until all are there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The files, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Gives every file its place, and their paths in alphabetical order. What
    /// an earlier report left and this one lacks goes: it would pass for a
    /// part of this one.
    pub(crate) fn into_place(self) -> Result<Vec<PathBuf>, ReportError> {
        let folders = self.folders()?;
        self.remove_stale()?;
        let mut written = Vec::new();
        for name in &self.names {
            let (from, to) = (self.path(name), self.out.join(name));
            File::open(&from)
                .and_then(|file| file.sync_all())
                .and_then(|()| std::fs::rename(&from, &to))
                .map_err(io("write", &to))?;
            written.push(to);
        }
        for folder in &folders {
            let synced = File::open(folder).and_then(|f| f.sync_all());
            synced.map_err(io("sync", folder))?;
        }
        Ok(written)
    }

    /// The folders that files go to, made where they are missing. Before
    /// anything is moved it is seen that everything can be.
    fn folders(&self) -> Result<BTreeSet<PathBuf>, ReportError> {
        let mut folders = BTreeSet::from([self.out.clone()]);
        for name in &self.names {
            let to = self.out.join(name);
            if let Some(parent) = to.parent()
                && folders.insert(parent.to_path_buf())
            {
                std::fs::create_dir_all(parent).map_err(io("create", parent))?;
            }
            if to.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                return Err(ReportError::InTheWay { path: to });
            }
        }
        Ok(folders)
    }

    /// Removes the PDF, figures and tables of an earlier report that this one
    /// does not write again. One that was changed since is not ours.
    fn remove_stale(&self) -> Result<(), ReportError> {
        let mut stale = vec![self.out.join("report.pdf")];
        for (name, hash) in listed(&self.out.join("results.zip")) {
            let path = self.out.join(&name);
            let ours = ["figures", "tables"].iter().any(|folder| {
                Path::new(&name).parent() == Some(Path::new(folder)) && !self.names.contains(&name)
            });
            if ours && std::fs::read(&path).is_ok_and(|bytes| sha256_hex(&bytes) == hash) {
                stale.push(path);
            }
        }
        for path in stale {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(io("remove", &path)(e)),
                _ => (),
            }
        }
        Ok(())
    }
}

/// Holds a folder, or `None` on a file system that cannot.
fn hold(out: &Path, tell: &mut dyn FnMut(&str, u64, u64)) -> Result<Option<File>, ReportError> {
    let folder = File::open(out).map_err(io("open", out))?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => {
            tell("waiting for another report that goes to this folder", 0, 1);
            folder.lock().map_err(io("hold", out))?;
            Ok(Some(folder))
        }
        // Some network file systems hold files that are written, and nothing else.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Removes what reports that were killed left in a folder that is held.
fn sweep(out: &Path) -> Result<(), ReportError> {
    for entry in std::fs::read_dir(out).map_err(io("read", out))? {
        let path = entry.map_err(io("read", out))?.path();
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            std::fs::remove_dir_all(&path).map_err(io("remove", &path))?;
        }
    }
    Ok(())
}

pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ReportError {
    let path = path.to_path_buf();
    move |source| ReportError::Io {
        action,
        path,
        source,
    }
}
