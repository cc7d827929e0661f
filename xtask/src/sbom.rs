//! What a build is made of, as a CycloneDX bill of materials: every package of
//! the lock file with version, licence and checksum.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Value, json};

use crate::workspace;

/// The bill as JSON. Nothing in it depends on the machine or the time.
pub(crate) fn sbom() -> anyhow::Result<Vec<u8>> {
    // Also the packages that only a build for GPUs takes.
    let metadata = workspace::metadata(&["--locked", "--all-features"])?;
    let checksums = checksums()?;
    let mut components = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        let (name, version) = (text("name"), text("version"));
        // The workspace's own packages are what the bill is of.
        if package["source"].is_null() {
            continue;
        }
        let mut component = json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
            "licenses": [{"expression": text("license")}],
        });
        let key = (name, version);
        if let Some(sha256) = checksums.get(&key) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
        }
        components.insert(key, component);
    }
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "name": "assay",
            "version": env!("CARGO_PKG_VERSION"),
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
        }},
        "components": components.into_values().collect::<Vec<Value>>(),
    });
    let mut bytes = serde_json::to_vec_pretty(&bill)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Checksums of the lock file by name and version.
fn checksums() -> anyhow::Result<BTreeMap<(String, String), String>> {
    let path = workspace::root().join("Cargo.lock");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let mut checksums = BTreeMap::new();
    for package in text.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|l| l.strip_prefix(name))?;
            line.strip_prefix(" = \"")?.strip_suffix('"')
        };
        if let (Some(name), Some(version), Some(sum)) =
            (field("name"), field("version"), field("checksum"))
        {
            checksums.insert((name.to_owned(), version.to_owned()), sum.to_owned());
        }
    }
    Ok(checksums)
}
