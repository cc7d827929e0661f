//! Statistics for experiments: slices in, estimates out.
//!
//! Nothing here reads a file, a clock or a global random generator. Random
//! procedures take a [`rand_chacha::ChaCha20Rng`] by value, made by [`stream`]
//! from a seed and a name, so that the draws of one estimate never depend on
//! what was computed before it.
//!
//! Distributions come from `statrs` and `libm`, factorizations from `nalgebra`. Every
//! statistic is compared with SciPy or statsmodels in `tests/`.

mod bootstrap;
mod check;
mod correlation;
mod describe;
mod distribution;
mod effect;
mod error;
mod interval;
mod multiplicity;
mod partial;
mod permutation;
mod power;
mod proportion;
mod regression;
mod rng;
mod sign_flip;
mod ttest;
mod verdict;

pub use bootstrap::{Bca, bca_from_replicates, bootstrap_bca, bootstrap_bca_stratified};
pub use correlation::{
    Correlation, LeaveOneOut, average_ranks, fisher_interval, leave_one_out_r, pearson, spearman,
};
pub use describe::{geometric_mean, mean, median, quantile, sd_population, sd_sample};
pub use effect::{HedgesG, hedges_g};
pub use error::StatsError;
pub use interval::Interval;
pub use multiplicity::holm;
pub use partial::{partial_correlation, partial_correlation_permutation};
pub use permutation::{
    EXHAUSTIVE_LIMIT, Exchangeability, PERMUTATION_DRAWS, PermutationTest, TIE_TOLERANCE,
    pearson_permutation,
};
pub use power::{detectable_correlation, detectable_mean_shift, one_sample_t_power};
pub use proportion::{mcnemar_exact, wilson_interval};
pub use regression::{Coefficient, LeastSquares, least_squares};
pub use rng::stream;
pub use sign_flip::{SIGN_FLIP_EXHAUSTIVE_UNITS, SignFlipColumn, sign_flip, sign_flip_max};
pub use ttest::{TTest, one_sample_t, welch_t};
pub use verdict::{Direction, Evidence, Verdict, excludes_smallest_effect, verdict};
