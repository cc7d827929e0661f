//! What a run will do, said before it does it: which models are here, what is
//! to be fetched, what memory and time the work takes, and what cannot run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use assay_record::wire::{ModelFile, RunRequest};
use assay_source::{
    Lock, ModelCache, ModelEntry, Plan, Registry, ResolvedModel, Source, plan, resolve,
};
use rayon::prelude::*;

use crate::bars::{Bar, human_bytes, human_seconds, table};
use crate::say::{is_quiet, say, to_people};
use crate::sweep::Unit;
use crate::{fetch, workspace};

/// A model of the run, and where it stands.
pub(crate) struct Candidate {
    /// As asked for.
    pub(crate) name: String,
    /// What records and the report call it: a path says where a model lies on
    /// this machine, which is not what was measured.
    pub(crate) label: String,
    /// Here with hashes, or why not.
    pub(crate) state: Result<ResolvedModel, String>,
}

/// What may be done about models that are not here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetching {
    Allowed,
    Forbidden,
    /// It is only said that they would be fetched.
    Said,
}

/// The models asked for, each once, or the registry's default ones.
pub(crate) fn select(asked: &[String], registry: &Registry) -> Vec<String> {
    if asked.is_empty() {
        registry.defaults().map(|m| m.name.clone()).collect()
    } else {
        once(asked)
    }
}

/// The checkpoints of the default models that lie in the workspace, if no
/// model is asked for.
pub(crate) fn checkpoints(asked: &[String], registry: &Registry) -> Vec<String> {
    let own = |m: &&ModelEntry| matches!(m.source, Source::Local(_));
    let of = |m: &ModelEntry| -> Vec<String> {
        (m.revisions.iter())
            .map(|r| format!("{}@{r}", m.name))
            .collect()
    };
    match asked {
        [] => registry.defaults().filter(own).flat_map(of).collect(),
        _ => Vec::new(),
    }
}

/// A list without repetitions, in its order.
pub(crate) fn once(names: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.iter().filter(|n| seen.insert(*n)).cloned().collect()
}

/// A model's name without the folders that it lies in.
fn label(name: &str) -> String {
    let path = Path::new(name);
    if !path.exists() {
        return name.to_owned();
    }
    // "." has a name of its own only when it is made absolute.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let file = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy();
    file.strip_suffix(".gguf").unwrap_or(&file).to_owned()
}

/// Fetches what is missing and may be fetched.
pub(crate) fn prepare(names: &[String], fetching: Fetching) -> anyhow::Result<Vec<Candidate>> {
    let (registry, lock, cache) = workspace::models()?;
    let missing = missing(names, &registry, &lock, &cache)?;
    let all = |reason: &str| {
        let reasons = missing.iter().map(|n| (n.clone(), reason.to_owned()));
        reasons.collect::<BTreeMap<_, _>>()
    };
    let failures = match fetching {
        _ if missing.is_empty() => BTreeMap::new(),
        Fetching::Forbidden => all("it is not here, and --offline forbids to fetch it"),
        Fetching::Said => {
            print_fetch(&missing, &registry, &lock, &cache)?;
            all("it is not here, and a run would fetch it first")
        }
        Fetching::Allowed => {
            print_fetch(&missing, &registry, &lock, &cache)?;
            fetch::get(&missing, false, &[])?
        }
    };
    // The lock may have grown.
    let (registry, lock, cache) = workspace::models()?;
    Ok(look_at(names, |name| Candidate {
        name: name.clone(),
        label: label(name),
        state: match failures.get(name) {
            Some(reason) => Err(reason.clone()),
            None => here(name, &registry, &lock, &cache),
        },
    }))
}

/// Models that are looked at side by side, between two signs of progress.
const AT_ONCE: usize = 64;

/// Looks at models, whose files are hashed: gigabytes.
fn look_at(names: &[String], one: impl Fn(&String) -> Candidate + Sync) -> Vec<Candidate> {
    let mut bar = Bar::new("plan");
    let mut all = Vec::new();
    for some in names.chunks(AT_ONCE) {
        if names.len() > AT_ONCE {
            bar.steps("hashing models", all.len() as u64, names.len() as u64);
        }
        all.extend(some.par_iter().map(&one).collect::<Vec<_>>());
    }
    all
}

/// A model's files with their hashes.
fn here(
    name: &str,
    registry: &Registry,
    lock: &Lock,
    cache: &ModelCache,
) -> Result<ResolvedModel, String> {
    let model = resolve(registry, lock, cache, name).map_err(|e| e.to_string())?;
    // A local model's files have no hashes yet.
    if model.files.iter().all(|f| f.sha256.is_some()) {
        Ok(model)
    } else {
        model.verify().map_err(|e| e.to_string())
    }
}

/// A model's files as a worker is told of them.
pub(crate) fn files(model: &ResolvedModel) -> anyhow::Result<Vec<ModelFile>> {
    let told = |file: &assay_source::ResolvedFile| {
        let sha256 = file.sha256.clone();
        Ok(ModelFile {
            sha256: sha256.with_context(|| format!("{} has no hash", file.path.display()))?,
            path: file.path.clone(),
        })
    };
    model.files.iter().map(told).collect()
}

/// The models that an experiment brings itself: the folders in `folder`, by
/// name, with or without the checkpoints of their training.
pub(crate) fn own(folder: &Path, checkpoints: bool) -> anyhow::Result<Vec<Candidate>> {
    let unreadable = || format!("failed to read {}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let name = path.display().to_string();
        let is_checkpoint = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().contains('@'));
        if path.join("config.json").exists() && (checkpoints || !is_checkpoint) {
            names.push(name);
        }
    }
    names.sort();
    local(&names)
}

/// Models that lie in the workspace.
pub(crate) fn local(names: &[String]) -> anyhow::Result<Vec<Candidate>> {
    let (registry, lock, cache) = workspace::models()?;
    Ok(look_at(names, |name| {
        let verified = resolve(&registry, &lock, &cache, name).and_then(|m| m.verify());
        Candidate {
            label: label(name),
            name: label(name),
            state: verified.map_err(|e| e.to_string()),
        }
    }))
}

/// Registry models of which files are missing. A name that is neither in the
/// registry nor a path is an error.
fn missing(
    names: &[String],
    registry: &Registry,
    lock: &Lock,
    cache: &ModelCache,
) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    for name in names {
        if Path::new(name).exists() {
            continue;
        }
        registry.find(name)?;
        if resolve(registry, lock, cache, name).is_err() {
            missing.push(name.clone());
        }
    }
    Ok(missing)
}

fn print_fetch(
    missing: &[String],
    registry: &Registry,
    lock: &Lock,
    cache: &ModelCache,
) -> anyhow::Result<()> {
    let mut rows = vec![
        ["to fetch", "revision", "bytes", "licence"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for name in missing {
        let Plan {
            revision,
            bytes_to_fetch,
            licence,
            ..
        } = plan(registry, lock, cache, name)?;
        let bytes = bytes_to_fetch.map_or_else(|| "not known yet".to_owned(), human_bytes);
        rows.push(vec![name.clone(), revision, bytes, licence]);
    }
    if !is_quiet() {
        to_people(format_args!("{}", table(&rows)));
    }
    Ok(())
}

/// Bytes of memory that a new process can have; None where the system does
/// not say.
pub(crate) fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Prints the plan of a run: a row a model, or a line for many of them.
pub(crate) fn print(units: &[Unit]) {
    let mut rows = vec![
        ["model", "on disk", "memory", "time"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for unit in units.iter().filter(|u| u.said) {
        let mut row = vec![unit.name.clone()];
        match (&unit.request, &unit.work) {
            (Err(reason), _) => row.push(format!("not run: {reason}")),
            (Ok(request), Some(work)) => row.extend([
                human_bytes(bytes(request)),
                match work.streamed {
                    true => format!("{}, streamed", human_bytes(work.memory)),
                    false => human_bytes(work.memory),
                },
                format!("about {}", human_seconds(work.seconds.max(1.0))),
            ]),
            (Ok(request), None) => {
                row.extend([human_bytes(bytes(request)), "in the store".to_owned()])
            }
        }
        rows.push(row);
    }
    if !is_quiet() && rows.len() > 1 {
        to_people(format_args!("{}", table(&rows)));
    }
    let open = units.iter().filter(|u| u.is_open());
    let work: Vec<f64> = open
        .filter_map(|u| Some(u.work.as_ref()?.seconds))
        .collect();
    say!(
        "{} of {} units are to be computed, in about {}",
        work.len(),
        units.len(),
        human_seconds(work.iter().sum::<f64>().max(1.0))
    );
}

/// Bytes of a model's files.
fn bytes(request: &RunRequest) -> u64 {
    let files = request.files.iter();
    files
        .filter_map(|f| Some(f.path.metadata().ok()?.len()))
        .sum()
}
