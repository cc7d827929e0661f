/// Why a measure has no value.
#[derive(Debug, thiserror::Error)]
pub enum GeometryError {
    /// The tensor library refused.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// A division by a norm that is zero, or a value that is not finite.
    #[error("{what} is {value}, so the measure has no value")]
    Degenerate {
        /// What was divided by or taken the logarithm of.
        what: String,
        /// Its value.
        value: f64,
    },
    /// Two vectors that should be equally long.
    #[error("length mismatch in {what}, lhs: {left}, rhs: {right}")]
    Length {
        /// The measure.
        what: &'static str,
        /// Length of the first.
        left: usize,
        /// Length of the second.
        right: usize,
    },
}
