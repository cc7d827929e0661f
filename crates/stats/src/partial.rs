//! Correlation of two variables given others.

use crate::correlation::{Correlation, check_pairs};
use crate::permutation::{Exchangeability, PermutationTest, permute_residuals};
use crate::regression::Design;
use crate::{StatsError, check};
use rand_chacha::ChaCha20Rng;

/// Partial correlation of x and y given k `covariates` (columns of n values):
/// Pearson's r of the residuals of x and of y on an intercept and the
/// covariates. p from t on n - 2 - k degrees of freedom; needs n >= k + 3.
pub fn partial_correlation(
    x: &[f64],
    y: &[f64],
    covariates: &[&[f64]],
) -> Result<Correlation, StatsError> {
    let reduced = Residuals::new(x, y, covariates)?;
    let r = check::dot(&reduced.x, &reduced.y);
    Ok(Correlation::from_r(r, x.len() - 2 - covariates.len()))
}

/// Permutation test of the partial correlation of x and y given `covariates`,
/// two-sided, by the method of Freedman and Lane (1983; Winkler et al. 2014).
///
/// y = Z gamma + x beta + e with Z the intercept and the covariates. Under
/// beta = 0 the reduced model y = Z gamma + e holds. Its residuals are permuted,
/// added to its fit, and the partial correlation of x with the new y* given Z is
/// computed again; |r*| >= |r| counts. The partial correlation grows with the
/// |t| of beta at fixed degrees of freedom, so the test is the t-test's.
///
/// What is assumed exchangeable under the null are the errors e of the reduced
/// model, in the way `exchangeability` says; no other permutation is used.
/// Without covariates the test is exact; with covariates it is asymptotically
/// exact, since the residuals stand in for the errors.
/// Enumeration, draws and ties are as in [`crate::pearson_permutation`].
pub fn partial_correlation_permutation(
    x: &[f64],
    y: &[f64],
    covariates: &[&[f64]],
    exchangeability: Exchangeability,
    draws: u64,
    rng: ChaCha20Rng,
) -> Result<PermutationTest, StatsError> {
    let reduced = Residuals::new(x, y, covariates)?;
    permute_residuals(&reduced, exchangeability, draws, rng)
}

/// What is left of x and y given the covariates, each of unit length.
pub(crate) struct Residuals {
    pub(crate) x: Vec<f64>,    // [n]
    pub(crate) y: Vec<f64>,    // [n]
    pub(crate) design: Design, // intercept and covariates
}

impl Residuals {
    pub(crate) fn new(x: &[f64], y: &[f64], covariates: &[&[f64]]) -> Result<Self, StatsError> {
        check_pairs(x, y, covariates.len() + 3)?;
        let design = Design::with_intercept("covariates", x.len(), covariates)?;
        let left = |argument, values: &[f64]| -> Result<Vec<f64>, StatsError> {
            let residuals = design.residuals(&check::unit_deviations(argument, values)?);
            let length = check::dot(&residuals, &residuals).sqrt();
            // Of a variable of unit length, rounding leaves about 1e-16.
            if length <= 1e-12 {
                return Err(StatsError::ExplainedByCovariates { argument });
            }
            Ok(residuals.into_iter().map(|e| e / length).collect())
        };
        let (x, y) = (left("x", x)?, left("y", y)?);
        Ok(Residuals { x, y, design })
    }
}
