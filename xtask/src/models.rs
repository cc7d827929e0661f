//! `models`: the registry, and which of its models are here.

use std::path::Path;

use assay_source::{FileRole, LockStatus, Source, plan, resolve};

use crate::bars::{human_bytes, table};
use crate::say::{out, outln};
use crate::{Ending, workspace};

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

pub(crate) fn models() -> anyhow::Result<Ending> {
    let (registry, lock, cache) = workspace::models()?;
    let head = [
        "model", "family", "source", "revision", "locked", "here", "licence",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for entry in registry.models() {
        let revision = entry.default_revision();
        let source = match &entry.source {
            Source::Hub(hub) => format!("hub {}", hub.repo),
            Source::Pip(_) => "python package".to_owned(),
            Source::Local(path) => format!("folder {}", file_name(path)),
        };
        // What lies here is neither fetched nor locked.
        let resolved = || resolve(&registry, &lock, &cache, &entry.name);
        let (locked, present) = match (&entry.source, lock.status(&entry.name, revision)) {
            (Source::Local(_), _) => {
                let files = resolved().map_or(Vec::new(), |model| model.files);
                ("-", files.iter().map(|f| f.len).sum())
            }
            (_, status) => (
                match status {
                    LockStatus::Locked => "yes",
                    LockStatus::Unlocked => "no",
                },
                plan(&registry, &lock, &cache, &entry.name)?.bytes_present,
            ),
        };
        let here = if present == 0 {
            "no".to_owned()
        } else {
            human_bytes(present)
        };
        let name = if entry.default {
            format!("{} (default)", entry.name)
        } else {
            entry.name.clone()
        };
        rows.push(vec![
            name,
            entry.family.clone(),
            source,
            revision.to_owned(),
            locked.to_owned(),
            here,
            entry.licence.clone(),
        ]);
    }
    out!("{}", table(&rows));
    let usage = cache.usage()?;
    if usage.bytes > 0 {
        out!("fetched models on this disk: {}", human_bytes(usage.bytes));
        match usage.shared {
            0 => outln!(),
            shared => outln!(
                ", and {} more if revisions did not share equal files",
                human_bytes(shared)
            ),
        }
    }
    for equal in lock.equal_files() {
        let holders: Vec<String> = equal
            .holders
            .iter()
            .map(|h| format!("{}@{} {}", h.model, h.revision, h.file))
            .collect();
        let what = match equal.role {
            FileRole::Weights => "equal weights, one checkpoint under several names",
            _ => "equal bytes",
        };
        outln!("{what}: {}", holders.join(" = "));
    }
    Ok(Ending::Held)
}
