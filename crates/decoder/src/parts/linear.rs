use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{
    CpuStorage, CustomOp3, Layout, Module, Result as CandleResult, Shape, Tensor, bail,
};
use gemm::Parallelism;
use rayon::prelude::*;

use super::elementwise::{for_product, own_kernels, rows_per_task, span};
use super::real::Real;
use crate::DecoderError;

/// A weight matrix.
pub(crate) enum Matrix {
    /// [in, out]. A resident one lies in this order in memory whatever the
    /// file's: reading columns of a [out, in] matrix costs a pass 7 % at
    /// Pythia-70m's and 160m's shapes.
    Dense(Tensor),
    /// The blocks of the file, [out, in]. A product with one row uses them as
    /// they are, rounding the row to eight bits: near the product with the
    /// widened weights, not equal, and a fifth faster on SmolLM2. With more
    /// rows that is several times slower than widening them on the way.
    Quantized(QMatMul),
}

impl Matrix {
    /// Stored blocks as they are.
    pub(crate) fn quantized(stored: QTensor) -> Result<Self, DecoderError> {
        Ok(Self::Quantized(QMatMul::from_qtensor(stored)?))
    }
}

/// y = x W + b.
pub(crate) struct Linear {
    w: Matrix,
    b: Option<Tensor>, // [out]
}

impl Linear {
    /// From w and b [out].
    pub(crate) fn new(w: Matrix, b: Option<Tensor>) -> Self {
        Self { w, b }
    }

    /// x [rows, in] -> [rows, out].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        if let Matrix::Quantized(w) = &self.w
            && x.dim(0)? == 1
        {
            let y = w.forward(x)?;
            return Ok(match &self.b {
                Some(b) => y.broadcast_add(b)?,
                None => y,
            });
        }
        let w = &self.weight()?;
        Ok(match &self.b {
            Some(b) if own_kernels(x) => x.contiguous()?.apply_op3_no_bwd(w, b, &Affine)?,
            Some(b) => for_product(x)?.matmul(w)?.broadcast_add(b)?,
            None => for_product(x)?.matmul(w)?,
        })
    }

    /// [in, out].
    pub(crate) fn weight(&self) -> Result<Tensor, DecoderError> {
        Ok(match &self.w {
            Matrix::Dense(w) => w.clone(),
            Matrix::Quantized(QMatMul::QTensor(w)) => w.dequantize(&w.device())?.t()?,
            Matrix::Quantized(QMatMul::Tensor(w) | QMatMul::TensorF16(w)) => w.t()?,
        })
    }
}

/// x [rows, in], w [in, out], b [out] -> x w + b, by the crate that the tensor
/// library multiplies with. The product is added onto rows of biases, which
/// saves filling the output with zeros and passing over it once more: 2.6 % of
/// a pass at Pythia-70m's shape on one core.
struct Affine;

impl Affine {
    /// `steps`: from row to row and from column to column of w.
    fn run<T: Real>(
        (rows, d_in, d_out): (usize, usize, usize),
        x: &[T],
        (w, steps): (&[T], (usize, usize)),
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
        assert!(steps == (d_out, 1) || steps == (1, d_in));
        // SAFETY: three matrices without gaps, out [rows, d_out] and
        // x [rows, d_in] row by row, w [d_in, d_out] row by row or column by
        // column, of which the slices hold every element, as checked above;
        // `out` is ours alone.
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
                steps.1 as isize,
                steps.0 as isize,
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
        // Row by row, or as the transpose of a matrix that is.
        let by_column = l2.transpose(0, 1)?;
        let (w, steps) = match l2.is_contiguous() {
            true => (span(l2, "linear")?, (d_out, 1)),
            false => (span(&by_column, "linear")?, (1, d_in)),
        };
        let (x, b) = (span(l1, "linear")?, span(l3, "linear")?);
        let shape = (rows, d_in, d_out);
        let out = match (s1, s2, s3) {
            (CpuStorage::F32(xs), CpuStorage::F32(ws), CpuStorage::F32(bs)) => {
                CpuStorage::F32(Self::run(shape, &xs[x], (&ws[w], steps), &bs[b]))
            }
            (CpuStorage::F64(xs), CpuStorage::F64(ws), CpuStorage::F64(bs)) => {
                CpuStorage::F64(Self::run(shape, &xs[x], (&ws[w], steps), &bs[b]))
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
