//! What can be wrong with the numbers handed to a statistic.

/// Why an estimate could not be computed. Each message names the argument.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatsError {
    /// A sample is smaller than the statistic allows.
    #[error("{argument} has {got} values, at least {need} are needed")]
    TooFew {
        /// Name of the argument.
        argument: &'static str,
        /// Values given.
        got: usize,
        /// Smallest number of values for which the statistic is defined.
        need: usize,
    },
    /// Two samples that must pair up do not.
    #[error("{left} has {left_len} values but {right} has {right_len}; they must pair up")]
    LengthsDiffer {
        /// Name of the first argument.
        left: &'static str,
        /// Length of the first argument.
        left_len: usize,
        /// Name of the second argument.
        right: &'static str,
        /// Length of the second argument.
        right_len: usize,
    },
    /// A value is NaN or infinite.
    #[error("{argument} is {value} at index {index}; every value must be finite")]
    NotFinite {
        /// Name of the argument.
        argument: &'static str,
        /// Index of the first such value.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A value must be positive and is not.
    #[error("{argument} is {value} at index {index}; every value must be positive")]
    NotPositive {
        /// Name of the argument.
        argument: &'static str,
        /// Index of the first such value.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A sample is constant, or constant up to rounding.
    #[error("{argument} has zero variance, so the statistic is undefined")]
    ZeroVariance {
        /// Name of the argument.
        argument: &'static str,
    },
    /// A scalar lies outside its range.
    #[error("{argument} is {value}, it must be {rule}")]
    OutOfRange {
        /// Name of the argument.
        argument: &'static str,
        /// The value given.
        value: f64,
        /// The range, in words.
        rule: &'static str,
    },
    /// Sums or squares leave the range of f64.
    #[error("{argument} holds values whose sums or squares leave the range of f64; rescale them")]
    OutOfScale {
        /// Name of the argument.
        argument: &'static str,
    },
    /// Something is wrong with one column of several.
    #[error("column {column} of {argument}: {source}")]
    Column {
        /// Name of the argument.
        argument: &'static str,
        /// Index of the column.
        column: usize,
        /// What is wrong with it.
        source: Box<StatsError>,
    },
    /// A predictor is a linear combination of the intercept and the predictors before it.
    #[error(
        "column {column} of {argument} is a linear combination of the intercept and the columns before it; drop it"
    )]
    Collinear {
        /// Name of the argument.
        argument: &'static str,
        /// Index of the column.
        column: usize,
    },
    /// The covariates predict a variable exactly, so no residual is left.
    #[error("{argument} is an exact linear function of the covariates, so no residual is left")]
    ExplainedByCovariates {
        /// Name of the argument.
        argument: &'static str,
    },
    /// An observation alone determines a coefficient, so it cannot be left out.
    #[error("observation {row} has leverage 1, so the fit without it is undefined")]
    FullLeverage {
        /// Index of the observation.
        row: usize,
    },
    /// The exchangeability allows the observed ordering only.
    #[error("clusters allow no ordering but the observed one, so nothing can be permuted")]
    NothingToPermute,
    /// A stratum is too small to be resampled.
    #[error("stratum {label} of strata has {got} units, at least 2 are needed to resample it")]
    SmallStratum {
        /// Label of the stratum.
        label: usize,
        /// Units in it.
        got: usize,
    },
    /// All bootstrap replicates lie on one side of the estimate, or the
    /// acceleration is so large that the BCa percentiles are undefined.
    #[error("the bca interval is undefined: {reason}")]
    BcaUndefined {
        /// What went wrong.
        reason: &'static str,
    },
}
