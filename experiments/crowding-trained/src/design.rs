//! Which models are compared with which.

use assay_experiment::ExperimentError;
use assay_experiment::page::{Stat, must};
use assay_experiment::subject::{Settings, Subject};
use assay_stats as stats;
use assay_stats::{Exchangeability, Interval, PERMUTATION_DRAWS, stream};

/// A reading of the gain, whose logarithm is regressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Of the penultimate block.
    AsPublished,
    /// Of the last block.
    LastBlock,
    /// Mean a block over blocks 1..L-1.
    Stack,
}

impl Reading {
    pub(crate) const ALL: [Self; 3] = [Self::AsPublished, Self::LastBlock, Self::Stack];

    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::AsPublished => "as-published",
            Self::LastBlock => "last-block",
            Self::Stack => "stack",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::AsPublished => "penultimate block",
            Self::LastBlock => "last block",
            Self::Stack => "a block of the stack",
        }
    }
}

/// One trained model.
pub(crate) struct Unit<'a> {
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) cell: String,
    pub(crate) layers: f64,
    pub(crate) heads: f64,
    pub(crate) d_head: f64,
    pub(crate) seed: f64,
    pub(crate) steps: f64,
    pub(crate) valid_loss: f64,
    pub(crate) trigram_loss: f64,
    block: String,
    positions: String,
    form: String,
    pub(crate) shuffled: bool,
    /// Was it trained to the end?
    pub(crate) whole: bool,
    /// Mean log gain over prompts, by [`Reading::ALL`].
    trained: [f64; 3],
    /// The same before the first step.
    untrained: [f64; 3],
}

impl<'a> Unit<'a> {
    pub(crate) fn new(subject: &'a Subject<'a>) -> Result<Self, ExperimentError> {
        let model = subject.model()?;
        let tag = |name: &str| model.tag(name).unwrap_or_default().to_owned();
        let layers = model.get("layers")?;
        let read = |prefix: &str| -> Result<[f64; 3], ExperimentError> {
            let mut logs: [Vec<f64>; 3] = Default::default();
            for prompt in subject.record.prompts() {
                let log = |name: &str| -> Result<f64, ExperimentError> {
                    Ok(prompt.get(&format!("{prefix}{name}"))?.ln())
                };
                logs[0].push(log("gain.as-published")?);
                logs[1].push(log("gain.last-block")?);
                logs[2].push(log("growth")? / (layers - 1.0));
            }
            let mean = |l: &Vec<f64>| must(&subject.name, stats::mean(l));
            Ok([mean(&logs[0])?, mean(&logs[1])?, mean(&logs[2])?])
        };
        Ok(Self {
            subject,
            cell: tag("cell"),
            layers,
            heads: model.get("heads")?,
            d_head: model.get("d-head")?,
            seed: model.get("seed")?,
            steps: model.get("steps")?,
            valid_loss: model.get("valid-loss")?,
            trigram_loss: model.get("trigram-loss")?,
            block: tag("block"),
            positions: tag("positions"),
            form: tag("form"),
            shuffled: tag("shuffled") == "true",
            whole: model.get("steps")? == model.get("all-steps")?,
            trained: read("")?,
            untrained: read("untrained.")?,
        })
    }

    /// Head density.
    pub(crate) fn rho(&self) -> f64 {
        self.heads / self.d_head
    }

    /// Mean log gain over prompts; per block for the stack.
    pub(crate) fn log_gain(&self, reading: Reading) -> f64 {
        self.trained[reading as usize]
    }

    /// The same before the first step of training.
    pub(crate) fn log_gain_untrained(&self, reading: Reading) -> f64 {
        self.untrained[reading as usize]
    }

    /// All that is equal in the models whose densities are compared.
    pub(crate) fn stratum(&self) -> String {
        let what = if self.form == "gpt-neox" || self.form == "gpt2" {
            String::new()
        } else {
            format!(", {}", self.form)
        };
        format!(
            "{} layers, {}, {}{what}",
            self.layers, self.block, self.positions
        )
    }

    fn is(&self, layers: f64, block: &str, positions: &str) -> bool {
        self.form.starts_with("gpt")
            && self.layers == layers
            && self.block == block
            && self.positions == positions
    }
}

/// A comparison: a predictor, and the strata that it is permuted in.
pub(crate) struct Comparison {
    /// Claim, and part of number ids.
    pub(crate) claim: &'static str,
    pub(crate) reading: Reading,
    /// In words: what one unit of the predictor is.
    pub(crate) per: &'static str,
    select: fn(&Unit<'_>) -> Option<(f64, String)>,
    /// Is the logarithm of the number of heads held fixed too?
    given_heads: bool,
}

fn density(unit: &Unit<'_>) -> Option<(f64, String)> {
    Some((unit.rho(), unit.stratum()))
}

/// 0 for one kind of models, 1 for the other, by density.
fn either(unit: &Unit<'_>, zero: bool, one: bool) -> Option<(f64, String)> {
    let stratum = || format!("rho {}", unit.rho());
    match (zero, one) {
        (true, _) => Some((0.0, stratum())),
        (_, true) => Some((1.0, stratum())),
        _ => None,
    }
}

pub(crate) const COMPARISONS: [Comparison; 7] = [
    Comparison {
        claim: "crowding.published-gain",
        reading: Reading::AsPublished,
        per: "unit of rho",
        select: density,
        given_heads: false,
    },
    Comparison {
        claim: "crowding.last-block",
        reading: Reading::LastBlock,
        per: "unit of rho",
        select: density,
        given_heads: false,
    },
    Comparison {
        claim: "crowding.stack",
        reading: Reading::Stack,
        per: "unit of rho",
        select: density,
        given_heads: false,
    },
    Comparison {
        claim: "crowding.not-the-number-of-heads",
        reading: Reading::AsPublished,
        per: "unit of rho, given the number of heads",
        select: density,
        given_heads: true,
    },
    Comparison {
        claim: "crowding.depth",
        reading: Reading::AsPublished,
        per: "8 layers for 4",
        select: |u| {
            let [four, eight] = [4.0, 8.0].map(|l| u.is(l, "parallel", "rotary"));
            // The densities that both depths have.
            let ends = u.heads == 1.0 || u.heads == 8.0;
            either(u, four && ends, eight && ends)
        },
        given_heads: false,
    },
    Comparison {
        claim: "crowding.parallel-blocks",
        reading: Reading::AsPublished,
        per: "parallel blocks for sequential",
        select: |u| {
            let ends = u.heads == 1.0 || u.heads == 8.0;
            let [one, zero] = ["parallel", "sequential"].map(|b| ends && u.is(4.0, b, "rotary"));
            either(u, zero, one)
        },
        given_heads: false,
    },
    Comparison {
        claim: "crowding.rotary-positions",
        reading: Reading::AsPublished,
        per: "rotary positions for learned",
        select: |u| {
            let [one, zero] = ["rotary", "learned"].map(|p| u.is(4.0, "sequential", p));
            either(u, zero, one)
        },
        given_heads: false,
    },
];

/// Chance with which a change that is called detectable is found.
pub(crate) const POWER: f64 = 0.8;

/// What came of a comparison.
pub(crate) struct Effect {
    pub(crate) estimate: f64,
    pub(crate) interval: Interval,
    pub(crate) p: f64,
    /// Models.
    pub(crate) n: usize,
    pub(crate) strata: usize,
    /// Of the residuals.
    pub(crate) sd: f64,
    /// Sum of squares of the predictor within strata.
    pub(crate) spread: f64,
    /// Change that is found with a power of [`POWER`].
    pub(crate) detectable: f64,
}

/// Compares; `of` is what is regressed.
pub(crate) fn compare(
    comparison: &Comparison,
    units: &[Unit<'_>],
    of: impl Fn(&Unit<'_>) -> f64,
    (name, set): (&str, Settings),
) -> Stat<Effect> {
    let mut x = Vec::new();
    let mut y = Vec::new();
    let mut heads = Vec::new();
    let mut names = Vec::new();
    for unit in units {
        if let Some((value, stratum)) = (comparison.select)(unit) {
            x.push(value);
            y.push(of(unit));
            heads.push(unit.heads.log2());
            names.push(stratum);
        }
    }
    let mut strata: Vec<&String> = names.iter().collect();
    strata.sort();
    strata.dedup();
    let of_stratum: Vec<usize> = (names.iter())
        .map(|n| strata.iter().position(|s| *s == n).unwrap_or_default())
        .collect();
    let mut covariates: Vec<Vec<f64>> = (1..strata.len())
        .map(|s| of_stratum.iter().map(|o| f64::from(*o == s)).collect())
        .collect();
    if comparison.given_heads {
        covariates.push(heads);
    }
    let covariates: Vec<&[f64]> = covariates.iter().map(Vec::as_slice).collect();
    let predictors: Vec<&[f64]> = [x.as_slice()]
        .into_iter()
        .chain(covariates.clone())
        .collect();
    let fit = stats::least_squares(&y, &predictors)?;
    let slope = fit.coefficients[1];
    let test = stats::partial_correlation_permutation(
        &x,
        &y,
        &covariates,
        Exchangeability::WithinClusters(&of_stratum),
        PERMUTATION_DRAWS,
        stream(set.seed, name),
    )?;
    // Of x given the other terms: (residual SD / standard error)².
    let spread = (fit.residual_sd / slope.standard_error).powi(2);
    // The t-test of a slope on df degrees of freedom is that of a mean of df + 1
    // values.
    let values = fit.df + 1;
    let noncentrality =
        stats::detectable_mean_shift(values, set.alpha, POWER)? * (values as f64).sqrt();
    Ok(Effect {
        estimate: slope.estimate,
        interval: slope.interval(1.0 - set.alpha, fit.df),
        p: test.p,
        n: x.len(),
        strata: strata.len(),
        sd: fit.residual_sd,
        spread,
        detectable: noncentrality * fit.residual_sd / spread.sqrt(),
    })
}
