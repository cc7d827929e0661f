//! The folder where fetched models lie: `<root>/<model>/<resolved revision>/<file>`.

use std::path::{Path, PathBuf};

use crate::SourceError;
use crate::names::check_name;

/// Environment variable that moves the model cache.
pub const MODELS_VARIABLE: &str = "ASSAY_MODELS";

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

    /// The path of one file of a model.
    ///
    /// # Errors
    /// [`SourceError::BadName`].
    pub fn file(&self, model: &str, resolved: &str, file: &str) -> Result<PathBuf, SourceError> {
        check_name("file", file)?;
        Ok(self.folder(model, resolved)?.join(file))
    }
}
