use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::RecordError;

/// Sources that decide what an experiment measures: of these crates all, of
/// others what measuring goes through.
pub const NUMERIC_SOURCES: [&str; 11] = [
    "crates/hook-site/src",
    "crates/checkpoint/src",
    "crates/decoder/src",
    "crates/trace/src",
    "crates/geometry/src",
    "crates/problems/src",
    "crates/train/src",
    // Passes and their token ids.
    "crates/experiment/src/session.rs",
    // Random streams.
    "crates/stats/src/rng.rs",
    // What a record says of its model, and how the model is held.
    "crates/worker/src/facts.rs",
    "crates/worker/src/hold.rs",
];

/// How the names of locked libraries begin that decide what an experiment
/// measures: tensors, products, factorizations, random numbers, token ids.
const NUMERIC_LIBRARIES: [&str; 12] = [
    "candle-",
    "gemm",
    "half",
    "pulp",
    "libm",
    "nalgebra",
    "simba",
    "matrixmultiply",
    "rand_chacha",
    "tokenizers",
    "fancy-regex",
    "unicode-normalization",
];

/// Hash of everything in the repository that can change an experiment's
/// samples: the numeric sources, those of the experiment but for
/// its summary (`src/summarise*` and `src/published*`, which only read
/// records), and the locked versions of the numeric libraries. Called by build scripts, so
/// that a binary carries the fingerprint of the code it was built from.
///
/// # Errors
/// A source file or Cargo.lock that cannot be read.
pub fn numeric_fingerprint(root: &Path, experiment: &str) -> Result<String, RecordError> {
    let mut files = Vec::new();
    for name in NUMERIC_SOURCES {
        let path = root.join(name);
        if path.is_dir() {
            rust_files(&path, &mut files)?;
        } else {
            files.push(path);
        }
    }
    let own = root.join("experiments").join(experiment).join("src");
    let mut measuring = Vec::new();
    rust_files(&own, &mut measuring)?;
    files.extend(measuring.into_iter().filter(|file| !summarises(&own, file)));
    files.sort();
    let mut hash = Sha256::new();
    let mut feed = |name: &str, bytes: &[u8]| {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file);
        let bytes = std::fs::read(file).map_err(RecordError::io("read", file))?;
        feed(&name.to_string_lossy(), &bytes);
    }
    let lock = root.join("Cargo.lock");
    let text = std::fs::read_to_string(&lock).map_err(RecordError::io("read", &lock))?;
    for version in locked_versions(&text) {
        feed("library", version.as_bytes());
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// Does a source file belong to the experiment's summary?
fn summarises(own: &Path, file: &Path) -> bool {
    let inside = file.strip_prefix(own).unwrap_or(file);
    let first = inside.components().next();
    let name = first.map(|c| c.as_os_str().to_string_lossy().into_owned());
    name.is_some_and(|n| n.starts_with("summarise") || n.starts_with("published"))
}

/// "name version" of the numeric libraries, in the lock file's order.
fn locked_versions(lock: &str) -> Vec<String> {
    let quoted = |line: &str, key: &str| {
        line.strip_prefix(key)
            .map(|v| v.trim_matches('"').to_owned())
    };
    let mut name = String::new();
    let mut found = Vec::new();
    for line in lock.lines() {
        if let Some(n) = quoted(line, "name = ") {
            name = n;
        } else if let Some(version) = quoted(line, "version = ")
            && NUMERIC_LIBRARIES.iter().any(|p| name.starts_with(p))
        {
            found.push(format!("{name} {version}"));
        }
    }
    found
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), RecordError> {
    let entries = std::fs::read_dir(folder).map_err(RecordError::io("read", folder))?;
    for entry in entries {
        let path = entry.map_err(RecordError::io("read", folder))?.path();
        if path.is_dir() {
            rust_files(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::locked_versions;

    #[test]
    fn takes_numeric_libraries_only() {
        let lock = "[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"gemm-f32\"\nversion = \"0.19.0\"\n\n\
                    [[package]]\nname = \"half\"\nversion = \"2.7.1\"\n";
        assert_eq!(locked_versions(lock), ["gemm-f32 0.19.0", "half 2.7.1"]);
    }
}
