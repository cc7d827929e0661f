use assay_checkpoint::Weights;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp3, DType, Device, Layout, Result as CandleResult, Shape, Tensor,
    bail,
};
use rayon::prelude::*;

use super::elementwise::{on_cpu, rows_per_task, span};
use super::gemm::{Matrix, Target, gemm};
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
        Ok(Self { w, b })
    }

    /// x [rows, in] -> [rows, out].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        Ok(match &self.b {
            Some(b) if on_cpu(x) => x.apply_op3_no_bwd(&self.w, b, &Affine)?,
            Some(b) => x.matmul(&self.w)?.broadcast_add(b)?,
            None => x.matmul(&self.w)?,
        })
    }

    /// [in, out].
    pub(crate) fn weight(&self) -> &Tensor {
        &self.w
    }
}

/// x [rows, in], w [in, out], b [out] -> x w + b. The product is added onto
/// rows of biases, which saves filling the output with zeros and passing over
/// it once more: 2 % of a pass at Pythia-70m's shape.
struct Affine;

impl Affine {
    fn run<T: Real>(
        (x, lx): (&[T], &Layout),
        (w, lw): (&[T], &Layout),
        b: &[T],
    ) -> CandleResult<Vec<T>> {
        let (x_matrix, w_matrix) = (Matrix::of(lx)?, Matrix::of(lw)?);
        let (rows, width) = (x_matrix.rows, b.len());
        let mut out = rows_of(b, rows);
        let out_matrix = Matrix {
            rows,
            columns: width,
            start: 0,
            row_step: width,
            column_step: 1,
        };
        gemm(
            (&mut out, out_matrix),
            Target::AddedTo,
            (x, x_matrix),
            (w, w_matrix),
        )?;
        Ok(out)
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
        let bias = span(l3, self.name())?;
        let out = match (s1, s2, s3) {
            (CpuStorage::F32(x), CpuStorage::F32(w), CpuStorage::F32(b)) => {
                CpuStorage::F32(Self::run((x, l1), (w, l2), &b[bias.clone()])?)
            }
            (CpuStorage::F64(x), CpuStorage::F64(w), CpuStorage::F64(b)) => {
                CpuStorage::F64(Self::run((x, l1), (w, l2), &b[bias.clone()])?)
            }
            _ => bail!("linear is for f32 and f64, all three alike"),
        };
        Ok((out, Shape::from((l1.dims()[0], bias.len()))))
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
