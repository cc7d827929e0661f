use std::ops::Range;

use assay_hook_site::BlockSite;
use candle_core::{
    CpuStorage, CustomOp2, InplaceOp1, Layout, Result as CandleResult, Shape, Tensor, bail,
};
use rayon::prelude::*;

use super::elementwise::{Loop, on_cpu, rows_per_task, span, vectorised};
use super::gemm::{Matrix, Target, gemm};
use super::linear::Linear;
use super::real::Real;
use crate::DecoderError;
use crate::pack::pad_rows;
use crate::pass::Pass;

/// Queries, keys and values of a pack, positions already in them.
pub(crate) struct Qkv {
    pub(crate) q: Tensor, // [rows, head, d_head]
    pub(crate) k: Tensor, // [rows, kv_head, d_head]
    pub(crate) v: Tensor, // [rows, kv_head, d_head]
}

/// Causal attention, prompt by prompt: z [rows, head, d_head].
///
/// scores = q kᵀ / sqrt(d_head), masked with -inf above the diagonal; pattern
/// = softmax(scores); z = pattern v.
pub(crate) fn attend(pass: &mut Pass, layer: usize, qkv: &Qkv) -> Result<Tensor, DecoderError> {
    if !on_cpu(&qkv.q) {
        let what = format!("attention on {:?}", qkv.q.device().location());
        return Err(candle_core::Error::Msg(format!("{what} is not built")).into());
    }
    let squares = pass.wants(layer, BlockSite::AttnScores) || pass.wants(layer, BlockSite::Pattern);
    let segments = pass.pack.segments();
    let z: Vec<Tensor> = if squares {
        let mut z = Vec::with_capacity(segments.len());
        for (i, segment) in segments.to_vec().iter().enumerate() {
            let scores = scores(qkv, segment)?;
            let scores = pass.square(layer, BlockSite::AttnScores, i, scores)?;
            // The hook may still hold the scores: softmax works on a copy.
            let pattern = softmax(scores.copy()?)?;
            let pattern = pass.square(layer, BlockSite::Pattern, i, pattern)?;
            z.push(mix(&pattern, qkv, segment)?);
        }
        z
    } else {
        // Prompts are small: a thread takes a whole prompt.
        segments
            .par_iter()
            .map(|segment| mix(&softmax(scores(qkv, segment)?)?, qkv, segment))
            .collect::<Result<_, DecoderError>>()?
    };
    pad_rows(&Tensor::cat(&z, 0)?, pass.pack.rows())
}

/// Masked and scaled scores of one prompt [head, query, key].
fn scores(qkv: &Qkv, segment: &Range<usize>) -> Result<Tensor, DecoderError> {
    let q = qkv.q.narrow(0, segment.start, segment.len())?;
    let k = qkv.k.narrow(0, segment.start, segment.len())?;
    let scores = q.apply_op2_no_bwd(&k, &Scores)?;
    let scale = 1.0 / (q.dim(2)? as f64).sqrt();
    scores.inplace_op1(&Squares(MaskAndScale { scale }))?;
    Ok(scores)
}

/// Softmax over the keys of [head, query, key], over `scores` itself, which
/// nobody else may hold.
fn softmax(scores: Tensor) -> Result<Tensor, DecoderError> {
    scores.inplace_op1(&Squares(Softmax))?;
    Ok(scores)
}

/// z of one prompt [T, head, d_head].
fn mix(pattern: &Tensor, qkv: &Qkv, segment: &Range<usize>) -> Result<Tensor, DecoderError> {
    let v = qkv.v.narrow(0, segment.start, segment.len())?;
    Ok(pattern.contiguous()?.apply_op2_no_bwd(&v, &Mix)?)
}

/// The heads of [T, head, d_head], each a matrix [T, d_head], read where they
/// lie: candle's batched products want the head in front, and its tensor
/// operations for each prompt cost more than the arithmetic.
struct Heads {
    count: usize,
    first: Matrix,
    step: usize,
}

impl Heads {
    fn of(layout: &Layout) -> CandleResult<Self> {
        let (rows, count, columns) = layout.shape().dims3()?;
        let [row_step, step, column_step] = *layout.stride() else {
            bail!("heads have three strides");
        };
        let first = Matrix {
            rows,
            columns,
            start: layout.start_offset(),
            row_step,
            column_step,
        };
        Ok(Self { count, first, step })
    }

    fn head(&self, index: usize) -> Matrix {
        Matrix {
            start: self.first.start + index * self.step,
            ..self.first
        }
    }
}

/// Square number `index` of [head, query, key].
fn square(len: usize, index: usize) -> Matrix {
    Matrix {
        rows: len,
        columns: len,
        start: index * len * len,
        row_step: len,
        column_step: 1,
    }
}

/// q [T, head, d_head], k [T, kv_head, d_head] -> q kᵀ [head, T, T]. Query
/// heads `group` to a key head.
struct Scores;

impl Scores {
    fn run<T: Real>((q, lq): (&[T], &Heads), (k, lk): (&[T], &Heads)) -> CandleResult<Vec<T>> {
        let len = lq.first.rows;
        let group = lq.count / lk.count;
        let mut out = vec![T::ZERO; lq.count * len * len];
        for head in 0..lq.count {
            let target = (out.as_mut_slice(), square(len, head));
            let keys = lk.head(head / group).transposed();
            gemm(target, Target::Overwritten, (q, lq.head(head)), (k, keys))?;
        }
        Ok(out)
    }
}

impl CustomOp2 for Scores {
    fn name(&self) -> &'static str {
        "attention scores"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (q, k) = (Heads::of(l1)?, Heads::of(l2)?);
        let out = match (s1, s2) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => {
                CpuStorage::F32(Self::run((a, &q), (b, &k))?)
            }
            (CpuStorage::F64(a), CpuStorage::F64(b)) => {
                CpuStorage::F64(Self::run((a, &q), (b, &k))?)
            }
            _ => bail!("attention scores are f32 or f64, both sides alike"),
        };
        Ok((out, Shape::from((q.count, q.first.rows, k.first.rows))))
    }
}

/// pattern [head, T, T], v [T, kv_head, d_head] -> z [T, head, d_head].
struct Mix;

impl Mix {
    fn run<T: Real>(pattern: &[T], heads: usize, (v, lv): (&[T], &Heads)) -> CandleResult<Vec<T>> {
        let (len, width) = (lv.first.rows, lv.first.columns);
        let group = heads / lv.count;
        let mut out = vec![T::ZERO; len * heads * width];
        for head in 0..heads {
            let z = Matrix {
                rows: len,
                columns: width,
                start: head * width,
                row_step: heads * width,
                column_step: 1,
            };
            let target = (out.as_mut_slice(), z);
            let pattern = (pattern, square(len, head));
            gemm(
                target,
                Target::Overwritten,
                pattern,
                (v, lv.head(head / group)),
            )?;
        }
        Ok(out)
    }
}

impl CustomOp2 for Mix {
    fn name(&self) -> &'static str {
        "attention mix"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let pattern = span(l1, self.name())?;
        let (heads, len, _) = l1.shape().dims3()?;
        let v = Heads::of(l2)?;
        let out = match (s1, s2) {
            (CpuStorage::F32(p), CpuStorage::F32(x)) => {
                CpuStorage::F32(Self::run(&p[pattern], heads, (x, &v))?)
            }
            (CpuStorage::F64(p), CpuStorage::F64(x)) => {
                CpuStorage::F64(Self::run(&p[pattern], heads, (x, &v))?)
            }
            _ => bail!("attention mix is for f32 and f64, both sides alike"),
        };
        Ok((out, Shape::from((len, heads, v.first.columns))))
    }
}

/// A function of a row [key] and its query's number.
trait SquareFn: Sync {
    fn apply<T: Real>(&self, row: &mut [T], query: usize);
}

struct MaskAndScale {
    scale: f64,
}

impl SquareFn for MaskAndScale {
    #[inline(always)]
    fn apply<T: Real>(&self, row: &mut [T], query: usize) {
        let scale = T::of(self.scale);
        let (past, future) = row.split_at_mut(query + 1);
        for x in past {
            *x = *x * scale;
        }
        future.fill(T::NEG_INFINITY);
    }
}

struct Softmax;

impl SquareFn for Softmax {
    #[inline(always)]
    fn apply<T: Real>(&self, row: &mut [T], _: usize) {
        let mut max = T::NEG_INFINITY;
        for x in row.iter() {
            max = if *x > max { *x } else { max };
        }
        let mut total = T::ZERO;
        for x in row.iter_mut() {
            *x = (*x - max).exp();
        }
        for x in row.iter() {
            total += *x;
        }
        for x in row {
            *x = *x / total;
        }
    }
}

/// Applies a [`SquareFn`] to every row of [head, query, key].
struct Squares<F>(F);

struct SquareLoop<'a, T, F> {
    squares: &'a mut [T],
    len: usize,
    f: &'a F,
}

impl<T: Real, F: SquareFn> Loop for SquareLoop<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for square in self.squares.chunks_exact_mut(self.len * self.len) {
            for (query, row) in square.chunks_exact_mut(self.len).enumerate() {
                self.f.apply(row, query);
            }
        }
    }
}

impl<F: SquareFn> Squares<F> {
    fn run<T: Real>(&self, data: &mut [T], len: usize) {
        let f = &self.0;
        data.par_chunks_mut(rows_per_task(len * len) * len * len)
            .for_each(|squares| vectorised(SquareLoop { squares, len, f }));
    }
}

impl<F: SquareFn> InplaceOp1 for Squares<F> {
    fn name(&self) -> &'static str {
        "attention rows"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> CandleResult<()> {
        let span = span(layout, self.name())?;
        let len = layout.dims().last().copied().unwrap_or(1);
        match storage {
            CpuStorage::F32(v) => self.run(&mut v[span], len),
            CpuStorage::F64(v) => self.run(&mut v[span], len),
            _ => bail!("attention rows are f32 or f64"),
        }
        Ok(())
    }
}

/// attn_out from z, by way of each head's share where somebody looks at it.
///
/// An edited share enters as its difference from the original, so that handing
/// the original back changes nothing.
pub(crate) fn project(
    pass: &mut Pass,
    layer: usize,
    z: &Tensor,
    out: &Linear,
) -> Result<Tensor, DecoderError> {
    let (rows, heads, width) = z.dims3()?;
    let direct = out.forward(&z.reshape((rows, heads * width))?)?;
    if !pass.wants(layer, BlockSite::Result) {
        return Ok(direct);
    }
    let d_model = direct.dim(1)?;
    let per_head = out
        .weight()
        .contiguous()?
        .reshape((heads, width, d_model))?;
    let result = z
        .transpose(0, 1)?
        .contiguous()?
        .matmul(&per_head)?
        .transpose(0, 1)?
        .contiguous()?;
    let edited = pass.block(layer, BlockSite::Result, result.clone())?;
    Ok((direct + (edited - result)?.sum(1)?)?)
}
