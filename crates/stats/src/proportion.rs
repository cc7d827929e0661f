//! Shares and paired yes-no outcomes.

use crate::check;
use crate::distribution::normal_quantile;
use crate::{Interval, StatsError};
use statrs::distribution::{Binomial, DiscreteCDF};

/// Wilson's score interval for a share of `successes` among `trials` >= 1
/// (Wilson 1927; `statsmodels.stats.proportion.proportion_confint(method="wilson")`).
pub fn wilson_interval(successes: u64, trials: u64, level: f64) -> Result<Interval, StatsError> {
    check::open_unit("level", level)?;
    if trials == 0 {
        return Err(StatsError::OutOfRange {
            argument: "trials",
            value: 0.0,
            rule: "at least 1",
        });
    }
    if successes > trials {
        return Err(StatsError::OutOfRange {
            argument: "successes",
            value: successes as f64,
            rule: "at most the number of trials",
        });
    }
    let (n, z) = (trials as f64, normal_quantile(0.5 + level / 2.0));
    let share = successes as f64 / n;
    let scale = 1.0 + z * z / n;
    let centre = (share + z * z / (2.0 * n)) / scale;
    let half_width = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt() / scale;
    // The ends are exactly 0 and 1 at the extreme shares; rounding must not cross them.
    Ok(Interval {
        low: if successes == 0 {
            0.0
        } else {
            centre - half_width
        },
        high: if successes == trials {
            1.0
        } else {
            centre + half_width
        },
    })
}

/// Two-sided exact McNemar p-value: with b + c discordant pairs, twice the
/// probability of at most min(b, c) under Binomial(b + c, 1/2), capped at 1.
///
/// `gained` pairs changed from no to yes, `lost` from yes to no. Without
/// discordant pairs p is 1.
pub fn mcnemar_exact(gained: u64, lost: u64) -> Result<f64, StatsError> {
    let discordant = gained
        .checked_add(lost)
        .ok_or(StatsError::OutOfScale { argument: "gained" })?;
    let binomial = Binomial::new(0.5, discordant).map_err(|_| StatsError::OutOfRange {
        argument: "gained",
        value: discordant as f64,
        rule: "a number of pairs",
    })?;
    Ok((2.0 * binomial.cdf(gained.min(lost))).min(1.0))
}
