//! Checks on arguments, shared by the public functions.

use crate::StatsError;

pub(crate) fn finite(argument: &'static str, values: &[f64]) -> Result<(), StatsError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(StatsError::NotFinite {
            argument,
            index,
            value: values[index],
        }),
    }
}

/// At least `need` values, all finite.
pub(crate) fn sample(
    argument: &'static str,
    values: &[f64],
    need: usize,
) -> Result<(), StatsError> {
    if values.len() < need {
        return Err(StatsError::TooFew {
            argument,
            got: values.len(),
            need,
        });
    }
    finite(argument, values)
}

pub(crate) fn same_length(
    left: &'static str,
    left_len: usize,
    right: &'static str,
    right_len: usize,
) -> Result<(), StatsError> {
    if left_len == right_len {
        return Ok(());
    }
    Err(StatsError::LengthsDiffer {
        left,
        left_len,
        right,
        right_len,
    })
}

/// A level, alpha or power: strictly between 0 and 1.
pub(crate) fn open_unit(argument: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        argument,
        value,
        rule: "strictly between 0 and 1",
    })
}

/// A result computed from finite values is finite unless a sum overflowed.
pub(crate) fn in_scale(argument: &'static str, value: f64) -> Result<f64, StatsError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(StatsError::OutOfScale { argument })
    }
}

/// Deviations from the mean, scaled to unit Euclidean length.
///
/// A sample counts as constant when no deviation exceeds 1e-13 of the mean,
/// the bound below which SciPy's `pearsonr` warns that rounding decides r.
pub(crate) fn unit_deviations(
    argument: &'static str,
    values: &[f64],
) -> Result<Vec<f64>, StatsError> {
    let centre = in_scale(argument, values.iter().sum::<f64>() / values.len() as f64)?;
    let largest = values
        .iter()
        .map(|v| (v - centre).abs())
        .fold(0.0, f64::max);
    in_scale(argument, largest)?;
    if largest <= 1e-13 * centre.abs() {
        return Err(StatsError::ZeroVariance { argument });
    }
    // Scaling by the largest first keeps the squares inside f64.
    let scaled: Vec<f64> = values.iter().map(|v| (v - centre) / largest).collect();
    let length = scaled.iter().map(|v| v * v).sum::<f64>().sqrt();
    Ok(scaled.into_iter().map(|v| v / length).collect())
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Names the column in an error about one column of several.
pub(crate) fn in_column<T>(
    argument: &'static str,
    column: usize,
    result: Result<T, StatsError>,
) -> Result<T, StatsError> {
    result.map_err(|source| StatsError::Column {
        argument,
        column,
        source: Box::new(source),
    })
}
