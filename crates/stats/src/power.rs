//! What a design could have detected.

use crate::StatsError;
use crate::check;
use crate::distribution::{decreasing_root, noncentral_t_cdf, normal_quantile, t_critical};

/// The smallest |correlation| that a two-sided test at `alpha` detects with
/// probability `power` from n >= 4 pairs, by Fisher's z approximation:
/// tanh((z_{1-alpha/2} + z_{power}) / sqrt(n - 3)). The chance of
/// significance with the wrong sign is left out.
pub fn detectable_correlation(n: usize, alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_design(n, 4, alpha, power)?;
    let z = normal_quantile(1.0 - alpha / 2.0) + normal_quantile(power);
    Ok((z / (n as f64 - 3.0).sqrt()).tanh())
}

/// Power of the two-sided one-sample (or paired) t-test at `alpha`, from n >= 2
/// values whose mean is off by `shift` standard deviations: exact under
/// normality, from the noncentral t distribution with noncentrality
/// shift · sqrt(n), both tails.
pub fn one_sample_t_power(n: usize, shift: f64, alpha: f64) -> Result<f64, StatsError> {
    check::finite("shift", &[shift])?;
    check::open_unit("alpha", alpha)?;
    if n < 2 {
        return Err(too_few(n, 2));
    }
    let df = n as f64 - 1.0;
    let critical = t_critical(1.0 - alpha, df);
    Ok(power_at(critical, df, shift * (n as f64).sqrt()))
}

/// The smallest |shift of a mean|, in standard deviations, that the two-sided
/// one-sample (or paired) t-test at `alpha` detects with probability `power`
/// from n >= 2 values; the inverse of [`one_sample_t_power`].
pub fn detectable_mean_shift(n: usize, alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_design(n, 2, alpha, power)?;
    let df = n as f64 - 1.0;
    let critical = t_critical(1.0 - alpha, df);
    let shortfall = |delta: f64| power - power_at(critical, df, delta);
    let mut reach = 1.0 + critical;
    while shortfall(reach) > 0.0 {
        reach *= 2.0;
    }
    Ok(decreasing_root(0.0, reach, shortfall) / (n as f64).sqrt())
}

/// P(|T| > critical); the upper tail is the lower tail of -T, which keeps its accuracy.
fn power_at(critical: f64, df: f64, delta: f64) -> f64 {
    noncentral_t_cdf(-critical, df, -delta) + noncentral_t_cdf(-critical, df, delta)
}

fn check_design(n: usize, need: usize, alpha: f64, power: f64) -> Result<(), StatsError> {
    check::open_unit("alpha", alpha)?;
    check::open_unit("power", power)?;
    if power <= alpha {
        return Err(StatsError::OutOfRange {
            argument: "power",
            value: power,
            rule: "greater than alpha",
        });
    }
    if n < need {
        return Err(too_few(n, need));
    }
    Ok(())
}

fn too_few(got: usize, need: usize) -> StatsError {
    StatsError::TooFew {
        argument: "n",
        got,
        need,
    }
}
