//! Bad input is refused with an error that names the argument.
#![allow(clippy::unwrap_used)]

use assay_stats::*;

const X: [f64; 4] = [1.0, 2.0, 4.0, 3.0];
const Y: [f64; 4] = [2.0, 1.0, 5.0, 7.0];
const NAN: [f64; 4] = [1.0, f64::NAN, 3.0, 4.0];
/// Constant up to rounding.
const FLAT: [f64; 4] = [0.3, 0.1 + 0.2, 0.3, 0.3];

#[track_caller]
fn check<T: std::fmt::Debug>(result: Result<T, StatsError>, expected: &str) {
    assert_eq!(result.unwrap_err().to_string(), expected);
}

fn rng() -> rand_chacha::ChaCha20Rng {
    stream(1, "errors")
}

#[test]
fn describe() {
    check(mean(&[]), "x has 0 values, at least 1 are needed");
    check(sd_sample(&[1.0]), "x has 1 values, at least 2 are needed");
    check(
        median(&NAN),
        "x is NaN at index 1; every value must be finite",
    );
    check(quantile(&X, 1.5), "probability is 1.5, it must be in 0..=1");
    check(
        geometric_mean(&[1.0, 0.0]),
        "x is 0 at index 1; every value must be positive",
    );
    check(
        mean(&[f64::MAX, f64::MAX, f64::INFINITY]),
        "x is inf at index 2; every value must be finite",
    );
    check(
        sd_population(&[f64::MAX, -f64::MAX]),
        "x holds values whose sums or squares leave the range of f64; rescale them",
    );
}

#[test]
fn correlations() {
    check(
        pearson(&X, &Y[..3]),
        "x has 4 values but y has 3; they must pair up",
    );
    check(
        pearson(&X[..2], &Y[..2]),
        "x has 2 values, at least 3 are needed",
    );
    check(
        pearson(&X, &NAN),
        "y is NaN at index 1; every value must be finite",
    );
    check(
        pearson(&FLAT, &Y),
        "x has zero variance, so the statistic is undefined",
    );
    check(
        spearman(&X, &[2.0; 4]),
        "y has zero variance, so the statistic is undefined",
    );
    check(
        fisher_interval(0.5, 3, 0.95),
        "n has 3 values, at least 4 are needed",
    );
    check(
        fisher_interval(1.5, 9, 0.95),
        "r is 1.5, it must be in -1..=1",
    );
    check(
        fisher_interval(0.5, 9, 1.0),
        "level is 1, it must be strictly between 0 and 1",
    );
    check(
        leave_one_out_r(&X[..3], &Y[..3]),
        "x has 3 values, at least 4 are needed",
    );
}

#[test]
fn partial_and_permutation() {
    check(
        partial_correlation(&X, &Y, &[&X]),
        "x is an exact linear function of the covariates, so no residual is left",
    );
    check(
        partial_correlation(&X, &Y, &[&FLAT]),
        "column 0 of covariates is a linear combination of the intercept and the columns before it; drop it",
    );
    check(
        partial_correlation(&X, &Y, &[&NAN]),
        "column 0 of covariates: the column is NaN at index 1; every value must be finite",
    );
    check(
        partial_correlation(&X, &Y, &[&X[..3]]),
        "column 0 of covariates: the column has 3 values but y has 4; they must pair up",
    );
    check(
        partial_correlation(&X, &Y, &[&X, &Y]),
        "x has 4 values, at least 5 are needed",
    );
    check(
        pearson_permutation(&X, &Y, 0, rng()),
        "draws is 0, it must be at least 1",
    );
    let permute = |exchange| partial_correlation_permutation(&X, &Y, &[], exchange, 9, rng());
    check(
        permute(Exchangeability::WithinClusters(&[0, 1, 2, 3])),
        "clusters allow no ordering but the observed one, so nothing can be permuted",
    );
    check(
        permute(Exchangeability::WholeClusters(&[0, 1, 1, 1])),
        "clusters allow no ordering but the observed one, so nothing can be permuted",
    );
    check(
        permute(Exchangeability::WithinClusters(&[0, 1])),
        "the cluster labels has 2 values but x has 4; they must pair up",
    );
    check(sign_flip(&X, 0, rng()), "draws is 0, it must be at least 1");
    check(
        sign_flip(&X[..1], 9, rng()),
        "differences has 1 values, at least 2 are needed",
    );
    check(
        sign_flip_max(&[&X, &Y[..3]], 9, rng()),
        "column 1 of columns: the column has 3 values but the first has 4; they must pair up",
    );
}

#[test]
fn regression() {
    check(
        least_squares(&X[..2], &[&Y[..2]]),
        "y has 2 values, at least 3 are needed",
    );
    check(
        least_squares(&FLAT, &[&X]),
        "y has zero variance, so the statistic is undefined",
    );
    check(
        least_squares(
            &[1.0, 2.0, 4.0, 3.0, 9.0],
            &[&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 4.0, 6.0, 8.0, 10.0]],
        ),
        "column 1 of predictors is a linear combination of the intercept and the columns before it; drop it",
    );
    // Only the first observation has this predictor: without it the slope is undefined.
    let fit = least_squares(&X, &[&[1.0, 0.0, 0.0, 0.0]]).unwrap();
    check(
        fit.leave_one_out_r_squared(&X),
        "observation 0 has leverage 1, so the fit without it is undefined",
    );
    check(
        fit.leave_one_out_r_squared(&X[..3]),
        "y has 3 values but the fit has 4; they must pair up",
    );
}

#[test]
fn t_tests() {
    check(
        one_sample_t(&FLAT, 0.0, 0.95),
        "x has zero variance, so the statistic is undefined",
    );
    check(
        one_sample_t(&X, f64::NAN, 0.95),
        "null is NaN at index 0; every value must be finite",
    );
    check(
        one_sample_t(&X, 0.0, 0.0),
        "level is 0, it must be strictly between 0 and 1",
    );
    check(
        welch_t(&FLAT, &FLAT, 0.95),
        "x has zero variance, so the statistic is undefined",
    );
    check(
        hedges_g(&FLAT, &FLAT, 0.95),
        "x has zero variance, so the statistic is undefined",
    );
    check(
        welch_t(&X, &Y[..1], 0.95),
        "y has 1 values, at least 2 are needed",
    );
    // One sample may be constant.
    assert!(welch_t(&X, &FLAT, 0.95).is_ok());
    let tiny = [1e-200, 2e-200, 4e-200];
    check(
        one_sample_t(&tiny, 0.0, 0.95),
        "x holds values whose sums or squares leave the range of f64; rescale them",
    );
    check(
        welch_t(&tiny, &tiny, 0.95),
        "x or y holds values whose sums or squares leave the range of f64; rescale them",
    );
}

#[test]
fn bootstraps() {
    let of_x = |units: &[usize]| mean(&units.iter().map(|&u| X[u]).collect::<Vec<f64>>());
    check(
        bootstrap_bca(1, of_x, 9, 0.95, rng()),
        "n has 1 values, at least 2 are needed",
    );
    check(
        bootstrap_bca(4, of_x, 1, 0.95, rng()),
        "replicates has 1 values, at least 2 are needed",
    );
    check(
        bootstrap_bca_stratified(&[0, 0, 0, 7], of_x, 9, 0.95, rng()),
        "stratum 7 of strata has 1 units, at least 2 are needed to resample it",
    );
    check(
        bootstrap_bca_stratified(&[], of_x, 9, 0.95, rng()),
        "strata has 0 values, at least 2 are needed",
    );
    let jackknife = [vec![1.0, 2.0, 3.0]];
    check(
        bca_from_replicates(0.0, &[1.0, 2.0], &jackknife, 0.95),
        "the bca interval is undefined: all replicates lie on one side of the estimate",
    );
    check(
        bca_from_replicates(1.5, &[1.0, 2.0], &[vec![1.0; 3]], 0.95),
        "jackknife has zero variance, so the statistic is undefined",
    );
    // A jackknife this skewed has a = 0.165; at this level z is 6.5, so 1 - a z is negative.
    let mut skewed = vec![0.0; 100];
    skewed.push(-1.0);
    check(
        bca_from_replicates(1.5, &[1.0, 2.0], &[skewed], 0.9999999999),
        "the bca interval is undefined: the acceleration is too large for this level",
    );
    // A statistic's own error comes through.
    check(
        bootstrap_bca(4, |_| pearson(&X, &FLAT).map(|c| c.r), 9, 0.95, rng()),
        "y has zero variance, so the statistic is undefined",
    );
}

#[test]
fn counts_and_levels() {
    check(holm(&[0.1, 1.1]), "p is 1.1, it must be in 0..=1");
    check(
        holm(&[f64::NAN]),
        "p is NaN at index 0; every value must be finite",
    );
    check(
        wilson_interval(0, 0, 0.95),
        "trials is 0, it must be at least 1",
    );
    check(
        wilson_interval(3, 2, 0.95),
        "successes is 3, it must be at most the number of trials",
    );
    check(
        detectable_correlation(3, 0.05, 0.8),
        "n has 3 values, at least 4 are needed",
    );
    check(
        detectable_mean_shift(9, 0.05, 0.05),
        "power is 0.05, it must be greater than alpha",
    );
    check(
        one_sample_t_power(1, 0.5, 0.05),
        "n has 1 values, at least 2 are needed",
    );
}
