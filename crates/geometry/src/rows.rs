use candle_core::{DType, Tensor};

use crate::GeometryError;

/// A matrix of activations in f64, row by row: [rows, width].
#[derive(Debug, Clone)]
pub struct Rows {
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    /// Copies a tensor [rows, …] out; all axes but the first become the width.
    ///
    /// # Errors
    /// The tensor has no axes.
    pub fn new(tensor: &Tensor) -> Result<Self, GeometryError> {
        let flat = tensor.flatten_from(1)?;
        let (_, width) = flat.dims2()?;
        let values = flat.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        Ok(Self { values, width })
    }

    /// Row `i`, or None beyond the last.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<&[f64]> {
        self.values.chunks_exact(self.width.max(1)).nth(i)
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width.max(1))
    }

    /// Euclidean norm of every row.
    #[must_use]
    pub fn norms(&self) -> Vec<f64> {
        self.iter().map(norm).collect()
    }
}

/// Euclidean norm.
#[must_use]
pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Σ x_i y_i.
///
/// # Errors
/// The vectors are not equally long.
pub fn dot(x: &[f64], y: &[f64]) -> Result<f64, GeometryError> {
    if x.len() != y.len() {
        return Err(GeometryError::Length {
            what: "dot product",
            left: x.len(),
            right: y.len(),
        });
    }
    Ok(x.iter().zip(y).map(|(a, b)| a * b).sum())
}

/// KL(p ‖ q) in nats of the distributions that two rows of logits stand for:
/// Σ p (log p - log q), by log-softmax in f64.
///
/// # Errors
/// The rows are not equally long, or a logit is not finite.
pub fn kl_divergence(p_logits: &[f64], q_logits: &[f64]) -> Result<f64, GeometryError> {
    if p_logits.len() != q_logits.len() {
        return Err(GeometryError::Length {
            what: "KL divergence",
            left: p_logits.len(),
            right: q_logits.len(),
        });
    }
    let (p, q) = (log_softmax(p_logits)?, log_softmax(q_logits)?);
    let kl: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
    // Not below 0 but for rounding, which is of the order of 1e-16 a term.
    Ok(kl.max(0.0))
}

fn log_softmax(logits: &[f64]) -> Result<Vec<f64>, GeometryError> {
    if let Some(bad) = logits.iter().find(|v| !v.is_finite()) {
        return Err(GeometryError::Degenerate {
            what: "a logit".to_owned(),
            value: *bad,
        });
    }
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|v| (v - max).exp()).sum();
    Ok(logits.iter().map(|v| v - max - total.ln()).collect())
}

/// Share of Σ x_i · y_i that falls on the `n` indices with the largest |x_i|:
/// how much of a change along x happens in its massive dimensions.
///
/// # Errors
/// The vectors are not equally long, or the whole is zero.
pub fn share_of_top(x: &[f64], y: &[f64], n: usize) -> Result<f64, GeometryError> {
    let whole = dot(x, y)?;
    if whole == 0.0 {
        return Err(GeometryError::Degenerate {
            what: "the sum to be shared out".to_owned(),
            value: whole,
        });
    }
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|a, b| x[*b].abs().total_cmp(&x[*a].abs()).then(a.cmp(b)));
    let top: f64 = order.iter().take(n).map(|i| x[*i] * y[*i]).sum();
    Ok(top / whole)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{kl_divergence, norm, share_of_top};

    #[test]
    fn kl_of_two_coins() {
        // p = (3/4, 1/4), q = (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2).
        let expected = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
        let kl = kl_divergence(&[3f64.ln() + 7.0, 7.0], &[2.0, 2.0]).unwrap();
        assert!((kl - expected).abs() < 1e-14, "{kl} {expected}");
    }

    #[test]
    fn kl_of_equals_is_zero_and_bad_logits_are_refused() {
        assert_eq!(kl_divergence(&[1.0, 2.0], &[1.0, 2.0]).unwrap(), 0.0);
        assert!(kl_divergence(&[1.0, f64::NAN], &[1.0, 2.0]).is_err());
        assert!(kl_divergence(&[1.0], &[1.0, 2.0]).is_err());
    }

    #[test]
    fn top_share_and_norm() {
        assert_eq!(norm(&[3.0, 4.0]), 5.0);
        // Largest |x| is -3: its share is 6 of 6 + 1 + 1.
        let share = share_of_top(&[1.0, -3.0, 1.0], &[1.0, -2.0, 1.0], 1).unwrap();
        assert_eq!(share, 0.75);
    }
}
