use crate::GeometryError;

/// later / earlier of two norms.
///
/// # Errors
/// The earlier norm is zero, or either is not finite; `what` says whose.
pub fn ratio(later: f64, earlier: f64, what: impl Fn() -> String) -> Result<f64, GeometryError> {
    if earlier > 0.0 && earlier.is_finite() && later.is_finite() {
        Ok(later / earlier)
    } else {
        let value = if earlier > 0.0 && earlier.is_finite() {
            later
        } else {
            earlier
        };
        Err(GeometryError::Degenerate {
            what: what(),
            value,
        })
    }
}

/// exp(mean(log x)).
///
/// # Errors
/// A value is not positive, or there are none.
pub fn geometric_mean(values: &[f64]) -> Result<f64, GeometryError> {
    let bad = values.iter().find(|v| !(**v > 0.0 && v.is_finite()));
    match bad {
        Some(value) => Err(GeometryError::Degenerate {
            what: "a factor of a geometric mean".to_owned(),
            value: *value,
        }),
        None if values.is_empty() => Err(GeometryError::Degenerate {
            what: "the number of factors of a geometric mean".to_owned(),
            value: 0.0,
        }),
        None => Ok((values.iter().map(|v| v.ln()).sum::<f64>() / values.len() as f64).exp()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{geometric_mean, ratio};

    #[test]
    fn geometric_mean_of_powers() {
        assert!((geometric_mean(&[2.0, 8.0]).unwrap() - 4.0).abs() < 1e-15);
        assert!(geometric_mean(&[]).is_err());
        assert!(geometric_mean(&[1.0, 0.0]).is_err());
    }

    #[test]
    fn ratio_refuses_zero_and_nan() {
        assert_eq!(ratio(3.0, 2.0, String::new).unwrap(), 1.5);
        assert!(ratio(1.0, 0.0, || "the residual".to_owned()).is_err());
        assert!(ratio(f64::NAN, 1.0, || "the residual".to_owned()).is_err());
    }
}
