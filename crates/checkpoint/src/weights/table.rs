//! Where the tensors of a model lie: file, byte offset, storage type, shape.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;

use crate::error::CheckpointError;

/// How the elements of a tensor are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Encoding {
    F16,
    BF16,
    F32,
    F64,
    /// Blocks of a GGUF file.
    Blocks(GgmlDType),
    /// What no weight is stored as (masks, counters), by the file's own name
    /// for it.
    Other(String),
}

impl Encoding {
    /// Elements and bytes of the smallest piece that can be read by itself;
    /// None for what cannot be read.
    pub(crate) fn unit(&self) -> Option<(usize, usize)> {
        match self {
            Encoding::F16 | Encoding::BF16 => Some((1, 2)),
            Encoding::F32 => Some((1, 4)),
            Encoding::F64 => Some((1, 8)),
            Encoding::Blocks(dtype) => Some((dtype.block_size(), dtype.type_size())),
            Encoding::Other(_) => None,
        }
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Encoding::Blocks(dtype) => write!(f, "{dtype:?}"),
            Encoding::Other(name) => f.write_str(name),
            plain => write!(f, "{plain:?}"),
        }
    }
}

/// How the rows of a stored matrix become those that transformers has. A
/// vector's elements are its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// They are the same.
    Same,
    /// Rows of a head are (pair, half) in the file, for RoPE of neighbours,
    /// and (half, pair) in transformers.
    Pairs { heads: usize },
    /// Rows are (query key value, head, dimension) in the file and (head,
    /// query key value, dimension) in transformers.
    QkvOutside { heads: usize },
    /// The file has the matrix transposed.
    Transposed,
}

impl RowOrder {
    /// What the number of rows must be a multiple of.
    pub(crate) fn multiple(self) -> usize {
        match self {
            RowOrder::Same | RowOrder::Transposed => 1,
            RowOrder::Pairs { heads } => 2 * heads,
            RowOrder::QkvOutside { heads } => 3 * heads,
        }
    }

    /// The stored row that is row `row` of `rows` in transformers.
    pub(crate) fn stored_row(self, rows: usize, row: usize) -> usize {
        match self {
            RowOrder::Same | RowOrder::Transposed => row,
            RowOrder::Pairs { heads } => {
                let width = rows / heads;
                let (head, half, pair) =
                    (row / width, row % width / (width / 2), row % (width / 2));
                head * width + 2 * pair + half
            }
            RowOrder::QkvOutside { heads } => {
                let width = rows / heads / 3;
                let (head, part, i) = (row / (3 * width), row / width % 3, row % width);
                (part * heads + head) * width + i
            }
        }
    }
}

/// One tensor.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Index into the table's files.
    pub(crate) file: usize,
    /// First byte in the file.
    pub(crate) offset: u64,
    pub(crate) encoding: Encoding,
    /// As transformers has it.
    pub(crate) shape: Vec<usize>,
    pub(crate) order: RowOrder,
}

impl Entry {
    /// (rows, elements of a row) as they lie in the file, for reading: a
    /// vector is rows of the smallest piece that can be read.
    pub(crate) fn stored_rows(&self) -> (usize, usize) {
        let elements: usize = self.shape.iter().product();
        let width = match (self.shape.as_slice(), self.order) {
            ([rows, _], RowOrder::Transposed) => *rows,
            ([_, rest @ ..], _) if !rest.is_empty() => rest.iter().product(),
            _ => self.encoding.unit().map_or(1, |(elements, _)| elements),
        };
        (elements.checked_div(width).unwrap_or(0), width)
    }
}

/// A file kept open; it is read by position, so that threads share it and
/// nothing of it stays in this process's memory.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) path: PathBuf,
    file: File,
}

impl OpenFile {
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        Ok(Self {
            path: path.to_path_buf(),
            file: File::open(path).map_err(CheckpointError::io(path))?,
        })
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> Result<u64, CheckpointError> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(CheckpointError::io(&self.path))?.len())
    }

    /// Fills `buffer` with what stands at `offset`. Reading by position is
    /// Unix's `pread`; assay runs on Unix systems only.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), CheckpointError> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
            .map_err(CheckpointError::io(&self.path))
    }
}

/// All tensors of a model by name.
#[derive(Debug)]
pub(crate) struct Table {
    /// The file, or the folder of shards: for messages.
    pub(crate) path: PathBuf,
    pub(crate) files: Vec<OpenFile>,
    pub(crate) entries: BTreeMap<String, Entry>,
}

impl Table {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            files: Vec::new(),
            entries: BTreeMap::new(),
        }
    }

    /// Adds a file with its tensors. `kind` is what the file is, for messages.
    pub(crate) fn add(
        &mut self,
        file: OpenFile,
        kind: &'static str,
        mut entries: Vec<(String, Entry)>,
    ) -> Result<(), CheckpointError> {
        let index = self.files.len();
        // In one order, so that one message comes of one pair of files.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, entry) in entries {
            // Zeros aside, since the product of some dimensions is taken, too.
            let mut dims = entry.shape.iter().filter(|dim| **dim > 0);
            if dims
                .try_fold(1usize, |n, dim| n.checked_mul(*dim))
                .is_none()
            {
                return Err(CheckpointError::Malformed {
                    path: file.path.clone(),
                    kind,
                    reason: format!("the dimensions {:?} of tensor {name} overflow", entry.shape),
                });
            }
            if let Some(other) = self.entries.get(&name) {
                let other = self.files[other.file].path.display();
                return Err(CheckpointError::Malformed {
                    path: file.path.clone(),
                    kind,
                    reason: format!("tensor {name} is in two files, here and {other}"),
                });
            }
            self.entries.insert(
                name,
                Entry {
                    file: index,
                    ..entry
                },
            );
        }
        self.files.push(file);
        Ok(())
    }
}
