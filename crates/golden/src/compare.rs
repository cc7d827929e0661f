use assay_record::{RecordKey, Tolerance, Verdict};

/// Bounds of a tolerance class as (absolute, relative): what follows by
/// [`crate::bound_from`] from the drift between builds and machines that
/// golden/drift.json holds (METHODS.md, "Drift"); a test compares the two.
///
/// - Exact: none.
/// - Rounding: the largest drift is that of KL divergences behind replaced
///   activations, on a processor without FMA.
/// - Statistical: random draws are the same everywhere, so only a rounding that
///   crosses a rank or a threshold moves these: a p value of 1e5 draws by a few
///   1e-5, a rank among 199 by 1/200, a bootstrap quantile by one order
///   statistic.
#[must_use]
pub fn bounds(tolerance: Tolerance) -> (f64, f64) {
    match tolerance {
        Tolerance::Exact => (0.0, 0.0),
        Tolerance::Rounding => (1e-4, 1e-4),
        Tolerance::Statistical => (1e-2, 1e-2),
    }
}

/// Is `actual` equal to `expected` within the class? NaN never is.
#[must_use]
pub fn within(tolerance: Tolerance, actual: f64, expected: f64) -> bool {
    Computed::Cpu.within(tolerance, actual, expected)
}

/// How numbers were computed. Goldens are the CPU's, in f32; what was computed
/// otherwise is compared with them by the bounds of its own class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Computed {
    /// On a CPU in f32.
    Cpu,
    /// On a GPU in f32.
    Gpu,
    /// In f16, wherever.
    F16,
    /// In bf16, wherever.
    Bf16,
}

impl Computed {
    /// As the key of a record says.
    #[must_use]
    pub fn of(key: &RecordKey) -> Self {
        match key.dtype.as_str() {
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            _ if key.device_class.starts_with("cuda") => Self::Gpu,
            _ => Self::Cpu,
        }
    }

    /// Bounds of a tolerance class as (absolute, relative).
    ///
    /// - Exact: none, however computed.
    /// - On a GPU in f32, with TF32 off: ten times the CPU's of rounding. The
    ///   precision is the same; norms and softmax sum in f32 where the CPU's
    ///   kernels sum in f64, over hundreds of terms, and exp and erf are
    ///   NVIDIA's, of two roundings. A rank that such a rounding turns is worth
    ///   no more than on the CPU, so statistical is the CPU's.
    /// - In f16: 40 roundings of 2^-11, which is eight a block, as the decoder
    ///   is held to, through the first five blocks, or, as roundings do not add
    ///   up in one direction, through several times as many. In bf16, whose
    ///   rounding is 2^-8, eight times that. Numbers that are differences of
    ///   near numbers can be off by more, and are then shown.
    #[must_use]
    pub fn bounds(self, tolerance: Tolerance) -> (f64, f64) {
        let (abs, rel) = bounds(tolerance);
        let least = match (tolerance, self) {
            (Tolerance::Exact, _) | (_, Self::Cpu) => return (abs, rel),
            (Tolerance::Statistical, Self::Gpu) => return (abs, rel),
            (Tolerance::Rounding, Self::Gpu) => return (10.0 * abs, 10.0 * rel),
            (_, Self::F16) => 40.0 / 2048.0,
            (_, Self::Bf16) => 40.0 / 256.0,
        };
        (abs.max(least), rel.max(least))
    }

    /// Is `actual` equal to `expected` within the class? NaN never is.
    #[must_use]
    pub fn within(self, tolerance: Tolerance, actual: f64, expected: f64) -> bool {
        let (abs, rel) = self.bounds(tolerance);
        (actual - expected).abs() <= abs + rel * expected.abs()
    }
}

impl std::fmt::Display for Computed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cpu => "",
            Self::Gpu => " on a GPU",
            Self::F16 => " in f16",
            Self::Bf16 => " in bf16",
        })
    }
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Experiment and scope: "h25-gain/smollm2-135m".
    pub scope: String,
    /// Numbers compared.
    pub compared: usize,
    /// Those that are off, in the order of their names.
    pub differences: Vec<Difference>,
}

/// A number that is not what was expected.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// Off by more than its class allows.
    Off {
        /// Id, or unit and measure.
        name: String,
        /// Class.
        tolerance: Tolerance,
        /// How it was computed, which says how wide the class is.
        computed: Computed,
        /// From the golden file.
        expected: f64,
        /// From the run.
        actual: f64,
    },
    /// Expected, and not there.
    Gone {
        /// Id, or unit and measure.
        name: String,
    },
    /// There, and not expected.
    New {
        /// Id.
        name: String,
    },
    /// Another audited verdict, or none.
    Verdict {
        /// Claim and data.
        name: String,
        /// From the golden file.
        expected: Verdict,
        /// From the run.
        actual: Option<Verdict>,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Difference::Off {
                name,
                tolerance,
                computed,
                expected,
                actual,
            } => {
                let (abs, rel) = computed.bounds(*tolerance);
                let allowed = abs + rel * expected.abs();
                let class = format!("{tolerance:?}").to_lowercase();
                write!(
                    f,
                    "{name}: expected {expected}, found {actual}, off by {:.3e} where {class}{computed} allows {allowed:.3e}",
                    actual - expected
                )
            }
            Difference::Gone { name } => write!(f, "{name}: expected and not found"),
            Difference::New { name } => write!(
                f,
                "{name}: found and not expected; accept it with cargo xtask golden --update"
            ),
            Difference::Verdict {
                name,
                expected,
                actual,
            } => {
                write!(f, "verdict {expected} of {name}: expected and ")?;
                match actual {
                    Some(actual) => write!(f, "found {actual}"),
                    None => write!(f, "not found"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Computed, within};
    use assay_record::Tolerance::{Exact, Rounding, Statistical};

    /// A shorter type allows more and no class allows a count to change; the
    /// bounds of two roundings apart are those of the types.
    #[test]
    fn how_it_was_computed_widens_what_is_no_count() {
        use Computed::{Bf16, Cpu, F16, Gpu};
        for (way, off) in [(Cpu, 1.9e-4), (Gpu, 1.9e-3), (F16, 0.038), (Bf16, 0.3)] {
            assert!(way.within(Rounding, 1.0 + off, 1.0), "{way:?}");
            assert!(!way.within(Rounding, 1.0 + 1.3 * off, 1.0), "{way:?}");
            assert!(!way.within(Exact, 1.0 + 1e-15, 1.0), "{way:?}");
            assert!(!way.within(Rounding, f64::NAN, 1.0), "{way:?}");
        }
        assert!(Gpu.within(Statistical, 1.019, 1.0) && !Gpu.within(Statistical, 1.021, 1.0));
    }

    #[test]
    fn both_sides_and_nan() {
        assert!(within(Exact, 1.0, 1.0) && !within(Exact, 1.0 + 1e-15, 1.0));
        assert!(within(Rounding, 1.000_19, 1.0) && within(Rounding, 0.999_81, 1.0));
        assert!(!within(Rounding, 1.000_21, 1.0) && !within(Rounding, 0.999_79, 1.0));
        assert!(within(Statistical, 0.03, 0.02) && !within(Statistical, 0.04, 0.02));
        for class in [Exact, Rounding, Statistical] {
            assert!(!within(class, f64::NAN, 1.0) && !within(class, 1.0, f64::NAN));
        }
    }
}
