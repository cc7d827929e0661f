use crate::{GeometryError, Rows, dot};

/// The centred Gram matrix of a set of rows: K[i, j] = (x_i - m)·(x_j - m), m
/// the mean row. Two representations of the same tokens are compared by their
/// Gram matrices, whatever their widths.
#[derive(Debug, Clone)]
pub struct Gram {
    values: Vec<f64>,
    rows: usize,
}

impl Gram {
    /// The Gram matrix [rows, rows] of `x` [rows, width].
    ///
    /// # Errors
    /// Fewer than two rows, or a value that is not finite.
    pub fn centred(x: &Rows) -> Result<Self, GeometryError> {
        let centred = centred(x)?;
        let rows = centred.len();
        let mut values = vec![0.0; rows * rows];
        for (i, a) in centred.iter().enumerate() {
            for (j, b) in centred.iter().enumerate().take(i + 1) {
                let product = dot(a, b)?;
                values[i * rows + j] = product;
                values[j * rows + i] = product;
            }
        }
        Ok(Self { values, rows })
    }

    /// Number of rows that it compares.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// All entries, row by row.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

/// Rows less their mean.
pub(crate) fn centred(x: &Rows) -> Result<Vec<Vec<f64>>, GeometryError> {
    let rows = x.iter().count();
    if rows < 2 {
        return Err(GeometryError::Degenerate {
            what: "the number of rows to be centred".to_owned(),
            value: rows as f64,
        });
    }
    let mut mean = vec![0.0; x.get(0).map_or(0, <[f64]>::len)];
    for row in x.iter() {
        if let Some(bad) = row.iter().find(|v| !v.is_finite()) {
            return Err(GeometryError::Degenerate {
                what: "an activation".to_owned(),
                value: *bad,
            });
        }
        for (sum, v) in mean.iter_mut().zip(row) {
            *sum += v / rows as f64;
        }
    }
    Ok(x.iter()
        .map(|row| row.iter().zip(&mean).map(|(v, m)| v - m).collect())
        .collect())
}

/// Linear centred kernel alignment (Kornblith et al. 2019) of two
/// representations of the same tokens: ⟨K, L⟩ / (‖K‖ ‖L‖), 1 where they are
/// equal up to rotation and scale. The biased estimator: with few rows beside
/// the width it lies above that of the population.
///
/// # Errors
/// Gram matrices of different sizes, or one of rows that are all equal.
pub fn linear_cka(k: &Gram, l: &Gram) -> Result<f64, GeometryError> {
    let norms = dot(&k.values, &k.values)?.sqrt() * dot(&l.values, &l.values)?.sqrt();
    if !(norms > 0.0 && norms.is_finite()) {
        return Err(GeometryError::Degenerate {
            what: "the product of two Gram matrices' norms".to_owned(),
            value: norms,
        });
    }
    Ok(dot(&k.values, &l.values)? / norms)
}
