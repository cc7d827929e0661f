//! Bias-corrected and accelerated (BCa) bootstrap intervals.

use crate::describe::{quantile, sd_sample};
use crate::distribution::{normal_cdf, normal_quantile};
use crate::rng::index_below;
use crate::{Interval, StatsError, check};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// A BCa bootstrap of one statistic (Efron 1987; Efron and Tibshirani 1993, ch. 14).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bca {
    /// The statistic of the data.
    pub estimate: f64,
    /// Standard deviation of the replicates.
    pub standard_error: f64,
    /// The interval, at the level asked for.
    pub interval: Interval,
    /// z0, the bias correction, in normal standard deviations.
    pub bias: f64,
    /// a, the acceleration.
    pub acceleration: f64,
}

/// BCa interval of `statistic` over n >= 2 units drawn with replacement.
///
/// `statistic` takes the indices (in 0..n) of the units in a sample, so it can
/// read any number of measurements of each unit. `resamples` is at least 2.
/// An error of `statistic` in any resample or jackknife sample is returned.
pub fn bootstrap_bca(
    n: usize,
    statistic: impl Fn(&[usize]) -> Result<f64, StatsError>,
    resamples: usize,
    level: f64,
    rng: ChaCha20Rng,
) -> Result<Bca, StatsError> {
    if n < 2 {
        return Err(StatsError::TooFew {
            argument: "n",
            got: n,
            need: 2,
        });
    }
    bootstrap_bca_stratified(&vec![0; n], statistic, resamples, level, rng)
}

/// BCa interval of `statistic` with units drawn within strata: each resample
/// has as many units of every stratum as the data.
///
/// `strata` holds a label for each unit; every stratum has at least two units.
/// A resample lists its units stratum by stratum in the order of labels. The
/// acceleration is that of a statistic of several samples (Davison and Hinkley
/// 1997, section 5.3.2), as in `scipy.stats.bootstrap`.
pub fn bootstrap_bca_stratified(
    strata: &[usize],
    statistic: impl Fn(&[usize]) -> Result<f64, StatsError>,
    resamples: usize,
    level: f64,
    mut rng: ChaCha20Rng,
) -> Result<Bca, StatsError> {
    if strata.is_empty() {
        return Err(StatsError::TooFew {
            argument: "strata",
            got: 0,
            need: 2,
        });
    }
    let mut by_label: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (unit, &label) in strata.iter().enumerate() {
        by_label.entry(label).or_default().push(unit);
    }
    let mut sizes = Vec::new();
    for (&label, units) in &by_label {
        match NonZeroUsize::new(units.len()) {
            Some(size) if size.get() >= 2 => sizes.push(size),
            _ => {
                return Err(StatsError::SmallStratum {
                    label,
                    got: units.len(),
                });
            }
        }
    }
    let strata: Vec<Vec<usize>> = by_label.into_values().collect();
    let all = strata.concat();
    let estimate = statistic(&all)?;

    let mut replicates = Vec::with_capacity(resamples);
    let mut sample = Vec::with_capacity(all.len());
    for _ in 0..resamples {
        sample.clear();
        for (units, &size) in strata.iter().zip(&sizes) {
            sample.extend(units.iter().map(|_| units[index_below(&mut rng, size)]));
        }
        replicates.push(statistic(&sample)?);
    }

    let mut jackknife = Vec::with_capacity(strata.len());
    for units in &strata {
        let without_each = units
            .iter()
            .map(|left_out| {
                let rest: Vec<usize> = all.iter().copied().filter(|u| u != left_out).collect();
                statistic(&rest)
            })
            .collect::<Result<Vec<f64>, StatsError>>()?;
        jackknife.push(without_each);
    }
    bca_from_replicates(estimate, &replicates, &jackknife, level)
}

/// The BCa interval from bootstrap `replicates` (at least 2) and leave-one-out
/// values `jackknife`, one list of at least 2 for each stratum.
///
/// z0 = Phi^-1 of the share of replicates below the estimate, those equal to it
/// counting half; with U_ji = (n_j - 1)(mean_j - theta_ji),
/// a = (1/6) sum U³/n_j³ / (sum U²/n_j²)^(3/2). The ends are the type 7
/// quantiles of the replicates at Phi(z0 + (z0 + z) / (1 - a (z0 + z))).
pub fn bca_from_replicates(
    estimate: f64,
    replicates: &[f64],
    jackknife: &[Vec<f64>],
    level: f64,
) -> Result<Bca, StatsError> {
    check::open_unit("level", level)?;
    check::finite("estimate", &[estimate])?;
    check::sample("replicates", replicates, 2)?;
    let below = replicates.iter().filter(|r| **r < estimate).count();
    let equal = replicates.iter().filter(|r| **r == estimate).count();
    let share = (below as f64 + equal as f64 / 2.0) / replicates.len() as f64;
    if share <= 0.0 || share >= 1.0 {
        return Err(StatsError::BcaUndefined {
            reason: "all replicates lie on one side of the estimate",
        });
    }
    let bias = normal_quantile(share);
    let acceleration = acceleration(jackknife)?;

    let end = |probability: f64| -> Result<f64, StatsError> {
        let z = bias + normal_quantile(probability);
        let shrink = 1.0 - acceleration * z;
        if shrink <= 0.0 {
            return Err(StatsError::BcaUndefined {
                reason: "the acceleration is too large for this level",
            });
        }
        quantile(replicates, normal_cdf(bias + z / shrink))
    };
    Ok(Bca {
        estimate,
        standard_error: sd_sample(replicates)?,
        interval: Interval {
            low: end((1.0 - level) / 2.0)?,
            high: end((1.0 + level) / 2.0)?,
        },
        bias,
        acceleration,
    })
}

fn acceleration(jackknife: &[Vec<f64>]) -> Result<f64, StatsError> {
    let (mut cubes, mut squares) = (0.0, 0.0);
    for (index, values) in jackknife.iter().enumerate() {
        check::in_column("jackknife", index, check::sample("the stratum", values, 2))?;
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        for value in values {
            let influence = (n - 1.0) * (mean - value) / n;
            cubes += influence.powi(3);
            squares += influence.powi(2);
        }
    }
    if squares == 0.0 {
        return Err(StatsError::ZeroVariance {
            argument: "jackknife",
        });
    }
    check::in_scale("jackknife", cubes / (6.0 * squares.powf(1.5)))
}
