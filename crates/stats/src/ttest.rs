//! Student's and Welch's t-tests of means.

use crate::check;
use crate::describe::{mean, sd_sample};
use crate::distribution::{t_critical, t_two_sided_p};
use crate::{Interval, StatsError};

/// A two-sided t-test of a mean or of a difference of two means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TTest {
    /// The mean, or the first mean minus the second.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// (estimate - value under the null) / standard error.
    pub t: f64,
    /// Degrees of freedom; fractional for Welch's test.
    pub df: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// Confidence interval of the estimate, at the level asked for.
    pub interval: Interval,
}

impl TTest {
    pub(crate) fn new(
        estimate: f64,
        standard_error: f64,
        null: f64,
        df: f64,
        level: f64,
    ) -> Result<Self, StatsError> {
        if standard_error == 0.0 {
            // The sample varies (callers checked), but its squares underflowed.
            return Err(StatsError::OutOfScale { argument: "x" });
        }
        let t = (estimate - null) / standard_error;
        let half_width = t_critical(level, df) * standard_error;
        Ok(TTest {
            estimate,
            standard_error,
            t,
            df,
            p: t_two_sided_p(t, df),
            interval: Interval {
                low: estimate - half_width,
                high: estimate + half_width,
            },
        })
    }
}

/// Tests whether the mean of n >= 2 values is `null`, on n - 1 degrees of
/// freedom (`scipy.stats.ttest_1samp`). Applied to differences it is the paired test.
pub fn one_sample_t(x: &[f64], null: f64, level: f64) -> Result<TTest, StatsError> {
    check::sample("x", x, 2)?;
    check::finite("null", &[null])?;
    check::open_unit("level", level)?;
    check::unit_deviations("x", x)?;
    let standard_error = sd_sample(x)? / (x.len() as f64).sqrt();
    TTest::new(mean(x)?, standard_error, null, x.len() as f64 - 1.0, level)
}

/// Welch's test of mean(x) - mean(y) = 0 without assuming equal variances,
/// degrees of freedom by Welch and Satterthwaite
/// (`scipy.stats.ttest_ind(equal_var=False)`). Both samples have at least two
/// values; one of them may be constant.
pub fn welch_t(x: &[f64], y: &[f64], level: f64) -> Result<TTest, StatsError> {
    check::sample("x", x, 2)?;
    check::sample("y", y, 2)?;
    check::open_unit("level", level)?;
    let (n_x, n_y) = (x.len() as f64, y.len() as f64);
    let x_part = sd_sample(x)?.powi(2) / n_x;
    let y_part = sd_sample(y)?.powi(2) / n_y;
    let squared_error = check::in_scale("x or y", x_part + y_part)?;
    // Only if neither sample varies beyond rounding is there no error to divide by.
    if let (Err(constant), Err(_)) = (
        check::unit_deviations("x", x),
        check::unit_deviations("y", y),
    ) {
        return Err(constant);
    }
    // Shares rather than squares of the parts, so that small variances do not underflow.
    if squared_error == 0.0 {
        return Err(StatsError::OutOfScale { argument: "x or y" });
    }
    let (x_share, y_share) = (x_part / squared_error, y_part / squared_error);
    let df = 1.0 / (x_share * x_share / (n_x - 1.0) + y_share * y_share / (n_y - 1.0));
    TTest::new(mean(x)? - mean(y)?, squared_error.sqrt(), 0.0, df, level)
}
