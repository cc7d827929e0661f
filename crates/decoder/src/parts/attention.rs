use assay_hook_site::BlockSite;
use candle_core::{CpuStorage, InplaceOp1, Layout, Result as CandleResult, Tensor, bail};
use rayon::prelude::*;

use super::elementwise::{Loop, on_cpu, rows_per_task, span, vectorised};
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
    let squares = pass.wants(layer, BlockSite::AttnScores) || pass.wants(layer, BlockSite::Pattern);
    let segments = pass.pack.segments().to_vec();
    let one = |segment: &std::ops::Range<usize>| -> Result<Prompt, DecoderError> {
        Prompt::new(qkv, segment.start, segment.len())
    };
    let z: Vec<Tensor> = if squares {
        let mut z = Vec::with_capacity(segments.len());
        for (i, segment) in segments.iter().enumerate() {
            let prompt = one(segment)?;
            let scores = prompt.scores()?;
            mask_and_scale(&scores, prompt.scale)?;
            let scores = pass.square(layer, BlockSite::AttnScores, i, scores)?;
            // The hook may still hold the scores: softmax works on a copy.
            let pattern = scores.copy()?;
            softmax(&pattern)?;
            let pattern = pass.square(layer, BlockSite::Pattern, i, pattern)?;
            z.push(prompt.mix(&pattern)?);
        }
        z
    } else {
        // Prompts are small: a thread takes a whole prompt.
        segments
            .par_iter()
            .map(|segment| {
                let prompt = one(segment)?;
                let pattern = prompt.scores()?;
                mask_and_scale(&pattern, prompt.scale)?;
                softmax(&pattern)?;
                prompt.mix(&pattern)
            })
            .collect::<Result<_, DecoderError>>()?
    };
    pad_rows(&Tensor::cat(&z, 0)?, pass.pack.rows())
}

/// One prompt's share of a layer's attention, grouped heads not repeated.
struct Prompt {
    q: Tensor, // [kv_head, group * T, d_head]
    k: Tensor, // [kv_head, T, d_head]
    v: Tensor, // [kv_head, T, d_head]
    scale: f64,
}

impl Prompt {
    fn new(qkv: &Qkv, start: usize, len: usize) -> Result<Self, DecoderError> {
        let (_, heads, width) = qkv.q.dims3()?;
        let kv_heads = qkv.k.dim(1)?;
        let group = heads / kv_heads;
        let q = qkv.q.narrow(0, start, len)?;
        let q = if group == 1 {
            q.transpose(0, 1)?
        } else {
            q.reshape((len, kv_heads, group, width))?
                .permute((1, 2, 0, 3))?
                .reshape((kv_heads, group * len, width))?
        };
        Ok(Self {
            q,
            k: qkv.k.narrow(0, start, len)?.transpose(0, 1)?,
            v: qkv.v.narrow(0, start, len)?.transpose(0, 1)?,
            scale: 1.0 / (width as f64).sqrt(),
        })
    }

    /// q kᵀ [head, T, T], not yet scaled.
    fn scores(&self) -> Result<Tensor, DecoderError> {
        let (kv_heads, rows, _) = self.q.dims3()?;
        let len = self.k.dim(1)?;
        let scores = self.q.matmul(&self.k.transpose(1, 2)?)?;
        Ok(scores.reshape((kv_heads * rows / len, len, len))?)
    }

    /// pattern [head, T, T] times v: z [T, head, d_head].
    fn mix(&self, pattern: &Tensor) -> Result<Tensor, DecoderError> {
        let (heads, len, _) = pattern.dims3()?;
        let (kv_heads, _, width) = self.v.dims3()?;
        let z = pattern
            .reshape((kv_heads, heads / kv_heads * len, len))?
            .matmul(&self.v)?
            .reshape((heads, len, width))?;
        Ok(z.transpose(0, 1)?.contiguous()?)
    }
}

/// Scores times `scale`, -inf where the key comes after the query; in place.
fn mask_and_scale(scores: &Tensor, scale: f64) -> Result<(), DecoderError> {
    in_place(scores, MaskAndScale { scale })
}

/// Softmax over the keys, in place.
fn softmax(scores: &Tensor) -> Result<(), DecoderError> {
    in_place(scores, Softmax)
}

fn in_place(squares: &Tensor, f: impl SquareFn) -> Result<(), DecoderError> {
    if on_cpu(squares) {
        return Ok(squares.inplace_op1(&Squares(f))?);
    }
    let what = format!("attention on {:?}", squares.device().location());
    Err(candle_core::Error::Msg(format!("{what} is not built")).into())
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
            *x *= scale;
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
            *x /= total;
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
