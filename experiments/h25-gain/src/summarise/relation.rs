//! Head density against gain as statistics: one set of models, one scale.

use assay_stats as stats;
use assay_stats::{
    Correlation, Exchangeability, Interval, LeastSquares, LeaveOneOut, PermutationTest,
};

use super::models::{ModelGains, labels};
use assay_experiment::page::Stat;

/// Power at which the detectable correlation is stated.
pub(crate) const POWER: f64 = 0.8;

/// What a set of models offers to a correlation, one entry a model.
pub(crate) struct Columns {
    pub(crate) rho: Vec<f64>,
    pub(crate) layers: Vec<f64>,
    pub(crate) log_d: Vec<f64>,
    pub(crate) families: Vec<usize>,
    /// Mean gain over prompts.
    pub(crate) raw: Vec<f64>,
    /// Mean log gain over prompts.
    pub(crate) log: Vec<f64>,
}

impl Columns {
    pub(crate) fn of(models: &[&ModelGains]) -> Stat<Self> {
        let column = |get: fn(&ModelGains) -> f64| models.iter().map(|m| get(m)).collect();
        Ok(Self {
            rho: column(|m| m.rho),
            layers: column(|m| m.layers as f64),
            log_d: column(|m| (m.d_model as f64).ln()),
            families: labels(models.iter().map(|m| m.family.as_str())),
            raw: column(|m| m.mean),
            log: models
                .iter()
                .map(|m| stats::mean(&m.logs()))
                .collect::<Stat<_>>()?,
        })
    }

    pub(crate) fn family_count(&self) -> usize {
        self.families.iter().max().map_or(0, |last| last + 1)
    }
}

/// A correlation at a fixed third variable.
pub(crate) struct Partial {
    pub(crate) r: Stat<Correlation>,
    /// Freedman-Lane; models change places within their family only.
    pub(crate) permutation: Stat<PermutationTest>,
    /// Fisher's, with one pair less for the covariate.
    pub(crate) interval: Stat<Interval>,
    pub(crate) detectable: Stat<f64>,
}

/// One scale of gain against rho.
pub(crate) struct Relation {
    pub(crate) n: usize,
    pub(crate) pearson: Stat<Correlation>,
    pub(crate) permutation: Stat<PermutationTest>,
    pub(crate) interval: Stat<Interval>,
    pub(crate) detectable: Stat<f64>,
    pub(crate) given_layers: Partial,
    pub(crate) spearman: Stat<Correlation>,
    pub(crate) leave_one_out: Stat<LeaveOneOut>,
    pub(crate) given_log_d: Partial,
    /// r of depth and gain, of depth and rho, and of depth and gain given rho.
    pub(crate) with_depth: Stat<Correlation>,
    pub(crate) depth_and_rho: Stat<Correlation>,
    pub(crate) depth_given_rho: Stat<Correlation>,
    pub(crate) fit: Stat<LeastSquares>,
    pub(crate) loo_r_squared: Stat<f64>,
}

/// How the two scales are called in ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Raw,
    Log,
}

impl Scale {
    pub(crate) fn id(self) -> &'static str {
        match self {
            Scale::Raw => "raw",
            Scale::Log => "log",
        }
    }
}

/// Declared settings that statistics need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) alpha: f64,
}

impl Settings {
    pub(crate) fn level(self) -> f64 {
        1.0 - self.alpha
    }
}

/// All statistics of one scale; `name` names the random streams.
pub(crate) fn relation(c: &Columns, scale: Scale, name: &str, set: Settings) -> Relation {
    let y = match scale {
        Scale::Raw => &c.raw,
        Scale::Log => &c.log,
    };
    let n = y.len();
    let stream = |test: &str| stats::stream(set.seed, &format!("h25/{test}/{name}/{}", scale.id()));
    let pearson = stats::pearson(&c.rho, y);
    let partial = |given: &[f64], test: &str| {
        let r = stats::partial_correlation(&c.rho, y, &[given]);
        Partial {
            permutation: stats::partial_correlation_permutation(
                &c.rho,
                y,
                &[given],
                Exchangeability::WithinClusters(&c.families),
                stats::PERMUTATION_DRAWS,
                stream(test),
            ),
            interval: r
                .clone()
                .and_then(|r| stats::fisher_interval(r.r, n - 1, set.level())),
            detectable: stats::detectable_correlation(n.saturating_sub(1), set.alpha, POWER),
            r,
        }
    };
    let fit = stats::least_squares(y, &[&c.rho]);
    Relation {
        n,
        permutation: stats::pearson_permutation(
            &c.rho,
            y,
            stats::PERMUTATION_DRAWS,
            stream("permutation"),
        ),
        interval: pearson
            .clone()
            .and_then(|r| stats::fisher_interval(r.r, n, set.level())),
        pearson,
        detectable: stats::detectable_correlation(n, set.alpha, POWER),
        given_layers: partial(&c.layers, "given-layers"),
        spearman: stats::spearman(&c.rho, y),
        leave_one_out: stats::leave_one_out_r(&c.rho, y),
        given_log_d: partial(&c.log_d, "given-log-d"),
        with_depth: stats::pearson(&c.layers, y),
        depth_and_rho: stats::pearson(&c.layers, &c.rho),
        depth_given_rho: stats::partial_correlation(&c.layers, y, &[&c.rho]),
        loo_r_squared: fit.clone().and_then(|f| f.leave_one_out_r_squared(y)),
        fit,
    }
}

/// The smallest |r| that a two-sided t-test on `df` >= 1 degrees of freedom
/// calls significant: t / sqrt(t² + df), with the critical t read off the
/// interval of a t-test that has as many degrees of freedom.
pub(crate) fn critical_r(df: usize, alpha: f64) -> Stat<f64> {
    let any: Vec<f64> = (0..=df).map(|i| i as f64).collect();
    let test = stats::one_sample_t(&any, 0.0, 1.0 - alpha)?;
    let t = (test.interval.high - test.estimate) / test.standard_error;
    Ok(t / (t * t + df as f64).sqrt())
}
