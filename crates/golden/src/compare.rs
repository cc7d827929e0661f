use assay_record::{Tolerance, Verdict};

/// Bounds of a tolerance class as (absolute, relative): what follows by
/// [`crate::bound_from`] from the drift between builds and machines that
/// golden/drift.json holds (METHODS.md, "Drift"); a test compares the two.
///
/// - Exact: none.
/// - Rounding: the largest drift is that of KL divergences behind replaced
///   activations, on a processor without FMA.
/// - Statistical: random draws are the same everywhere, so only a rounding that
///   crosses a rank or a threshold moves these: a p value of 1e5 draws by a few
///   1e-5, a rank among 199 by 1/200, a bootstrap quantile by one order
///   statistic.
#[must_use]
pub fn bounds(tolerance: Tolerance) -> (f64, f64) {
    match tolerance {
        Tolerance::Exact => (0.0, 0.0),
        Tolerance::Rounding => (1e-4, 1e-4),
        Tolerance::Statistical => (1e-2, 1e-2),
    }
}

/// Is `actual` equal to `expected` within the class? NaN never is.
#[must_use]
pub fn within(tolerance: Tolerance, actual: f64, expected: f64) -> bool {
    let (abs, rel) = bounds(tolerance);
    (actual - expected).abs() <= abs + rel * expected.abs()
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Experiment and scope: "h25-gain/smollm2-135m".
    pub scope: String,
    /// Numbers compared.
    pub compared: usize,
    /// Those that are off, in the order of their names.
    pub differences: Vec<Difference>,
}

/// A number that is not what was expected.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// Off by more than its class allows.
    Off {
        /// Id, or unit and measure.
        name: String,
        /// Class.
        tolerance: Tolerance,
        /// From the golden file.
        expected: f64,
        /// From the run.
        actual: f64,
    },
    /// Expected, and not there.
    Gone {
        /// Id, or unit and measure.
        name: String,
    },
    /// There, and not expected.
    New {
        /// Id.
        name: String,
    },
    /// Another audited verdict, or none.
    Verdict {
        /// Claim and data.
        name: String,
        /// From the golden file.
        expected: Verdict,
        /// From the run.
        actual: Option<Verdict>,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Difference::Off {
                name,
                tolerance,
                expected,
                actual,
            } => {
                let (abs, rel) = bounds(*tolerance);
                let allowed = abs + rel * expected.abs();
                let class = format!("{tolerance:?}").to_lowercase();
                write!(
                    f,
                    "{name}: expected {expected}, found {actual}, off by {:.3e} where {class} allows {allowed:.3e}",
                    actual - expected
                )
            }
            Difference::Gone { name } => write!(f, "{name}: expected and not found"),
            Difference::New { name } => write!(
                f,
                "{name}: found and not expected; accept it with cargo xtask golden --update"
            ),
            Difference::Verdict {
                name,
                expected,
                actual,
            } => {
                write!(f, "verdict {expected} of {name}: expected and ")?;
                match actual {
                    Some(actual) => write!(f, "found {actual}"),
                    None => write!(f, "not found"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::within;
    use assay_record::Tolerance::{Exact, Rounding, Statistical};

    #[test]
    fn both_sides_and_nan() {
        assert!(within(Exact, 1.0, 1.0) && !within(Exact, 1.0 + 1e-15, 1.0));
        assert!(within(Rounding, 1.000_19, 1.0) && within(Rounding, 0.999_81, 1.0));
        assert!(!within(Rounding, 1.000_21, 1.0) && !within(Rounding, 0.999_79, 1.0));
        assert!(within(Statistical, 0.03, 0.02) && !within(Statistical, 0.04, 0.02));
        for class in [Exact, Rounding, Statistical] {
            assert!(!within(class, f64::NAN, 1.0) && !within(class, 1.0, f64::NAN));
        }
    }
}
