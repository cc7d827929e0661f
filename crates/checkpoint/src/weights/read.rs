//! Reading by position, converting as it comes, moving rows and columns: no
//! copy of a tensor but the result.

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::convert::{Element, Wrong, decode, first, first_wrong};
use super::table::{Encoding, Entry, RowOrder, Table};
use crate::error::CheckpointError;

/// Stored bytes that one task reads at a time. Every thread holds one such
/// piece, so that 16 threads hold 16 MiB.
const PIECE: usize = 1 << 20;

/// Bytes of the rows that are converted before they are moved to their columns.
const BAND: usize = 4 << 20;

/// Elements of a tile's side: a tile of f64 fits the smallest L1 cache.
const TILE: usize = 32;

/// A buffer of bytes whose first used one is aligned for every block type:
/// candle asserts the alignment of the blocks that it is given.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
}

impl Piece {
    fn of(&mut self, len: usize) -> &mut [u8] {
        const ALIGN: usize = 8;
        if self.bytes.len() < len + ALIGN {
            self.bytes.resize(len + ALIGN, 0);
        }
        let start = self.bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        &mut self.bytes[start..start + len]
    }
}

/// Rows of a stored matrix, as a list or as a rule.
pub(crate) struct Rows<'a> {
    pub(crate) count: usize,
    /// Stored row of each.
    pub(crate) stored: &'a (dyn Fn(usize) -> usize + Sync),
}

impl Rows<'_> {
    /// Lengths of the runs of rows `from..to` that lie end to end in the file,
    /// with the stored row that each begins at.
    fn runs(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, usize)> {
        let mut next = from;
        std::iter::from_fn(move || {
            if next >= to {
                return None;
            }
            let begin = (self.stored)(next);
            let mut length = 1;
            while next + length < to && (self.stored)(next + length) == begin + length {
                length += 1;
            }
            next += length;
            Some((begin, length))
        })
    }
}

/// A tensor to be read: its name is for messages.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) table: &'a Table,
    pub(crate) name: &'a str,
    pub(crate) entry: &'a Entry,
}

impl Source<'_> {
    fn failed(&self, error: candle_core::Error) -> CheckpointError {
        CheckpointError::candle(&self.table.path, self.name)(error)
    }

    fn check_finite(&self, wrong: Wrong) -> Result<(), CheckpointError> {
        match wrong {
            None => Ok(()),
            Some((index, value)) => Err(CheckpointError::NotFinite {
                path: self.table.path.clone(),
                tensor: self.name.to_owned(),
                index,
                value,
            }),
        }
    }

    /// Elements and bytes of what can be read by itself, if rows of `width`
    /// are whole such units.
    fn unit(&self, width: usize) -> Result<(usize, usize), CheckpointError> {
        match self.entry.encoding.unit() {
            Some((elements, bytes)) if width.is_multiple_of(elements) => Ok((elements, bytes)),
            _ => Err(CheckpointError::Encoding {
                path: self.table.path.clone(),
                tensor: self.name.to_owned(),
                stored: self.entry.encoding.to_string(),
            }),
        }
    }

    /// Stored rows -> `bytes`, end to end.
    fn read_rows(
        &self,
        rows: &Rows,
        (from, to): (usize, usize),
        row_bytes: usize,
        bytes: &mut [u8],
    ) -> Result<(), CheckpointError> {
        let file = &self.table.files[self.entry.file];
        let mut rest = bytes;
        for (begin, length) in rows.runs(from, to) {
            let (run, behind) = rest.split_at_mut(length * row_bytes);
            file.read_at(self.entry.offset + (begin * row_bytes) as u64, run)?;
            rest = behind;
        }
        Ok(())
    }

    /// Rows of `width` elements -> `out`, in parallel. Gives the first element
    /// that is not finite, which the caller places.
    fn fill<T: Element>(
        &self,
        rows: &Rows,
        width: usize,
        out: &mut [T],
    ) -> Result<Wrong, CheckpointError> {
        let (unit, unit_bytes) = self.unit(width)?;
        if out.is_empty() {
            return Ok(None);
        }
        let row_bytes = width / unit * unit_bytes;
        let per_task = (PIECE / row_bytes).max(1);
        out.par_chunks_mut(per_task * width)
            .enumerate()
            .map_init(Piece::default, |piece, (task, out)| {
                let from = task * per_task;
                let n = out.len() / width;
                let bytes = piece.of(n * row_bytes);
                self.read_rows(rows, (from, from + n), row_bytes, bytes)?;
                decode(&self.entry.encoding, bytes, out).map_err(|e| self.failed(e))?;
                Ok(first_wrong(out).map(|(at, value)| (from * width + at, value)))
            })
            .try_reduce(|| None, |a, b| Ok(first(a, b)))
    }

    /// The whole tensor as transformers has it.
    pub(crate) fn whole<T: Element>(&self) -> Result<Tensor, CheckpointError> {
        if self.entry.order == RowOrder::Transposed {
            return self.turned::<T>(&self.entry.shape);
        }
        let (count, width) = self.entry.stored_rows();
        self.some_rows::<T>(
            &Rows {
                count,
                stored: &|row| self.entry.order.stored_row(count, row),
            },
            width,
            &self.entry.shape,
        )
    }

    /// Some stored rows of `width` elements as a tensor of `shape`.
    pub(crate) fn some_rows<T: Element>(
        &self,
        rows: &Rows,
        width: usize,
        shape: &[usize],
    ) -> Result<Tensor, CheckpointError> {
        let mut out = vec![T::ZERO; rows.count * width];
        let wrong = self.fill(rows, width, &mut out)?;
        self.check_finite(wrong)?;
        Tensor::from_vec(out, shape, &Device::Cpu).map_err(|e| self.failed(e))
    }

    /// The stored rows as the columns of a tensor of `shape`.
    pub(crate) fn turned<T: Element>(&self, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        let (rows, columns) = self.entry.stored_rows();
        let mut out = vec![T::ZERO; rows * columns];
        if !out.is_empty() {
            // Whole tiles where a band has room for one.
            let fit = (BAND / (columns * size_of::<T>())).max(1);
            let per_band = if fit > TILE { fit / TILE * TILE } else { fit };
            let mut band = vec![T::ZERO; per_band.min(rows) * columns];
            for from in (0..rows).step_by(per_band) {
                let count = per_band.min(rows - from);
                let band = &mut band[..count * columns];
                let stored = |row| self.entry.order.stored_row(rows, from + row);
                let part = Rows {
                    count,
                    stored: &stored,
                };
                let wrong = self.fill(&part, columns, band)?;
                let wrong = wrong.map(|(at, value)| {
                    let (row, column) = (from + at / columns, at % columns);
                    let index = match self.entry.order {
                        RowOrder::Transposed => column * rows + row,
                        _ => row * columns + column,
                    };
                    (index, value)
                });
                self.check_finite(wrong)?;
                move_to_columns(band, columns, &mut out, (from, rows));
            }
        }
        Tensor::from_vec(out, shape, &Device::Cpu).map_err(|e| self.failed(e))
    }

    /// The stored blocks, rows in transformers' order; None for plain floats.
    pub(crate) fn blocks(&self) -> Result<Option<QTensor>, CheckpointError> {
        let Encoding::Blocks(dtype) = self.entry.encoding else {
            return Ok(None);
        };
        let (count, width) = self.entry.stored_rows();
        let (unit, unit_bytes) = self.unit(width)?;
        let row_bytes = width / unit * unit_bytes;
        let rows = Rows {
            count,
            stored: &|row| self.entry.order.stored_row(count, row),
        };
        let mut all = Piece::default();
        let bytes = all.of(count * row_bytes);
        let per_task = (PIECE / row_bytes.max(1)).max(1);
        let wrong = bytes
            .par_chunks_mut((per_task * row_bytes).max(1))
            .enumerate()
            .map(|(task, bytes)| {
                let from = task * per_task;
                let n = bytes.len() / row_bytes;
                self.read_rows(&rows, (from, from + n), row_bytes, bytes)?;
                // Looked at as numbers once: a damaged scale shows only so.
                let mut values = vec![0f32; n * width];
                let mut aligned = Piece::default();
                let copy = aligned.of(bytes.len());
                copy.copy_from_slice(bytes);
                decode(&self.entry.encoding, copy, &mut values).map_err(|e| self.failed(e))?;
                Ok(first_wrong(&values).map(|(at, value)| (from * width + at, value)))
            })
            .try_reduce(|| None, |a, b| Ok(first(a, b)))?;
        self.check_finite(wrong)?;
        quantized(bytes, dtype, (count, width))
            .map(Some)
            .map_err(|e| self.failed(e))
    }
}

fn quantized(
    bytes: &[u8],
    dtype: GgmlDType,
    shape: (usize, usize),
) -> candle_core::Result<QTensor> {
    QTensor::new(
        QStorage::from_data(bytes.into(), &Device::Cpu, dtype)?,
        shape,
    )
}

/// A band of rows [n, columns], the first of which is row `from` of `rows`, ->
/// its place in `out` [columns, rows]. Each task owns whole rows of `out` and
/// goes from tile to tile. A tile is turned in a buffer of its own: reading or
/// writing by columns in place, whose strides are often powers of two, would
/// meet the same few sets of the cache again and again.
fn move_to_columns<T: Element>(
    band: &[T],
    columns: usize,
    out: &mut [T],
    (from, rows): (usize, usize),
) {
    let n = band.len() / columns;
    out.par_chunks_mut(TILE * rows)
        .enumerate()
        .for_each(|(task, out)| {
            let (left, width) = (task * TILE, out.len() / rows);
            let mut tile = [[T::ZERO; TILE]; TILE];
            for start in (0..n).step_by(TILE) {
                let height = TILE.min(n - start);
                for (i, row) in (start..start + height).enumerate() {
                    let row = &band[row * columns + left..][..width];
                    for (column, value) in tile.iter_mut().zip(row) {
                        column[i] = *value;
                    }
                }
                for (column, out) in tile.iter().zip(out.chunks_exact_mut(rows)) {
                    out[from + start..][..height].copy_from_slice(&column[..height]);
                }
            }
        });
}
