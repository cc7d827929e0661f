//! pytorch_model.bin: torch's zip archive of a pickled state dict and its
//! storages, read without executing anything.
//!
//! Layout (torch/serialization.py): entries under one folder, stored
//! uncompressed; `data.pkl` refers to storages, whose bytes are the entries
//! `data/KEY`.

mod pickle;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::error::CheckpointError;
use crate::weights::{Encoding, Entry, OpenFile, RowOrder, Table};
use pickle::{StorageType, TensorRef};

const KIND: &str = "PyTorch file";

/// Longest pickle: the state dict of 100 000 tensors takes 20 MB.
const MAX_PICKLE: u64 = 1 << 26;

/// Where an entry of the archive lies.
struct Place {
    offset: u64,
    length: u64,
}

/// Adds a file's tensors to the table.
pub(crate) fn add(table: &mut Table, path: &Path) -> Result<(), CheckpointError> {
    let file = OpenFile::open(path)?;
    let refuse = |reason: String| CheckpointError::Malformed {
        path: path.to_path_buf(),
        kind: KIND,
        reason,
    };
    check_magic(&file)?.map_err(refuse)?;
    let places = archive(path, file.len()?).map_err(refuse)?;
    let get = |name: &str| places.get(name);
    if let Some(place) = get("byteorder") {
        let mut order = vec![0; place.length.min(16) as usize];
        file.read_at(place.offset, &mut order)?;
        if order != b"little" {
            let order = String::from_utf8_lossy(&order).into_owned();
            return Err(refuse(format!(
                "its byte order is {order:?}; little is supported"
            )));
        }
    }
    let Some(place) = get("data.pkl") else {
        return Err(refuse("it has no entry data.pkl".to_owned()));
    };
    if place.length > MAX_PICKLE {
        let length = place.length;
        return Err(refuse(format!(
            "its data.pkl has {length} bytes, more than {MAX_PICKLE}"
        )));
    }
    let mut bytes = vec![0; place.length as usize];
    file.read_at(place.offset, &mut bytes)?;
    let tensors =
        pickle::state_dict(&bytes).map_err(|reason| refuse(format!("data.pkl: {reason}")))?;
    let mut names = BTreeSet::new();
    let mut entries = Vec::new();
    for (name, tensor) in tensors {
        let entry =
            entry(&tensor, &places).map_err(|reason| refuse(format!("tensor {name} {reason}")))?;
        if !names.insert(name.clone()) {
            return Err(refuse(format!("tensor {name} is there twice")));
        }
        entries.push((name, entry));
    }
    table.add(file, KIND, entries)
}

/// Is it a zip archive? What torch wrote before 1.6 is a row of pickles.
fn check_magic(file: &OpenFile) -> Result<Result<(), String>, CheckpointError> {
    let mut magic = [0; 4];
    if file.len()? < 4 {
        return Ok(Err(
            "it has less than 4 bytes: the file is truncated".to_owned()
        ));
    }
    file.read_at(0, &mut magic)?;
    Ok(match magic {
        [b'P', b'K', 3, 4] => Ok(()),
        [0x80, ..] => Err(
            "it has the format of torch before 1.6, which is not supported: load and save it \
             with a newer torch, or fetch the model's safetensors"
                .to_owned(),
        ),
        _ => Err("it is no zip archive".to_owned()),
    })
}

/// The archive's entries by their name below its one folder.
fn archive(path: &Path, size: u64) -> Result<HashMap<String, Place>, String> {
    let damaged = |e: zip::result::ZipError| format!("its zip directory is damaged: {e}");
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    if archive.has_duplicate_names() {
        return Err("two of its entries have one name".to_owned());
    }
    let mut root: Option<String> = None;
    let mut places = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        let Some((folder, name)) = name.split_once('/') else {
            return Err(format!("its entry {name:?} lies in no folder"));
        };
        if root.get_or_insert_with(|| folder.to_owned()) != folder {
            return Err(format!("its entry {folder}/{name} lies in a second folder"));
        }
        if entry.encrypted() {
            return Err(format!("its entry {name} is encrypted"));
        }
        if entry.compression() != CompressionMethod::Stored {
            return Err(format!(
                "its entry {name} is compressed, which torch does not do: save it again with \
                 torch.save"
            ));
        }
        let (offset, length) = (entry.data_start(), entry.size());
        let place = offset
            .filter(|offset| offset.checked_add(length).is_some_and(|end| end <= size))
            .map(|offset| Place { offset, length });
        let Some(place) = place else {
            return Err(format!("its entry {name} reaches beyond the file"));
        };
        places.insert(name.to_owned(), place);
    }
    Ok(places)
}

/// The place of a tensor in the file, or why it cannot be read.
fn entry(tensor: &TensorRef, places: &HashMap<String, Place>) -> Result<Entry, String> {
    let key = &tensor.key;
    let Some(place) = places.get(&format!("data/{key}")) else {
        return Err(format!(
            "lies in storage {key:?}, which the file does not have"
        ));
    };
    let size = tensor.kind.size();
    let stored = tensor.storage_elements;
    if stored.checked_mul(size).is_none_or(|n| n > place.length) {
        return Err(format!(
            "lies in storage {key}, which should have {stored} elements of {size} bytes and has \
             {} bytes",
            place.length
        ));
    }
    let mut elements = 1u64;
    let mut contiguous = true;
    for (dim, stride) in tensor.shape.iter().zip(&tensor.stride).rev() {
        contiguous &= *dim <= 1 || *stride == elements;
        elements = elements
            .checked_mul(*dim)
            .ok_or_else(|| format!("has dimensions {:?}, which overflow", tensor.shape))?;
    }
    if !contiguous && elements > 0 {
        return Err(format!(
            "is stored with strides {:?} for the shape {:?}: save it again as contiguous",
            tensor.stride, tensor.shape
        ));
    }
    let end = tensor.offset.checked_add(elements);
    if end.is_none_or(|end| end > stored) {
        return Err(format!(
            "takes {elements} elements from element {} on of storage {key}, which has {stored}",
            tensor.offset
        ));
    }
    Ok(Entry {
        file: 0,
        // Within the storage's entry, which lies within the file.
        offset: place.offset + tensor.offset * size,
        encoding: match tensor.kind {
            StorageType::Half => Encoding::F16,
            StorageType::BFloat16 => Encoding::BF16,
            StorageType::Float => Encoding::F32,
            StorageType::Double => Encoding::F64,
            StorageType::Long => Encoding::Other("I64".to_owned()),
            StorageType::Int => Encoding::Other("I32".to_owned()),
            StorageType::Short => Encoding::Other("I16".to_owned()),
            StorageType::Char => Encoding::Other("I8".to_owned()),
            StorageType::Byte => Encoding::Other("U8".to_owned()),
            StorageType::Bool => Encoding::Other("BOOL".to_owned()),
        },
        shape: tensor.shape.iter().map(|dim| *dim as usize).collect(),
        order: RowOrder::Same,
    })
}
