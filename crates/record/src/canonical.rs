use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Compact JSON with the keys of every object in alphabetical order, so that
/// equal values have equal bytes. Numbers print as their shortest decimal that
/// reads back to the same bits.
///
/// # Errors
/// A value that JSON cannot hold (a map with keys that are not strings).
pub fn canonical_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    canonical_text(&serde_json::to_value(value)?)
}

/// As [`canonical_json`]: serde_json's Value keeps objects in a BTreeMap, which
/// sorts the keys.
pub(crate) fn canonical_text(value: &Value) -> Result<String, serde_json::Error> {
    serde_json::to_string(value)
}

/// SHA-256 in lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}
