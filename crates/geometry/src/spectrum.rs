use nalgebra::{DMatrix, SymmetricEigen};

use crate::cka::centred;
use crate::{GeometryError, Gram, Rows};

/// Eigenvalues of the covariance matrix (divisor rows - 1) of some rows
/// [rows, width], descending, min(rows, width) of them. Where there are fewer
/// rows than columns they come from the Gram matrix, which has the same ones.
///
/// # Errors
/// Fewer than two rows, or a value that is not finite.
pub fn covariance_spectrum(x: &Rows) -> Result<Vec<f64>, GeometryError> {
    let rows = x.iter().count();
    let width = x.get(0).map_or(0, <[f64]>::len);
    let matrix = if rows < width {
        let gram = Gram::centred(x)?;
        DMatrix::from_row_slice(rows, rows, gram.values())
    } else {
        let centred = centred(x)?;
        let x = DMatrix::from_fn(rows, width, |i, j| centred[i][j]);
        x.transpose() * x
    };
    let divisor = rows as f64 - 1.0;
    let eigen = SymmetricEigen::try_new(matrix, f64::EPSILON, MOST_SWEEPS);
    let eigen = eigen.ok_or_else(|| GeometryError::Degenerate {
        what: "the number of sweeps after which a spectrum had not converged".to_owned(),
        value: MOST_SWEEPS as f64,
    })?;
    // A covariance has no negative eigenvalue but for rounding.
    let mut values: Vec<f64> = (eigen.eigenvalues.iter())
        .map(|v| (v / divisor).max(0.0))
        .collect();
    values.sort_by(|a, b| b.total_cmp(a));
    Ok(values)
}

/// Iterations of the eigenvalue solver; it needs about two an eigenvalue.
const MOST_SWEEPS: usize = 1_000_000;

/// Effective rank exp(H) of a spectrum, H the entropy in nats of its values as
/// shares of their sum (Roy and Vetterli 2007, on the covariance's
/// eigenvalues).
///
/// # Errors
/// A negative or infinite value, or none above zero.
pub fn effective_rank(spectrum: &[f64]) -> Result<f64, GeometryError> {
    if let Some(bad) = spectrum.iter().find(|v| !(**v >= 0.0 && v.is_finite())) {
        return Err(GeometryError::Degenerate {
            what: "a value of a spectrum".to_owned(),
            value: *bad,
        });
    }
    let total: f64 = spectrum.iter().sum();
    if total <= 0.0 {
        return Err(GeometryError::Degenerate {
            what: "the sum of a spectrum".to_owned(),
            value: total,
        });
    }
    let shares = spectrum.iter().map(|v| v / total).filter(|p| *p > 0.0);
    Ok((-shares.map(|p| p * p.ln()).sum::<f64>()).exp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{covariance_spectrum, effective_rank};
    use crate::Rows;
    use candle_core::{Device, Tensor};

    #[test]
    fn equal_values_count_each() {
        assert!((effective_rank(&[2.0, 2.0, 2.0, 0.0]).unwrap() - 3.0).abs() < 1e-12);
        assert!(effective_rank(&[0.0]).is_err());
        assert!(effective_rank(&[1.0, -1.0]).is_err());
    }

    #[test]
    fn one_row_and_nan_are_refused() {
        let rows = |t: &[[f64; 2]]| {
            Rows::new(&Tensor::from_vec(t.concat(), (t.len(), 2), &Device::Cpu).unwrap()).unwrap()
        };
        assert!(covariance_spectrum(&rows(&[[1.0, 2.0]])).is_err());
        assert!(covariance_spectrum(&rows(&[[1.0, 2.0], [f64::NAN, 0.0]])).is_err());
    }
}
