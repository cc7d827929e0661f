//! A walk over a GGUF header that trusts nothing, run before candle's reader.
//!
//! candle 0.11.1 divides by `general.alignment` without looking at it and
//! multiplies dimensions without checking for overflow, so both are checked
//! here, together with every tensor's place in the file. Format: the GGUF
//! specification, versions 2 and 3 (version 1 is refused).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};

use candle_core::quantized::GgmlDType;

/// Why a header was refused.
pub(crate) enum Refusal {
    Io(io::Error),
    Because(String),
}

impl From<io::Error> for Refusal {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::UnexpectedEof {
            Refusal::Because("the file ends inside its header".to_owned())
        } else {
            Refusal::Io(e)
        }
    }
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Because(reason.into()))
}

/// Most elements that the arrays of the metadata may have together. candle
/// takes up to 96 bytes for an element of one byte; the largest tokenizers
/// have about a million tokens and merges.
const MAX_ELEMENTS: u64 = 1 << 23;

struct Walk<R> {
    reader: R,
    size: u64,
    /// Elements of all arrays so far.
    elements: u64,
}

impl<R: Read + Seek> Walk<R> {
    fn u32(&mut self) -> Result<u32, Refusal> {
        let mut b = [0; 4];
        self.reader.read_exact(&mut b)?;
        Ok(u32::from_le_bytes(b))
    }

    fn u64(&mut self) -> Result<u64, Refusal> {
        let mut b = [0; 8];
        self.reader.read_exact(&mut b)?;
        Ok(u64::from_le_bytes(b))
    }

    /// Skips `count` items of `width` bytes, all of which must be in the file.
    fn skip(&mut self, count: u64, width: u64, what: &str) -> Result<(), Refusal> {
        let here = self.reader.stream_position()?;
        match count.checked_mul(width).and_then(|n| here.checked_add(n)) {
            Some(end) if end <= self.size => {
                self.reader.seek(SeekFrom::Start(end))?;
                Ok(())
            }
            _ => refuse(format!("{what} at byte {here} reaches beyond the file")),
        }
    }

    fn string(&mut self, what: &str) -> Result<String, Refusal> {
        let length = self.u64()?;
        let here = self.reader.stream_position()?;
        if length > self.size - here.min(self.size) {
            return refuse(format!("{what} at byte {here} reaches beyond the file"));
        }
        let mut bytes = vec![0; length as usize];
        self.reader.read_exact(&mut bytes)?;
        // As candle does: otherwise a key padded with zeros would be one name
        // here and another there.
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Skips a value; returns it if it is an unsigned or signed integer of at
    /// most 32 bits, the types an alignment comes in.
    fn value(&mut self, kind: u32, key: &str, depth: usize) -> Result<Option<i64>, Refusal> {
        let small = |bytes: &[u8], signed: bool| {
            let mut wide = [0; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            let unsigned = i64::from_le_bytes(wide);
            let bits = 64 - 8 * bytes.len() as u32;
            if signed {
                unsigned << bits >> bits
            } else {
                unsigned
            }
        };
        match kind {
            0..=5 => {
                let width = [1, 1, 2, 2, 4, 4][kind as usize];
                let mut b = [0; 4];
                self.reader.read_exact(&mut b[..width])?;
                Ok(Some(small(&b[..width], kind % 2 == 1)))
            }
            6 => self.skip(1, 4, key).map(|()| None),
            7 => self.skip(1, 1, key).map(|()| None),
            8 => self.string(key).map(|_| None),
            9 => {
                if depth > 8 {
                    return refuse(format!("metadata {key} nests arrays {depth} deep"));
                }
                let inner = self.u32()?;
                let count = self.u64()?;
                match inner {
                    0 | 1 | 7 => self.skip(count, 1, key)?,
                    2 | 3 => self.skip(count, 2, key)?,
                    4..=6 => self.skip(count, 4, key)?,
                    10..=12 => self.skip(count, 8, key)?,
                    8 | 9 => {
                        for _ in 0..count {
                            self.value(inner, key, depth + 1)?;
                        }
                    }
                    other => return refuse(format!("metadata {key} has unknown type {other}")),
                }
                self.elements = self.elements.saturating_add(count);
                if self.elements > MAX_ELEMENTS {
                    return refuse(format!(
                        "the arrays up to metadata {key} have more than {MAX_ELEMENTS} elements"
                    ));
                }
                Ok(None)
            }
            10..=12 => self.skip(1, 8, key).map(|()| None),
            other => refuse(format!("metadata {key} has unknown type {other}")),
        }
    }
}

/// The types that candle reads, by their number in the GGUF specification.
fn storage_type(id: u32) -> Option<GgmlDType> {
    Some(match id {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

/// Checks that a GGUF header can be given to candle's reader.
pub(crate) fn check<R: Read + Seek>(mut reader: R) -> Result<(), Refusal> {
    let size = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(0))?;
    let mut walk = Walk {
        reader,
        size,
        elements: 0,
    };
    let magic = walk.u32()?;
    if magic != u32::from_le_bytes(*b"GGUF") {
        return refuse(format!("it begins with {magic:#010x}, not GGUF"));
    }
    let version = walk.u32()?;
    if !(2..=3).contains(&version) {
        return refuse(format!("its version is {version}; 2 and 3 are supported"));
    }
    let (tensors, metadata) = (walk.u64()?, walk.u64()?);
    let mut alignment = 32;
    let mut keys = BTreeSet::new();
    for _ in 0..metadata {
        let key = walk.string("a metadata key")?;
        let kind = walk.u32()?;
        let value = walk.value(kind, &key, 0)?;
        if key == "general.alignment" {
            alignment = match value {
                Some(a) if a > 0 && a % 8 == 0 => a as u64,
                _ => return refuse("general.alignment is not a positive multiple of 8"),
            };
        }
        if let Some(key) = keys.replace(key) {
            return refuse(format!("metadata {key} is there twice"));
        }
    }
    let mut ends = BTreeMap::new();
    for _ in 0..tensors {
        let name = walk.string("a tensor name")?;
        let dims = walk.u32()?;
        if dims > 4 {
            return refuse(format!("tensor {name} has {dims} dimensions"));
        }
        let mut elements = 1u64;
        // The first dimension is that of a row.
        let mut row = 1u64;
        for i in 0..dims {
            let dim = walk.u64()?;
            if i == 0 {
                row = dim;
            }
            elements = match elements.checked_mul(dim) {
                Some(n) => n,
                None => return refuse(format!("the dimensions of tensor {name} overflow")),
            };
        }
        if elements == 0 {
            // candle makes a slice out of no memory, which is undefined.
            return refuse(format!("tensor {name} has no elements"));
        }
        let dtype = walk.u32()?;
        let Some(dtype) = storage_type(dtype) else {
            return refuse(format!("tensor {name} has unsupported type {dtype}"));
        };
        let (block, bytes) = (dtype.block_size() as u64, dtype.type_size() as u64);
        if !row.is_multiple_of(block) {
            return refuse(format!(
                "a row of tensor {name} is not whole blocks of {block}"
            ));
        }
        let offset = walk.u64()?;
        match (elements / block)
            .checked_mul(bytes)
            .and_then(|n| n.checked_add(offset))
        {
            Some(end) if !ends.contains_key(&name) => ends.insert(name, end),
            Some(_) => return refuse(format!("tensor {name} is there twice")),
            None => return refuse(format!("the place of tensor {name} overflows")),
        };
    }
    let data = walk.reader.stream_position()?.div_ceil(alignment) * alignment;
    for (name, end) in ends {
        if data.checked_add(end).is_none_or(|end| end > size) {
            return refuse(format!(
                "tensor {name} reaches beyond the file's {size} bytes: the file is truncated"
            ));
        }
    }
    Ok(())
}
