use nalgebra::{DMatrix, SymmetricEigen};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;

use crate::GeometryError;

/// A subspace of the residual stream by an orthonormal basis.
#[derive(Debug, Clone, PartialEq)]
pub struct Subspace {
    basis: DMatrix<f64>, // [k, d]
}

impl Subspace {
    /// The span of some rows [k, d], which must be independent.
    ///
    /// # Errors
    /// No rows, more rows than columns, a value that is not finite, rows that
    /// depend on each other.
    pub fn spanning(rows: &DMatrix<f64>) -> Result<Self, GeometryError> {
        let (k, d) = rows.shape();
        if k == 0 || k > d {
            return Err(GeometryError::Length {
                what: "basis of a subspace: its rows and what they may at most be",
                left: k,
                right: d,
            });
        }
        if let Some(bad) = rows.iter().find(|v| !v.is_finite()) {
            return Err(GeometryError::Degenerate {
                what: "a value of a basis".to_owned(),
                value: *bad,
            });
        }
        let largest = rows.row_iter().map(|r| r.norm()).fold(0.0, f64::max);
        let qr = rows.transpose().qr();
        let r = qr.r();
        let least = (0..k)
            .map(|i| r[(i, i)].abs())
            .fold(f64::INFINITY, f64::min);
        // Beyond what rounding of a sum of d terms can do.
        if least <= largest * d as f64 * f64::EPSILON {
            return Err(GeometryError::Degenerate {
                what: "the part of a row of a basis that the rows before it do not have".to_owned(),
                value: least,
            });
        }
        Ok(Self {
            basis: qr.q().transpose(),
        })
    }

    /// A subspace of k dimensions in d, uniform over all of them (Haar): the
    /// span of k rows of independent normal deviates.
    ///
    /// # Errors
    /// k is 0 or above d.
    pub fn random(k: usize, d: usize, draws: &mut ChaCha20Rng) -> Result<Self, GeometryError> {
        Self::spanning(&DMatrix::from_row_slice(k, d, &normals(k * d, draws)))
    }

    /// Its dimension.
    #[must_use]
    pub fn k(&self) -> usize {
        self.basis.nrows()
    }

    /// The dimension of the space around it.
    #[must_use]
    pub fn d(&self) -> usize {
        self.basis.ncols()
    }

    /// Orthonormal rows [k, d].
    #[must_use]
    pub fn basis(&self) -> &DMatrix<f64> {
        &self.basis
    }

    /// Coordinates [n, k] of rows [n, d].
    ///
    /// # Errors
    /// Rows of another width.
    pub fn coordinates(&self, rows: &DMatrix<f64>) -> Result<DMatrix<f64>, GeometryError> {
        self.check(rows.ncols())?;
        Ok(rows * self.basis.transpose())
    }

    /// The rows' parts inside it: [n, d].
    ///
    /// # Errors
    /// Rows of another width.
    pub fn project(&self, rows: &DMatrix<f64>) -> Result<DMatrix<f64>, GeometryError> {
        Ok(self.coordinates(rows)? * &self.basis)
    }

    /// Norms of a row's part inside it and of the rest.
    ///
    /// # Errors
    /// A row of another width.
    pub fn split_norms(&self, row: &[f64]) -> Result<(f64, f64), GeometryError> {
        self.check(row.len())?;
        let row = DMatrix::from_row_slice(1, row.len(), row);
        let inside = self.project(&row)?;
        Ok((inside.norm(), (row - inside).norm()))
    }

    /// Mean squared cosine of the principal angles with another subspace, over
    /// the smaller number of dimensions: 1 if one lies in the other, about
    /// max(k, k')/d by chance.
    ///
    /// # Errors
    /// The spaces around them differ.
    pub fn similarity(&self, other: &Self) -> Result<f64, GeometryError> {
        self.check(other.d())?;
        let product = &self.basis * other.basis.transpose();
        Ok(product.norm_squared() / self.k().min(other.k()) as f64)
    }

    /// k random dimensions of what is orthogonal to it.
    ///
    /// # Errors
    /// Fewer than k dimensions are orthogonal to it.
    pub fn random_in_complement(
        &self,
        k: usize,
        draws: &mut ChaCha20Rng,
    ) -> Result<Self, GeometryError> {
        if k + self.k() > self.d() {
            return Err(GeometryError::Length {
                what: "dimensions of a complement: those asked for and those there are",
                left: k,
                right: self.d() - self.k(),
            });
        }
        let rows = DMatrix::from_row_slice(k, self.d(), &normals(k * self.d(), draws));
        let outside = &rows - self.project(&rows)?;
        Self::spanning(&outside)
    }

    /// A random subspace in which vectors of second moment `moment` (E[x xᵀ],
    /// see [`Moment`]) have the same root mean square size as in this one: the
    /// span of normal deviates whose covariance is a power of the moment, the
    /// power found by bisection.
    ///
    /// # Errors
    /// A moment of another width; no power from -3 to 8 gives that size within
    /// one part in a hundred.
    pub fn random_of_equal_size(
        &self,
        moment: &Moment,
        draws: &mut ChaCha20Rng,
    ) -> Result<Self, GeometryError> {
        self.check(moment.values.len())?;
        let wanted = moment.size_in(self);
        let white =
            DMatrix::from_row_slice(self.k(), self.d(), &normals(self.k() * self.d(), draws));
        let (mut low, mut high) = (-3.0, 8.0);
        let mut size = f64::NAN;
        // Thirty halvings leave less than what one part in a hundred needs.
        for _ in 0..30 {
            let power = f64::midpoint(low, high);
            let candidate = moment.coloured(&white, power)?;
            size = moment.size_in(&candidate);
            if (size / wanted - 1.0).abs() < 0.01 {
                return Ok(candidate);
            }
            if size < wanted {
                low = power;
            } else {
                high = power;
            }
        }
        Err(GeometryError::Degenerate {
            what: format!("the nearest size of random subspaces to the wanted {wanted}"),
            value: size,
        })
    }

    fn check(&self, width: usize) -> Result<(), GeometryError> {
        if width == self.d() {
            return Ok(());
        }
        Err(GeometryError::Length {
            what: "subspace and what is projected on it",
            left: self.d(),
            right: width,
        })
    }
}

/// The second moment E[x xᵀ] of some vectors, by its eigenvectors.
#[derive(Debug, Clone)]
pub struct Moment {
    values: Vec<f64>,
    vectors: DMatrix<f64>, // [d, d], a vector a column
}

impl Moment {
    /// Of rows [n, d].
    ///
    /// # Errors
    /// No rows; a value that is not finite.
    pub fn of(rows: &DMatrix<f64>) -> Result<Self, GeometryError> {
        if rows.is_empty() || rows.iter().any(|v| !v.is_finite()) {
            return Err(GeometryError::Degenerate {
                what: "the number of finite rows of a second moment".to_owned(),
                value: 0.0,
            });
        }
        let product = rows.tr_mul(rows) / rows.nrows() as f64;
        let eigen = SymmetricEigen::new(product);
        Ok(Self {
            values: eigen.eigenvalues.iter().map(|v| v.max(0.0)).collect(),
            vectors: eigen.eigenvectors,
        })
    }

    /// Root mean square size of the vectors' parts in a subspace.
    #[must_use]
    pub fn size_in(&self, subspace: &Subspace) -> f64 {
        let turned = subspace.basis() * &self.vectors;
        let columns = turned.column_iter().zip(&self.values);
        columns
            .map(|(c, v)| c.norm_squared() * v)
            .sum::<f64>()
            .sqrt()
    }

    /// The span of the k directions in which the vectors are largest.
    ///
    /// # Errors
    /// k is 0 or above the width.
    pub fn top(&self, k: usize) -> Result<Subspace, GeometryError> {
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.sort_by(|a, b| self.values[*b].total_cmp(&self.values[*a]));
        order.truncate(k);
        Subspace::spanning(&self.vectors.select_columns(&order).transpose())
    }

    /// The span of rows of deviates coloured by a power of the moment.
    fn coloured(&self, white: &DMatrix<f64>, power: f64) -> Result<Subspace, GeometryError> {
        let largest = self.values.iter().copied().fold(0.0, f64::max);
        let mut rows = white.clone();
        for (mut column, value) in rows.column_iter_mut().zip(&self.values) {
            // Directions that the vectors hardly have are not blown up.
            let relative = (value / largest).max(1e-6);
            column *= relative.powf(power / 2.0);
        }
        Subspace::spanning(&(rows * self.vectors.transpose()))
    }
}

/// Standard normal deviates (Box and Muller 1958).
#[must_use]
pub fn normals(n: usize, draws: &mut ChaCha20Rng) -> Vec<f64> {
    // In (0, 1]: the logarithm is finite.
    let mut unit = || ((draws.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (0..n)
        .map(|_| (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Moment, Subspace, normals};
    use assay_stats::stream;
    use nalgebra::DMatrix;

    #[test]
    fn parts_inside_and_outside_make_the_whole() {
        let mut draws = stream(1, "parts");
        let z = Subspace::random(5, 40, &mut draws).unwrap();
        let rows = DMatrix::from_row_slice(7, 40, &normals(280, &mut draws));
        let inside = z.project(&rows).unwrap();
        let outside = &rows - &inside;
        // Both are projections: P P = P, and nothing of one is in the other.
        assert!((z.project(&inside).unwrap() - &inside).norm() < 1e-12);
        assert!(z.project(&outside).unwrap().norm() < 1e-12);
        let (a, b) = z.split_norms(rows.row(0).transpose().as_slice()).unwrap();
        assert!((a * a + b * b - rows.row(0).norm_squared()).abs() < 1e-11);
    }

    #[test]
    fn similarity_of_itself_of_a_part_and_by_chance() {
        let mut draws = stream(2, "similarity");
        let z = Subspace::random(20, 400, &mut draws).unwrap();
        let part = Subspace::spanning(&z.basis().rows(0, 6).into_owned()).unwrap();
        assert!((z.similarity(&z).unwrap() - 1.0).abs() < 1e-12);
        assert!((z.similarity(&part).unwrap() - 1.0).abs() < 1e-12);
        let apart = z.random_in_complement(9, &mut draws).unwrap();
        assert!(z.similarity(&apart).unwrap() < 1e-24);
        // Mean k/d = .05; its standard deviation over pairs is about .0033.
        let other = Subspace::random(20, 400, &mut draws).unwrap();
        let chance = z.similarity(&other).unwrap();
        assert!((chance - 0.05).abs() < 0.02, "{chance}");
    }

    #[test]
    fn equal_size_is_found_where_sizes_differ_by_direction() {
        let mut draws = stream(3, "size");
        let mut rows = DMatrix::from_row_slice(200, 30, &normals(6000, &mut draws));
        for (j, mut column) in rows.column_iter_mut().enumerate() {
            column *= 1.0 / (1 + j) as f64;
        }
        let moment = Moment::of(&rows).unwrap();
        let mut first = DMatrix::zeros(3, 30);
        (0..3).for_each(|i| first[(i, i + 1)] = 1.0);
        let z = Subspace::spanning(&first).unwrap();
        let wanted = (rows.columns(1, 3).norm_squared() / 200.0).sqrt();
        assert!((moment.size_in(&z) - wanted).abs() < 1e-12);
        let top = moment.top(3).unwrap();
        assert!(moment.size_in(&top) > wanted);
        let other = z.random_of_equal_size(&moment, &mut draws).unwrap();
        assert!((moment.size_in(&other) / wanted - 1.0).abs() < 0.01);
        assert!(z.similarity(&other).unwrap() < 0.9);
    }

    #[test]
    fn what_is_no_basis_is_refused() {
        let twice = DMatrix::from_row_slice(2, 3, &[1.0, 2.0, 3.0, 2.0, 4.0, 6.0]);
        assert!(Subspace::spanning(&twice).is_err());
        assert!(Subspace::spanning(&DMatrix::zeros(4, 3)).is_err());
        assert!(Subspace::random(0, 3, &mut stream(4, "none")).is_err());
        let nan = DMatrix::from_row_slice(1, 2, &[f64::NAN, 1.0]);
        assert!(Subspace::spanning(&nan).is_err());
        let z = Subspace::random(2, 3, &mut stream(4, "wide")).unwrap();
        assert!(z.coordinates(&DMatrix::zeros(1, 4)).is_err());
        assert!(z.random_in_complement(2, &mut stream(4, "none")).is_err());
    }
}
