//! The verdict on a pre-registered claim.

use crate::{Interval, StatsError, check};
use std::fmt;

/// What the evidence says about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Significant after Holm's correction, with the claimed sign.
    Supported,
    /// The interval excludes every effect as large as the smallest one of interest.
    Refuted,
    /// Significant after Holm's correction, with the opposite sign.
    Reversed,
    /// None of the others; to be read with the minimal detectable effect.
    Inconclusive,
    /// The model cannot show the phenomenon.
    NotApplicable,
    /// The measurement was not made.
    NotRun,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Supported => "SUPPORTED",
            Verdict::Refuted => "REFUTED",
            Verdict::Reversed => "REVERSED",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::NotApplicable => "NOT APPLICABLE",
            Verdict::NotRun => "NOT RUN",
        })
    }
}

/// The sign a claim predicts for its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The effect is above zero.
    Positive,
    /// The effect is below zero.
    Negative,
}

impl Direction {
    fn sign(self) -> f64 {
        match self {
            Direction::Positive => 1.0,
            Direction::Negative => -1.0,
        }
    }
}

/// One estimated effect, on a scale where no effect is 0 (a correlation, a log
/// gain, a difference).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Point estimate.
    pub estimate: f64,
    /// Its confidence interval, at level 1 - alpha.
    pub interval: Interval,
    /// Two-sided p-value, adjusted by Holm over the claim's family.
    pub holm_p: f64,
}

/// The verdict on a claim that the effect has `direction`, at `alpha`, with
/// `smallest_effect` > 0 the pre-registered smallest magnitude of interest.
///
/// In this order: SUPPORTED if holm_p < alpha and the estimate has the claimed
/// sign; REVERSED if holm_p < alpha and it has the opposite sign; REFUTED if
/// [`excludes_smallest_effect`]; otherwise INCONCLUSIVE.
///
/// REVERSED comes before REFUTED because an effect of the opposite sign nearly
/// always excludes the claimed one too and says more. A significant effect of
/// the right sign that is certainly smaller than the smallest one of interest
/// is SUPPORTED: a report prints [`excludes_smallest_effect`] beside it.
pub fn verdict(
    direction: Direction,
    evidence: &Evidence,
    alpha: f64,
    smallest_effect: f64,
) -> Result<Verdict, StatsError> {
    check::finite("estimate", &[evidence.estimate])?;
    check::open_unit("alpha", alpha)?;
    if !(0.0..=1.0).contains(&evidence.holm_p) {
        return Err(StatsError::OutOfRange {
            argument: "holm_p",
            value: evidence.holm_p,
            rule: "in 0..=1",
        });
    }
    let too_small = excludes_smallest_effect(direction, &evidence.interval, smallest_effect)?;
    let claimed = direction.sign() * evidence.estimate;
    let significant = evidence.holm_p < alpha;
    Ok(if significant && claimed > 0.0 {
        Verdict::Supported
    } else if significant && claimed < 0.0 {
        Verdict::Reversed
    } else if too_small {
        Verdict::Refuted
    } else {
        Verdict::Inconclusive
    })
}

/// Whether the interval excludes every effect in `direction` at least as large
/// as `smallest_effect` > 0: all of it lies below the smallest effect when
/// that is positive, above its negative when it is negative.
pub fn excludes_smallest_effect(
    direction: Direction,
    interval: &Interval,
    smallest_effect: f64,
) -> Result<bool, StatsError> {
    if !(smallest_effect > 0.0 && smallest_effect.is_finite()) {
        return Err(StatsError::OutOfRange {
            argument: "smallest_effect",
            value: smallest_effect,
            rule: "positive and finite",
        });
    }
    // A NaN end would compare false and pass for a wide interval. Infinite ends are intervals.
    if interval.low.is_nan() || interval.high.is_nan() || interval.low > interval.high {
        return Err(StatsError::OutOfRange {
            argument: "interval.low",
            value: interval.low,
            rule: "a number not above interval.high",
        });
    }
    Ok(match direction {
        Direction::Positive => interval.high < smallest_effect,
        Direction::Negative => interval.low > -smallest_effect,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Alpha 0.05, smallest effect of interest 0.3.
    #[track_caller]
    fn check(
        direction: Direction,
        estimate: f64,
        low: f64,
        high: f64,
        holm_p: f64,
        expected: Verdict,
    ) {
        let evidence = Evidence {
            estimate,
            interval: Interval { low, high },
            holm_p,
        };
        assert_eq!(verdict(direction, &evidence, 0.05, 0.3).unwrap(), expected);
    }

    #[test]
    fn the_rule() {
        use Direction::{Negative, Positive};
        check(Positive, 0.5, 0.2, 0.8, 0.01, Verdict::Supported);
        check(Negative, -0.5, -0.8, -0.2, 0.01, Verdict::Supported);
        check(Negative, 0.5, 0.2, 0.8, 0.01, Verdict::Reversed);
        check(Positive, -0.5, -0.8, -0.2, 0.01, Verdict::Reversed);
        check(Positive, 0.1, -0.1, 0.25, 0.4, Verdict::Refuted);
        check(Negative, 0.1, -0.25, 0.45, 0.4, Verdict::Refuted);
        check(Positive, 0.1, -0.2, 0.4, 0.4, Verdict::Inconclusive);
        check(Negative, -0.1, -0.4, 0.2, 0.4, Verdict::Inconclusive);
        // p = alpha is not below alpha.
        check(Positive, 0.5, 0.0, 0.8, 0.05, Verdict::Inconclusive);
        // Significant with the right sign, yet smaller than of interest.
        check(Positive, 0.1, 0.05, 0.15, 0.001, Verdict::Supported);
        // An interval that touches the smallest effect does not exclude it.
        check(Positive, 0.1, -0.1, 0.3, 0.4, Verdict::Inconclusive);
        // No sign, no support.
        check(Positive, 0.0, -0.4, 0.4, 0.01, Verdict::Inconclusive);
    }

    #[test]
    fn bad_evidence_is_refused() {
        let good = Evidence {
            estimate: 0.1,
            interval: Interval {
                low: 0.0,
                high: 1.0,
            },
            holm_p: 0.2,
        };
        let nan_end = Interval {
            low: f64::NAN,
            high: 1.0,
        };
        let cases = [
            (
                Evidence {
                    estimate: f64::NAN,
                    ..good
                },
                0.05,
                0.3,
            ),
            (
                Evidence {
                    holm_p: f64::NAN,
                    ..good
                },
                0.05,
                0.3,
            ),
            (
                Evidence {
                    interval: nan_end,
                    ..good
                },
                0.05,
                0.3,
            ),
            (good, 0.0, 0.3),
            (good, 0.05, 0.0),
        ];
        for (evidence, alpha, smallest) in cases {
            assert!(verdict(Direction::Positive, &evidence, alpha, smallest).is_err());
        }
    }
}
