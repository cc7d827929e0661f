//! Optimal transport between two clouds of points with equal weights.

use nalgebra::DMatrix;

use crate::GeometryError;

/// A plan between two clouds.
#[derive(Debug, Clone)]
pub struct Transport {
    /// Mass from each point of the first cloud to each of the second, [n, m];
    /// all of it is 1.
    pub plan: DMatrix<f64>,
    /// Σ plan · squared distance.
    pub cost: f64,
    /// Largest difference of a row's mass from what it should be before the
    /// plan was rounded to exact marginals.
    pub marginal_error: f64,
    /// Iterations taken.
    pub iterations: usize,
}

/// Iterations at most at one scale, and the marginal error at which they end.
/// Clouds of few points with near ties end before that; what is missing then is
/// set right by rounding, as long as it is small.
const MOST_ITERATIONS: usize = 5_000;
const ENOUGH: f64 = 1e-9;
const SMALL: f64 = 1e-4;
/// The error that is enough on the way, at larger scales.
const ROUGH: f64 = 1e-4;

/// Squared Euclidean distances [n, m] of rows.
fn costs(x: &DMatrix<f64>, y: &DMatrix<f64>) -> DMatrix<f64> {
    let squares =
        |m: &DMatrix<f64>| -> Vec<f64> { m.row_iter().map(|r| r.norm_squared()).collect() };
    let (xx, yy) = (squares(x), squares(y));
    let xy = x * y.transpose();
    DMatrix::from_fn(x.nrows(), y.nrows(), |i, j| {
        // Not below 0 but by rounding.
        (xx[i] + yy[j] - 2.0 * xy[(i, j)]).max(0.0)
    })
}

fn check(x: &DMatrix<f64>, y: &DMatrix<f64>) -> Result<(), GeometryError> {
    if x.ncols() != y.ncols() || x.is_empty() || y.is_empty() {
        return Err(GeometryError::Length {
            what: "clouds of points: their widths, which must be equal and not 0",
            left: x.ncols(),
            right: y.ncols(),
        });
    }
    match x.iter().chain(y.iter()).find(|v| !v.is_finite()) {
        None => Ok(()),
        Some(bad) => Err(GeometryError::Degenerate {
            what: "a coordinate of a cloud".to_owned(),
            value: *bad,
        }),
    }
}

/// Entropic transport of squared distance between rows x [n, d] and y [m, d]
/// with uniform marginals (Cuturi 2013; Sinkhorn's iterations on logarithms,
/// Peyré and Cuturi 2019, section 4.4). `epsilon` is relative to the mean cost.
///
/// # Errors
/// Clouds of other widths or without points, a coordinate that is not finite,
/// an epsilon that is not above 0, clouds that are one point, iterations that
/// do not reach the marginals.
pub fn sinkhorn(
    x: &DMatrix<f64>,
    y: &DMatrix<f64>,
    epsilon: f64,
) -> Result<Transport, GeometryError> {
    check(x, y)?;
    let cost = costs(x, y);
    let scale = epsilon * cost.mean();
    if !(scale > 0.0 && scale.is_finite()) {
        return Err(GeometryError::Degenerate {
            what: "the entropic penalty in units of cost".to_owned(),
            value: scale,
        });
    }
    let (n, m) = cost.shape();
    // The plan is exp((f_i + g_j - cost_ij) / scale). Where a point lies far
    // from all but one, f and g are many scales apart and change by about one
    // an iteration: larger scales first, each from the potentials of the one
    // before (Schmitzer 2019).
    let (mut f, mut g) = (vec![0.0; n], vec![0.0; m]);
    let mut iterations = 0;
    let mut at = cost.max().max(scale);
    loop {
        let last = at <= scale;
        let (error, taken) = iterate(&cost, at, if last { ENOUGH } else { ROUGH }, &mut f, &mut g);
        iterations += taken;
        if last {
            if error >= SMALL {
                return Err(GeometryError::Degenerate {
                    what: format!("the marginal error of transport after {iterations} iterations"),
                    value: error,
                });
            }
            let plan = DMatrix::from_fn(n, m, |i, j| ((f[i] + g[j] - cost[(i, j)]) / scale).exp());
            let plan = rounded(plan);
            return Ok(Transport {
                cost: plan.dot(&cost),
                plan,
                marginal_error: error,
                iterations,
            });
        }
        at = (at / 2.0).max(scale);
    }
}

/// The plan with exact uniform marginals that is near one whose marginals are
/// nearly so (Altschuler, Weed and Rigollet 2017, algorithm 2).
fn rounded(mut plan: DMatrix<f64>) -> DMatrix<f64> {
    let (n, m) = plan.shape();
    let (a, b) = (1.0 / n as f64, 1.0 / m as f64);
    for mut row in plan.row_iter_mut() {
        let mass = row.sum();
        row *= (a / mass).min(1.0);
    }
    for mut column in plan.column_iter_mut() {
        let mass = column.sum();
        column *= (b / mass).min(1.0);
    }
    let rows: Vec<f64> = plan.row_iter().map(|r| a - r.sum()).collect();
    let columns: Vec<f64> = plan.column_iter().map(|c| b - c.sum()).collect();
    let missing: f64 = rows.iter().sum();
    if missing > 0.0 {
        for (i, row) in rows.iter().enumerate() {
            for (j, column) in columns.iter().enumerate() {
                plan[(i, j)] += row * column / missing;
            }
        }
    }
    plan
}

/// Sinkhorn's iterations at one scale, until the marginals are right to
/// `enough`; gives the error left and the number of iterations.
fn iterate(
    cost: &DMatrix<f64>,
    scale: f64,
    enough: f64,
    f: &mut [f64],
    g: &mut [f64],
) -> (f64, usize) {
    let (n, m) = cost.shape();
    let (log_a, log_b) = (-(n as f64).ln(), -(m as f64).ln());
    let of_row = |i: usize, g: &[f64]| log_sum_exp((0..m).map(|j| (g[j] - cost[(i, j)]) / scale));
    let mut error = f64::INFINITY;
    for iteration in 1..=MOST_ITERATIONS {
        for (i, f) in f.iter_mut().enumerate() {
            *f = scale * (log_a - of_row(i, g));
        }
        for (j, g) in g.iter_mut().enumerate() {
            let column = log_sum_exp((0..n).map(|i| (f[i] - cost[(i, j)]) / scale));
            *g = scale * (log_b - column);
        }
        // Columns are exact after their own turn: rows tell how far it is.
        error = (0..n)
            .map(|i| ((of_row(i, g) + f[i] / scale).exp() - 1.0 / n as f64).abs())
            .fold(0.0, f64::max);
        if error < enough {
            return (error, iteration);
        }
    }
    (error, MOST_ITERATIONS)
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = values.clone().fold(f64::NEG_INFINITY, f64::max);
    max + values.map(|v| (v - max).exp()).sum::<f64>().ln()
}

/// Under a plan [n, m], the mean of what is sent to each of n points:
/// [n, d] from source rows [m, d].
///
/// # Errors
/// A plan for another number of points; a point that gets nothing.
pub fn barycentric(
    plan: &DMatrix<f64>,
    source: &DMatrix<f64>,
) -> Result<DMatrix<f64>, GeometryError> {
    if plan.ncols() != source.nrows() {
        return Err(GeometryError::Length {
            what: "plan and source cloud",
            left: plan.ncols(),
            right: source.nrows(),
        });
    }
    let mut moved = plan * source;
    for (mut row, mass) in moved.row_iter_mut().zip(plan.row_iter().map(|r| r.sum())) {
        if mass <= 0.0 {
            return Err(GeometryError::Degenerate {
                what: "the mass that a point gets".to_owned(),
                value: mass,
            });
        }
        row /= mass;
    }
    Ok(moved)
}

/// The exact least cost Σ plan · squared distance between clouds with uniform
/// weights, by successive shortest paths over whole units: with n and m points
/// every point of the first cloud sends m units and every one of the second
/// gets n. For checks; the time grows with (n m)².
///
/// # Errors
/// As [`sinkhorn`], but for what concerns epsilon.
pub fn exact_cost(x: &DMatrix<f64>, y: &DMatrix<f64>) -> Result<f64, GeometryError> {
    check(x, y)?;
    let cost = costs(x, y);
    let (n, m) = cost.shape();
    let mut left = vec![m; n];
    let mut room = vec![n; m];
    let mut flow = DMatrix::<usize>::zeros(n, m);
    loop {
        // Bellman-Ford over points: forward edges cost, backward edges give
        // back what was sent.
        let mut to_x: Vec<f64> = left
            .iter()
            .map(|l| if *l > 0 { 0.0 } else { f64::INFINITY })
            .collect();
        let mut to_y = vec![f64::INFINITY; m];
        let (mut from_x, mut from_y) = (vec![None; n], vec![0; m]);
        let mut better = true;
        while better {
            better = false;
            for i in 0..n {
                for j in 0..m {
                    let forward = to_x[i] + cost[(i, j)];
                    // Rounding must not make a round trip look like a gain.
                    if forward < to_y[j] - 1e-12 * (1.0 + forward.abs()) {
                        (to_y[j], from_y[j], better) = (forward, i, true);
                    }
                    let back = to_y[j] - cost[(i, j)];
                    if flow[(i, j)] > 0 && back < to_x[i] - 1e-12 * (1.0 + back.abs()) {
                        (to_x[i], from_x[i], better) = (back, Some(j), true);
                    }
                }
            }
        }
        let open = (0..m).filter(|j| room[*j] > 0);
        let Some(end) = open.min_by(|a, b| to_y[*a].total_cmp(&to_y[*b])) else {
            break;
        };
        // How much the path carries, then send it.
        let mut path = Vec::new();
        let mut j = end;
        let start = loop {
            let i = from_y[j];
            path.push((i, j, true));
            match from_x[i] {
                None => break i,
                Some(before) => {
                    path.push((i, before, false));
                    j = before;
                }
            }
        };
        let back = path.iter().filter(|(_, _, forward)| !forward);
        let units = back
            .map(|(i, j, _)| flow[(*i, *j)])
            .min()
            .unwrap_or(usize::MAX);
        let units = units.min(left[start]).min(room[end]);
        for (i, j, forward) in path {
            if forward {
                flow[(i, j)] += units;
            } else {
                flow[(i, j)] -= units;
            }
        }
        left[start] -= units;
        room[end] -= units;
    }
    let sent = flow.iter().zip(cost.iter()).map(|(f, c)| *f as f64 * c);
    Ok(sent.sum::<f64>() / (n * m) as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{barycentric, exact_cost, sinkhorn};
    use crate::normals;
    use assay_stats::stream;
    use nalgebra::DMatrix;

    fn cloud(n: usize, d: usize, name: &str) -> DMatrix<f64> {
        DMatrix::from_row_slice(n, d, &normals(n * d, &mut stream(1, name)))
    }

    #[test]
    fn costs_and_plans_are_those_of_python_optimal_transport() {
        let reference = include_str!("../../../golden/geometry/transport.json");
        let reference: serde_json::Value = serde_json::from_str(reference).unwrap();
        let matrix = |value: &serde_json::Value| {
            let rows: Vec<Vec<f64>> = serde_json::from_value(value.clone()).unwrap();
            DMatrix::from_row_slice(rows.len(), rows[0].len(), &rows.concat())
        };
        let cases = reference["cases"].as_array().unwrap();
        assert!(cases.len() >= 4);
        for case in cases {
            let (x, y) = (matrix(&case["x"]), matrix(&case["y"]));
            let exact = case["exact_cost"].as_f64().unwrap();
            let found = exact_cost(&x, &y).unwrap();
            // A vertex of the polytope: the same sum in another order.
            assert!((found / exact - 1.0).abs() < 1e-12, "{found} {exact}");
            let epsilon = case["epsilon"].as_f64().unwrap();
            let transport = sinkhorn(&x, &y, epsilon).unwrap();
            let expected = case["sinkhorn_cost"].as_f64().unwrap();
            // Both stop when marginals are right to about 1e-9.
            let relative = transport.cost / expected - 1.0;
            assert!(relative.abs() < 1e-6, "{} {expected}", transport.cost);
            let plan = matrix(&case["plan"]);
            assert!((&transport.plan - plan).abs().max() < 1e-7);
            assert!(transport.cost >= exact * (1.0 - 1e-12));
        }
    }

    #[test]
    fn marginals_hold_and_a_small_epsilon_nears_the_exact_cost() {
        let (x, y) = (cloud(6, 3, "x"), cloud(9, 3, "y"));
        let exact = exact_cost(&x, &y).unwrap();
        let mut last = f64::INFINITY;
        for epsilon in [1.0, 0.1, 0.02] {
            let t = sinkhorn(&x, &y, epsilon).unwrap();
            let rows = t.plan.row_iter().map(|r| (r.sum() - 1.0 / 6.0).abs());
            let columns = t.plan.column_iter().map(|c| (c.sum() - 1.0 / 9.0).abs());
            assert!(rows.chain(columns).fold(0.0, f64::max) < 1e-15);
            assert!(t.cost >= exact && t.cost < last);
            last = t.cost;
        }
        assert!(last / exact < 1.02, "{last} {exact}");
    }

    #[test]
    fn a_cloud_goes_to_itself_point_by_point() {
        let x = cloud(5, 4, "self");
        assert!(exact_cost(&x, &x).unwrap().abs() < 1e-12);
        let moved = barycentric(&sinkhorn(&x, &x, 0.01).unwrap().plan, &x).unwrap();
        assert!((moved - x).abs().max() < 1e-3);
    }

    #[test]
    fn a_large_epsilon_sends_the_mean() {
        let (x, y) = (cloud(4, 3, "x"), cloud(5, 3, "y"));
        let moved = barycentric(&sinkhorn(&x, &y, 1e9).unwrap().plan, &y).unwrap();
        let mean = y.row_mean();
        assert!(moved.row_iter().all(|r| (r - &mean).abs().max() < 1e-4));
    }

    #[test]
    fn points_far_from_the_rest_are_reached() {
        // One point a thousand times as far as the others are apart, and
        // unequal masses: without larger scales first 20,000 iterations end
        // far from the marginals.
        let (mut x, mut y) = (cloud(40, 3, "x"), cloud(53, 3, "y"));
        x[(0, 0)] += 1000.0;
        y[(0, 0)] += 1000.0;
        let t = sinkhorn(&x, &y, 0.05).unwrap();
        assert!(t.marginal_error < 1e-9);
        assert!(t.iterations < 20_000, "{}", t.iterations);
        assert!((t.plan[(0, 0)] - 1.0 / 53.0).abs() < 2e-6);
    }

    #[test]
    fn what_is_no_cloud_is_refused() {
        let (x, y) = (cloud(4, 3, "x"), cloud(5, 2, "y"));
        assert!(sinkhorn(&x, &y, 0.1).is_err());
        assert!(sinkhorn(&x, &x, 0.0).is_err());
        assert!(sinkhorn(&x, &x, f64::NAN).is_err());
        assert!(sinkhorn(&DMatrix::zeros(0, 3), &x, 0.1).is_err());
        let point = DMatrix::from_element(3, 2, 1.0);
        assert!(sinkhorn(&point, &point, 0.1).is_err());
        assert!(barycentric(&DMatrix::zeros(3, 4), &x).is_err());
        assert!(barycentric(&DMatrix::zeros(3, 3), &cloud(4, 3, "x")).is_err());
    }
}
