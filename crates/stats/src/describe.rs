//! Location and spread of one sample.

use crate::StatsError;
use crate::check;
use statrs::statistics::Statistics;

/// Arithmetic mean of at least one value.
pub fn mean(x: &[f64]) -> Result<f64, StatsError> {
    check::sample("x", x, 1)?;
    check::in_scale("x", x.mean())
}

/// Standard deviation with divisor n (NumPy's default), of at least one value.
pub fn sd_population(x: &[f64]) -> Result<f64, StatsError> {
    check::sample("x", x, 1)?;
    check::in_scale("x", x.population_std_dev())
}

/// Standard deviation with divisor n - 1, of at least two values.
pub fn sd_sample(x: &[f64]) -> Result<f64, StatsError> {
    check::sample("x", x, 2)?;
    check::in_scale("x", x.std_dev())
}

/// Geometric mean exp(mean(ln x)) of at least one value, all positive.
pub fn geometric_mean(x: &[f64]) -> Result<f64, StatsError> {
    check::sample("x", x, 1)?;
    if let Some(index) = x.iter().position(|v| *v <= 0.0) {
        return Err(StatsError::NotPositive {
            argument: "x",
            index,
            value: x[index],
        });
    }
    Ok(x.geometric_mean())
}

/// Median of at least one value.
pub fn median(x: &[f64]) -> Result<f64, StatsError> {
    quantile(x, 0.5)
}

/// Quantile of type 7 of Hyndman and Fan (1996), NumPy's default: linear
/// interpolation at position (n - 1) `probability` of the sorted values.
///
/// `probability` lies in 0..=1.
pub fn quantile(x: &[f64], probability: f64) -> Result<f64, StatsError> {
    check::sample("x", x, 1)?;
    if !(0.0..=1.0).contains(&probability) {
        return Err(StatsError::OutOfRange {
            argument: "probability",
            value: probability,
            rule: "in 0..=1",
        });
    }
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = (sorted.len() - 1) as f64 * probability;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    Ok(below + (above - below) * position.fract())
}
