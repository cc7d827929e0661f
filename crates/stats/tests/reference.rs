//! Every statistic against `reference/cases.json`, the values of SciPy and
//! statsmodels written by `reference/generate.py`.
#![allow(clippy::unwrap_used)]

use assay_stats as stats;
use rand_chacha::rand_core::RngCore;
use serde_json::Value;
use stats::Exchangeability;

/// Relative agreement asked of every value; both sides lose a few digits of
/// f64's sixteen to sums and series. Zeros are compared as zeros.
const RELATIVE: f64 = 1e-10;

#[track_caller]
fn close(what: &str, actual: f64, expected: f64) {
    let error = (actual - expected).abs();
    assert!(
        error <= RELATIVE * expected.abs(),
        "{what}: got {actual:e}, expected {expected:e}, off by {error:e}"
    );
}

#[track_caller]
fn all_close(what: &str, actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    for (a, e) in actual.iter().zip(expected) {
        close(what, *a, *e);
    }
}

/// The cases of one section; a section without cases would test nothing.
fn cases(section: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("reference/cases.json")).unwrap();
    let cases = all[section].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{section} has no cases");
    cases
}

#[track_caller]
fn number(case: &Value, key: &str) -> f64 {
    case[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no number {key}"))
}

#[track_caller]
fn index(case: &Value, key: &str) -> u64 {
    case[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no count {key}"))
}

#[track_caller]
fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let list = case[key]
        .as_array()
        .unwrap_or_else(|| panic!("no list {key}"));
    list.iter().map(|v| v.as_f64().unwrap()).collect()
}

#[track_caller]
fn columns(case: &Value, key: &str) -> Vec<Vec<f64>> {
    let list = case[key]
        .as_array()
        .unwrap_or_else(|| panic!("no list {key}"));
    list.iter()
        .map(|c| {
            c.as_array()
                .unwrap()
                .iter()
                .map(|v| v.as_f64().unwrap())
                .collect()
        })
        .collect()
}

fn labels(case: &Value, key: &str) -> Vec<usize> {
    case[key]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as usize)
        .collect()
}

fn slices(columns: &[Vec<f64>]) -> Vec<&[f64]> {
    columns.iter().map(Vec::as_slice).collect()
}

fn stream_of(case: &Value) -> rand_chacha::ChaCha20Rng {
    let seed = case["seed"].as_u64().unwrap_or(0);
    stats::stream(seed, case["stream"].as_str().unwrap_or("unused"))
}

#[test]
fn describe() {
    for case in cases("describe") {
        let x = numbers(&case, "x");
        close("mean", stats::mean(&x).unwrap(), number(&case, "mean"));
        close(
            "sd_population",
            stats::sd_population(&x).unwrap(),
            number(&case, "sd_population"),
        );
        close(
            "sd_sample",
            stats::sd_sample(&x).unwrap(),
            number(&case, "sd_sample"),
        );
        close(
            "median",
            stats::median(&x).unwrap(),
            number(&case, "median"),
        );
        close(
            "geometric_mean",
            stats::geometric_mean(&x).unwrap(),
            number(&case, "geometric_mean"),
        );
        let quantiles: Vec<f64> = numbers(&case, "probabilities")
            .into_iter()
            .map(|q| stats::quantile(&x, q).unwrap())
            .collect();
        all_close("quantiles", &quantiles, &numbers(&case, "quantiles"));
    }
}

#[test]
fn correlation() {
    for case in cases("correlation") {
        let (x, y) = (numbers(&case, "x"), numbers(&case, "y"));
        let pearson = stats::pearson(&x, &y).unwrap();
        close("r", pearson.r, number(&case, "r"));
        // Near |r| = 1 a rounding error in r is magnified in 1 - r² and so in p: by
        // r / (1 - r²) times the degrees of freedom. SciPy's p carries the same.
        let magnified = x.len() as f64 * f64::EPSILON / (1.0 - pearson.r * pearson.r);
        let error = (pearson.p / number(&case, "p") - 1.0).abs();
        assert!(error <= RELATIVE.max(2.0 * magnified), "p off by {error:e}");

        all_close(
            "ranks",
            &stats::average_ranks(&x).unwrap(),
            &numbers(&case, "ranks"),
        );
        let spearman = stats::spearman(&x, &y).unwrap();
        close("spearman", spearman.r, number(&case, "spearman"));
        close("spearman p", spearman.p, number(&case, "spearman_p"));

        let Some(fisher) = case["fisher"].as_object() else {
            continue;
        };
        for (level, expected) in fisher {
            let level = level.parse().unwrap();
            let interval = stats::fisher_interval(pearson.r, x.len(), level).unwrap();
            close("fisher low", interval.low, expected[0].as_f64().unwrap());
            close("fisher high", interval.high, expected[1].as_f64().unwrap());
        }
        let left_out = numbers(&case, "leave_one_out");
        if !left_out.is_empty() {
            let ours = stats::leave_one_out_r(&x, &y).unwrap();
            all_close("leave one out", &ours.r, &left_out);
            close(
                "lowest",
                ours.range.low,
                left_out.iter().copied().fold(2.0, f64::min),
            );
            close(
                "highest",
                ours.range.high,
                left_out.iter().copied().fold(-2.0, f64::max),
            );
        }
    }
}

#[test]
fn permutation() {
    for case in cases("permutation") {
        let (x, y) = (numbers(&case, "x"), numbers(&case, "y"));
        let (covariates, labels) = (columns(&case, "covariates"), labels(&case, "labels"));
        let exchange = match case["exchange"].as_str().unwrap() {
            "free" => Exchangeability::Free,
            "within" => Exchangeability::WithinClusters(&labels),
            "whole" => Exchangeability::WholeClusters(&labels),
            other => panic!("unknown exchange {other}"),
        };
        let draws = index(&case, "permutations");
        let test = stats::partial_correlation_permutation(
            &x,
            &y,
            &slices(&covariates),
            exchange,
            draws,
            stream_of(&case),
        )
        .unwrap();
        assert_eq!(test.permutations, draws);
        assert_eq!(test.extreme, index(&case, "extreme"));
        assert_eq!(test.exhaustive, case["seed"].is_null());
        close("permutation p", test.p, number(&case, "p"));
        let r = stats::partial_correlation(&x, &y, &slices(&covariates))
            .unwrap()
            .r;
        close("statistic", test.statistic, r);
        if covariates.is_empty() {
            let plain = stats::pearson_permutation(&x, &y, draws, stream_of(&case)).unwrap();
            assert_eq!(plain, test);
        }
    }
}

#[test]
fn partial() {
    for case in cases("partial") {
        let covariates = columns(&case, "covariates");
        let (x, y) = (numbers(&case, "x"), numbers(&case, "y"));
        let partial = stats::partial_correlation(&x, &y, &slices(&covariates)).unwrap();
        close("partial r", partial.r, number(&case, "r"));
        close("partial p", partial.p, number(&case, "p"));
    }
}

#[test]
fn regression() {
    for case in cases("regression") {
        let (y, predictors) = (numbers(&case, "y"), columns(&case, "predictors"));
        let fit = stats::least_squares(&y, &slices(&predictors)).unwrap();
        let each = |f: fn(&stats::Coefficient) -> f64| -> Vec<f64> {
            fit.coefficients.iter().map(f).collect()
        };
        all_close(
            "estimates",
            &each(|c| c.estimate),
            &numbers(&case, "estimates"),
        );
        all_close(
            "errors",
            &each(|c| c.standard_error),
            &numbers(&case, "standard_errors"),
        );
        all_close("t", &each(|c| c.t), &numbers(&case, "t"));
        all_close("p", &each(|c| c.p), &numbers(&case, "p"));
        all_close("residuals", &fit.residuals, &numbers(&case, "residuals"));
        all_close("leverage", &fit.leverage, &numbers(&case, "leverage"));
        close("residual sd", fit.residual_sd, number(&case, "residual_sd"));
        close("R²", fit.r_squared, number(&case, "r_squared"));
        let left_out = fit.leave_one_out_r_squared(&y).unwrap();
        close("leave-one-out R²", left_out, number(&case, "loo_r_squared"));
    }
}

#[track_caller]
fn check_t(test: &stats::TTest, expected: &Value) {
    close("estimate", test.estimate, number(expected, "estimate"));
    close("t", test.t, number(expected, "t"));
    close("df", test.df, number(expected, "df"));
    close("p", test.p, number(expected, "p"));
    close("low", test.interval.low, number(expected, "low"));
    close("high", test.interval.high, number(expected, "high"));
    let standard_error = number(expected, "standard_error");
    close("standard error", test.standard_error, standard_error);
}

#[test]
fn t_tests() {
    for case in cases("t_tests") {
        let (x, y) = (numbers(&case, "x"), numbers(&case, "y"));
        let (null, level) = (number(&case, "null"), number(&case, "level"));
        check_t(&stats::one_sample_t(&x, null, level).unwrap(), &case["one"]);
        check_t(&stats::welch_t(&x, &y, level).unwrap(), &case["welch"]);
        let (ours, expected) = (stats::hedges_g(&x, &y, level).unwrap(), &case["hedges"]);
        close("d", ours.d, number(expected, "d"));
        close("g", ours.g, number(expected, "g"));
        close("J", ours.correction, number(expected, "correction"));
        close("g low", ours.interval.low, number(expected, "low"));
        close("g high", ours.interval.high, number(expected, "high"));
    }
}

#[test]
fn bootstrap() {
    for case in cases("bootstrap") {
        let (x, level) = (numbers(&case, "x"), number(&case, "level"));
        let replicates = numbers(&case, "replicates");
        let jackknife = columns(&case, "jackknife");
        let estimate = number(&case, "estimate");
        let from_replicates =
            stats::bca_from_replicates(estimate, &replicates, &jackknife, level).unwrap();
        let statistic =
            |units: &[usize]| stats::mean(&units.iter().map(|&u| x[u]).collect::<Vec<f64>>());
        let strata = labels(&case, "strata");
        let drawn = if strata.is_empty() {
            stats::bootstrap_bca(
                x.len(),
                statistic,
                replicates.len(),
                level,
                stream_of(&case),
            )
        } else {
            let stream = stream_of(&case);
            stats::bootstrap_bca_stratified(&strata, statistic, replicates.len(), level, stream)
        };
        for ours in [from_replicates, drawn.unwrap()] {
            close("estimate", ours.estimate, estimate);
            close("low", ours.interval.low, number(&case, "low"));
            close("high", ours.interval.high, number(&case, "high"));
            close(
                "standard error",
                ours.standard_error,
                number(&case, "standard_error"),
            );
        }
    }
}

#[test]
fn holm() {
    for case in cases("holm") {
        let adjusted = stats::holm(&numbers(&case, "p")).unwrap();
        all_close("holm", &adjusted, &numbers(&case, "adjusted"));
    }
}

#[test]
fn wilson() {
    for case in cases("wilson") {
        let (successes, trials) = (index(&case, "successes"), index(&case, "trials"));
        let level = number(&case, "level");
        let interval = stats::wilson_interval(successes, trials, level).unwrap();
        // statsmodels leaves rounding of about 1e-17 where the end is exactly 0.
        if successes == 0 {
            assert_eq!(interval.low, 0.0);
        } else {
            close("low", interval.low, number(&case, "low"));
        }
        close("high", interval.high, number(&case, "high"));
    }
}

#[test]
fn mcnemar() {
    for case in cases("mcnemar") {
        let p = stats::mcnemar_exact(index(&case, "gained"), index(&case, "lost")).unwrap();
        close("mcnemar", p, number(&case, "p"));
    }
}

#[test]
fn sign_flip() {
    for case in cases("sign_flip") {
        let columns = columns(&case, "columns");
        let rng = || stats::stream(0, "unused");
        let tests = stats::sign_flip_max(&slices(&columns), 1, rng()).unwrap();
        let p: Vec<f64> = tests.iter().map(|t| t.alone.p).collect();
        let family: Vec<f64> = tests.iter().map(|t| t.family.p).collect();
        let means: Vec<f64> = tests.iter().map(|t| t.alone.statistic).collect();
        all_close("means", &means, &numbers(&case, "means"));
        all_close("p", &p, &numbers(&case, "p"));
        all_close("family p", &family, &numbers(&case, "family_p"));
        assert_eq!(
            stats::sign_flip(&columns[0], 1, rng()).unwrap(),
            tests[0].alone
        );
    }
}

#[test]
fn power() {
    for case in cases("power") {
        let (n, alpha) = (index(&case, "n") as usize, number(&case, "alpha"));
        let power = stats::one_sample_t_power(n, 0.5, alpha).unwrap();
        close("power", power, number(&case, "power_at_half"));
        let shift = stats::detectable_mean_shift(n, alpha, 0.8).unwrap();
        close("mean shift", shift, number(&case, "mean_shift"));
        let r = stats::detectable_correlation(n, alpha, 0.8).unwrap();
        close("correlation", r, number(&case, "correlation"));
    }
}

#[test]
fn streams_are_the_documented_ones() {
    for case in cases("streams") {
        let seed = case["seed"].as_str().unwrap().parse().unwrap();
        let mut rng = stats::stream(seed, case["name"].as_str().unwrap());
        for word in case["words"].as_array().unwrap() {
            assert_eq!(rng.next_u64().to_string(), word.as_str().unwrap());
        }
    }
}
