//! A look at a safetensors header before the library's reader.
//!
//! safetensors 0.8 adds the end of the last tensor to the header's length
//! without looking for overflow, and calls a truncated file "not fully
//! covered". Format: eight bytes of length, little endian; that many bytes of
//! JSON; the data, into which `data_offsets` point.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::CheckpointError;

/// Checks that everything a header speaks of lies within the file.
pub(crate) fn check(path: &Path) -> Result<(), CheckpointError> {
    let refuse = |reason: String| {
        Err(CheckpointError::Malformed {
            path: path.to_path_buf(),
            kind: "safetensors file",
            reason,
        })
    };
    let mut file = File::open(path).map_err(CheckpointError::io(path))?;
    let size = file.metadata().map_err(CheckpointError::io(path))?.len();
    let Some(after_length) = size.checked_sub(8) else {
        return refuse(format!("it has {size} bytes: the file is truncated"));
    };
    let mut length = [0; 8];
    file.read_exact(&mut length)
        .map_err(CheckpointError::io(path))?;
    let length = u64::from_le_bytes(length);
    let Some(data) = after_length.checked_sub(length) else {
        return refuse(format!(
            "its header should have {length} bytes and {after_length} are there: \
             the file is truncated or no safetensors file"
        ));
    };
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header)
        .map_err(CheckpointError::io(path))?;
    let header: Map<String, Value> = match serde_json::from_slice(&header) {
        Ok(header) => header,
        Err(e) => return refuse(format!("its header is damaged: {e}")),
    };
    for (name, entry) in &header {
        let end = entry
            .get("data_offsets")
            .and_then(|o| o.get(1))
            .and_then(Value::as_u64);
        if let Some(end) = end
            && end > data
        {
            return refuse(format!(
                "tensor {name} ends at byte {end} of the data and {data} are there: \
                 the file is truncated"
            ));
        }
    }
    Ok(())
}
