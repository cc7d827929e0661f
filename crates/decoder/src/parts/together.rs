//! Attention of all prompts of a pass in a few large products, where starting
//! one costs more than the work in it: on a GPU, prompt by prompt would be
//! hundreds of small ones a block.
//!
//! Prompts are laid side by side, each filled up to the longest. What fills it
//! comes after every query that counts, so the causal mask hides it.

use std::ops::Range;

use candle_core::{DType, Tensor};

use super::attention::Qkv;
use super::elementwise::{for_product, widened};
use super::score::{Rules, softmax_composed};
use crate::DecoderError;

/// Scores that are taken at a time: as many as 256 queries of 32 heads have
/// with 2048 keys.
pub(super) const MOST_SCORES: usize = 1 << 24;

/// Bytes of scores in memory at most: in f32, and four tensors of them at a
/// time on the way through soft cap and softmax.
pub const SCORES: u64 = 4 * 4 * MOST_SCORES as u64;

/// Is attention of these prompts computed so? On the CPU in f16 and bf16 too,
/// where it is tried without a GPU; not where a gradient goes through, nor
/// where one prompt has too many scores, which then go by parts.
pub(super) fn serves(q: &Tensor, segments: &[Range<usize>]) -> Result<bool, DecoderError> {
    let short = matches!(q.dtype(), DType::F16 | DType::BF16);
    let longest = segments.iter().map(Range::len).max().unwrap_or(0);
    let fits = q.dim(1)? * longest * longest <= MOST_SCORES;
    Ok((short || !q.device().is_cpu()) && !q.track_op() && fits)
}

/// Causal attention of prompts that begin at position 0: z [tokens, head,
/// d_head]. As many prompts at a time as have `most` scores, and at least one.
pub(super) fn mix(
    rules: &Rules,
    qkv: &Qkv,
    segments: &[Range<usize>],
    most: usize,
) -> Result<Tensor, DecoderError> {
    let heads = qkv.q.dim(1)?;
    let mut z = Vec::new();
    let mut rest = segments;
    while !rest.is_empty() {
        let (some, more) = rest.split_at(fitting(rest, heads, most));
        z.push(mix_some(rules, qkv, some)?);
        rest = more;
    }
    Ok(Tensor::cat(&z, 0)?)
}

/// Number of the first prompts that are taken at a time.
fn fitting(segments: &[Range<usize>], heads: usize, most: usize) -> usize {
    let mut longest = 0;
    let fits = |(i, segment): (usize, &Range<usize>)| {
        longest = longest.max(segment.len());
        (i + 1) * heads * longest * longest <= most
    };
    let number = segments.iter().enumerate().map(fits);
    number.take_while(|fits| *fits).count().max(1)
}

fn mix_some(rules: &Rules, qkv: &Qkv, segments: &[Range<usize>]) -> Result<Tensor, DecoderError> {
    let Qkv { q, k, v } = qkv;
    let (_, heads, width) = q.dims3()?;
    let kv_heads = k.dim(1)?;
    let group = heads / kv_heads;
    let prompts = segments.len();
    let longest = segments.iter().map(Range::len).max().unwrap_or(0);
    let device = q.device();
    // Row of the pack at each place; a prompt is filled up with its last one.
    let of_place = segments
        .iter()
        .flat_map(|s| (0..longest).map(move |t| (s.start + t.min(s.len() - 1)) as u32));
    let of_place = Tensor::new(of_place.collect::<Vec<u32>>(), device)?;
    let laid = |x: &Tensor| -> Result<Tensor, DecoderError> {
        Ok(x.contiguous()?.index_select(&of_place, 0)?)
    };
    let keys = |x: &Tensor| -> Result<Tensor, DecoderError> {
        Ok(laid(x)?
            .reshape((prompts, longest, kv_heads, width))?
            .transpose(1, 2)?
            .reshape((prompts * kv_heads, longest, width))?)
    };
    let (k, v) = (keys(k)?, keys(v)?);
    let q = laid(q)?
        .reshape((prompts, longest, kv_heads, group, width))?
        .permute((0, 2, 3, 1, 4))?
        .reshape((prompts * kv_heads, group * longest, width))?;

    let products = widened(&q)?.matmul(&widened(&k)?.transpose(1, 2)?)?;
    let products = products.reshape((prompts, heads, longest, longest))?;
    let pattern = softmax_composed(&rules.score_composed(&products, 0)?)?;
    let z = pattern
        .reshape((prompts * kv_heads, group * longest, longest))?
        .to_dtype(v.dtype())?
        .matmul(&for_product(&v)?)?
        .reshape((prompts, heads, longest, width))?
        .transpose(1, 2)?
        .reshape((prompts * longest, heads, width))?;

    // Place of each row of the pack.
    let of_row = segments
        .iter()
        .enumerate()
        .flat_map(|(i, s)| (0..s.len()).map(move |t| (i * longest + t) as u32));
    let of_row = Tensor::new(of_row.collect::<Vec<u32>>(), device)?;
    Ok(z.index_select(&of_row, 0)?)
}
