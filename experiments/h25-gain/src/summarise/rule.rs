//! The published rule, word for word (METHODS §1), faults included.
//!
//! The order of its tests is part of it: a high-rho dampening rate above one
//! half is enough, whatever the correlation and however few the models (E2).

use std::fmt;

use assay_stats::pearson;

/// From this rho on, a model counts as high-rho.
pub(crate) const HIGH_RHO: f64 = 0.2;
/// The high-rho dampening rate above which the rule prints VALIDATED.
pub(crate) const RATE: f64 = 0.5;
/// The r below which the rule prints VALIDATED.
pub(crate) const R_BELOW: f64 = -0.3;
/// The p below which the correlation cell does not say "trend".
pub(crate) const P_BELOW: f64 = 0.05;
/// Fewest models for a correlation.
pub(crate) const FEWEST: usize = 3;

/// What the correlation cell prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CorrelationCell {
    Significant,
    Trend,
    NotSupported,
    /// Fewer than [`FEWEST`] models, or rho or gain the same in all.
    None,
}

impl fmt::Display for CorrelationCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CorrelationCell::Significant => "negative and significant",
            CorrelationCell::Trend => "trend",
            CorrelationCell::NotSupported => "not supported",
            CorrelationCell::None => "no correlation",
        })
    }
}

/// What the rule prints at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrintedVerdict {
    Validated,
    Inconclusive,
    NotValidated,
}

impl fmt::Display for PrintedVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrintedVerdict::Validated => "VALIDATED",
            PrintedVerdict::Inconclusive => "INCONCLUSIVE",
            PrintedVerdict::NotValidated => "NOT_VALIDATED",
        })
    }
}

/// Everything the rule prints.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Printed {
    pub(crate) n: usize,
    pub(crate) r: Option<f64>,
    pub(crate) p: Option<f64>,
    pub(crate) correlation: CorrelationCell,
    /// Share of high-rho models with gain below 1; none without such models.
    pub(crate) high_dampening: Option<f64>,
    /// Share of low-rho models with gain above 1; none without such models.
    pub(crate) low_expansion: Option<f64>,
    pub(crate) verdict: PrintedVerdict,
}

/// Applies the rule to the mean gains of models, matched with their rho.
pub(crate) fn published_rule(rho: &[f64], gain: &[f64]) -> Printed {
    let n = rho.len().min(gain.len());
    // Where a sample is constant the notebook's r is NaN, and every comparison
    // with it false: as if there were none.
    let correlation = if n >= FEWEST {
        pearson(rho, gain).ok()
    } else {
        None
    };
    let share = |high: bool, counts: fn(f64) -> bool| {
        let side = rho.iter().zip(gain).filter(|(r, _)| is_high(**r) == high);
        let gains: Vec<f64> = side.map(|(_, g)| *g).collect();
        let counted = gains.iter().filter(|g| counts(**g)).count();
        (!gains.is_empty()).then(|| counted as f64 / gains.len() as f64)
    };
    let high_dampening = share(true, |g| g < 1.0);
    let verdict = if high_dampening.is_some_and(|rate| rate > RATE)
        || correlation.is_some_and(|c| c.r < R_BELOW)
    {
        PrintedVerdict::Validated
    } else if n < FEWEST {
        PrintedVerdict::Inconclusive
    } else {
        PrintedVerdict::NotValidated
    };
    Printed {
        n,
        r: correlation.map(|c| c.r),
        p: correlation.map(|c| c.p),
        correlation: match correlation {
            None => CorrelationCell::None,
            Some(c) if c.r < 0.0 && c.p < P_BELOW => CorrelationCell::Significant,
            Some(c) if c.r < 0.0 => CorrelationCell::Trend,
            Some(_) => CorrelationCell::NotSupported,
        },
        high_dampening,
        low_expansion: share(false, |g| g > 1.0),
        verdict,
    }
}

/// Which side of the threshold a model stands on.
pub(crate) fn is_high(rho: f64) -> bool {
    rho >= HIGH_RHO
}

/// The published word for one model.
pub(crate) fn model_word(gain: f64) -> &'static str {
    if gain < 1.0 { "DAMPENING" } else { "EXPANDING" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rho: &[f64], gain: &[f64], cell: CorrelationCell, verdict: PrintedVerdict) {
        let printed = published_rule(rho, gain);
        assert_eq!((printed.correlation, printed.verdict), (cell, verdict));
    }

    #[test]
    fn one_model_is_enough_for_validated() {
        // E2: the rate is tested before the number of models.
        check(
            &[0.25],
            &[0.99],
            CorrelationCell::None,
            PrintedVerdict::Validated,
        );
        check(
            &[0.25],
            &[1.01],
            CorrelationCell::None,
            PrintedVerdict::Inconclusive,
        );
        check(
            &[0.10],
            &[0.50],
            CorrelationCell::None,
            PrintedVerdict::Inconclusive,
        );
    }

    #[test]
    fn no_models_are_inconclusive() {
        let printed = published_rule(&[], &[]);
        assert_eq!(printed.verdict, PrintedVerdict::Inconclusive);
        assert_eq!(
            (printed.high_dampening, printed.low_expansion),
            (None, None)
        );
    }

    #[test]
    fn a_rate_of_one_half_is_not_above_it() {
        // Two high-rho models, one dampens; r of three points is positive.
        check(
            &[0.1, 0.3, 0.4],
            &[0.9, 0.95, 1.05],
            CorrelationCell::NotSupported,
            PrintedVerdict::NotValidated,
        );
    }

    #[test]
    fn a_negative_r_validates_without_significance() {
        // r = -0.5, p = 2/3; all expand.
        check(
            &[0.1, 0.2, 0.3],
            &[1.2, 1.3, 1.1],
            CorrelationCell::Trend,
            PrintedVerdict::Validated,
        );
    }

    #[test]
    fn a_line_is_significant() {
        check(
            &[0.1, 0.2, 0.3],
            &[1.3, 1.2, 1.1],
            CorrelationCell::Significant,
            PrintedVerdict::Validated,
        );
    }

    #[test]
    fn equal_gains_have_no_correlation() {
        check(
            &[0.1, 0.2, 0.3],
            &[1.2, 1.2, 1.2],
            CorrelationCell::None,
            PrintedVerdict::NotValidated,
        );
    }

    #[test]
    fn the_threshold_is_high() {
        let printed = published_rule(&[0.2, 0.19], &[0.9, 1.1]);
        assert_eq!(printed.high_dampening, Some(1.0));
        assert_eq!(printed.low_expansion, Some(1.0));
    }
}
