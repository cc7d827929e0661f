use candle_core::Tensor;

use crate::cache::KvCache;
use crate::{Decoder, DecoderError, Hooks, NoHooks, Pack};

/// Continues each prompt with the likeliest token, `steps` times or until one
/// of `stop`, which is kept. Prompts go side by side and end by themselves;
/// of equal logits the lower id wins. Gives the new tokens of each prompt.
///
/// # Errors
/// A prompt that would grow beyond the context; as [`Decoder::forward`].
pub fn greedy(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    steps: usize,
    stop: &[u32],
) -> Result<Vec<Vec<u32>>, DecoderError> {
    greedy_with(decoder, prompts, (steps, stop), &mut NoHooks)
}

/// Hooks of a pass that takes some of several prompts on.
pub trait StepHooks: Hooks {
    /// Is told before each pass which prompts go on, by their numbers: they
    /// are the segments of the pack, in this order.
    fn step(&mut self, going: &[usize], pack: &Pack);
}

impl StepHooks for NoHooks {
    fn step(&mut self, _: &[usize], _: &Pack) {}
}

/// As [`greedy`] under hooks, which see the pass over the prompts and every
/// step after it.
///
/// # Errors
/// As [`greedy`], and whatever a hook says.
pub fn greedy_with(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    (steps, stop): (usize, &[u32]),
    hooks: &mut dyn StepHooks,
) -> Result<Vec<Vec<u32>>, DecoderError> {
    let mut out: Vec<Vec<u32>> = vec![Vec::new(); prompts.len()];
    // The first pass is packed whole; then the prompts that go on, with a
    // cache each, so that one that has ended takes no more rows.
    let mut cache = KvCache::new(decoder.config(), prompts.len());
    let mut going: Vec<usize> = (0..prompts.len()).collect();
    let mut feed: Vec<Vec<u32>> = prompts.to_vec();
    for _ in 0..steps {
        if going.is_empty() {
            break;
        }
        let pack = Pack::continuing(&feed, &cache.lengths())?;
        hooks.step(&going, &pack);
        let next = likeliest(&decoder.next_logits_with(&pack, &mut cache, hooks)?)?;
        let mut kept = Vec::new();
        feed.clear();
        for (row, (&prompt, token)) in going.iter().zip(next).enumerate() {
            out[prompt].push(token);
            if !stop.contains(&token) {
                kept.push(row);
                feed.push(vec![token]);
            }
        }
        going = kept.iter().map(|row| going[*row]).collect();
        cache.keep(&kept);
    }
    Ok(out)
}

/// Index of the largest logit of each row [rows, vocab], the lowest of equals.
fn likeliest(logits: &Tensor) -> Result<Vec<u32>, DecoderError> {
    let rows = logits.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>()?;
    let largest = |row: Vec<f32>| {
        let mut best = 0;
        for (i, x) in row.iter().enumerate() {
            if *x > row[best] {
                best = i;
            }
        }
        best as u32
    };
    Ok(rows.into_iter().map(largest).collect())
}
