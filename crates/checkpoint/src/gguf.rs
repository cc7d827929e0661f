//! GGUF files: header, metadata, and the table of their tensors.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};

use crate::config::{DecoderConfig, Position, RopeScaling};
use crate::error::{CheckpointError, plain};
use crate::gguf_config;
use crate::gguf_header::{self, Refusal};
use crate::gguf_names::Family;
use crate::weights::{Encoding, Entry, OpenFile, RowOrder, Source, Table};

/// An opened GGUF file.
pub(crate) struct Gguf {
    pub(crate) config: DecoderConfig,
    pub(crate) table: Table,
    pub(crate) metadata: HashMap<String, Value>,
}

/// Name of the tensor of frequency divisors; it becomes part of the config.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

const KIND: &str = "GGUF file";

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let malformed = |reason: String| CheckpointError::Malformed {
            path: path.to_path_buf(),
            kind: KIND,
            reason,
        };
        let mut reader = BufReader::new(File::open(path).map_err(CheckpointError::io(path))?);
        gguf_header::check(&mut reader).map_err(|refusal| match refusal {
            Refusal::Io(e) => CheckpointError::io(path)(e),
            Refusal::Because(reason) => malformed(reason),
        })?;
        std::io::Seek::rewind(&mut reader).map_err(CheckpointError::io(path))?;
        let content = Content::read(&mut reader).map_err(|e| malformed(plain(e).to_string()))?;
        let (family, config) = gguf_config::config(&content, path)?;
        let table = table(&content, path, family, &config)?;
        let config = match rope_factors(&table)? {
            Some(factors) => with_factors(config, &factors).map_err(malformed)?,
            None => config,
        };
        Ok(Self {
            config,
            table,
            metadata: content.metadata,
        })
    }
}

/// The tensors under the names, in the shapes and in the row order that
/// transformers gives them.
fn table(
    content: &Content,
    path: &Path,
    family: Family,
    config: &DecoderConfig,
) -> Result<Table, CheckpointError> {
    let mut entries = Vec::new();
    for (stored, info) in &content.tensor_infos {
        let name = family.name(stored);
        let order = family.order(stored, config);
        let mut shape = info.shape.dims().to_vec();
        let refuse = |reason: String| CheckpointError::Malformed {
            path: path.to_path_buf(),
            kind: KIND,
            reason,
        };
        let encoding = match info.ggml_dtype {
            GgmlDType::F16 => Encoding::F16,
            GgmlDType::BF16 => Encoding::BF16,
            GgmlDType::F32 => Encoding::F32,
            blocks => Encoding::Blocks(blocks),
        };
        if order == RowOrder::Transposed {
            shape.reverse();
        } else if order != RowOrder::Same {
            // A single number is one row, and never enough.
            let rows = shape.first().copied().unwrap_or(1);
            let parts = order.multiple();
            if !rows.is_multiple_of(parts) {
                return Err(refuse(format!(
                    "tensor {stored} has {rows} rows, which are not {parts} equal parts"
                )));
            }
            // The elements of a vector are its rows, and a block holds many.
            if shape.len() == 1 && matches!(encoding, Encoding::Blocks(_)) {
                return Err(refuse(format!(
                    "tensor {stored} is a vector stored as {encoding}, whose elements cannot be \
                     brought into order"
                )));
            }
        }
        let entry = Entry {
            file: 0,
            offset: content.tensor_data_offset + info.offset,
            encoding,
            shape,
            order,
        };
        entries.push((name, entry));
    }
    let mut table = Table::new(path);
    table.add(OpenFile::open(path)?, KIND, entries)?;
    Ok(table)
}

/// `rope_freqs.weight`: one divisor per frequency (LLaMA 3.1 conversions).
fn rope_factors(table: &Table) -> Result<Option<Vec<f64>>, CheckpointError> {
    let Some(entry) = table.entries.get(ROPE_FACTORS) else {
        return Ok(None);
    };
    let source = Source {
        table,
        name: ROPE_FACTORS,
        entry,
    };
    let tensor = source.whole::<f32>()?;
    let read = || tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    read()
        .map(Some)
        .map_err(CheckpointError::candle(&table.path, ROPE_FACTORS))
}

/// The config with one divisor per frequency, or why these are none.
fn with_factors(mut config: DecoderConfig, factors: &[f64]) -> Result<DecoderConfig, String> {
    let Position::Rotary(rope) = &mut config.position else {
        return Err(format!(
            "{ROPE_FACTORS} is there and the model has no rotary positions"
        ));
    };
    if rope.scaling != RopeScaling::None {
        let family = &config.model_type;
        return Err(format!(
            "{ROPE_FACTORS} and {family}.rope.scaling are both there"
        ));
    }
    if factors.len() != rope.dim / 2 {
        let (found, expected) = (factors.len(), rope.dim / 2);
        return Err(format!(
            "{ROPE_FACTORS} has {found} values for {expected} frequencies"
        ));
    }
    if let Some(wrong) = factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
        return Err(format!(
            "{ROPE_FACTORS} holds {wrong}, not a number above 0"
        ));
    }
    rope.scaling = RopeScaling::Factors(factors.to_vec());
    Ok(config)
}
