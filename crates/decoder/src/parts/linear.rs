use assay_checkpoint::Weights;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp3, DType, Device, Layout, Result as CandleResult, Shape, Tensor,
    bail,
};
use gemm::Parallelism;
use rayon::prelude::*;

use super::elementwise::{on_cpu, rows_per_task, span};
use super::real::Real;
use crate::DecoderError;

/// y = x W + b.
pub(crate) struct Linear {
    /// [in, out]. On the CPU stored in this order whatever the file's: reading
    /// columns of a [out, in] matrix costs a pass 7 % at Pythia-70m's and
    /// 160m's shapes.
    w: Tensor,
    b: Option<Tensor>, // [out]
}

/// How a file stores a weight matrix.
#[derive(Clone, Copy)]
pub(crate) enum Stored {
    /// [out, in]: torch's Linear.
    OutIn,
    /// [in, out]: GPT-2's Conv1D.
    InOut,
}

impl Linear {
    /// From w [in, out] and b [out].
    pub(crate) fn new(w: Tensor, b: Option<Tensor>) -> Self {
        Self { w, b }
    }

    /// Loads `{name}.weight` and, if `bias`, `{name}.bias`.
    pub(crate) fn load(
        from: &Load,
        name: &str,
        (d_in, d_out): (usize, usize),
        bias: bool,
        stored: Stored,
    ) -> Result<Self, DecoderError> {
        let weight = format!("{name}.weight");
        let w = match stored {
            Stored::OutIn => transposed(&from.tensor(&weight, &[d_out, d_in])?)?,
            Stored::InOut => from.tensor(&weight, &[d_in, d_out])?,
        };
        let b = if bias {
            Some(from.tensor(&format!("{name}.bias"), &[d_out])?)
        } else {
            None
        };
        Ok(Self::new(w, b))
    }

    /// x [rows, in] -> [rows, out].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        Ok(match &self.b {
            Some(b) if on_cpu(x) => x.contiguous()?.apply_op3_no_bwd(&self.w, b, &Affine)?,
            Some(b) => x.matmul(&self.w)?.broadcast_add(b)?,
            None => x.matmul(&self.w)?,
        })
    }

    /// [in, out].
    pub(crate) fn weight(&self) -> &Tensor {
        &self.w
    }
}

/// x [rows, in], w [in, out], b [out] -> x w + b, by the crate that the tensor
/// library multiplies with. The product is added onto rows of biases, which
/// saves filling the output with zeros and passing over it once more: 2.6 % of
/// a pass at Pythia-70m's shape on one core.
struct Affine;

impl Affine {
    fn run<T: Real>(
        (rows, d_in, d_out): (usize, usize, usize),
        x: &[T],
        w: &[T],
        b: &[T],
    ) -> Vec<T> {
        let mut out = rows_of(b, rows);
        assert_eq!(
            (out.len(), x.len(), w.len()),
            (rows * d_out, rows * d_in, d_in * d_out)
        );
        let parallelism = match rayon::current_num_threads() {
            1 => Parallelism::None,
            n => Parallelism::Rayon(n),
        };
        // SAFETY: three contiguous row-major matrices, out [rows, d_out],
        // x [rows, d_in] and w [d_in, d_out], of which the slices hold every
        // element, as checked above; `out` is ours alone.
        unsafe {
            gemm::gemm(
                rows,
                d_out,
                d_in,
                out.as_mut_ptr(),
                1,
                d_out as isize,
                true,
                x.as_ptr(),
                1,
                d_in as isize,
                w.as_ptr(),
                1,
                d_out as isize,
                T::ONE,
                T::ONE,
                false,
                false,
                false,
                parallelism,
            );
        }
        out
    }
}

impl CustomOp3 for Affine {
    fn name(&self) -> &'static str {
        "linear"
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
        let ((rows, d_in), (w_in, d_out)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        if d_in != w_in || l3.shape().dims() != [d_out] {
            bail!("shape mismatch in linear, x: {l1:?}, w: {l2:?}, b: {l3:?}");
        }
        let (x, w, b) = (
            span(l1, "linear")?,
            span(l2, "linear")?,
            span(l3, "linear")?,
        );
        let out = match (s1, s2, s3) {
            (CpuStorage::F32(xs), CpuStorage::F32(ws), CpuStorage::F32(bs)) => {
                CpuStorage::F32(Self::run((rows, d_in, d_out), &xs[x], &ws[w], &bs[b]))
            }
            (CpuStorage::F64(xs), CpuStorage::F64(ws), CpuStorage::F64(bs)) => {
                CpuStorage::F64(Self::run((rows, d_in, d_out), &xs[x], &ws[w], &bs[b]))
            }
            _ => bail!("linear is for f32 and f64, all three alike"),
        };
        Ok((out, Shape::from((rows, d_out))))
    }
}

/// `rows` copies of `row`, end to end.
fn rows_of<T: Real>(row: &[T], rows: usize) -> Vec<T> {
    let len = rows * row.len();
    let mut out = Vec::with_capacity(len);
    out.spare_capacity_mut()[..len]
        .par_chunks_mut((rows_per_task(row.len()) * row.len()).max(1))
        .for_each(|task| {
            for copy in task.chunks_exact_mut(row.len().max(1)) {
                copy.write_copy_of_slice(row);
            }
        });
    // SAFETY: the chunks cover the first `len` elements, each a whole row, and
    // all of them were written.
    unsafe { out.set_len(len) };
    out
}

/// w [out, in] -> [in, out], its elements moved on the CPU.
fn transposed(w: &Tensor) -> Result<Tensor, DecoderError> {
    if on_cpu(w) {
        return Ok(w.apply_op1_no_bwd(&Transpose)?);
    }
    Ok(w.t()?)
}

/// [rows, columns] -> [columns, rows], tile by tile: candle's `contiguous`
/// takes as long for Pythia-410m as reading it does (1.6 s).
struct Transpose;

impl Transpose {
    /// Elements of a tile's side: two tiles of f64 fit the smallest L1 cache.
    const TILE: usize = 32;

    fn run<T: Real>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
        let mut out = vec![T::ZERO; x.len()];
        out.par_chunks_mut(Self::TILE * rows)
            .enumerate()
            .for_each(|(band, out)| {
                let first = band * Self::TILE;
                for start in (0..rows).step_by(Self::TILE) {
                    let end = rows.min(start + Self::TILE);
                    for (i, out) in out.chunks_exact_mut(rows).enumerate() {
                        for (row, out) in (start..end).zip(&mut out[start..end]) {
                            *out = x[row * columns + first + i];
                        }
                    }
                }
            });
        out
    }
}

impl CustomOp1 for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = span(layout, self.name())?;
        let (rows, columns) = layout.shape().dims2()?;
        let out = match storage {
            CpuStorage::F32(w) => CpuStorage::F32(Self::run(&w[x], rows, columns)),
            CpuStorage::F64(w) => CpuStorage::F64(Self::run(&w[x], rows, columns)),
            _ => bail!("transpose is for f32 and f64"),
        };
        Ok((out, Shape::from((columns, rows))))
    }
}

/// Where weights go as they are read.
pub(crate) struct Load<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
}

impl Load<'_> {
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, DecoderError> {
        Ok(self.weights.tensor(name, shape, self.dtype, self.device)?)
    }
}
