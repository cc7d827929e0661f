//! Correlation of two samples.

use crate::check;
use crate::distribution::{correlation_p, normal_quantile};
use crate::{Interval, StatsError};

/// A correlation coefficient and its two-sided p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correlation {
    /// Coefficient in -1..=1.
    pub r: f64,
    /// Two-sided p from Student's t with `df` degrees of freedom, under
    /// independence and normal errors.
    pub p: f64,
    /// Degrees of freedom: n - 2, less one for each covariate.
    pub df: usize,
}

impl Correlation {
    pub(crate) fn from_r(r: f64, df: usize) -> Self {
        let r = r.clamp(-1.0, 1.0);
        Correlation {
            r,
            p: correlation_p(r, df as f64),
            df,
        }
    }
}

/// Pearson's r of n >= 3 pairs, with the p-value of the t-test on n - 2
/// degrees of freedom (`scipy.stats.pearsonr`).
pub fn pearson(x: &[f64], y: &[f64]) -> Result<Correlation, StatsError> {
    check_pairs(x, y, 3)?;
    let r = check::dot(
        &check::unit_deviations("x", x)?,
        &check::unit_deviations("y", y)?,
    );
    Ok(Correlation::from_r(r, x.len() - 2))
}

/// Spearman's rho of n >= 3 pairs: Pearson's r of the average ranks, with the
/// t-approximation for p that `scipy.stats.spearmanr` uses.
pub fn spearman(x: &[f64], y: &[f64]) -> Result<Correlation, StatsError> {
    check_pairs(x, y, 3)?;
    let r = check::dot(
        &check::unit_deviations("x", &average_ranks(x)?)?,
        &check::unit_deviations("y", &average_ranks(y)?)?,
    );
    Ok(Correlation::from_r(r, x.len() - 2))
}

/// Ranks from 1, equal values sharing the mean of their ranks.
pub fn average_ranks(x: &[f64]) -> Result<Vec<f64>, StatsError> {
    check::finite("x", x)?;
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
    let mut ranks = vec![0.0; x.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| x[a] == x[b]) {
        // Ranks first + 1 to first + len average to first + (len + 1) / 2.
        let rank = first as f64 + (tied.len() as f64 + 1.0) / 2.0;
        for &index in tied {
            ranks[index] = rank;
        }
        first += tied.len();
    }
    Ok(ranks)
}

/// Confidence interval for a correlation by Fisher's z:
/// tanh(atanh r ± z / sqrt(n - 3)), for n >= 4 pairs and -1 <= r <= 1.
pub fn fisher_interval(r: f64, n: usize, level: f64) -> Result<Interval, StatsError> {
    check::open_unit("level", level)?;
    if !(-1.0..=1.0).contains(&r) {
        return Err(StatsError::OutOfRange {
            argument: "r",
            value: r,
            rule: "in -1..=1",
        });
    }
    if n < 4 {
        return Err(StatsError::TooFew {
            argument: "n",
            got: n,
            need: 4,
        });
    }
    let half_width = normal_quantile(0.5 + level / 2.0) / (n as f64 - 3.0).sqrt();
    let z = r.atanh();
    Ok(Interval {
        low: (z - half_width).tanh(),
        high: (z + half_width).tanh(),
    })
}

/// Pearson's r with each pair left out in turn.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaveOneOut {
    /// r without pair i, for every i.
    pub r: Vec<f64>,
    /// Smallest and largest of them (a range, not a confidence interval).
    pub range: Interval,
}

/// Leave-one-out values of Pearson's r, for n >= 4 pairs.
pub fn leave_one_out_r(x: &[f64], y: &[f64]) -> Result<LeaveOneOut, StatsError> {
    check_pairs(x, y, 4)?;
    let without = |values: &[f64], left_out: usize| -> Vec<f64> {
        let (before, rest) = values.split_at(left_out);
        [before, &rest[1..]].concat()
    };
    let r = (0..x.len())
        .map(|i| Ok(pearson(&without(x, i), &without(y, i))?.r))
        .collect::<Result<Vec<f64>, StatsError>>()?;
    let range = Interval {
        low: r.iter().copied().fold(f64::INFINITY, f64::min),
        high: r.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    Ok(LeaveOneOut { r, range })
}

pub(crate) fn check_pairs(x: &[f64], y: &[f64], need: usize) -> Result<(), StatsError> {
    check::same_length("x", x.len(), "y", y.len())?;
    check::sample("x", x, need)?;
    check::sample("y", y, need)
}
