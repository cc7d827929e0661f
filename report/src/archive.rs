//! results.zip: the same bytes for the same contents.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};

use assay_record::{RecordError, RecordKey, Summary, canonical_json, sha256_hex};
use rayon::prelude::*;
use serde::Serialize;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::error::ReportError;
use crate::input::Records;
use crate::staging::io;

/// Hashes of everything else in the archive.
const MANIFEST: &str = "manifest.json";

/// Bytes of a manifest that are read: hundreds of thousands of lines.
const LARGEST_MANIFEST: u64 = 64 << 20;

/// The id of the record under a key.
pub(crate) fn record_id(key: &RecordKey) -> Result<String, ReportError> {
    key.id().map_err(|e| malformed(&key.model, &e.to_string()))
}

/// A value as the bytes of a JSON file.
pub(crate) fn json<T: Serialize>(name: &str, value: &T) -> Result<Vec<u8>, ReportError> {
    let text = canonical_json(value).map_err(|e| malformed(name, &e.to_string()))?;
    let mut bytes = text.into_bytes();
    bytes.push(b'\n');
    Ok(bytes)
}

fn malformed(name: &str, reason: &str) -> ReportError {
    ReportError::Record(RecordError::Malformed {
        path: name.into(),
        kind: "report input",
        reason: reason.to_owned(),
    })
}

/// What is packed under a name.
pub(crate) enum Packed<'a> {
    File(PathBuf),
    Summary(&'a Summary),
    /// Read when its turn comes.
    Record(&'a RecordKey),
}

impl Packed<'_> {
    fn bytes(&self, name: &str, records: Records) -> Result<Vec<u8>, ReportError> {
        match self {
            Self::File(path) => std::fs::read(path).map_err(io("read", path)),
            Self::Summary(summary) => json(name, summary),
            Self::Record(key) => Ok([records(key)?, b"\n".to_vec()].concat()),
        }
    }
}

/// What the manifest of a results.zip lists, with its SHA-256: nothing where
/// there is no such file, or it is damaged.
pub(crate) fn listed(zip: &Path) -> BTreeMap<String, String> {
    let list = || {
        let mut zip = ZipArchive::new(BufReader::new(File::open(zip).ok()?)).ok()?;
        let manifest = zip.by_name(MANIFEST).ok()?.take(LARGEST_MANIFEST);
        serde_json::from_reader(manifest).ok()
    };
    list().unwrap_or_default()
}

/// Records that are read and compressed side by side before they are written.
/// Other files may be large, and are packed one by one.
const AT_ONCE: usize = 64;

/// Packs files, in alphabetical order and without times, and beside them
/// manifest.json with the SHA-256 of each.
pub(crate) fn pack(
    files: &BTreeMap<String, Packed>,
    records: Records,
    to: File,
    tell: &mut dyn FnMut(&str, u64, u64),
) -> Result<(), ReportError> {
    let mut zip = ZipWriter::new(BufWriter::new(to));
    let mut hashes = BTreeMap::new();
    let all: Vec<(&String, &Packed)> = files.iter().collect();
    let records_together = |(_, a): &(_, &Packed), (_, b): &(_, &Packed)| {
        matches!((a, b), (Packed::Record(_), Packed::Record(_)))
    };
    let some = all.chunk_by(records_together);
    for some in some.flat_map(|alike| alike.chunks(AT_ONCE)) {
        let packed = some.par_iter().map(|(name, packed)| {
            let bytes = packed.bytes(name, records)?;
            Ok((sha256_hex(&bytes), alone(name, &bytes)?))
        });
        let packed = packed.collect::<Result<Vec<_>, ReportError>>()?;
        for ((name, _), (hash, packed)) in some.iter().zip(packed) {
            append(&mut zip, name, packed)?;
            hashes.insert(name.as_str(), hash);
        }
        tell("packing results.zip", hashes.len() as u64, all.len() as u64);
    }
    let manifest = json(MANIFEST, &hashes)?;
    append(&mut zip, MANIFEST, alone(MANIFEST, &manifest)?)?;
    let ended = zip.finish().map_err(std::io::Error::from);
    let flushed = ended.and_then(|mut file| file.flush());
    flushed.map_err(|e| fault(MANIFEST, &e))
}

fn fault(name: &str, error: &dyn std::error::Error) -> ReportError {
    ReportError::Archive {
        name: name.to_owned(),
        reason: error.to_string(),
    }
}

/// An archive of one file.
fn alone(name: &str, bytes: &[u8]) -> Result<Vec<u8>, ReportError> {
    // 1980-01-01, the earliest time that the format knows.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(name, options).map_err(|e| fault(name, &e))?;
    zip.write_all(bytes).map_err(|e| fault(name, &e))?;
    let written = zip.finish().map_err(|e| fault(name, &e))?;
    Ok(written.into_inner())
}

/// Adds the file of an archive of one, as it is compressed there.
fn append<W: Write + Seek>(
    zip: &mut ZipWriter<W>,
    name: &str,
    alone: Vec<u8>,
) -> Result<(), ReportError> {
    let mut alone = ZipArchive::new(Cursor::new(alone)).map_err(|e| fault(name, &e))?;
    let file = alone.by_index_raw(0).map_err(|e| fault(name, &e))?;
    zip.raw_copy_file(file).map_err(|e| fault(name, &e))
}
