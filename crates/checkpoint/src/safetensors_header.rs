//! The header of a safetensors file: a look of our own, then the library's
//! reader.
//!
//! safetensors 0.8 adds the end of the last tensor to the header's length
//! without looking for overflow, and calls a truncated file "not fully
//! covered". Format: eight bytes of length, little endian; that many bytes of
//! JSON; the data, into which `data_offsets` point.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde_json::{Map, Value};

use crate::CheckpointError;
use crate::weights::{Encoding, Entry, OpenFile, RowOrder, Table};

/// Adds a file's tensors to the table and gives the words in its header. A
/// truncated or damaged header is an error that names the file.
pub(crate) fn add(
    table: &mut Table,
    path: &Path,
) -> Result<BTreeMap<String, String>, CheckpointError> {
    const KIND: &str = "safetensors file";
    let refuse = |reason: String| CheckpointError::Malformed {
        path: path.to_path_buf(),
        kind: KIND,
        reason,
    };
    let file = OpenFile::open(path)?;
    let size = file.len()?;
    let Some(after_length) = size.checked_sub(8) else {
        return Err(refuse(format!(
            "it has {size} bytes: the file is truncated"
        )));
    };
    let mut length = [0; 8];
    file.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    let Some(data) = after_length.checked_sub(length) else {
        return Err(refuse(format!(
            "its header should have {length} bytes and {after_length} are there: \
             the file is truncated or no safetensors file"
        )));
    };
    let mut header = vec![0; length as usize];
    file.read_at(8, &mut header)?;
    check_ends(&header, data).map_err(refuse)?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|e| refuse(format!("its header is refused: {e}")))?;
    let covered = metadata.data_len() as u64;
    if covered != data {
        return Err(refuse(format!(
            "its tensors end at byte {covered} of the data and {data} are there"
        )));
    }
    let entries = metadata.tensors().into_iter().map(|(name, info)| {
        let entry = Entry {
            file: 0,
            offset: 8 + length + info.data_offsets.0 as u64,
            encoding: match info.dtype {
                Dtype::F16 => Encoding::F16,
                Dtype::BF16 => Encoding::BF16,
                Dtype::F32 => Encoding::F32,
                Dtype::F64 => Encoding::F64,
                other => Encoding::Other(format!("{other:?}")),
            },
            shape: info.shape.clone(),
            order: RowOrder::Same,
        };
        (name, entry)
    });
    let entries = entries.collect();
    table.add(file, KIND, entries)?;
    let words = metadata.metadata().clone().unwrap_or_default();
    Ok(words.into_iter().collect())
}

/// Does every tensor of a header end within the `data` bytes behind it?
fn check_ends(header: &[u8], data: u64) -> Result<(), String> {
    let header: Map<String, Value> =
        serde_json::from_slice(header).map_err(|e| format!("its header is damaged: {e}"))?;
    for (name, entry) in &header {
        let end = entry
            .get("data_offsets")
            .and_then(|o| o.get(1))
            .and_then(Value::as_u64);
        if let Some(end) = end
            && end > data
        {
            return Err(format!(
                "tensor {name} ends at byte {end} of the data and {data} are there: \
                 the file is truncated"
            ));
        }
    }
    Ok(())
}
