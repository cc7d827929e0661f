//! The folder where fetched models lie: `<root>/<model>/<resolved revision>/<file>`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::SourceError;
use crate::names::check_name;

/// Environment variable that moves the model cache.
pub const MODELS_VARIABLE: &str = "ASSAY_MODELS";

/// What a cache takes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all files, each content that is shared once.
    pub bytes: u64,
    /// Bytes that it would take more if nothing was shared.
    pub shared: u64,
}

/// The model cache.
#[derive(Debug, Clone)]
pub struct ModelCache {
    root: PathBuf,
}

impl ModelCache {
    /// A cache in this folder, which need not exist yet.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder named by `ASSAY_MODELS`, or `.assay/models` under the
    /// workspace.
    #[must_use]
    pub fn from_env(workspace: &Path) -> Self {
        match std::env::var_os(MODELS_VARIABLE) {
            Some(root) if !root.is_empty() => Self::new(PathBuf::from(root)),
            _ => Self::new(workspace.join(".assay").join("models")),
        }
    }

    /// The cache's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a model at a resolved revision (commit or version).
    ///
    /// # Errors
    /// [`SourceError::BadName`]: neither name can leave the cache.
    pub fn folder(&self, model: &str, resolved: &str) -> Result<PathBuf, SourceError> {
        check_name("model", model)?;
        check_name("resolved revision", resolved)?;
        Ok(self.root.join(model).join(resolved))
    }

    /// What the cache takes on disk. A file that several revisions share is
    /// counted once.
    ///
    /// # Errors
    /// [`SourceError::Read`].
    pub fn usage(&self) -> Result<Usage, SourceError> {
        use std::os::unix::fs::MetadataExt as _;
        let mut usage = Usage::default();
        let mut seen = BTreeSet::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let failed = |source| SourceError::read(&folder, source);
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let found = entry.metadata().map_err(failed)?;
                if found.is_dir() {
                    folders.push(entry.path());
                } else if seen.insert((found.dev(), found.ino())) {
                    usage.bytes += found.len();
                } else {
                    usage.shared += found.len();
                }
            }
        }
        Ok(usage)
    }

    /// The path of one file of a model.
    ///
    /// # Errors
    /// [`SourceError::BadName`].
    pub fn file(&self, model: &str, resolved: &str, file: &str) -> Result<PathBuf, SourceError> {
        check_name("file", file)?;
        Ok(self.folder(model, resolved)?.join(file))
    }
}
