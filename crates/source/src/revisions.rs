//! Training revisions by a compact rule, such as Pythia's 154 checkpoints.

use serde::Deserialize;

/// Evenly spaced steps, both ends included.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepRange {
    from: u64,
    to: u64,
    by: u64,
}

/// A rule that names the checkpoints of a training run: `prefix` followed by a
/// step number.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevisionRule {
    prefix: String,
    /// Single steps.
    steps: Vec<u64>,
    /// 1, 2, 4, ... up to and including this step.
    powers_of_two_to: u64,
    /// Evenly spaced steps.
    ranges: Vec<StepRange>,
}

/// No training run publishes more checkpoints than this; a rule that gives
/// more is a slip of the pen, not a run.
const MOST: usize = 10_000;

impl RevisionRule {
    /// The names in order of training, each once.
    pub(crate) fn expand(&self) -> Result<Vec<String>, String> {
        let mut steps = self.steps.clone();
        let powers = std::iter::successors(Some(1_u64), |step| step.checked_mul(2));
        steps.extend(powers.take_while(|step| *step <= self.powers_of_two_to));
        for range in &self.ranges {
            if range.by == 0 {
                return Err(format!("a range of {:?} has by = 0", self.prefix));
            }
            let later = std::iter::successors(Some(range.from), |step| step.checked_add(range.by));
            steps.extend(later.take_while(|step| *step <= range.to).take(MOST + 1));
            if steps.len() > MOST {
                return Err(format!(
                    "{:?} names more than {MOST} checkpoints",
                    self.prefix
                ));
            }
        }
        steps.sort_unstable();
        steps.dedup();
        Ok(steps
            .into_iter()
            .map(|step| format!("{}{step}", self.prefix))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(rule: &str, expected: &[&str]) {
        let rule: RevisionRule = toml::from_str(rule).unwrap();
        assert_eq!(rule.expand().unwrap(), expected);
    }

    #[test]
    fn single_steps_powers_and_ranges_in_order() {
        check(
            "prefix = 'step'\nsteps = [0]\npowers_of_two_to = 5\nranges = [{ from = 4, to = 11, by = 3 }]",
            &["step0", "step1", "step2", "step4", "step7", "step10"],
        );
    }

    #[test]
    fn a_range_that_never_ends_is_refused() {
        let rule = "prefix = 's'\nsteps = []\npowers_of_two_to = 0\nranges = [{ from = 0, to = 100000, by = 1 }]";
        let rule: RevisionRule = toml::from_str(rule).unwrap();
        assert!(rule.expand().unwrap_err().contains("more than 10000"));
        let rule = "prefix = 's'\nsteps = []\npowers_of_two_to = 0\nranges = [{ from = 0, to = 9, by = 0 }]";
        let rule: RevisionRule = toml::from_str(rule).unwrap();
        assert!(rule.expand().unwrap_err().contains("by = 0"));
    }
}
