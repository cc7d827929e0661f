//! Files that carry the hash of what they hold, so that a byte that changed on
//! a disk or on the way is seen: `{"format": …, "sha256": …, "<field>": …}`,
//! the hash over the canonical JSON of the field.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

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
    /// The file cannot be read, is of another format version, does not hash to
    /// what it says, or does not hold a `T`.
    pub fn read<T: DeserializeOwned>(self, path: &Path) -> Result<T, RecordError> {
        let malformed = |reason: String| self.malformed(path, reason);
        let text = std::fs::read_to_string(path).map_err(RecordError::io("read", path))?;
        let mut file: serde_json::Map<String, Value> =
            serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
        let mut take = |name: &str| {
            let value = file.remove(name);
            value.ok_or_else(|| malformed(format!("it has no field {name}")))
        };
        let (format, stated, content) = (take("format")?, take("sha256")?, take(self.field)?);
        let (Some(format), Some(stated)) = (format.as_u64(), stated.as_str()) else {
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
        let canonical = canonical_text(&content).map_err(|e| malformed(e.to_string()))?;
        let found = sha256_hex(canonical.as_bytes());
        if found != stated {
            return Err(RecordError::Damaged {
                path: path.to_path_buf(),
                stated: stated.to_owned(),
                found,
            });
        }
        serde_json::from_value(content).map_err(|e| malformed(e.to_string()))
    }

    fn malformed(self, path: &Path, reason: String) -> RecordError {
        RecordError::Malformed {
            path: path.to_path_buf(),
            kind: self.kind,
            reason,
        }
    }
}
