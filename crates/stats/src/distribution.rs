//! Tail areas and quantiles used by the tests and intervals.

use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::beta::checked_beta_reg;
use statrs::function::gamma::checked_gamma_ur;
use std::f64::consts::SQRT_2;

/// By libm's erfc, which is right to the last digits where statrs's is to ten.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    libm::erfc(-z / SQRT_2) / 2.0
}

/// For `probability` in 0..=1.
pub(crate) fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// Two-sided p of Student's t on `df` > 0 degrees of freedom; t may be infinite.
pub(crate) fn t_two_sided_p(t: f64, df: f64) -> f64 {
    let share = df / (df + t * t);
    if t.abs() < 1.0 {
        1.0 - regularized_beta(0.5, df / 2.0, t * t / (df + t * t))
    } else {
        regularized_beta(df / 2.0, 0.5, share)
    }
}

/// Two-sided p of a correlation's t-test: t² = df r² / (1 - r²).
pub(crate) fn correlation_p(r: f64, df: f64) -> f64 {
    let share = (1.0 - r) * (1.0 + r);
    if df * r * r < share {
        1.0 - regularized_beta(0.5, df / 2.0, r * r)
    } else {
        regularized_beta(df / 2.0, 0.5, share)
    }
}

/// I_x(a, b). The two-sided p is I at df / (df + t²), which keeps the relative
/// accuracy of small p; below |t| = 1 it is 1 - I at the complement, which
/// keeps that of small t. NaN outside the function's domain, which callers rule out.
fn regularized_beta(a: f64, b: f64, x: f64) -> f64 {
    checked_beta_reg(a, b, x).unwrap_or(f64::NAN)
}

/// The t with `level` of the distribution between -t and t, for `level`
/// strictly between 0 and 1 and `df` > 0.
///
/// Found from the tail rather than by statrs's inverse, which keeps only seven
/// digits at some thousand degrees of freedom.
pub(crate) fn t_critical(level: f64, df: f64) -> f64 {
    let excess = |t: f64| t_two_sided_p(t, df) - (1.0 - level);
    let mut reach = 1.0;
    while excess(reach) > 0.0 {
        reach *= 2.0;
    }
    decreasing_root(0.0, reach, excess)
}

/// P(T <= t) for the noncentral t distribution with `df` degrees of freedom and
/// noncentrality `delta`.
///
/// T = (Z + delta) / S with Z standard normal and S = sqrt(chi²_df / df). Given
/// one of the two, the probability is a tail of the other; the mean over the
/// given one is taken by the trapezoidal rule on the whole line, whose error
/// falls like exp(-2 pi² width² / step²) for a smooth integrand that vanishes at
/// both ends (Trefethen and Weideman 2014). Steps are a fifth of the width, which
/// puts the error below rounding.
pub(crate) fn noncentral_t_cdf(t: f64, df: f64, delta: f64) -> f64 {
    if delta.abs() <= 100.0 {
        return given_scale(t, df, delta);
    }
    // Here |delta| is so large that Phi(t S - delta) is nearly a step; the normal
    // variable is then the smooth one to average over.
    if delta < 0.0 {
        1.0 - given_normal(-t, df, -delta)
    } else {
        given_normal(t, df, delta)
    }
}

/// The mean of Phi(t S - delta) over w = ln S, whose density has width
/// 1 / sqrt(2 df) while Phi changes over 1 / |delta|; 25 bounds the step for both.
fn given_scale(t: f64, df: f64, delta: f64) -> f64 {
    let step = 0.2 / (2.0 * df + delta * delta + 25.0).sqrt();
    trapezoid_mean(
        step,
        |w| df * (w + 0.5 - (2.0 * w).exp() / 2.0),
        |w| normal_cdf(t * w.exp() - delta),
    )
}

/// The mean of P(S >= (Z + delta) / t) over Z, for delta > 100, where Z + delta
/// is never negative. The tail of S changes over t / sqrt(2 df) in Z.
fn given_normal(t: f64, df: f64, delta: f64) -> f64 {
    if t <= 0.0 {
        return 0.0;
    }
    let step = 0.2 / (1.0 + 2.0 * df / (1.0 + t * t)).sqrt();
    trapezoid_mean(
        step,
        |z| -z * z / 2.0,
        |z| {
            let half_chi2 = df * ((z + delta) / t).powi(2) / 2.0;
            // The upper tail is 0 where the argument leaves the function's domain (infinity).
            checked_gamma_ur(df / 2.0, half_chi2).unwrap_or(0.0)
        },
    )
}

/// The mean of `value` under the density exp(`log_weight`), which peaks with
/// weight 1 at 0; the same rule normalises the density.
fn trapezoid_mean(step: f64, log_weight: impl Fn(f64) -> f64, value: impl Fn(f64) -> f64) -> f64 {
    let (mut area, mut total) = (value(0.0), 1.0);
    for direction in [-step, step] {
        let mut index = 1.0;
        // exp(-40) is 4e-18: what is left out is below rounding.
        while log_weight(direction * index) > -40.0 {
            let weight = log_weight(direction * index).exp();
            area += weight * value(direction * index);
            total += weight;
            index += 1.0;
        }
    }
    area / total
}

/// The root of a decreasing function in `low..high`, to the last bit, by
/// bisection.
pub(crate) fn decreasing_root(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if f(middle) > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    /// Calls `check` with each case of a section of the reference values.
    fn each_case(section: &str, check: impl Fn(&dyn Fn(&str) -> f64)) {
        let cases = include_str!("../tests/reference/cases.json");
        let all: Value = serde_json::from_str(cases).unwrap();
        let cases = all[section].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            check(&|key| case[key].as_f64().unwrap());
        }
    }

    #[track_caller]
    fn close(what: &str, actual: f64, expected: f64, relative: f64) {
        let error = (actual / expected - 1.0).abs();
        assert!(
            error <= relative,
            "{what}: {actual:e} for {expected:e}, off by {error:e}"
        );
    }

    #[test]
    fn t_tails() {
        each_case("tails", |n| {
            let what = format!("p of t = {} on {} df", n("t"), n("df"));
            close(&what, t_two_sided_p(n("t"), n("df")), n("p"), 1e-10);
        });
    }

    #[test]
    fn quantiles() {
        each_case("quantiles", |n| {
            let what = format!("t of level {} on {} df", n("level"), n("df"));
            close(&what, t_critical(n("level"), n("df")), n("t"), 1e-10);
            close("z", normal_quantile(0.5 + n("level") / 2.0), n("z"), 1e-10);
        });
    }

    #[test]
    fn noncentral_t() {
        each_case("noncentral", |n| {
            let what = format!("P(T <= {}), df {}, delta {}", n("t"), n("df"), n("delta"));
            close(
                &what,
                noncentral_t_cdf(n("t"), n("df"), n("delta")),
                n("p"),
                1e-10,
            );
        });
    }
}
