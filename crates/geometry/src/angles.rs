use crate::{GeometryError, dot, norm};

/// x·y / (|x| |y|).
///
/// # Errors
/// The vectors are not equally long, or one is zero or not finite.
pub fn cosine(x: &[f64], y: &[f64]) -> Result<f64, GeometryError> {
    let along = dot(x, y)?;
    let lengths = norm(x) * norm(y);
    if !(lengths > 0.0 && lengths.is_finite()) {
        return Err(GeometryError::Degenerate {
            what: "the product of the lengths of two vectors with an angle between them".to_owned(),
            value: lengths,
        });
    }
    // Beyond 1 by rounding only.
    Ok((along / lengths).clamp(-1.0, 1.0))
}

/// The mean of rows of equal width.
///
/// # Errors
/// There are none, or they are not equally long.
pub fn mean_row(rows: &[&[f64]]) -> Result<Vec<f64>, GeometryError> {
    let Some(first) = rows.first() else {
        return Err(GeometryError::Degenerate {
            what: "the number of rows of a mean".to_owned(),
            value: 0.0,
        });
    };
    let mut mean = vec![0.0; first.len()];
    for row in rows {
        if row.len() != mean.len() {
            return Err(GeometryError::Length {
                what: "mean of rows",
                left: mean.len(),
                right: row.len(),
            });
        }
        for (sum, value) in mean.iter_mut().zip(*row) {
            *sum += value;
        }
    }
    let count = rows.len() as f64;
    mean.iter_mut().for_each(|sum| *sum /= count);
    Ok(mean)
}

/// Cosines between two lists of vectors that belong together one by one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatchedCosines {
    /// Mean of cos(x_i, y_i).
    pub own: f64,
    /// Mean of cos(x_i, y_j) over all i ≠ j: what vectors that do not belong
    /// together give.
    pub other: f64,
}

/// Cosines of `x` [n, d] and `y` [n, d], each less its centre [d], of the rows
/// that belong together and of all others.
///
/// # Errors
/// Fewer than two rows, rows of unequal length, or one that equals its centre.
pub fn matched_cosines(
    (x, x_centre): (&[&[f64]], &[f64]),
    (y, y_centre): (&[&[f64]], &[f64]),
) -> Result<MatchedCosines, GeometryError> {
    if x.len() != y.len() {
        return Err(GeometryError::Length {
            what: "matched cosines",
            left: x.len(),
            right: y.len(),
        });
    }
    if x.len() < 2 {
        return Err(GeometryError::Degenerate {
            what: "the number of pairs that do not belong together".to_owned(),
            value: 0.0,
        });
    }
    let (x, y) = (units(x, x_centre)?, units(y, y_centre)?);
    let mut own = 0.0;
    for (x, y) in x.iter().zip(&y) {
        own += dot(x, y)?;
    }
    // Σ_{i≠j} x_i·y_j = (Σ x_i)·(Σ y_j) - Σ x_i·y_i.
    let all = dot(&sum(&x), &sum(&y))?;
    let n = x.len() as f64;
    Ok(MatchedCosines {
        own: own / n,
        other: (all - own) / (n * (n - 1.0)),
    })
}

/// Directions of the rows as seen from `centre`.
fn units(rows: &[&[f64]], centre: &[f64]) -> Result<Vec<Vec<f64>>, GeometryError> {
    let unit = |row: &&[f64]| {
        if row.len() != centre.len() {
            return Err(GeometryError::Length {
                what: "matched cosines",
                left: row.len(),
                right: centre.len(),
            });
        }
        let from: Vec<f64> = row.iter().zip(centre).map(|(r, c)| r - c).collect();
        let length = norm(&from);
        if !(length > 0.0 && length.is_finite()) {
            return Err(GeometryError::Degenerate {
                what: "the distance of a vector from the centre it is seen from".to_owned(),
                value: length,
            });
        }
        Ok(from.into_iter().map(|v| v / length).collect())
    };
    rows.iter().map(unit).collect()
}

fn sum(rows: &[Vec<f64>]) -> Vec<f64> {
    let width = rows.first().map_or(0, Vec::len);
    (0..width)
        .map(|i| rows.iter().filter_map(|row| row.get(i)).sum())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{cosine, matched_cosines, mean_row};
    use serde_json::Value;

    /// Row i of width `width`: sin(offset + 3.7 i + 1.3 j + 0.11 i j) + common.
    fn rows(case: &Value, offset: f64) -> Vec<Vec<f64>> {
        let at = |name: &str| case[name].as_f64().unwrap();
        let (n, width, common) = (at("rows") as usize, at("width") as usize, at("common"));
        let entry = |i: f64, j: f64| (offset + 3.7 * i + 1.3 * j + 0.11 * i * j).sin() + common;
        (0..n)
            .map(|i| (0..width).map(|j| entry(i as f64, j as f64)).collect())
            .collect()
    }

    #[test]
    fn cosines_are_numpys() {
        let reference = include_str!("../../../golden/geometry/angles.json");
        let reference: Value = serde_json::from_str(reference).unwrap();
        let cases = reference["cosines"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let (x, y) = (rows(case, 1.0), rows(case, 2.0));
            let x: Vec<&[f64]> = x.iter().map(Vec::as_slice).collect();
            let y: Vec<&[f64]> = y.iter().map(Vec::as_slice).collect();
            let close = |name: &str, actual: f64| {
                let expected = case[name].as_f64().unwrap();
                // Sums of at most a few hundred terms of size 1.
                assert!((actual - expected).abs() < 1e-13, "{name}: {actual}");
            };
            close("first", cosine(x[0], y[0]).unwrap());
            let none = vec![0.0; x[0].len()];
            let raw = matched_cosines((&x, &none), (&y, &none)).unwrap();
            close("own", raw.own);
            close("other", raw.other);
            let (mean_x, mean_y) = (mean_row(&x).unwrap(), mean_row(&y).unwrap());
            close("of_means", cosine(&mean_x, &mean_y).unwrap());
            let removed = matched_cosines((&x, &mean_x), (&y, &mean_y)).unwrap();
            close("own_removed", removed.own);
            close("other_removed", removed.other);
        }
    }

    #[test]
    fn what_has_no_angle_is_refused() {
        assert!(cosine(&[0.0, 0.0], &[1.0, 0.0]).is_err());
        assert!(cosine(&[1.0], &[1.0, 0.0]).is_err());
        assert!(cosine(&[f64::NAN], &[1.0]).is_err());
        assert!(mean_row(&[]).is_err());
        assert!(mean_row(&[&[1.0], &[1.0, 2.0]]).is_err());
        let one: [&[f64]; 1] = [&[1.0]];
        let two: [&[f64]; 2] = [&[1.0], &[2.0]];
        assert!(matched_cosines((&one, &[0.0]), (&one, &[0.0])).is_err());
        assert!(matched_cosines((&two, &[0.0]), (&one, &[0.0])).is_err());
        // A row that is its own centre has no direction from there.
        assert!(matched_cosines((&two, &[1.0]), (&two, &[0.0])).is_err());
    }
}
