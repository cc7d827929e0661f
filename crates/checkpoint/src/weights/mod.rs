//! The weights of a model: a table of where each tensor lies, and reading by
//! position straight into the type and the layout that is asked for.

mod convert;
mod read;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use crate::error::CheckpointError;
use read::Rows;

pub(crate) use read::Source;
pub(crate) use table::{Encoding, Entry, OpenFile, RowOrder, Table};

/// The tensors of a model under the names that transformers gives them. All
/// methods may be called from several threads at once.
pub struct Weights {
    table: Table,
    /// Names in the file that were asked for, to find weights that the config
    /// has no place for.
    used: Mutex<BTreeSet<String>>,
}

/// What a reader does with a tensor, for each type of its result.
macro_rules! by_type {
    ($weights:ident, $name:ident, $dtype:ident, $t:ident => $read:expr) => {
        match $dtype {
            DType::F32 => {
                type $t = f32;
                $read
            }
            DType::F64 => {
                type $t = f64;
                $read
            }
            DType::F16 => {
                type $t = f16;
                $read
            }
            DType::BF16 => {
                type $t = bf16;
                $read
            }
            other => Err(CheckpointError::candle(&$weights.table.path, $name)(
                candle_core::Error::Msg(format!("weights are not converted to {other:?}")),
            )),
        }
    };
}

impl Weights {
    pub(crate) fn new(table: Table) -> Self {
        Self {
            table,
            used: Mutex::new(BTreeSet::new()),
        }
    }

    /// The whole numbers of a tensor that is stored as I32 or I64, row by row.
    ///
    /// # Errors
    /// No such tensor; another storage type.
    pub fn integers(&self, name: &str) -> Result<Vec<i64>, CheckpointError> {
        let shape = self.shape(name).unwrap_or_default();
        let source = self.source(name, &shape)?;
        let entry = source.entry;
        let width = match &entry.encoding {
            Encoding::Other(stored) if stored == "I32" => 4,
            Encoding::Other(stored) if stored == "I64" => 8,
            other => {
                return Err(CheckpointError::Malformed {
                    path: self.table.path.clone(),
                    kind: "list of whole numbers",
                    reason: format!("tensor {name} is stored as {other}, not as I32 or I64"),
                });
            }
        };
        // The header's check holds count and width to the file's length.
        let count: usize = shape.iter().product();
        let mut bytes = vec![0; count * width];
        self.table.files[entry.file].read_at(entry.offset, &mut bytes)?;
        let whole = |b: &[u8]| {
            let sign = if b.last().is_some_and(|last| *last > 127) {
                0xff
            } else {
                0
            };
            let mut wide = [sign; 8];
            wide[..b.len()].copy_from_slice(b);
            i64::from_le_bytes(wide)
        };
        Ok(bytes.chunks_exact(width).map(whole).collect())
    }

    /// Is there a tensor of this name? As everywhere here, a name is looked
    /// for as it stands and then without its first component, which files
    /// saved from the model without its head lack.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The names in the files, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.table.entries.keys().map(String::as_str)
    }

    /// The tensor's shape as transformers has it.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.find(name)?.1.shape.clone())
    }

    /// Checks that the tensor is there with `shape`, reading nothing; it
    /// counts as used from then on.
    ///
    /// # Errors
    /// No such tensor, another shape than the config calls for.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<(), CheckpointError> {
        self.source(name, shape).map(|_| ())
    }

    /// The tensor `name` with `shape`, converted to `dtype`, on `device`.
    ///
    /// # Errors
    /// No such tensor, another shape than the config calls for, NaN or
    /// infinite elements, a storage type that cannot be read.
    pub fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, CheckpointError> {
        let source = self.source(name, shape)?;
        let tensor = by_type!(self, name, dtype, T => source.whole::<T>())?;
        self.moved(name, tensor, device)
    }

    /// The matrix `name` [rows, columns] as [columns, rows], contiguous.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn transposed(
        &self,
        name: &str,
        shape: [usize; 2],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, CheckpointError> {
        let source = self.source(name, &shape)?;
        let turned = [shape[1], shape[0]];
        let tensor = match source.entry.order {
            // The file has it so.
            RowOrder::Transposed => {
                let (count, width) = source.entry.stored_rows();
                let rows = Rows {
                    count,
                    stored: &|row| row,
                };
                by_type!(self, name, dtype, T => source.some_rows::<T>(&rows, width, &turned))
            }
            _ => by_type!(self, name, dtype, T => source.turned::<T>(&turned)),
        }?;
        self.moved(name, tensor, device)
    }

    /// The given rows of the matrix `name`, whose shape is `shape`:
    /// [rows.len(), shape[1]]. Only these are read.
    ///
    /// # Errors
    /// As [`Weights::tensor`]; a row beyond the matrix.
    pub fn rows(
        &self,
        name: &str,
        shape: [usize; 2],
        rows: &[u32],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, CheckpointError> {
        let row = |i: usize| rows.get(i).map_or(usize::MAX, |row| *row as usize);
        self.some_rows(name, shape, (rows.len(), &row), dtype, device)
    }

    /// As [`Weights::rows`], for neighbouring rows.
    ///
    /// # Errors
    /// As [`Weights::rows`].
    pub fn row_range(
        &self,
        name: &str,
        shape: [usize; 2],
        rows: Range<usize>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, CheckpointError> {
        let row = |i: usize| rows.start + i;
        self.some_rows(name, shape, (rows.len(), &row), dtype, device)
    }

    fn some_rows(
        &self,
        name: &str,
        shape: [usize; 2],
        (count, row): (usize, &(dyn Fn(usize) -> usize + Sync)),
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, CheckpointError> {
        let source = self.source(name, &shape)?;
        let [n, width] = shape;
        let refuse = |what: String| {
            let error = candle_core::Error::Msg(what);
            Err(CheckpointError::candle(&self.table.path, name)(error))
        };
        if let Some(beyond) = (0..count).map(row).find(|row| *row >= n) {
            return refuse(format!("row {beyond} is asked for and it has {n}"));
        }
        if source.entry.order == RowOrder::Transposed {
            return refuse("single rows of a matrix that is stored by columns".to_owned());
        }
        let order = source.entry.order;
        let rows = Rows {
            count,
            stored: &|i| order.stored_row(n, row(i)),
        };
        let tensor = by_type!(self, name, dtype, T => {
            source.some_rows::<T>(&rows, width, &[count, width])
        })?;
        self.moved(name, tensor, device)
    }

    /// The stored blocks of a GGUF matrix, [outputs, inputs], to be multiplied
    /// with as they are; None where the file stores plain floats. `shape` is
    /// transformers' shape of the matrix, which for GPT-2's is [inputs,
    /// outputs].
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn quantized(
        &self,
        name: &str,
        shape: [usize; 2],
    ) -> Result<Option<QTensor>, CheckpointError> {
        self.source(name, &shape)?.blocks()
    }

    /// Checks that no weights are left over: a file with more layers than its
    /// config says is not the model that the config describes. Buffers that
    /// old files carry (masks, rotary frequencies) are no weights.
    ///
    /// # Errors
    /// Names the first tensor that was never asked for.
    pub fn check_all_used(&self) -> Result<(), CheckpointError> {
        // GPT-Neo's masks end in ".attn.attention.bias".
        const BUFFERS: [&str; 5] = [
            ".attn.bias",
            ".attn.masked_bias",
            ".attention.bias",
            ".attention.masked_bias",
            "rotary_emb.inv_freq",
        ];
        let used = match self.used.lock() {
            Ok(used) => used,
            Err(poisoned) => poisoned.into_inner(),
        };
        let left = self.table.entries.keys().find(|name| {
            !used.contains(*name) && !BUFFERS.iter().any(|buffer| name.ends_with(buffer))
        });
        match left {
            Some(tensor) => Err(CheckpointError::UnusedTensor {
                path: self.table.path.clone(),
                tensor: tensor.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Marks a tensor as accounted for without loading it: a tied unembedding
    /// that the file stores a second time.
    pub fn skip(&self, name: &str) {
        if let Some((stored, _)) = self.find(name) {
            self.mark(stored);
        }
    }

    /// Number of stored parameters, buffers included.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let shapes = self.table.entries.values().map(|entry| &entry.shape);
        shapes.map(|s| s.iter().product::<usize>() as u64).sum()
    }

    /// How most tensors are stored: "F16", "BF16", "Q4_1"….
    #[must_use]
    pub fn stored(&self) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for entry in self.table.entries.values() {
            *counts.entry(entry.encoding.to_string()).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, n)| *n);
        most.map_or_else(|| "empty".to_owned(), |(name, _)| name)
    }

    /// The file, or the folder of shards.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.table.path
    }

    fn find(&self, name: &str) -> Option<(&str, &Entry)> {
        let get = |name: &str| self.table.entries.get_key_value(name);
        let (stored, entry) = get(name).or_else(|| get(name.split_once('.')?.1))?;
        Some((stored, entry))
    }

    fn source<'a>(&'a self, name: &'a str, shape: &[usize]) -> Result<Source<'a>, CheckpointError> {
        let (stored, entry) = self.find(name).ok_or_else(|| CheckpointError::NoTensor {
            path: self.table.path.clone(),
            tensor: name.to_owned(),
        })?;
        if entry.shape != shape {
            return Err(CheckpointError::Shape {
                path: self.table.path.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: entry.shape.clone(),
            });
        }
        self.mark(stored);
        Ok(Source {
            table: &self.table,
            name,
            entry,
        })
    }

    fn mark(&self, stored: &str) {
        let mut used = match self.used.lock() {
            Ok(used) => used,
            Err(poisoned) => poisoned.into_inner(),
        };
        used.insert(stored.to_owned());
    }

    fn moved(
        &self,
        name: &str,
        tensor: Tensor,
        device: &Device,
    ) -> Result<Tensor, CheckpointError> {
        tensor
            .to_device(device)
            .map_err(CheckpointError::candle(&self.table.path, name))
    }
}
