//! Tail areas and quantiles used by the tests and intervals.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::beta::checked_beta_reg;
use statrs::function::gamma::checked_gamma_ur;

use crate::StatsError;

pub(crate) fn normal_cdf(z: f64) -> f64 {
    Normal::standard().cdf(z)
}

/// For `probability` in 0..=1.
pub(crate) fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// Two-sided p of Student's t: I_x(df/2, 1/2) at x = df / (df + t²), which
/// keeps its relative accuracy in the far tail.
pub(crate) fn t_two_sided_p(t: f64, df: f64) -> f64 {
    upper_beta(df / (df + t * t), df)
}

/// Two-sided p of a correlation's t-test, where df / (df + t²) is 1 - r².
pub(crate) fn correlation_p(r: f64, df: f64) -> f64 {
    upper_beta((1.0 - r) * (1.0 + r), df)
}

/// NaN where the arguments are outside the function's domain, which callers
/// have ruled out: df > 0 and x in 0..=1.
fn upper_beta(x: f64, df: f64) -> f64 {
    checked_beta_reg(df / 2.0, 0.5, x.clamp(0.0, 1.0)).unwrap_or(f64::NAN)
}

/// The t with `level` of the distribution between -t and t.
pub(crate) fn t_critical(level: f64, df: f64) -> Result<f64, StatsError> {
    let t = StudentsT::new(0.0, 1.0, df).map_err(|_| StatsError::OutOfRange {
        argument: "degrees of freedom",
        value: df,
        rule: "positive",
    })?;
    Ok(t.inverse_cdf(0.5 + level / 2.0))
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
