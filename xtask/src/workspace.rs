//! Folders of the workspace, and its programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use assay_record::{ExperimentSpec, Store, UnitClaim};
use assay_source::{Lock, ModelCache, Registry};

use crate::Place;
use crate::say::say;

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Folder of the golden values.
pub(crate) fn golden() -> PathBuf {
    root().join("golden")
}

/// Folder of models.toml and models.lock.toml.
pub(crate) fn registry_folder() -> PathBuf {
    root().join("registry")
}

/// What every experiment declares, by name.
pub(crate) fn specs() -> anyhow::Result<BTreeMap<String, ExperimentSpec>> {
    let folder = root().join("experiments");
    let unreadable = |path: &Path| format!("failed to read {}", path.display());
    let mut specs = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).with_context(|| unreadable(&folder))? {
        let entry = entry.with_context(|| unreadable(&folder))?;
        let path = entry.path().join("experiment.toml");
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| unreadable(&path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        specs.insert(name, ExperimentSpec::parse(&text, &path)?);
    }
    Ok(specs)
}

/// The registry, the lock and the cache of models.
pub(crate) fn models() -> anyhow::Result<(Registry, Lock, ModelCache)> {
    let folder = registry_folder();
    Ok((
        Registry::load(&folder)?,
        Lock::load(&folder)?,
        ModelCache::from_env(&root()),
    ))
}

impl Place {
    /// The store's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.store
            .clone()
            .unwrap_or_else(|| root().join(".assay").join("store"))
    }

    /// Refuses what is no folder that can be added to.
    pub(crate) fn check_folder(&self) -> anyhow::Result<()> {
        let path = self.folder();
        if path.extension().is_some_and(|e| e == "zip") {
            bail!(
                "{} is the archive of a finished run, which can be read and not added to: give a folder with --store",
                path.display()
            );
        }
        if path.is_symlink() && !path.exists() {
            bail!("{} is a link that leads nowhere", path.display());
        }
        if path.to_str().is_none() {
            bail!(
                "{} has a name that is not UTF-8: give another folder with --store",
                path.display()
            );
        }
        Ok(())
    }

    /// Holds the list of the last run and its summaries, after others have
    /// let them go: two at once would take each other's for their own.
    pub(crate) fn hold(&self, patience: Duration) -> anyhow::Result<UnitClaim> {
        let store = Store::open(&self.folder())?.with_patience(patience);
        let claim = store.wait_for("last-run", &mut |holder| {
            say!("waiting: {holder} writes the results of its run");
        })?;
        Ok(claim)
    }

    /// Folder of the summaries of the last run.
    pub(crate) fn summaries(&self) -> PathBuf {
        self.folder().join("summaries")
    }
}

/// What `cargo metadata` says with some arguments.
pub(crate) fn metadata(arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cargo metadata failed: {}", said.trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")
}

/// A program of the workspace, built if need be. `ASSAY_BIN` names a folder of
/// built programs to take instead.
pub(crate) fn program(package: &str) -> anyhow::Result<PathBuf> {
    build(package, &[])
}

/// The worker for GPUs, in a target folder of its own: with the cuda feature
/// libraries have other features than without.
pub(crate) fn gpu_worker() -> anyhow::Result<PathBuf> {
    if std::env::var_os("ASSAY_BIN").is_none() {
        gpu_compiler()?;
        say!("a build for GPUs takes about ten minutes the first time");
    }
    let folder = gpu_target().display().to_string();
    build(
        "assay-worker",
        &["--features", "cuda", "--target-dir", &folder],
    )
}

/// The folder that programs for GPUs are built into.
pub(crate) fn gpu_target() -> PathBuf {
    target().join("cuda")
}

/// Is NVIDIA's compiler there?
pub(crate) fn gpu_compiler() -> anyhow::Result<()> {
    let compiler = Command::new("nvcc").arg("--version").output();
    if !compiler.is_ok_and(|o| o.status.success()) {
        bail!("NVIDIA's compiler is not on the PATH: eval \"$(.ci/cuda-toolkit DIR)\" first");
    }
    Ok(())
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    set.unwrap_or_else(|| root().join("target"))
}

fn build(package: &str, options: &[&str]) -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("ASSAY_BIN") {
        let path = Path::new(&folder).join(package);
        if !path.exists() {
            bail!(
                "{} is missing, and ASSAY_BIN names its folder",
                path.display()
            );
        }
        return Ok(path);
    }
    say!("building {package}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--quiet", "--package", package])
        .args(options)
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        bail!("{package} could not be built");
    }
    // The last artifact with an executable is the package's own.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|m| Some(PathBuf::from(m.get("executable")?.as_str()?)))
        .next_back()
        .with_context(|| format!("cargo named no program for {package}"))
}
