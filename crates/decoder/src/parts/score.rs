//! From products of queries and keys to the attention pattern.

use assay_checkpoint::{DecoderConfig, Position};
use candle_core::{CpuStorage, D, InplaceOp1, Layout, Result as CandleResult, Tensor, bail};
use rayon::prelude::*;

use super::elementwise::{Loop, own_kernels, rows_per_task, span, vectorised};
use super::real::Real;
use crate::DecoderError;

/// How a block turns products into scores: times `scale`, plus ALiBi, through
/// the soft cap, -inf where a query may not look.
pub(crate) struct Rules {
    scale: f64,
    /// A slope per head, times the key's position (ALiBi).
    slopes: Option<Vec<f32>>,
    /// c of c tanh(score / c).
    cap: Option<f64>,
    /// Keys that a query sees, itself counted.
    window: Option<usize>,
}

impl Rules {
    pub(crate) fn new(config: &DecoderConfig, layer: usize) -> Self {
        let slopes = match config.position {
            Position::Alibi => Some(alibi_slopes(config.n_heads)),
            Position::Rotary(_) | Position::Learned { .. } => None,
        };
        Self {
            scale: config.score_scale,
            slopes,
            cap: config.score_cap,
            window: config.windows.get(layer).copied().flatten(),
        }
    }

    /// Does this block see only a window of keys?
    pub(crate) fn windowed(&self) -> bool {
        self.window.is_some()
    }

    /// Products [head, query, key] -> scores, in place on the CPU; the first
    /// query stands at position `past`.
    pub(crate) fn score(&self, products: Tensor, past: usize) -> Result<Tensor, DecoderError> {
        if own_kernels(&products) {
            products.inplace_op1(&Squares {
                f: Score { rules: self },
                past,
            })?;
            return Ok(products);
        }
        self.score_composed(&products, past)
    }

    /// As [`Rules::score`], of [.., head, query, key], by the tensor library's
    /// operations.
    pub(crate) fn score_composed(
        &self,
        products: &Tensor,
        past: usize,
    ) -> Result<Tensor, DecoderError> {
        let (queries, keys) = (products.dim(D::Minus2)?, products.dim(D::Minus1)?);
        let (dtype, device) = (products.dtype(), products.device());
        let mut scores = (products * self.scale)?;
        if let Some(slopes) = &self.slopes {
            let positions: Vec<f32> = (0..keys).map(|k| k as f32).collect();
            let positions = Tensor::from_vec(positions, (1, 1, keys), device)?;
            let slopes = Tensor::from_slice(slopes, (slopes.len(), 1, 1), device)?;
            let bias = slopes.broadcast_mul(&positions)?.to_dtype(dtype)?;
            scores = scores.broadcast_add(&bias)?;
        }
        if let Some(cap) = self.cap {
            scores = ((scores / cap)?.tanh()? * cap)?;
        }
        let seen = |query: usize, key: usize| self.sees(past + query).contains(&key);
        let mask: Vec<f32> = (0..queries)
            .flat_map(|q| (0..keys).map(move |k| (q, k)))
            .map(|(q, k)| if seen(q, k) { 0.0 } else { f32::NEG_INFINITY })
            .collect();
        let mask = Tensor::from_vec(mask, (1, queries, keys), device)?.to_dtype(dtype)?;
        Ok(scores.broadcast_add(&mask)?)
    }

    /// Keys that a query at `position` sees.
    fn sees(&self, position: usize) -> std::ops::RangeInclusive<usize> {
        let first = match self.window {
            Some(window) => (position + 1).saturating_sub(window),
            None => 0,
        };
        first..=position
    }
}

/// Slopes of Press et al. 2022, as BLOOM computes them: powers of
/// 2^(-8/n) for n heads, n the largest power of two, then every other power
/// of the next one.
fn alibi_slopes(heads: usize) -> Vec<f32> {
    let base = |n: usize| 2f64.powf(-8.0 / n as f64) as f32;
    let whole = 1 << heads.ilog2();
    let powers = |base: f32, exponents: &mut dyn Iterator<Item = usize>| -> Vec<f32> {
        exponents.map(|e| base.powi(e as i32)).collect()
    };
    let mut slopes = powers(base(whole), &mut (1..=whole));
    slopes.extend(powers(
        base(2 * whole),
        &mut (0..heads - whole).map(|i| 2 * i + 1),
    ));
    slopes
}

/// Scores [head, query, key] -> pattern, softmax over the keys; in place on
/// the CPU.
pub(crate) fn softmax(scores: Tensor) -> Result<Tensor, DecoderError> {
    if own_kernels(&scores) {
        scores.inplace_op1(&Squares {
            f: Softmax,
            past: 0,
        })?;
        return Ok(scores);
    }
    softmax_composed(&scores)
}

/// As [`softmax`], by the tensor library's operations.
pub(crate) fn softmax_composed(scores: &Tensor) -> Result<Tensor, DecoderError> {
    // The pattern does not depend on what is taken off, so no gradient goes
    // through the maximum.
    let max = scores.detach().max_keepdim(D::Minus1)?;
    let e = scores.broadcast_sub(&max)?.exp()?;
    Ok(e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?)
}

/// A function of a row [key], its head and its query's position.
trait SquareFn: Sync {
    fn apply<T: Real>(&self, row: &mut [T], head: usize, position: usize);
}

struct Score<'a> {
    rules: &'a Rules,
}

impl SquareFn for Score<'_> {
    #[inline(always)]
    fn apply<T: Real>(&self, row: &mut [T], head: usize, position: usize) {
        let rules = self.rules;
        let scale = T::of(rules.scale);
        let sees = rules.sees(position);
        let (past, future) = row.split_at_mut(position + 1);
        future.fill(T::NEG_INFINITY);
        let (hidden, seen) = past.split_at_mut(*sees.start());
        hidden.fill(T::NEG_INFINITY);
        for x in &mut *seen {
            *x *= scale;
        }
        if let Some(slopes) = &rules.slopes {
            for (key, x) in sees.zip(&mut *seen) {
                // In f32, as BLOOM was trained.
                *x += T::of(f64::from(slopes[head] * key as f32));
            }
        }
        if let Some(cap) = rules.cap {
            let cap = T::of(cap);
            for x in seen {
                *x = cap * (*x / cap).tanh();
            }
        }
    }
}

struct Softmax;

impl SquareFn for Softmax {
    #[inline(always)]
    fn apply<T: Real>(&self, row: &mut [T], _: usize, _: usize) {
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
struct Squares<F> {
    f: F,
    /// Position of the first query.
    past: usize,
}

struct SquareLoop<'a, T, F> {
    squares: &'a mut [T],
    shape: (usize, usize), // queries, keys
    first_head: usize,
    past: usize,
    f: &'a F,
}

impl<T: Real, F: SquareFn> Loop for SquareLoop<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (queries, keys) = self.shape;
        for (i, square) in self.squares.chunks_exact_mut(queries * keys).enumerate() {
            for (query, row) in square.chunks_exact_mut(keys).enumerate() {
                self.f.apply(row, self.first_head + i, self.past + query);
            }
        }
    }
}

impl<F: SquareFn> Squares<F> {
    fn run<T: Real>(&self, data: &mut [T], shape: (usize, usize)) {
        let (f, past) = (&self.f, self.past);
        let square = shape.0 * shape.1;
        let heads = rows_per_task(square);
        data.par_chunks_mut(heads * square)
            .enumerate()
            .for_each(|(task, squares)| {
                vectorised(SquareLoop {
                    squares,
                    shape,
                    first_head: task * heads,
                    past,
                    f,
                });
            });
    }
}

impl<F: SquareFn> InplaceOp1 for Squares<F> {
    fn name(&self) -> &'static str {
        "attention rows"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> CandleResult<()> {
        let span = span(layout, self.name())?;
        let (_, queries, keys) = layout.shape().dims3()?;
        match storage {
            CpuStorage::F32(v) => self.run(&mut v[span], (queries, keys)),
            CpuStorage::F64(v) => self.run(&mut v[span], (queries, keys)),
            _ => bail!("attention rows are f32 or f64"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::alibi_slopes;

    /// Press et al. 2022, section 3: 8 heads have 1/2, 1/4, … 1/256; with 12
    /// heads the other four are every other slope of 16 heads.
    #[test]
    fn slopes_are_those_of_the_paper() {
        let eight: Vec<f32> = (1..=8).map(|i| 0.5f32.powi(i)).collect();
        assert_eq!(alibi_slopes(8), eight);
        let twelve = alibi_slopes(12);
        assert_eq!(twelve[..8], eight);
        let sixteen = alibi_slopes(16);
        let odd: Vec<f32> = sixteen.iter().step_by(2).take(4).copied().collect();
        assert_eq!(twelve[8..], odd);
    }
}
