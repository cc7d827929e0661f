//! Files that nobody asked for and a loader would take all the same: their
//! hashes were never checked, and they are in no record's key.

use std::path::Path;

use anyhow::{Context, bail};
use assay_record::wire::RunRequest;
use assay_source::FileRole;

/// What experiments read of a model's folder.
const READ: [&str; 2] = ["subspace.json", "training.json"];

/// Beside a model's files lies no other that a loader looks for, and their
/// index of shards names no other.
pub(crate) fn check(request: &RunRequest, location: &Path) -> anyhow::Result<()> {
    if !location.is_dir() {
        return Ok(());
    }
    let asked = |path: &Path| request.files.iter().any(|file| file.path == path);
    let failed = || format!("failed to read {}", location.display());
    for entry in std::fs::read_dir(location).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let taken = FileRole::of(&name) != FileRole::Other || READ.contains(&&*name);
        if taken && !asked(&path) {
            bail!(
                "{} lies beside the files of {} and is none of them: move it away",
                path.display(),
                request.model
            );
        }
    }
    for file in &request.files {
        if file.path.to_string_lossy().ends_with(".index.json") {
            for shard in shards(&file.path)? {
                if !asked(&location.join(&shard)) {
                    bail!(
                        "{} names {shard:?}, which is none of the files of {}",
                        file.path.display(),
                        request.model
                    );
                }
            }
        }
    }
    Ok(())
}

/// Names of the shards; what is no index is left for the loader to refuse.
fn shards(index: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(index)
        .with_context(|| format!("failed to read {}", index.display()))?;
    let index: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let map = index["weight_map"].as_object().into_iter().flatten();
    let mut names: Vec<String> = map
        .filter_map(|(_, shard)| shard.as_str().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}
