//! The files of a report before they are all there: beside their places, so
//! that each gets its name at once, and not in memory, which thousands of
//! models would fill.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::ReportError;

/// Files to be, by name; gone with this value unless they are put in place.
pub(crate) struct Staging {
    out: PathBuf,
    folder: TempDir,
    names: BTreeSet<String>,
}

impl Staging {
    /// For the folder `out`, which is made where it is missing.
    pub(crate) fn new(out: &Path) -> Result<Self, ReportError> {
        std::fs::create_dir_all(out).map_err(io("create", out))?;
        Ok(Self {
            out: out.to_path_buf(),
            folder: tempfile::tempdir_in(out).map_err(io("write to", out))?,
            names: BTreeSet::new(),
        })
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

    /// Gives every file its place, and their paths in alphabetical order.
    pub(crate) fn into_place(self) -> Result<Vec<PathBuf>, ReportError> {
        let mut written = Vec::new();
        let mut folders = BTreeSet::from([self.out.clone()]);
        for name in &self.names {
            let (from, to) = (self.path(name), self.out.join(name));
            if let Some(parent) = to.parent()
                && folders.insert(parent.to_path_buf())
            {
                std::fs::create_dir_all(parent).map_err(io("create", parent))?;
            }
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
}

pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ReportError {
    let path = path.to_path_buf();
    move |source| ReportError::Io {
        action,
        path,
        source,
    }
}
