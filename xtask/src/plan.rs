//! What a run will do, said before it does it: which models are here, what is
//! to be fetched, what memory and time the work takes, and what cannot run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail};
use assay_record::wire::{Event, in_one_line};
use assay_source::{
    Lock, ModelCache, ModelEntry, Plan, Registry, ResolvedModel, Source, plan, resolve,
};

use crate::bars::{human_bytes, human_seconds, table};
use crate::say::{is_quiet, say};
use crate::{fetch, worker, workspace};

/// A model of the run, and where it stands.
pub(crate) struct Candidate {
    /// As asked for.
    pub(crate) name: String,
    /// What records and the report call it: a path says where a model lies on
    /// this machine, which is not what was measured.
    pub(crate) label: String,
    /// Here with hashes, or why not.
    pub(crate) state: Result<Ready, String>,
}

/// A model that can run here.
pub(crate) struct Ready {
    pub(crate) model: ResolvedModel,
    memory: u64,
    /// It does not fit as a whole.
    pub(crate) streamed: bool,
    seconds: BTreeMap<String, f64>,
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

/// Fetches what is missing and finds out what can run of the `experiments`.
pub(crate) fn prepare(
    names: &[String],
    experiments: &[String],
    offline: bool,
    memory: Option<u64>,
    worker: &Path,
) -> anyhow::Result<Vec<Candidate>> {
    let (registry, lock, cache) = workspace::models()?;
    let missing = missing(names, &registry, &lock, &cache)?;
    let failures = if missing.is_empty() {
        BTreeMap::new()
    } else if offline {
        let reason = "it is not here, and --offline forbids to fetch it";
        missing
            .iter()
            .map(|n| (n.clone(), reason.to_owned()))
            .collect()
    } else {
        print_fetch(&missing, &registry, &lock, &cache)?;
        fetch::get(&missing, false, &[])?
    };
    // The lock may have grown.
    let (registry, lock, cache) = workspace::models()?;
    let mut candidates = Vec::new();
    for name in names {
        let state = match failures.get(name) {
            Some(reason) => Err(reason.clone()),
            None => ready(
                name,
                (&registry, &lock, &cache),
                experiments,
                memory,
                worker,
            ),
        };
        candidates.push(Candidate {
            name: name.clone(),
            label: label(name),
            state,
        });
    }
    Ok(candidates)
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

/// Models that lie in the workspace. They are small, and neither their memory
/// nor their time is asked.
pub(crate) fn local(names: &[String]) -> anyhow::Result<Vec<Candidate>> {
    let (registry, lock, cache) = workspace::models()?;
    let candidate = |name: &String| {
        let verified = resolve(&registry, &lock, &cache, name).and_then(|m| m.verify());
        Candidate {
            label: label(name),
            name: label(name),
            state: verified.map_err(|e| e.to_string()).map(|model| Ready {
                model,
                memory: 0,
                streamed: false,
                seconds: BTreeMap::new(),
            }),
        }
    };
    Ok(names.iter().map(candidate).collect())
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
        eprint!("{}", table(&rows));
    }
    Ok(())
}

fn ready(
    name: &str,
    (registry, lock, cache): (&Registry, &Lock, &ModelCache),
    experiments: &[String],
    memory: Option<u64>,
    worker: &Path,
) -> Result<Ready, String> {
    let model = resolve(registry, lock, cache, name).map_err(|e| e.to_string())?;
    // A local model's files have no hashes yet.
    let model = if model.files.iter().all(|f| f.sha256.is_some()) {
        model
    } else {
        model.verify().map_err(|e| e.to_string())?
    };
    let mut described = None;
    let path = model.location().display().to_string();
    let limit = match (memory, available_memory()) {
        (Some(asked), Some(available)) => Some(asked.min(available)),
        (asked, available) => asked.or(available),
    };
    let limit_text = limit.map(|bytes| bytes.to_string());
    let asked = experiments.join(",");
    let mut arguments = vec!["describe", &path, "--experiments", &asked];
    if let Some(text) = &limit_text {
        arguments.extend(["--memory", text]);
    }
    worker::talk(worker, &arguments, None, &mut |event| {
        if let Event::Described {
            memory,
            streamed,
            seconds,
            ..
        } = event
        {
            described = Some((memory, streamed, seconds));
        }
        Ok(())
    })
    .map_err(|e| in_one_line(e.as_ref()))?;
    let Some((memory, streamed, seconds)) = described else {
        return Err("the worker did not describe it".to_owned());
    };
    if let Some(limit) = limit
        && memory > limit
    {
        return Err(format!(
            "too large: even block by block it needs {} of memory and {} are free",
            human_bytes(memory),
            human_bytes(limit)
        ));
    }
    Ok(Ready {
        model,
        memory,
        streamed,
        seconds,
    })
}

/// Bytes of memory that a new process can have; None where the system does
/// not say.
pub(crate) fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Prints the plan of a run.
pub(crate) fn print(candidates: &[Candidate], experiments: &[String]) -> anyhow::Result<()> {
    if candidates.is_empty() {
        bail!("no model is asked for, and the registry has no default one");
    }
    let mut rows = vec![
        ["model", "on disk", "memory", "time if not in the store"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut total = 0.0;
    for candidate in candidates {
        rows.push(match &candidate.state {
            Ok(ready) => {
                let seconds: f64 = experiments
                    .iter()
                    .filter_map(|e| ready.seconds.get(e))
                    .sum();
                total += seconds;
                vec![
                    candidate.name.clone(),
                    human_bytes(ready.model.bytes()),
                    match ready.streamed {
                        true => format!("{}, streamed", human_bytes(ready.memory)),
                        false => human_bytes(ready.memory),
                    },
                    format!("about {}", human_seconds(seconds.max(1.0))),
                ]
            }
            Err(reason) => vec![candidate.name.clone(), format!("not run: {reason}")],
        });
    }
    say!("plan: {} over", experiments.join(", "));
    if !is_quiet() {
        eprint!("{}", table(&rows));
    }
    say!(
        "in all about {} of computing",
        human_seconds(total.max(1.0))
    );
    Ok(())
}
