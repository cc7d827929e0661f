//! Correction for several tests at once.

use crate::StatsError;

/// Holm's step-down adjusted p-values, in the order given: the k-th smallest
/// of m times (m - k + 1), made non-decreasing and capped at 1 (Holm 1979;
/// `statsmodels.stats.multitest.multipletests(method="holm")`).
///
/// An empty family gives an empty answer.
pub fn holm(p: &[f64]) -> Result<Vec<f64>, StatsError> {
    crate::check::finite("p", p)?;
    if let Some(value) = p.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(StatsError::OutOfRange {
            argument: "p",
            value: *value,
            rule: "in 0..=1",
        });
    }
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut running: f64 = 0.0;
    for (smaller, &index) in order.iter().enumerate() {
        running = running.max(p[index] * (p.len() - smaller) as f64).min(1.0);
        adjusted[index] = running;
    }
    Ok(adjusted)
}
