//! results.zip: the same bytes for the same contents.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use assay_record::{RecordError, RecordKey, canonical_json, sha256_hex};
use serde::Serialize;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::error::ReportError;

/// The id of the record under a key.
pub(crate) fn record_id(key: &RecordKey) -> Result<String, ReportError> {
    key.id().map_err(|e| malformed(&key.model, &e.to_string()))
}

/// A value as the bytes of a JSON file.
pub(crate) fn json<T: Serialize>(name: &str, value: &T) -> Result<Vec<u8>, ReportError> {
    canonical_json(value)
        .map(|text| format!("{text}\n").into_bytes())
        .map_err(|e| malformed(name, &e.to_string()))
}

fn malformed(name: &str, reason: &str) -> ReportError {
    ReportError::Record(RecordError::Malformed {
        path: name.into(),
        kind: "report input",
        reason: reason.to_owned(),
    })
}

/// Packs files, in alphabetical order and without times, and beside them
/// manifest.json with the SHA-256 of each.
pub(crate) fn pack(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, ReportError> {
    let hashes: BTreeMap<&str, String> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), sha256_hex(bytes)))
        .collect();
    let manifest = json("manifest.json", &hashes)?;
    // 1980-01-01, the earliest time that the format knows.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let entries = files.iter().map(|(n, b)| (n.as_str(), b.as_slice()));
    for (name, bytes) in entries.chain([("manifest.json", manifest.as_slice())]) {
        let fault = |reason: String| ReportError::Archive {
            name: name.to_owned(),
            reason,
        };
        zip.start_file(name, options)
            .map_err(|e| fault(e.to_string()))?;
        zip.write_all(bytes).map_err(|e| fault(e.to_string()))?;
    }
    zip.finish()
        .map(Cursor::into_inner)
        .map_err(|e| ReportError::Archive {
            name: "manifest.json".to_owned(),
            reason: e.to_string(),
        })
}
