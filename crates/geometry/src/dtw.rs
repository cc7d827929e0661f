//! Dynamic time warping: sequences of different lengths laid on one another.

use crate::GeometryError;

/// How two sequences lie on one another.
#[derive(Debug, Clone, PartialEq)]
pub struct Warping {
    /// Square root of the sum of squared Euclidean distances along the path.
    pub distance: f64,
    /// Pairs of positions (in x, in y), from (0, 0) to both ends; each step
    /// moves on by at most one in either.
    pub path: Vec<(usize, usize)>,
}

/// Dynamic time warping of `x` [n][width] and `y` [m][width] (Sakoe and Chiba
/// 1978, symmetric steps without weights), within a band of `band` positions of
/// the longer sequence about the line from end to end. The band is widened to
/// the smallest that holds a path at all.
///
/// # Errors
/// An empty sequence, rows of different widths, a value that is not finite.
pub fn dtw(x: &[Vec<f64>], y: &[Vec<f64>], band: usize) -> Result<Warping, GeometryError> {
    check(x)?;
    check(y)?;
    if x[0].len() != y[0].len() {
        return Err(GeometryError::Length {
            what: "dynamic time warping",
            left: x[0].len(),
            right: y[0].len(),
        });
    }
    let (n, m) = (x.len(), y.len());
    let longer = (n.max(m) - 1) as f64;
    let shorter = (n.min(m) - 1) as f64;
    // A step of the shorter moves the line by this many of the longer.
    let slope = if shorter > 0.0 {
        (longer / shorter).ceil()
    } else {
        longer
    };
    let band = (band as f64).max(slope);
    let along = |i: usize, n: usize| {
        if n > 1 {
            i as f64 * longer / (n - 1) as f64
        } else {
            0.0
        }
    };
    // A hair of slack for the rounding of the two divisions.
    let inside = |i: usize, j: usize| (along(i, n) - along(j, m)).abs() <= band + 1e-9;

    let mut cost = vec![f64::INFINITY; n * m];
    for i in 0..n {
        for j in (0..m).filter(|j| inside(i, *j)) {
            let before = match (i, j) {
                (0, 0) => 0.0,
                (0, j) => cost[j - 1],
                (i, 0) => cost[(i - 1) * m],
                (i, j) => cost[(i - 1) * m + j - 1]
                    .min(cost[(i - 1) * m + j])
                    .min(cost[i * m + j - 1]),
            };
            cost[i * m + j] = before + squared(&x[i], &y[j]);
        }
    }
    let (mut i, mut j) = (n - 1, m - 1);
    let mut path = vec![(i, j)];
    while (i, j) != (0, 0) {
        let at = |i: Option<usize>, j: Option<usize>| match (i, j) {
            (Some(i), Some(j)) => cost[i * m + j],
            _ => f64::INFINITY,
        };
        let (up, left) = (i.checked_sub(1), j.checked_sub(1));
        let (both, one, other) = (at(up, left), at(up, Some(j)), at(Some(i), left));
        // Of equal ways the diagonal one.
        if both <= one && both <= other {
            (i, j) = (i.saturating_sub(1), j.saturating_sub(1));
        } else if one <= other {
            i = i.saturating_sub(1);
        } else {
            j = j.saturating_sub(1);
        }
        path.push((i, j));
    }
    path.reverse();
    Ok(Warping {
        distance: cost[n * m - 1].sqrt(),
        path,
    })
}

/// A mean of sequences of different lengths under warping.
#[derive(Debug, Clone, PartialEq)]
pub struct Barycentre {
    /// The mean sequence [length][width].
    pub centre: Vec<Vec<f64>>,
    /// Sum of squared warping distances to it, before each round and after the
    /// last; never rising.
    pub inertia: Vec<f64>,
}

/// DTW barycentre averaging (Petitjean et al. 2011): from the mean of the
/// sequences stretched to `length`, every round lays each sequence on the
/// centre and moves each of the centre's rows to the mean of what fell on it,
/// until nothing is gained or `rounds` are done.
///
/// # Errors
/// No sequences, `length` 0; as [`dtw`].
pub fn barycentre(
    sequences: &[Vec<Vec<f64>>],
    length: usize,
    band: usize,
    rounds: usize,
) -> Result<Barycentre, GeometryError> {
    let (Some(first), true) = (sequences.first(), length > 0) else {
        return Err(GeometryError::Degenerate {
            what: "the number of sequences or the length of a barycentre".to_owned(),
            value: 0.0,
        });
    };
    check(first)?;
    let width = first[0].len();
    let mut centre = vec![vec![0.0; width]; length];
    for sequence in sequences {
        let stretched = stretch(sequence, length)?;
        for (sum, row) in centre.iter_mut().zip(&stretched) {
            add(sum, row, 1.0 / sequences.len() as f64);
        }
    }
    let mut inertia = Vec::new();
    for round in 0..=rounds {
        let mut sums = vec![(vec![0.0; width], 0usize); length];
        let mut total = 0.0;
        for sequence in sequences {
            let warping = dtw(&centre, sequence, band)?;
            total += warping.distance.powi(2);
            for (i, j) in warping.path {
                add(&mut sums[i].0, &sequence[j], 1.0);
                sums[i].1 += 1;
            }
        }
        let gained = inertia.last().is_none_or(|before| total < *before);
        inertia.push(total);
        if !gained || round == rounds {
            break;
        }
        for (row, (sum, count)) in centre.iter_mut().zip(sums) {
            *row = sum.iter().map(|v| v / count as f64).collect();
        }
    }
    Ok(Barycentre { centre, inertia })
}

/// A sequence [n][width] read at `length` equally spaced places from its first
/// row to its last, linearly between rows.
///
/// # Errors
/// An empty sequence, rows of different widths, a value that is not finite.
pub fn stretch(sequence: &[Vec<f64>], length: usize) -> Result<Vec<Vec<f64>>, GeometryError> {
    check(sequence)?;
    let last = sequence.len() - 1;
    Ok((0..length)
        .map(|i| {
            let place = if length > 1 {
                i as f64 * last as f64 / (length - 1) as f64
            } else {
                0.0
            };
            let low = (place.floor() as usize).min(last);
            let high = (low + 1).min(last);
            let share = place - low as f64;
            let mut row = vec![0.0; sequence[low].len()];
            add(&mut row, &sequence[low], 1.0 - share);
            add(&mut row, &sequence[high], share);
            row
        })
        .collect())
}

fn squared(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn add(sum: &mut [f64], row: &[f64], weight: f64) {
    for (sum, v) in sum.iter_mut().zip(row) {
        *sum += weight * v;
    }
}

fn check(sequence: &[Vec<f64>]) -> Result<(), GeometryError> {
    let Some(first) = sequence.first() else {
        return Err(GeometryError::Degenerate {
            what: "the length of a sequence".to_owned(),
            value: 0.0,
        });
    };
    for row in sequence {
        if row.len() != first.len() {
            return Err(GeometryError::Length {
                what: "the rows of a sequence",
                left: first.len(),
                right: row.len(),
            });
        }
        if let Some(bad) = row.iter().find(|v| !v.is_finite()) {
            return Err(GeometryError::Degenerate {
                what: "a value of a sequence".to_owned(),
                value: *bad,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{barycentre, dtw, stretch};

    fn column(values: &[f64]) -> Vec<Vec<f64>> {
        values.iter().map(|v| vec![*v]).collect()
    }

    #[test]
    fn a_stretched_sequence_lies_on_itself() {
        let (x, y) = (column(&[0.0, 1.0, 2.0]), column(&[0.0, 0.0, 1.0, 1.0, 2.0]));
        let warping = dtw(&x, &y, 2).unwrap();
        assert_eq!(warping.distance, 0.0);
        assert_eq!(warping.path, [(0, 0), (0, 1), (1, 2), (1, 3), (2, 4)]);
    }

    #[test]
    fn a_band_keeps_the_path_near_the_line() {
        let x = column(&[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let y = column(&[0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(dtw(&x, &y, 6).unwrap().distance, 0.0);
        let narrow = dtw(&x, &y, 1).unwrap();
        assert!(narrow.path.iter().all(|(i, j)| i.abs_diff(*j) <= 1));
        assert!(narrow.distance > 0.0);
    }

    #[test]
    fn one_row_lies_on_all() {
        let warping = dtw(&column(&[1.0]), &column(&[1.0, 2.0, 3.0]), 0).unwrap();
        assert_eq!(warping.path, [(0, 0), (0, 1), (0, 2)]);
        assert_eq!(warping.distance, 5f64.sqrt());
    }

    #[test]
    fn the_barycentre_of_shifted_steps_is_a_step() {
        let step = |at: usize| -> Vec<Vec<f64>> {
            (0..8).map(|i| vec![f64::from(u8::from(i >= at))]).collect()
        };
        let found = barycentre(&[step(2), step(4), step(6)], 8, 8, 20).unwrap();
        assert!(
            found
                .centre
                .iter()
                .all(|r| r[0] < 1e-9 || r[0] > 1.0 - 1e-9)
        );
        assert!(found.inertia.windows(2).all(|w| w[1] <= w[0] + 1e-12));
    }

    #[test]
    fn stretching_keeps_the_ends() {
        let y = stretch(&column(&[0.0, 2.0, 4.0]), 5).unwrap();
        assert_eq!(y, column(&[0.0, 1.0, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn bad_sequences_are_refused() {
        assert!(dtw(&[], &column(&[1.0]), 1).is_err());
        assert!(dtw(&column(&[f64::NAN]), &column(&[1.0]), 1).is_err());
        assert!(dtw(&[vec![1.0, 2.0]], &column(&[1.0]), 1).is_err());
        assert!(barycentre(&[], 3, 1, 1).is_err());
    }
}
