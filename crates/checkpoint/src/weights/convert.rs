//! Stored bytes to numbers, and the search for what is no number.

use candle_core::{CpuStorage, WithDType};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

use super::table::Encoding;

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
pub(super) type Wrong = Option<(usize, f64)>;

/// The one that comes first.
pub(super) fn first(a: Wrong, b: Wrong) -> Wrong {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The first element that is not finite. The flags of a chunk are gathered
/// without a branch, so that the loop is vectorised.
pub(super) fn first_wrong<T: Element>(values: &[T]) -> Wrong {
    values.chunks(CHUNK).enumerate().find_map(|(i, chunk)| {
        if chunk.iter().fold(true, |all, v| all & v.finite()) {
            return None;
        }
        let at = chunk.iter().position(|v| !v.finite())?;
        Some((i * CHUNK + at, chunk[at].to_f64()))
    })
}

/// Elements stored in `bytes` -> `out`.
pub(super) fn decode<T: Element>(
    encoding: &Encoding,
    bytes: &[u8],
    out: &mut [T],
) -> candle_core::Result<()> {
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
