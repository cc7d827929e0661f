//! The maximum mean discrepancy between two clouds under a Gaussian kernel with
//! a length of its own in every dimension, and its gradient.
//!
//! MMD² is the mean of k(x_i, x_j) over i ≠ j, and of k(y_i, y_j), less twice
//! the mean of k(x_i, y_j): the unbiased estimate (Gretton et al. 2012, Lemma
//! 6), with k(x, y) = exp(-½ Σ_j w_j (x_j - y_j)²) and w_j = 1/ℓ_j².
//!
//! With all rows u of both clouds, C the factors above and G = C ∘ K, the
//! derivative by w_j is -½ Σ_ab G_ab (u_aj - u_bj)², which is
//! -(Σ_a g_a u_aj² - Σ_a u_aj (G U)_aj) with g the row sums of G: two products
//! of matrices, and no loop over pairs of rows and dimensions.

use nalgebra::{DMatrix, DVector, RealField};

use crate::GeometryError;

/// Two clouds as the discrepancy reads them. Distances do not depend on where
/// the clouds lie, so they are kept about their common mean, which leaves f32
/// its digits.
#[derive(Debug, Clone)]
pub struct TwoClouds<T> {
    rows: DMatrix<T>,    // [n + m, d]
    squares: DMatrix<T>, // [n + m, d]
    n: usize,
}

/// A number that kernels are computed in.
pub trait Precision: RealField + Copy {
    /// Rounded from f64.
    fn from_f64_rounded(value: f64) -> Self;
    /// Widened.
    fn widened(self) -> f64;
}

impl Precision for f32 {
    fn from_f64_rounded(value: f64) -> Self {
        value as f32
    }
    fn widened(self) -> f64 {
        f64::from(self)
    }
}

impl Precision for f64 {
    fn from_f64_rounded(value: f64) -> Self {
        value
    }
    fn widened(self) -> f64 {
        self
    }
}

impl<T: Precision> TwoClouds<T> {
    /// From rows x [n, d] and y [m, d].
    ///
    /// # Errors
    /// Fewer than two points in a cloud, other widths, a coordinate that is
    /// not finite.
    pub fn new(x: &DMatrix<f64>, y: &DMatrix<f64>) -> Result<Self, GeometryError> {
        if x.ncols() != y.ncols() {
            return Err(GeometryError::Length {
                what: "widths of two clouds",
                left: x.ncols(),
                right: y.ncols(),
            });
        }
        let (n, m) = (x.nrows(), y.nrows());
        if n < 2 || m < 2 {
            return Err(GeometryError::Degenerate {
                what: "the number of points of a cloud, of which an unbiased estimate needs two"
                    .to_owned(),
                value: n.min(m) as f64,
            });
        }
        if let Some(bad) = x.iter().chain(y.iter()).find(|v| !v.is_finite()) {
            return Err(GeometryError::Degenerate {
                what: "a coordinate of a cloud".to_owned(),
                value: *bad,
            });
        }
        let mut rows = DMatrix::zeros(n + m, x.ncols());
        rows.rows_mut(0, n).copy_from(x);
        rows.rows_mut(n, m).copy_from(y);
        let mean = rows.row_mean();
        for mut row in rows.row_iter_mut() {
            row -= &mean;
        }
        let rows = rows.map(T::from_f64_rounded);
        Ok(Self {
            squares: rows.component_mul(&rows),
            rows,
            n,
        })
    }

    /// Number of dimensions.
    #[must_use]
    pub fn d(&self) -> usize {
        self.rows.ncols()
    }

    /// The kernel of all rows with each other, [n + m, n + m].
    fn kernel(&self, weights: &[f64]) -> Result<DMatrix<T>, GeometryError> {
        if weights.len() != self.d() {
            return Err(GeometryError::Length {
                what: "weights and dimensions of the clouds",
                left: weights.len(),
                right: self.d(),
            });
        }
        if let Some(bad) = weights.iter().find(|w| !(**w >= 0.0 && w.is_finite())) {
            return Err(GeometryError::Degenerate {
                what: "the weight of a dimension".to_owned(),
                value: *bad,
            });
        }
        let mut scaled = self.rows.clone();
        for (mut column, weight) in scaled.column_iter_mut().zip(weights) {
            column *= T::from_f64_rounded(weight.sqrt());
        }
        let products = &scaled * scaled.transpose();
        let diagonal = products.diagonal();
        let half = T::from_f64_rounded(0.5);
        Ok(DMatrix::from_fn(
            products.nrows(),
            products.ncols(),
            |a, b| {
                let distance = diagonal[a] + diagonal[b] - products[(a, b)] - products[(a, b)];
                // Below 0 by rounding only.
                (-half * distance.max(T::zero())).exp()
            },
        ))
    }

    /// The factor of the kernel of rows a and b in the sum.
    fn factor(&self, a: usize, b: usize) -> f64 {
        let (n, m) = (self.n as f64, (self.rows.nrows() - self.n) as f64);
        match (a < self.n, b < self.n) {
            _ if a == b => 0.0,
            (true, true) => 1.0 / (n * (n - 1.0)),
            (false, false) => 1.0 / (m * (m - 1.0)),
            _ => -1.0 / (n * m),
        }
    }

    /// MMD² with weights w_j = 1/ℓ_j² [d].
    ///
    /// # Errors
    /// Another number of weights than of dimensions, a weight that is negative
    /// or not finite.
    pub fn mmd2(&self, weights: &[f64]) -> Result<f64, GeometryError> {
        let kernel = self.kernel(weights)?;
        Ok(self.sum(&kernel))
    }

    /// Sums in f64, whatever the kernel is computed in.
    fn sum(&self, kernel: &DMatrix<T>) -> f64 {
        let all = kernel.nrows();
        let mut sum = 0.0;
        for a in 0..all {
            for b in 0..all {
                sum += self.factor(a, b) * kernel[(a, b)].widened();
            }
        }
        sum
    }

    /// MMD² and its derivatives by the weights [d].
    ///
    /// # Errors
    /// As [`TwoClouds::mmd2`].
    pub fn mmd2_and_gradient(&self, weights: &[f64]) -> Result<(f64, Vec<f64>), GeometryError> {
        let kernel = self.kernel(weights)?;
        let value = self.sum(&kernel);
        let weighted = DMatrix::from_fn(kernel.nrows(), kernel.ncols(), |a, b| {
            T::from_f64_rounded(self.factor(a, b)) * kernel[(a, b)]
        });
        let sums: DVector<T> = weighted.column_sum();
        let own = self.squares.tr_mul(&sums);
        let crossed = &weighted * &self.rows;
        let gradient = (0..self.d()).map(|j| {
            let crossed = crossed.column(j).dot(&self.rows.column(j));
            (crossed - own[j]).widened()
        });
        Ok((value, gradient.collect()))
    }

    /// Share of the kernel's values between different points that are exactly
    /// 0 in this precision: where that is 1, the estimate is 0 and has no
    /// gradient (erratum E21).
    ///
    /// # Errors
    /// As [`TwoClouds::mmd2`].
    pub fn zero_share(&self, weights: &[f64]) -> Result<f64, GeometryError> {
        let kernel = self.kernel(weights)?;
        let zeros = kernel.iter().filter(|k| k.is_zero()).count();
        let all = kernel.nrows();
        Ok(zeros as f64 / (all * (all - 1)) as f64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::TwoClouds;
    use crate::normals;
    use assay_stats::stream;
    use nalgebra::DMatrix;

    fn cloud(n: usize, d: usize, name: &str) -> DMatrix<f64> {
        DMatrix::from_row_slice(n, d, &normals(n * d, &mut stream(7, name)))
    }

    fn weights(d: usize) -> Vec<f64> {
        (0..d).map(|j| 0.05 + 0.3 / (1 + j) as f64).collect()
    }

    /// The sums as they stand in the definition.
    fn brute(x: &DMatrix<f64>, y: &DMatrix<f64>, w: &[f64]) -> f64 {
        let k = |a: nalgebra::RowDVector<f64>, b: nalgebra::RowDVector<f64>| {
            let terms = a.iter().zip(b.iter()).zip(w);
            (-0.5 * terms.map(|((a, b), w)| w * (a - b).powi(2)).sum::<f64>()).exp()
        };
        let (n, m) = (x.nrows(), y.nrows());
        let row = |c: &DMatrix<f64>, i: usize| c.row(i).into_owned();
        let mut sum = 0.0;
        for i in 0..n {
            for j in 0..n {
                if i != j {
                    sum += k(row(x, i), row(x, j)) / (n * (n - 1)) as f64;
                }
            }
        }
        for i in 0..m {
            for j in 0..m {
                if i != j {
                    sum += k(row(y, i), row(y, j)) / (m * (m - 1)) as f64;
                }
            }
        }
        for i in 0..n {
            for j in 0..m {
                sum -= 2.0 * k(row(x, i), row(y, j)) / (n * m) as f64;
            }
        }
        sum
    }

    #[test]
    fn it_is_the_sum_of_the_definition() {
        let (x, y) = (cloud(5, 4, "x"), cloud(7, 4, "y").add_scalar(0.4));
        let w = weights(4);
        let expected = brute(&x, &y, &w);
        let clouds = TwoClouds::<f64>::new(&x, &y).unwrap();
        assert!((clouds.mmd2(&w).unwrap() - expected).abs() < 1e-13);
        // f32: sums of a few dozen kernels of order 1.
        let rough = TwoClouds::<f32>::new(&x, &y).unwrap();
        assert!((rough.mmd2(&w).unwrap() - expected).abs() < 1e-6);
        let far = TwoClouds::<f32>::new(&x.add_scalar(1e4), &y.add_scalar(1e4)).unwrap();
        assert!((far.mmd2(&w).unwrap() - expected).abs() < 1e-6);
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let (x, y) = (cloud(6, 5, "x"), cloud(4, 5, "y").add_scalar(0.4));
        let clouds = TwoClouds::<f64>::new(&x, &y).unwrap();
        let w = weights(5);
        let (value, gradient) = clouds.mmd2_and_gradient(&w).unwrap();
        assert_eq!(value, clouds.mmd2(&w).unwrap());
        for j in 0..5 {
            let at = |by: f64| {
                let mut w = w.clone();
                w[j] += by;
                clouds.mmd2(&w).unwrap()
            };
            // Central differences with this step are right to about 1e-10.
            let h = 1e-5;
            let found = (at(h) - at(-h)) / (2.0 * h);
            assert!(
                (gradient[j] - found).abs() < 1e-9,
                "{} {found}",
                gradient[j]
            );
        }
    }

    #[test]
    fn values_and_gradients_are_those_of_autograd() {
        let reference = include_str!("../../../golden/geometry/mmd.json");
        let reference: serde_json::Value = serde_json::from_str(reference).unwrap();
        let matrix = |value: &serde_json::Value| {
            let rows: Vec<Vec<f64>> = serde_json::from_value(value.clone()).unwrap();
            DMatrix::from_row_slice(rows.len(), rows[0].len(), &rows.concat())
        };
        for case in reference["cases"].as_array().unwrap() {
            let clouds = TwoClouds::<f64>::new(&matrix(&case["x"]), &matrix(&case["y"])).unwrap();
            let lengths: Vec<f64> = serde_json::from_value(case["log_lengths"].clone()).unwrap();
            let w: Vec<f64> = lengths.iter().map(|l| (-2.0 * l).exp()).collect();
            let (value, gradient) = clouds.mmd2_and_gradient(&w).unwrap();
            let expected = case["mmd2"].as_f64().unwrap();
            assert!((value - expected).abs() < 1e-13, "{value} {expected}");
            let by_log: Vec<f64> = serde_json::from_value(case["gradient"].clone()).unwrap();
            for ((g, w), expected) in gradient.iter().zip(&w).zip(by_log) {
                // d w / d log ℓ = -2 w.
                assert!((-2.0 * w * g - expected).abs() < 1e-13);
            }
        }
    }

    #[test]
    fn clouds_of_one_distribution_have_zero_on_average() {
        // 400 draws; the mean of an unbiased estimate lies within four of its
        // standard errors of 0 in all but one run of 16,000.
        let w = weights(3);
        let values: Vec<f64> = (0..400)
            .map(|i| {
                let (x, y) = (cloud(8, 3, &format!("a{i}")), cloud(6, 3, &format!("b{i}")));
                TwoClouds::<f64>::new(&x, &y).unwrap().mmd2(&w).unwrap()
            })
            .collect();
        let mean = values.iter().sum::<f64>() / 400.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 399.0;
        assert!(mean.abs() < 4.0 * (variance / 400.0).sqrt(), "{mean}");
        // Half of them are negative or nearly so: E18 feeds on that.
        assert!(values.iter().filter(|v| **v < 0.0).count() > 100);
    }

    #[test]
    fn a_wide_kernel_at_length_one_is_zero_in_f32() {
        let (x, y) = (cloud(8, 2048, "x"), cloud(8, 2048, "y"));
        let rough = TwoClouds::<f32>::new(&x, &y).unwrap();
        assert_eq!(rough.zero_share(&vec![1.0; 2048]).unwrap(), 1.0);
        assert_eq!(rough.mmd2(&vec![1.0; 2048]).unwrap(), 0.0);
        assert_eq!(rough.zero_share(&vec![1e-4; 2048]).unwrap(), 0.0);
    }

    #[test]
    fn what_is_no_cloud_is_refused() {
        let x = cloud(4, 3, "x");
        assert!(TwoClouds::<f64>::new(&x, &cloud(1, 3, "y")).is_err());
        assert!(TwoClouds::<f64>::new(&x, &cloud(4, 2, "y")).is_err());
        assert!(TwoClouds::<f64>::new(&x, &(x.clone() / 0.0)).is_err());
        let clouds = TwoClouds::<f64>::new(&x, &x).unwrap();
        assert!(clouds.mmd2(&[1.0, 1.0]).is_err());
        assert!(clouds.mmd2(&[1.0, 1.0, -1.0]).is_err());
        assert!(clouds.mmd2(&[1.0, 1.0, f64::INFINITY]).is_err());
    }
}
