//! Reading by position, converting as it comes, moving rows and columns: no
//! copy of a tensor but the result.

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{CpuStorage, Device, Tensor, WithDType};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use rayon::prelude::*;

use super::table::{Encoding, Entry, RowOrder, Table};
use crate::error::CheckpointError;

/// Stored bytes that one task reads at a time. Every thread holds one such
/// piece, so that 16 threads hold 16 MiB.
const PIECE: usize = 1 << 20;

/// Bytes of the rows that are converted before they are moved to their columns.
const BAND: usize = 4 << 20;

/// Elements of a tile's side: a tile of f64 fits the smallest L1 cache.
const TILE: usize = 32;

/// Elements converted at a time, on the stack.
const CHUNK: usize = 1024;

/// Element types of results.
pub(crate) trait Element: WithDType {
    const ZERO: Self;
    /// Converts; both have one length.
    fn convert(from: &[f32], to: &mut [Self]);
    fn finite(self) -> bool;
}

impl Element for f32 {
    const ZERO: Self = 0.0;
    fn convert(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }
    fn finite(self) -> bool {
        self.is_finite()
    }
}

impl Element for f64 {
    const ZERO: Self = 0.0;
    fn convert(from: &[f32], to: &mut [Self]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = f64::from(*from);
        }
    }
    fn finite(self) -> bool {
        self.is_finite()
    }
}

impl Element for f16 {
    const ZERO: Self = f16::ZERO;
    fn convert(from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }
    fn finite(self) -> bool {
        self.is_finite()
    }
}

impl Element for bf16 {
    const ZERO: Self = bf16::ZERO;
    fn convert(from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }
    fn finite(self) -> bool {
        self.is_finite()
    }
}

/// Flat index and value of an element that is NaN or infinite.
type Wrong = Option<(usize, f64)>;

fn first(a: Wrong, b: Wrong) -> Wrong {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The first element that is not finite. The flags of a chunk are gathered
/// without a branch, so that the loop is vectorised.
fn first_wrong<T: Element>(values: &[T]) -> Wrong {
    values.chunks(CHUNK).enumerate().find_map(|(i, chunk)| {
        if chunk.iter().fold(true, |all, v| all & v.finite()) {
            return None;
        }
        let at = chunk.iter().position(|v| !v.finite())?;
        Some((i * CHUNK + at, chunk[at].to_f64()))
    })
}

/// Elements stored in `bytes` -> `out`.
fn decode<T: Element>(encoding: &Encoding, bytes: &[u8], out: &mut [T]) -> candle_core::Result<()> {
    let halves = |bytes: &[u8], bits: &mut [u16; CHUNK]| {
        for (bits, bytes) in bits.iter_mut().zip(bytes.chunks_exact(2)) {
            *bits = u16::from_le_bytes([bytes[0], bytes[1]]);
        }
    };
    let (mut bits, mut values) = ([0u16; CHUNK], [0f32; CHUNK]);
    match encoding {
        Encoding::F16 => {
            for (out, bytes) in out.chunks_mut(CHUNK).zip(bytes.chunks(2 * CHUNK)) {
                halves(bytes, &mut bits);
                let n = out.len();
                let stored: &[f16] = bits[..n].reinterpret_cast();
                stored.convert_to_f32_slice(&mut values[..n]);
                T::convert(&values[..n], out);
            }
        }
        Encoding::BF16 => {
            for (out, bytes) in out.chunks_mut(CHUNK).zip(bytes.chunks(2 * CHUNK)) {
                halves(bytes, &mut bits);
                let n = out.len();
                // A bf16 is the upper half of an f32.
                for (value, bits) in values.iter_mut().zip(&bits) {
                    *value = f32::from_bits(u32::from(*bits) << 16);
                }
                T::convert(&values[..n], out);
            }
        }
        Encoding::F32 => {
            for (out, bytes) in out.chunks_mut(CHUNK).zip(bytes.chunks(4 * CHUNK)) {
                for (value, b) in values.iter_mut().zip(bytes.chunks_exact(4)) {
                    *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
                T::convert(&values[..out.len()], out);
            }
        }
        Encoding::F64 => {
            for (out, b) in out.iter_mut().zip(bytes.chunks_exact(8)) {
                let value = f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
                *out = T::from_f64(value);
            }
        }
        Encoding::Blocks(dtype) => {
            let blocks = dtype.from_data(bytes.into());
            match blocks.dequantize(out.len())? {
                CpuStorage::F32(values) => T::convert(&values, out),
                _ => candle_core::bail!("{dtype:?} gives other numbers than f32"),
            }
        }
        Encoding::Other(name) => candle_core::bail!("{name} is not read"),
    }
    Ok(())
}

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
