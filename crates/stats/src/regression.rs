//! Ordinary least squares with an intercept.

use crate::check;
use crate::distribution::{t_critical, t_two_sided_p};
use crate::{Interval, StatsError, describe};
use nalgebra::{DMatrix, DVector};

/// One fitted coefficient and the t-test of whether it is zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficient {
    /// Estimate, in units of y per unit of its predictor.
    pub estimate: f64,
    /// Standard error under equal error variances.
    pub standard_error: f64,
    /// estimate / standard_error.
    pub t: f64,
    /// Two-sided p-value on n - k - 1 degrees of freedom.
    pub p: f64,
}

impl Coefficient {
    /// The interval at `level` on `df` degrees of freedom:
    /// estimate ± t · standard error.
    #[must_use]
    pub fn interval(&self, level: f64, df: usize) -> Interval {
        let half = t_critical(level, df as f64) * self.standard_error;
        Interval {
            low: self.estimate - half,
            high: self.estimate + half,
        }
    }
}

/// A least-squares fit of y on an intercept and k predictors, n observations.
#[derive(Debug, Clone, PartialEq)]
pub struct LeastSquares {
    /// \[k + 1\]: the intercept, then the predictors in the order given.
    pub coefficients: Vec<Coefficient>,
    /// \[n\]: y minus fitted y.
    pub residuals: Vec<f64>,
    /// \[n\]: diagonal of the hat matrix, each in 1/n..=1.
    pub leverage: Vec<f64>,
    /// Residual degrees of freedom n - k - 1.
    pub df: usize,
    /// Residual standard deviation, divisor `df`.
    pub residual_sd: f64,
    /// 1 - |residuals|² / |y - mean y|².
    pub r_squared: f64,
}

/// Fits y on an intercept and `predictors` (k columns of n values) by QR.
///
/// Needs n >= k + 2, y not constant, and no predictor that is constant or a
/// linear combination of the others. Estimates, standard errors and tests as
/// `statsmodels.api.OLS`.
pub fn least_squares(y: &[f64], predictors: &[&[f64]]) -> Result<LeastSquares, StatsError> {
    let n = y.len();
    check::sample("y", y, predictors.len() + 2)?;
    let y_deviations = check::unit_deviations("y", y)?;
    let design = Design::with_intercept("predictors", n, predictors)?;
    let residuals = design.residuals(y);
    let df = n - predictors.len() - 1;
    let squares: f64 = residuals.iter().map(|e| e * e).sum();
    let residual_sd = check::in_scale("y", (squares / df as f64).sqrt())?;

    let target = design.q.tr_mul(&DVector::from_column_slice(y));
    let inverse = design.inverse_of_r()?;
    let estimates = &inverse * target;
    let coefficients = (0..=predictors.len())
        .map(|j| {
            let estimate = estimates[j];
            let standard_error = residual_sd * inverse.row(j).norm();
            // In a fit without residuals the standard error is 0 and t infinite.
            let t = if estimate == 0.0 {
                0.0
            } else {
                estimate / standard_error
            };
            Coefficient {
                estimate,
                standard_error,
                t,
                p: t_two_sided_p(t, df as f64),
            }
        })
        .collect();

    // R² from y scaled to unit length about its mean, so that nothing overflows.
    let unexplained: f64 = design.residuals(&y_deviations).iter().map(|e| e * e).sum();
    Ok(LeastSquares {
        coefficients,
        leverage: design.leverage(),
        residuals,
        df,
        residual_sd,
        r_squared: 1.0 - unexplained,
    })
}

impl LeastSquares {
    /// Leave-one-out R² = 1 - sum |y_i - ŷ_-i|² / sum |y_i - ȳ_-i|², where fit,
    /// intercept and the baseline mean ȳ_-i are all computed without
    /// observation i. By the hat matrix y_i - ŷ_-i = e_i / (1 - h_ii), and
    /// y_i - ȳ_-i = (y_i - ȳ) n / (n - 1). `y` is the response that was fitted.
    pub fn leave_one_out_r_squared(&self, y: &[f64]) -> Result<f64, StatsError> {
        let n = self.residuals.len();
        check::same_length("y", y.len(), "the fit", n)?;
        let mean = describe::mean(y)?;
        let mut squares = 0.0;
        for (row, (e, h)) in self.residuals.iter().zip(&self.leverage).enumerate() {
            // 1 - h is a difference of numbers near 1, so it is exact to about 1e-15;
            // below 1e-10 fewer than five digits of the prediction would be left.
            if 1.0 - h < 1e-10 {
                return Err(StatsError::FullLeverage { row });
            }
            squares += (e / (1.0 - h)).powi(2);
        }
        let baseline: f64 = y.iter().map(|y| (y - mean).powi(2)).sum();
        let inflation = n as f64 / (n as f64 - 1.0);
        check::in_scale("y", 1.0 - squares / (baseline * inflation * inflation))
    }
}

/// The thin QR factors of an intercept and k columns of n values.
pub(crate) struct Design {
    pub(crate) q: DMatrix<f64>, // [n, k + 1]
    r: DMatrix<f64>,            // [k + 1, k + 1], upper triangular
}

impl Design {
    /// `argument` names the columns in errors. Needs n >= k + 1.
    pub(crate) fn with_intercept(
        argument: &'static str,
        n: usize,
        columns: &[&[f64]],
    ) -> Result<Self, StatsError> {
        for (index, column) in columns.iter().enumerate() {
            let checked = check::same_length("the column", column.len(), "y", n)
                .and_then(|()| check::finite("the column", column));
            check::in_column(argument, index, checked)?;
        }
        let x = DMatrix::from_fn(n, columns.len() + 1, |row, column| match column {
            0 => 1.0,
            _ => columns[column - 1][row],
        });
        let lengths: Vec<f64> = x.column_iter().map(|c| c.norm()).collect();
        let qr = x.qr();
        let (q, r) = (qr.q(), qr.r());
        for (index, length) in lengths.iter().enumerate().skip(1) {
            // What of a column is left after the ones before it. Rounding leaves
            // about 1e-16 of its length, so 1e-12 is noise with a wide margin.
            let left = r[(index, index)].abs();
            check::in_column(argument, index - 1, check::in_scale("the column", left))?;
            if left <= 1e-12 * length {
                return Err(StatsError::Collinear {
                    argument,
                    column: index - 1,
                });
            }
        }
        Ok(Design { q, r })
    }

    /// y minus its projection on the columns; projected twice, since one
    /// projection leaves rounding of y's size in a small residual.
    pub(crate) fn residuals(&self, y: &[f64]) -> Vec<f64> {
        let mut left = DVector::from_column_slice(y);
        for _ in 0..2 {
            left -= &self.q * self.q.tr_mul(&left);
        }
        left.as_slice().to_vec()
    }

    fn leverage(&self) -> Vec<f64> {
        self.q
            .row_iter()
            .map(|row| row.norm_squared().min(1.0))
            .collect()
    }

    fn inverse_of_r(&self) -> Result<DMatrix<f64>, StatsError> {
        let size = self.r.nrows();
        self.r
            .solve_upper_triangular(&DMatrix::identity(size, size))
            .ok_or(StatsError::Collinear {
                argument: "predictors",
                column: size.saturating_sub(2),
            })
    }
}
