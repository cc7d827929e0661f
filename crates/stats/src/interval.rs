//! A closed interval of estimates.

/// A confidence interval; which level it has is said where it is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end, in the estimate's unit.
    pub low: f64,
    /// Upper end, in the estimate's unit.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies inside or on an end.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}
