use crate::GeometryError;

/// The largest activations of a text at one site (Sun et al. 2024, "Massive
/// Activations in Large Language Models").
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Massive {
    /// The three largest |activations|, descending.
    pub top: [f64; 3],
    /// Median of all |activations|.
    pub median: f64,
    /// Where the largest stands.
    pub dimension: usize,
    /// Where the largest stands.
    pub position: usize,
    /// How many exceed 100 medians.
    pub over_100: usize,
    /// How many exceed 1000 medians.
    pub over_1000: usize,
    /// How many exceed 1000 medians and 100: what Sun et al. call massive.
    pub sun: usize,
}

/// Of rows [token][dimension].
///
/// # Errors
/// Fewer than three activations, one that is not finite, a median of 0.
pub fn massive(rows: &[&[f64]]) -> Result<Massive, GeometryError> {
    let degenerate = |what: &str, value: f64| GeometryError::Degenerate {
        what: what.to_owned(),
        value,
    };
    let mut all = Vec::new();
    for (position, row) in rows.iter().enumerate() {
        for (dimension, value) in row.iter().enumerate() {
            if !value.is_finite() {
                return Err(degenerate("an activation", *value));
            }
            all.push((value.abs(), position, dimension));
        }
    }
    if all.len() < 3 {
        return Err(degenerate("the number of activations", all.len() as f64));
    }
    let largest_first = |a: &(f64, usize, usize), b: &(f64, usize, usize)| b.0.total_cmp(&a.0);
    all.sort_unstable_by(|a, b| largest_first(a, b).then((a.1, a.2).cmp(&(b.1, b.2))));
    // Of an even number the mean of the two in the middle.
    let half = all.len() / 2;
    let median = if all.len().is_multiple_of(2) {
        (all[half - 1].0 + all[half].0) / 2.0
    } else {
        all[half].0
    };
    if median <= 0.0 {
        return Err(degenerate("the median activation", median));
    }
    let over = |times: f64| all.iter().take_while(|v| v.0 > times * median).count();
    let sun = all
        .iter()
        .take_while(|v| v.0 > 1000.0 * median && v.0 > 100.0);
    Ok(Massive {
        top: [all[0].0, all[1].0, all[2].0],
        median,
        dimension: all[0].2,
        position: all[0].1,
        over_100: over(100.0),
        over_1000: over(1000.0),
        sun: sun.count(),
    })
}
