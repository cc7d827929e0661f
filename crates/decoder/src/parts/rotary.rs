use assay_checkpoint::{Rope, RopePairs, RopeScaling};
use candle_core::{
    CpuStorage, CustomOp3, DType, Device, Layout, Result as CandleResult, Shape, Tensor, bail,
};
use rayon::prelude::*;

use super::elementwise::{Loop, own_kernels, rows_per_task, span, vectorised};
use super::real::Real;
use crate::{DecoderError, Pack};

/// Cosines and sines of a pack's positions.
pub(crate) struct Rotary {
    cos: Tensor, // [rows, dim / 2]
    sin: Tensor, // [rows, dim / 2]
    pairs: RopePairs,
}

/// Frequencies of the pairs, as transformers computes them: in f32, because
/// models were trained so. [dim / 2]
fn frequencies(rope: &Rope) -> Vec<f32> {
    let Rope {
        dim, base, scaling, ..
    } = rope;
    let plain = (0..dim / 2).map(|i| 1.0 / (*base as f32).powf((2 * i) as f32 / *dim as f32));
    match scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear { factor } => plain.map(|f| f / *factor as f32).collect(),
        RopeScaling::Factors(factors) => plain
            .zip(factors.iter().chain(std::iter::repeat(&1.0)))
            .map(|(f, factor)| f / *factor as f32)
            .collect(),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => plain
            .map(|f| {
                let wavelength = 2.0 * std::f64::consts::PI / f64::from(f);
                if wavelength > original_context / low_freq_factor {
                    f / *factor as f32
                } else if wavelength < original_context / high_freq_factor {
                    f
                } else {
                    let smooth = (original_context / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    let f = f64::from(f);
                    ((1.0 - smooth) * f / factor + smooth * f) as f32
                }
            })
            .collect(),
    }
}

impl Rotary {
    /// Tables for every row of the pack; padding has position 0.
    pub(crate) fn new(
        pack: &Pack,
        rope: &Rope,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, DecoderError> {
        let frequencies = frequencies(rope);
        let mut positions = pack.positions();
        positions.resize(pack.rows(), 0);
        let angles: Vec<f64> = positions
            .iter()
            .flat_map(|p| frequencies.iter().map(|f| f64::from(*p as f32 * f)))
            .collect();
        let table = |f: fn(f64) -> f64| -> Result<Tensor, DecoderError> {
            let values: Vec<f64> = angles.iter().map(|a| f(*a)).collect();
            Ok(
                Tensor::from_vec(values, (positions.len(), frequencies.len()), &Device::Cpu)?
                    .to_dtype(dtype)?
                    .to_device(device)?,
            )
        };
        Ok(Self {
            cos: table(f64::cos)?,
            sin: table(f64::sin)?,
            pairs: rope.pairs,
        })
    }

    /// x [rows, heads, d_head] -> the same, its first `dim` dimensions rotated
    /// in pairs, contiguous.
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        if own_kernels(x) {
            return Ok(x.apply_op3_no_bwd(&self.cos, &self.sin, &Rotate(self.pairs))?);
        }
        let half = self.cos.dim(1)?;
        let (rows, heads, width) = x.dims3()?;
        let (cos, sin) = (self.cos.unsqueeze(1)?, self.sin.unsqueeze(1)?);
        let turned = x.narrow(2, 0, 2 * half)?;
        // [rows, heads, 2, half], the members of a pair along the third axis.
        let pairs = match self.pairs {
            RopePairs::Halves => turned.reshape((rows, heads, 2, half))?,
            RopePairs::Neighbours => turned.reshape((rows, heads, half, 2))?.transpose(2, 3)?,
        };
        let (a, b) = (
            pairs.narrow(2, 0, 1)?.squeeze(2)?,
            pairs.narrow(2, 1, 1)?.squeeze(2)?,
        );
        let a_turned = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let b_turned = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        let axis = match self.pairs {
            RopePairs::Halves => 2,
            RopePairs::Neighbours => 3,
        };
        let turned = Tensor::stack(&[&a_turned, &b_turned], axis)?;
        let turned = turned.reshape((rows, heads, 2 * half))?;
        if width == 2 * half {
            // A GPU is not asked for a tensor without elements.
            return Ok(turned);
        }
        let rest = x.narrow(2, 2 * half, width - 2 * half)?;
        Ok(Tensor::cat(&[&turned, &rest], 2)?)
    }
}

struct Rotate(RopePairs);

impl CustomOp3 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (cos, sin) = (span(l2, "rotate")?, span(l3, "rotate")?);
        let out = match (s1, s2, s3) {
            (CpuStorage::F32(x), CpuStorage::F32(c), CpuStorage::F32(s)) => {
                CpuStorage::F32(rotate(x, l1, &c[cos], &s[sin], self.0)?)
            }
            (CpuStorage::F64(x), CpuStorage::F64(c), CpuStorage::F64(s)) => {
                CpuStorage::F64(rotate(x, l1, &c[cos], &s[sin], self.0)?)
            }
            _ => bail!("rotate is for f32 and f64, all three alike"),
        };
        Ok((out, l1.shape().clone()))
    }
}

/// Reads `x` by its strides, so that a slice of a fused projection needs no
/// copy first.
fn rotate<T: Real>(
    x: &[T],
    layout: &Layout,
    cos: &[T],
    sin: &[T],
    pairs: RopePairs,
) -> CandleResult<Vec<T>> {
    let (rows, heads, width) = layout.shape().dims3()?;
    let [row_step, head_step, 1] = *layout.stride() else {
        bail!("rotate needs heads whose dimensions lie side by side");
    };
    let start = layout.start_offset();
    let half = cos.len() / rows;
    let mut out = vec![T::ZERO; rows * heads * width];
    let per_row = heads * width;
    let tasks = rows_per_task(per_row);
    out.par_chunks_mut(tasks * per_row)
        .enumerate()
        .for_each(|(task, out)| {
            let first = task * tasks;
            vectorised(RotateLoop {
                out,
                x: &x[start + first * row_step..],
                shape: (heads, width),
                steps: (row_step, head_step),
                cos: &cos[first * half..],
                sin: &sin[first * half..],
                half,
                pairs,
            });
        });
    Ok(out)
}

struct RotateLoop<'a, T> {
    out: &'a mut [T],      // [rows, heads, width]
    x: &'a [T],            // its first element that of `out`
    shape: (usize, usize), // heads, width
    steps: (usize, usize), // from row to row and from head to head of `x`
    cos: &'a [T],          // [rows, half]
    sin: &'a [T],          // [rows, half]
    half: usize,
    pairs: RopePairs,
}

impl<T: Real> Loop for RotateLoop<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (heads, width) = self.shape;
        let (row_step, head_step) = self.steps;
        for (row, out) in self.out.chunks_exact_mut(heads * width).enumerate() {
            let cos = &self.cos[row * self.half..][..self.half];
            let sin = &self.sin[row * self.half..][..self.half];
            for (head, out) in out.chunks_exact_mut(width).enumerate() {
                let x = &self.x[row * row_step + head * head_step..][..width];
                match self.pairs {
                    RopePairs::Halves => turn_halves(out, x, cos, sin),
                    RopePairs::Neighbours => turn_neighbours(out, x, cos, sin),
                }
            }
        }
    }
}

#[inline(always)]
fn turn_halves<T: Real>(out: &mut [T], x: &[T], cos: &[T], sin: &[T]) {
    let half = cos.len();
    let (a, rest) = x.split_at(half);
    let (b, rest) = rest.split_at(half);
    let (out_a, out_rest) = out.split_at_mut(half);
    let (out_b, out_rest) = out_rest.split_at_mut(half);
    for i in 0..half {
        out_a[i] = a[i] * cos[i] - b[i] * sin[i];
        out_b[i] = b[i] * cos[i] + a[i] * sin[i];
    }
    out_rest.copy_from_slice(rest);
}

#[inline(always)]
fn turn_neighbours<T: Real>(out: &mut [T], x: &[T], cos: &[T], sin: &[T]) {
    let (turned, rest) = x.split_at(2 * cos.len());
    let (out_turned, out_rest) = out.split_at_mut(2 * cos.len());
    let pairs = out_turned.chunks_exact_mut(2).zip(turned.chunks_exact(2));
    for ((out, x), (c, s)) in pairs.zip(cos.iter().zip(sin)) {
        out[0] = x[0] * *c - x[1] * *s;
        out[1] = x[1] * *c + x[0] * *s;
    }
    out_rest.copy_from_slice(rest);
}
