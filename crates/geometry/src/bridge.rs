//! A linear map from one language's coordinates to the other's, and how well it
//! predicts pairs that it has not seen (METHODS §7).
//!
//! Rows are pairs: y ≈ x W + b with x, y [N, k]. R² = 1 - Σ|y_i - ŷ_i|² /
//! Σ|y_i - ȳ|²; leaving out, each ŷ_i and ȳ come from the others.

use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::GeometryError;

/// How the map is fitted.
#[derive(Debug, Clone, PartialEq)]
pub enum Fit {
    /// Least squares; of the solutions the one of least norm where there are
    /// more unknowns than pairs.
    LeastSquares,
    /// Ridge with a penalty chosen among these, in units of the mean
    /// eigenvalue of the centred xᵀx, by leaving one out of those it is fitted
    /// to.
    Ridge(Vec<f64>),
    /// A rotation or reflection, and nothing else (orthogonal Procrustes).
    Procrustes,
}

/// A fitted map.
#[derive(Debug, Clone, PartialEq)]
pub struct Bridge {
    /// [k, k].
    pub map: DMatrix<f64>,
    /// [1, k].
    pub offset: DMatrix<f64>,
}

impl Bridge {
    /// Fits y [n, k'] to x [n, k].
    ///
    /// # Errors
    /// Fewer than two pairs, other numbers of rows, a value that is not
    /// finite; a rotation between spaces of other widths; no penalties.
    pub fn fit(x: &DMatrix<f64>, y: &DMatrix<f64>, fit: &Fit) -> Result<Self, GeometryError> {
        check(x, y)?;
        let (x_mean, y_mean) = (row_mean(x), row_mean(y));
        let (xc, yc) = (less(x, &x_mean), less(y, &y_mean));
        let map = match fit {
            Fit::LeastSquares => Thin::of(&xc)?.solve(&yc, 0.0),
            Fit::Ridge(penalties) => ridge(&xc, &yc, penalties)?,
            Fit::Procrustes => procrustes(&xc, &yc)?,
        };
        Ok(Self {
            offset: y_mean - x_mean * &map,
            map,
        })
    }

    /// Predictions for rows x [n, k].
    #[must_use]
    pub fn predict(&self, x: &DMatrix<f64>) -> DMatrix<f64> {
        let mut y = x * &self.map;
        for mut row in y.row_iter_mut() {
            row += &self.offset.row(0);
        }
        y
    }

    /// ‖WᵀW - I‖_F / k: 0 for a rotation, 1/√k for the map to zero.
    #[must_use]
    pub fn orthogonality_error(&self) -> f64 {
        let k = self.map.ncols();
        (self.map.tr_mul(&self.map) - DMatrix::identity(k, k)).norm() / k as f64
    }

    /// Singular values of the map, descending.
    #[must_use]
    pub fn singular_values(&self) -> Vec<f64> {
        let mut values: Vec<f64> = self.map.singular_values().iter().copied().collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values
    }
}

fn row_mean(x: &DMatrix<f64>) -> DMatrix<f64> {
    DMatrix::from_rows(&[x.row_mean()])
}

fn less(x: &DMatrix<f64>, mean: &DMatrix<f64>) -> DMatrix<f64> {
    let mut x = x.clone();
    for mut row in x.row_iter_mut() {
        row -= &mean.row(0);
    }
    x
}

fn check(x: &DMatrix<f64>, y: &DMatrix<f64>) -> Result<(), GeometryError> {
    if x.nrows() != y.nrows() || x.nrows() < 2 || x.ncols() == 0 || y.ncols() == 0 {
        return Err(GeometryError::Length {
            what: "pairs of a bridge: its sides, which must be as many and at least two",
            left: x.nrows(),
            right: y.nrows(),
        });
    }
    match x.iter().chain(y.iter()).find(|v| !v.is_finite()) {
        None => Ok(()),
        Some(bad) => Err(GeometryError::Degenerate {
            what: "a coordinate of a bridge".to_owned(),
            value: *bad,
        }),
    }
}

/// x = u diag(values) v_t, thin.
struct Thin {
    u: DMatrix<f64>,
    values: Vec<f64>,
    v_t: DMatrix<f64>,
}

impl Thin {
    fn of(x: &DMatrix<f64>) -> Result<Self, GeometryError> {
        let svd = x.clone().svd(true, true);
        match (svd.u, svd.v_t) {
            (Some(u), Some(v_t)) => Ok(Self {
                u,
                values: svd.singular_values.iter().copied().collect(),
                v_t,
            }),
            _ => Err(no_vectors()),
        }
    }

    /// Minimum-norm solution of x W = y, with `penalty` on |W|².
    fn solve(&self, y: &DMatrix<f64>, penalty: f64) -> DMatrix<f64> {
        let mut turned = self.u.tr_mul(y);
        for (mut row, factor) in turned.row_iter_mut().zip(self.factors(penalty)) {
            row *= factor;
        }
        self.v_t.tr_mul(&turned)
    }

    /// s/(s² + penalty), and 0 where s is rounding: as NumPy's lstsq tells it.
    fn factors(&self, penalty: f64) -> impl Iterator<Item = f64> {
        let largest = self.values.iter().copied().fold(0.0, f64::max);
        let longer = self.u.nrows().max(self.v_t.ncols()) as f64;
        let least = largest * f64::EPSILON * longer;
        let factor = move |s: &f64| {
            if *s > least {
                s / (s * s + penalty)
            } else {
                0.0
            }
        };
        self.values.iter().map(factor)
    }

    /// Σ of squared errors of ridge on centred data, each row left out, by the
    /// formula e_i / (1 - h_i) with h the hat matrix's diagonal, the
    /// intercept's 1/n in it.
    fn left_out(&self, y: &DMatrix<f64>, penalty: f64) -> Vec<f64> {
        let n = y.nrows() as f64;
        let mut scaled = self.u.clone();
        let factors = self.factors(penalty).zip(&self.values);
        for (mut column, (factor, s)) in scaled.column_iter_mut().zip(factors) {
            column *= factor * s;
        }
        let residual = y - &scaled * self.u.tr_mul(y);
        let rows = residual.row_iter().enumerate();
        rows.map(|(i, row)| {
            let h = 1.0 / n + scaled.row(i).dot(&self.u.row(i));
            row.norm_squared() / (1.0 - h).max(f64::EPSILON).powi(2)
        })
        .collect()
    }
}

fn no_vectors() -> GeometryError {
    GeometryError::Degenerate {
        what: "the number of singular vectors of a bridge".to_owned(),
        value: 0.0,
    }
}

/// Penalty by leaving one out, then the fit on all.
fn ridge(
    x: &DMatrix<f64>,
    y: &DMatrix<f64>,
    penalties: &[f64],
) -> Result<DMatrix<f64>, GeometryError> {
    let unit = x.norm_squared() / x.ncols() as f64;
    let thin = Thin::of(x)?;
    let error = |penalty: &f64| thin.left_out(y, penalty * unit).iter().sum::<f64>();
    let best = penalties
        .iter()
        .min_by(|a, b| error(a).total_cmp(&error(b)));
    let best = best.ok_or_else(|| GeometryError::Degenerate {
        what: "the number of penalties to choose from".to_owned(),
        value: 0.0,
    })?;
    Ok(thin.solve(y, best * unit))
}

/// The orthogonal W nearest to carrying centred x to centred y (Schönemann
/// 1966).
fn procrustes(x: &DMatrix<f64>, y: &DMatrix<f64>) -> Result<DMatrix<f64>, GeometryError> {
    if x.ncols() != y.ncols() {
        return Err(GeometryError::Length {
            what: "widths of the two sides of a rotation",
            left: x.ncols(),
            right: y.ncols(),
        });
    }
    let svd = x.tr_mul(y).svd(true, true);
    match (svd.u, svd.v_t) {
        (Some(u), Some(v_t)) => Ok(u * v_t),
        _ => Err(no_vectors()),
    }
}

/// R² of predictions: 1 - Σ|y - ŷ|² / Σ|y - ȳ|².
///
/// # Errors
/// As [`Bridge::fit`]; an y that does not vary.
pub fn r2_in_sample(x: &DMatrix<f64>, y: &DMatrix<f64>, fit: &Fit) -> Result<f64, GeometryError> {
    let bridge = Bridge::fit(x, y, fit)?;
    let error = (y - bridge.predict(x)).norm_squared();
    share(error, less(y, &row_mean(y)).norm_squared())
}

fn share(error: f64, whole: f64) -> Result<f64, GeometryError> {
    if whole <= 0.0 {
        return Err(GeometryError::Degenerate {
            what: "the variance that a bridge is to explain".to_owned(),
            value: whole,
        });
    }
    Ok(1.0 - error / whole)
}

/// Leave-one-out R² = 1 - Σ|y_i - ŷ_-i|² / Σ|y_i - ȳ_-i|², map and intercept
/// refitted without the pair. Least squares with more pairs than unknowns goes
/// by the hat matrix; all else is refitted.
///
/// # Errors
/// As [`Bridge::fit`]; fewer than three pairs.
pub fn r2_left_out(x: &DMatrix<f64>, y: &DMatrix<f64>, fit: &Fit) -> Result<f64, GeometryError> {
    let each: Vec<usize> = (0..x.nrows()).collect();
    if *fit == Fit::LeastSquares && x.nrows() > x.ncols() + 1 {
        check(x, y)?;
        let n = x.nrows() as f64;
        let (xc, yc) = (less(x, &row_mean(x)), less(y, &row_mean(y)));
        let error = Thin::of(&xc)?.left_out(&yc, 0.0).iter().sum();
        // y_i - ȳ_-i is the centred y_i times n/(n - 1).
        let whole = yc.norm_squared() * (n / (n - 1.0)).powi(2);
        return share(error, whole);
    }
    r2_by_groups(x, y, &each, fit)
}

/// R² with whole groups left out: `groups` says which one a pair belongs to.
///
/// # Errors
/// As [`left_out`].
pub fn r2_by_groups(
    x: &DMatrix<f64>,
    y: &DMatrix<f64>,
    groups: &[usize],
    fit: &Fit,
) -> Result<f64, GeometryError> {
    let left_out = left_out(x, y, groups, fit)?;
    share(left_out.errors.iter().sum(), left_out.whole.iter().sum())
}

/// Squared errors of each pair by a map that was fitted without its group.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftOut {
    /// |y_i - ŷ_i|².
    pub errors: Vec<f64>,
    /// |y_i - ȳ|², ȳ without the group.
    pub whole: Vec<f64>,
}

/// Leaves out one group after the other.
///
/// # Errors
/// As [`Bridge::fit`]; fewer than two pairs outside a group.
pub fn left_out(
    x: &DMatrix<f64>,
    y: &DMatrix<f64>,
    groups: &[usize],
    fit: &Fit,
) -> Result<LeftOut, GeometryError> {
    check(x, y)?;
    if groups.len() != x.nrows() {
        return Err(GeometryError::Length {
            what: "groups and pairs of a bridge",
            left: groups.len(),
            right: x.nrows(),
        });
    }
    let mut names: Vec<usize> = groups.to_vec();
    names.sort_unstable();
    names.dedup();
    let parts: Vec<Vec<(usize, f64, f64)>> = names
        .into_par_iter()
        .map(|name| {
            let rows = |inside: bool| -> Vec<usize> {
                let all = 0..groups.len();
                all.filter(|i| (groups[*i] == name) == inside).collect()
            };
            let (out, rest) = (rows(true), rows(false));
            let (x_rest, y_rest) = (x.select_rows(&rest), y.select_rows(&rest));
            let bridge = Bridge::fit(&x_rest, &y_rest, fit)?;
            let y_out = y.select_rows(&out);
            let error = &y_out - bridge.predict(&x.select_rows(&out));
            let whole = less(&y_out, &row_mean(&y_rest));
            let each = out.iter().zip(error.row_iter().zip(whole.row_iter()));
            Ok(each
                .map(|(i, (e, w))| (*i, e.norm_squared(), w.norm_squared()))
                .collect())
        })
        .collect::<Result<_, GeometryError>>()?;
    let mut found = LeftOut {
        errors: vec![0.0; groups.len()],
        whole: vec![0.0; groups.len()],
    };
    for (i, error, whole) in parts.into_iter().flatten() {
        found.errors[i] = error;
        found.whole[i] = whole;
    }
    Ok(found)
}

/// Leave-one-out R² of least squares without intercept for no more pairs than
/// unknowns, by e_i = (K⁻¹Y)_i / (K⁻¹)_ii with K = x xᵀ.
///
/// # Errors
/// As [`Bridge::fit`]; rows that depend on each other.
pub fn r2_left_out_by_gram(x: &DMatrix<f64>, y: &DMatrix<f64>) -> Result<f64, GeometryError> {
    check(x, y)?;
    let n = x.nrows() as f64;
    let inverse = (x * x.transpose())
        .try_inverse()
        .ok_or_else(|| GeometryError::Degenerate {
            what: "the determinant of the Gram matrix of a bridge".to_owned(),
            value: 0.0,
        })?;
    let scaled = &inverse * y;
    let errors = scaled
        .row_iter()
        .enumerate()
        .map(|(i, row)| row.norm_squared() / inverse[(i, i)].powi(2));
    let whole = less(y, &row_mean(y)).norm_squared() * (n / (n - 1.0)).powi(2);
    share(errors.sum(), whole)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Bridge, Fit, r2_by_groups, r2_in_sample, r2_left_out, r2_left_out_by_gram};
    use crate::{Subspace, normals};
    use assay_stats::stream;
    use nalgebra::DMatrix;

    fn random(n: usize, k: usize, name: &str) -> DMatrix<f64> {
        DMatrix::from_row_slice(n, k, &normals(n * k, &mut stream(11, name)))
    }

    /// Pairs linked by a rotation, noise on top.
    fn planted(n: usize, k: usize, noise: f64) -> (DMatrix<f64>, DMatrix<f64>, DMatrix<f64>) {
        let rotation = Subspace::random(k, k, &mut stream(12, "rotation")).unwrap();
        let rotation = rotation.basis().clone();
        let x = random(n, k, "x").add_scalar(0.7);
        let y = (&x * &rotation).add_scalar(-0.3) + random(n, k, "noise") * noise;
        (x, y, rotation)
    }

    fn ridge() -> Fit {
        Fit::Ridge(vec![1e-6, 1e-3, 1e-2, 0.1, 1.0, 10.0])
    }

    #[test]
    fn a_planted_rotation_is_found_by_all_fits() {
        let (x, y, rotation) = planted(200, 6, 0.0);
        for fit in [Fit::LeastSquares, Fit::Procrustes] {
            let bridge = Bridge::fit(&x, &y, &fit).unwrap();
            assert!((&bridge.map - &rotation).abs().max() < 1e-10, "{fit:?}");
            assert!(bridge.orthogonality_error() < 1e-10);
            assert!((r2_left_out(&x, &y, &fit).unwrap() - 1.0).abs() < 1e-12);
        }
        let rough = Bridge::fit(&x, &y, &ridge()).unwrap();
        assert!((&rough.map - &rotation).abs().max() < 1e-4);
        let zero = Bridge {
            map: DMatrix::zeros(16, 16),
            offset: DMatrix::zeros(1, 16),
        };
        assert_eq!(zero.orthogonality_error(), 0.25);
    }

    #[test]
    fn r2_is_what_the_noise_leaves() {
        // y = x R + noise of variance 1/4 a coordinate: R² = 1/(1 + 1/4).
        let (x, y, _) = planted(4000, 4, 0.5);
        let found = r2_left_out(&x, &y, &Fit::LeastSquares).unwrap();
        // Its standard error over 16,000 coordinates is about .003.
        assert!((found - 0.8).abs() < 0.012, "{found}");
        let found = r2_left_out(
            &x.rows(0, 60).into_owned(),
            &y.rows(0, 60).into_owned(),
            &Fit::Procrustes,
        );
        assert!((found.unwrap() - 0.8).abs() < 0.1);
    }

    #[test]
    fn formulas_are_what_refitting_gives() {
        let (x, y, _) = planted(15, 6, 0.8);
        let each: Vec<usize> = (0..15).collect();
        let by_formula = r2_left_out(&x, &y, &Fit::LeastSquares).unwrap();
        let by_refit = r2_by_groups(&x, &y, &each, &Fit::LeastSquares).unwrap();
        assert!(
            (by_formula - by_refit).abs() < 1e-10,
            "{by_formula} {by_refit}"
        );
        // No more pairs than unknowns, without intercept.
        let (x, y) = (random(7, 12, "few"), random(7, 3, "targets"));
        let by_gram = r2_left_out_by_gram(&x, &y).unwrap();
        let (mut error, mut whole) = (0.0, 0.0);
        for i in 0..7 {
            let rest: Vec<usize> = (0..7).filter(|j| *j != i).collect();
            let (xr, yr) = (x.select_rows(&rest), y.select_rows(&rest));
            let map = super::Thin::of(&xr).unwrap().solve(&yr, 0.0);
            error += (y.row(i) - x.row(i) * map).norm_squared();
            whole += (y.row(i) - yr.row_mean()).norm_squared();
        }
        assert!((by_gram - (1.0 - error / whole)).abs() < 1e-9);
    }

    #[test]
    fn values_are_those_of_numpy() {
        let reference = include_str!("../../../golden/geometry/bridge.json");
        let reference: serde_json::Value = serde_json::from_str(reference).unwrap();
        let matrix = |value: &serde_json::Value| {
            let rows: Vec<Vec<f64>> = serde_json::from_value(value.clone()).unwrap();
            DMatrix::from_row_slice(rows.len(), rows[0].len(), &rows.concat())
        };
        for case in reference["cases"].as_array().unwrap() {
            let (x, y) = (matrix(&case["x"]), matrix(&case["y"]));
            for (name, fit) in [("ols", Fit::LeastSquares), ("procrustes", Fit::Procrustes)] {
                let check = |what: &str, found: f64| {
                    let expected = case[name][what].as_f64().unwrap();
                    // Sums of a few hundred products; the least singular value
                    // is a tenth of the largest or more.
                    let near = (found - expected).abs() < 1e-9 * (1.0 + expected.abs());
                    assert!(near, "{name} {what}: {found} {expected}");
                };
                check("r2", r2_in_sample(&x, &y, &fit).unwrap());
                check("loo", r2_left_out(&x, &y, &fit).unwrap());
                let bridge = Bridge::fit(&x, &y, &fit).unwrap();
                check("orthogonality", bridge.orthogonality_error());
                let sum: f64 = bridge.singular_values().iter().sum();
                check("singular_sum", sum);
            }
        }
    }

    #[test]
    fn more_unknowns_than_pairs_fit_anything_and_predict_nothing() {
        // Erratum E19: N = 20, k = 50, no relation at all.
        let (x, y) = (random(20, 50, "a"), random(20, 50, "b"));
        let inside = r2_in_sample(&x, &y, &Fit::LeastSquares).unwrap();
        assert!((inside - 1.0).abs() < 1e-10);
        assert!(r2_left_out(&x, &y, &Fit::LeastSquares).unwrap() < 0.0);
        let (x, y, _) = planted(20, 18, 0.3);
        // And near N = k a true bridge looks like none.
        assert!(r2_left_out(&x, &y, &Fit::LeastSquares).unwrap() < 0.0);
        let shown = r2_left_out(
            &planted(400, 18, 0.3).0,
            &planted(400, 18, 0.3).1,
            &Fit::LeastSquares,
        );
        assert!(shown.unwrap() > 0.85);
    }

    #[test]
    fn ridge_chooses_a_penalty_that_helps() {
        let (x, y, _) = planted(20, 18, 0.5);
        let plain = r2_left_out(&x, &y, &Fit::LeastSquares).unwrap();
        let kept = r2_left_out(&x, &y, &ridge()).unwrap();
        assert!(kept > plain + 0.1, "{kept} {plain}");
    }

    #[test]
    fn groups_are_left_out_whole() {
        let (x, y, _) = planted(30, 3, 0.2);
        let groups: Vec<usize> = (0..30).map(|i| i / 10).collect();
        let found = r2_by_groups(&x, &y, &groups, &Fit::LeastSquares).unwrap();
        assert!(found > 0.8 && found < 1.0);
        assert!(r2_by_groups(&x, &y, &groups[..5], &Fit::LeastSquares).is_err());
        assert!(r2_by_groups(&x, &y, &[0; 30], &Fit::LeastSquares).is_err());
    }

    #[test]
    fn what_is_no_bridge_is_refused() {
        let x = random(5, 3, "x");
        assert!(Bridge::fit(&x, &random(4, 3, "y"), &Fit::LeastSquares).is_err());
        assert!(Bridge::fit(&x, &random(5, 2, "y"), &Fit::Procrustes).is_err());
        assert!(Bridge::fit(&x, &random(5, 2, "y"), &Fit::Ridge(Vec::new())).is_err());
        assert!(Bridge::fit(&(&x / 0.0), &x, &Fit::LeastSquares).is_err());
        assert!(r2_in_sample(&x, &DMatrix::zeros(5, 3), &Fit::LeastSquares).is_err());
    }
}
