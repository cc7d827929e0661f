//! Standardised mean differences.

use crate::check;
use crate::describe::{mean, sd_sample};
use crate::distribution::{decreasing_root, noncentral_t_cdf};
use crate::{Interval, StatsError};
use statrs::function::gamma::ln_gamma;

/// Hedges' g of two independent samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HedgesG {
    /// Bias-corrected standardised difference J · d.
    pub g: f64,
    /// Cohen's d with the pooled standard deviation.
    pub d: f64,
    /// The exact correction factor J.
    pub correction: f64,
    /// Confidence interval of the population's standardised difference.
    pub interval: Interval,
}

/// Hedges' g of mean(x) - mean(y) over the pooled standard deviation, each
/// sample of at least two values.
///
/// J = Gamma(m/2) / (sqrt(m/2) Gamma((m-1)/2)), m = n_x + n_y - 2 (Hedges 1981,
/// equation 6e), not its usual approximation 1 - 3 / (4m - 1).
///
/// The interval inverts the noncentral t distribution of the pooled t
/// statistic (Steiger and Fouladi 1997; Cumming and Finch 2001). It is an
/// interval for the population's difference, so J is not applied to it.
pub fn hedges_g(x: &[f64], y: &[f64], level: f64) -> Result<HedgesG, StatsError> {
    check::sample("x", x, 2)?;
    check::sample("y", y, 2)?;
    check::open_unit("level", level)?;
    if let (Err(constant), Err(_)) = (
        check::unit_deviations("x", x),
        check::unit_deviations("y", y),
    ) {
        return Err(constant);
    }
    let (n_x, n_y) = (x.len() as f64, y.len() as f64);
    let df = n_x + n_y - 2.0;
    let pooled_variance =
        ((n_x - 1.0) * sd_sample(x)?.powi(2) + (n_y - 1.0) * sd_sample(y)?.powi(2)) / df;
    let d = check::in_scale("x or y", (mean(x)? - mean(y)?) / pooled_variance.sqrt())?;
    let correction = (ln_gamma(df / 2.0) - ln_gamma((df - 1.0) / 2.0)).exp() / (df / 2.0).sqrt();

    let unit = (1.0 / n_x + 1.0 / n_y).sqrt();
    let t = d / unit;
    let outside = (1.0 - level) / 2.0;
    Ok(HedgesG {
        g: correction * d,
        d,
        correction,
        interval: Interval {
            low: unit * noncentrality(t, df, 1.0 - outside),
            high: unit * noncentrality(t, df, outside),
        },
    })
}

/// The noncentrality at which P(T <= t) is `probability`; P falls as it grows.
fn noncentrality(t: f64, df: f64, probability: f64) -> f64 {
    let excess = |delta: f64| noncentral_t_cdf(t, df, delta) - probability;
    // Widen around t until the root is enclosed: P tends to 1 below and 0 above.
    let mut reach = 1.0 + t.abs();
    while excess(t - reach) < 0.0 || excess(t + reach) > 0.0 {
        reach *= 2.0;
    }
    decreasing_root(t - reach, t + reach, excess)
}
