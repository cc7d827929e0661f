//! Files that carry the hash of what they hold, so that a byte that changed on
//! a disk or on the way is seen: `{"format": …, "sha256": …, "<field>": …}`,
//! the hash over the canonical JSON of the field.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::canonical::{canonical_text, sha256_hex};
use crate::error::RecordError;
use crate::store::write_atomically;

/// What a kind of sealed file is called, in words and in its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Seal {
    /// In errors.
    pub kind: &'static str,
    /// The field that holds the content.
    pub field: &'static str,
    /// Version of the content's form.
    pub format: u32,
}

impl Seal {
    /// Writes a value so that a reader sees the old file or the new one.
    ///
    /// # Errors
    /// The value is no JSON, the disk is full, the folder is read-only.
    pub fn write<T: Serialize>(self, path: &Path, value: &T) -> Result<(), RecordError> {
        let text = self
            .text(value)
            .map_err(|e| self.malformed(path, e.to_string()))?;
        write_atomically(path, text.as_bytes())
    }

    fn text<T: Serialize>(self, value: &T) -> Result<String, serde_json::Error> {
        let content = serde_json::to_value(value)?;
        let hash = sha256_hex(canonical_text(&content)?.as_bytes());
        let mut file = serde_json::Map::new();
        file.insert("format".to_owned(), self.format.into());
        file.insert("sha256".to_owned(), hash.into());
        file.insert(self.field.to_owned(), content);
        let mut text = serde_json::to_string_pretty(&file)?;
        text.push('\n');
        Ok(text)
    }

    /// Reads a value back.
    ///
    /// # Errors
    /// As [`Seal::canonical`], or it does not hold a `T`.
    pub fn read<T: DeserializeOwned>(self, path: &Path) -> Result<T, RecordError> {
        let content = self.canonical(path)?;
        serde_json::from_slice(&content).map_err(|e| self.malformed(path, e.to_string()))
    }

    /// The canonical JSON of the content.
    ///
    /// # Errors
    /// The file cannot be read, is of another format version, or does not hash
    /// to what it says.
    pub fn canonical(self, path: &Path) -> Result<Vec<u8>, RecordError> {
        let malformed = |reason: String| self.malformed(path, reason);
        let text = std::fs::read_to_string(path).map_err(RecordError::io("read", path))?;
        let mut file: BTreeMap<String, &RawValue> =
            serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
        let mut take = |name: &str| {
            let value = file.remove(name);
            value.ok_or_else(|| malformed(format!("it has no field {name}")))
        };
        let (format, stated, content) = (take("format")?, take("sha256")?, take(self.field)?);
        let format = serde_json::from_str::<u64>(format.get());
        let stated = serde_json::from_str::<String>(stated.get());
        let (Ok(format), Ok(stated)) = (format, stated) else {
            return Err(malformed(
                "its format or hash is of another type".to_owned(),
            ));
        };
        if let Some(name) = file.keys().next() {
            return Err(malformed(format!("it has an unknown field {name}")));
        }
        if format != u64::from(self.format) {
            return Err(RecordError::Version {
                path: path.to_path_buf(),
                kind: self.kind,
                found: u32::try_from(format).unwrap_or(u32::MAX),
                expected: self.format,
            });
        }
        // As it was written.
        let plain = without_layout(content.get());
        if sha256_hex(&plain) == stated {
            return Ok(plain);
        }
        // Another program may have ordered the fields or written the numbers
        // otherwise.
        let tree: Value =
            serde_json::from_str(content.get()).map_err(|e| malformed(e.to_string()))?;
        let canonical = canonical_text(&tree).map_err(|e| malformed(e.to_string()))?;
        let found = sha256_hex(canonical.as_bytes());
        if found != stated {
            return Err(RecordError::Damaged {
                path: path.to_path_buf(),
                stated,
                found,
            });
        }
        Ok(canonical.into_bytes())
    }

    fn malformed(self, path: &Path, reason: String) -> RecordError {
        RecordError::Malformed {
            path: path.to_path_buf(),
            kind: self.kind,
            reason,
        }
    }
}

/// JSON without the white space between its parts: what [`Seal::write`] lays
/// out is canonical but for that.
fn without_layout(json: &str) -> Vec<u8> {
    let mut kept = Vec::with_capacity(json.len());
    let (mut inside, mut escaped) = (false, false);
    for &byte in json.as_bytes() {
        if inside {
            inside = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            inside = byte == b'"';
        }
        kept.push(byte);
    }
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::{Seal, without_layout};
    use crate::canonical_json;

    #[test]
    fn what_is_laid_out_is_canonical_but_for_the_layout() {
        for value in [
            json!({"b": [1.5, -0.0, 1e300, 5e-324], "a": {"": []}, "c": null}),
            json!(["a \" b\n", "\\", "\\\" ", " {\t\u{a0}\u{1}} ", true]),
            json!(" "),
        ] {
            let laid_out = serde_json::to_string_pretty(&value).unwrap();
            let canonical = canonical_json(&value).unwrap();
            assert_eq!(without_layout(&laid_out), canonical.as_bytes());
        }
    }

    /// Other programs lay out otherwise, and order fields otherwise.
    #[test]
    fn what_another_program_wrote_again_is_read() {
        let seal = Seal {
            kind: "test",
            field: "it",
            format: 1,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.json");
        seal.write(&path, &json!({"b": [1.5], "a": "x y"})).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let hash = file["sha256"].as_str().unwrap();
        let again =
            format!("{{\"it\":{{\"b\" :[1.5],\"a\":\"x y\"}},\"sha256\":\"{hash}\",\"format\":1}}");
        std::fs::write(&path, &again).unwrap();
        let read: serde_json::Value = seal.read(&path).unwrap();
        assert_eq!(read, json!({"a": "x y", "b": [1.5]}));
        std::fs::write(&path, again.replace("x y", "xy")).unwrap();
        let error = seal.read::<serde_json::Value>(&path).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
}
