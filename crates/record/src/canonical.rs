use serde::Serialize;
use sha2::{Digest, Sha256};

/// Compact JSON with the keys of every object in alphabetical order, so that
/// equal values have equal bytes. Numbers print as their shortest decimal that
/// reads back to the same bits.
///
/// # Errors
/// A value that JSON cannot hold (a map with keys that are not strings).
pub fn canonical_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    // serde_json's Value keeps objects in a BTreeMap, which sorts the keys.
    serde_json::to_string(&serde_json::to_value(value)?)
}

/// SHA-256 in lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}
