//! Next-token distributions, and what a change does to them.

use assay_geometry::GeometryError;
use candle_core::{DType, Tensor};

/// Rows of log-probabilities in nats, in f64 from the model's logits.
pub(super) struct Outcome {
    rows: Vec<Vec<f64>>,
}

impl Outcome {
    /// From logits [n, vocab].
    pub(super) fn new(logits: &Tensor) -> Result<Self, GeometryError> {
        let rows: Vec<Vec<f32>> = logits.to_dtype(DType::F32)?.to_vec2()?;
        let rows = in_parallel(&rows, |row| log_softmax(row));
        Ok(Self {
            rows: rows.into_iter().collect::<Result<_, _>>()?,
        })
    }

    /// KL(self ‖ q) in nats of every row, q by its logits [n, vocab].
    pub(super) fn kl(&self, q: &Outcome) -> Vec<f64> {
        let pairs: Vec<(&Vec<f64>, &Vec<f64>)> = self.rows.iter().zip(&q.rows).collect();
        in_parallel(&pairs, |(p, q)| {
            let kl: f64 = p.iter().zip(*q).map(|(p, q)| p.exp() * (p - q)).sum();
            // Not below 0 but for rounding.
            kl.max(0.0)
        })
    }

    /// -log p of a token in a row.
    pub(super) fn loss(&self, row: usize, token: u32) -> f64 {
        -self.rows[row][token as usize]
    }

    /// Place of a token among all by probability, 1 the likeliest; of equals
    /// it takes the first place.
    pub(super) fn rank(&self, row: usize, token: u32) -> usize {
        let own = self.rows[row][token as usize];
        1 + self.rows[row].iter().filter(|p| **p > own).count()
    }
}

fn log_softmax(logits: &[f32]) -> Result<Vec<f64>, GeometryError> {
    if let Some(bad) = logits.iter().find(|v| !v.is_finite()) {
        return Err(GeometryError::Degenerate {
            what: "a logit".to_owned(),
            value: f64::from(*bad),
        });
    }
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let max = f64::from(max);
    let total: f64 = logits.iter().map(|v| (f64::from(*v) - max).exp()).sum();
    let shift = max + total.ln();
    Ok(logits.iter().map(|v| f64::from(*v) - shift).collect())
}

/// `f` of every item, over the machine's threads; no item's value depends on
/// how many there are.
fn in_parallel<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let share = items.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts = items.chunks(share);
        let running: Vec<_> = parts
            .map(|part| scope.spawn(|| part.iter().map(&f).collect::<Vec<R>>()))
            .collect();
        let mut all = Vec::with_capacity(items.len());
        for thread in running {
            match thread.join() {
                Ok(part) => all.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Outcome;
    use candle_core::{Device, Tensor};

    #[test]
    fn two_coins() {
        let logits = |a: f32, b: f32| {
            Outcome::new(&Tensor::new(&[[a, b], [a, b]], &Device::Cpu).unwrap()).unwrap()
        };
        // p = (3/4, 1/4), q = (1/2, 1/2).
        let (p, q) = (logits(3f32.ln() + 7.0, 7.0), logits(2.0, 2.0));
        let expected = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
        // Logits are f32.
        assert!(p.kl(&q).iter().all(|kl| (kl - expected).abs() < 1e-6));
        assert!((p.loss(1, 1) - 4f64.ln()).abs() < 1e-6);
        assert_eq!((p.rank(0, 0), p.rank(0, 1), q.rank(0, 1)), (1, 2, 1));
        assert!(Outcome::new(&Tensor::new(&[[f32::NAN]], &Device::Cpu).unwrap()).is_err());
    }
}
