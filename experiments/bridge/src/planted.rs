//! Which bridges can so many pairs show? Planted ones are looked for.

use assay_geometry::{Bridge, Fit, GeometryError, Subspace, normals, r2_left_out};
use assay_stats::stream;
use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::measure::ridge;

/// Planted bridges of each kind.
pub(crate) const PLANTED: usize = 40;
/// Shuffled pairings that each is set beside: more than all of them is p = .05.
const SHUFFLED: usize = 19;

/// What was found of planted bridges of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recovery {
    /// Share of bridges whose R², one pair left out, is above that of all
    /// shuffled pairings.
    pub(crate) power: f64,
    /// Mean R² by ridge, one pair left out.
    pub(crate) ridge: f64,
    /// The same by least squares.
    pub(crate) least_squares: f64,
    /// Mean of |W - R| / |R| of the rotation found.
    pub(crate) rotation_error: f64,
}

/// Pairs y = x R + noise, with R a rotation and noise that leaves `r2`.
fn pair(
    n: usize,
    k: usize,
    r2: f64,
    seed: u64,
    name: &str,
) -> Result<[DMatrix<f64>; 3], GeometryError> {
    let mut draws = stream(seed, name);
    let rotation = Subspace::random(k, k, &mut draws)?.basis().clone();
    let x = DMatrix::from_row_slice(n, k, &normals(n * k, &mut draws));
    let noise = DMatrix::from_row_slice(n, k, &normals(n * k, &mut draws));
    let y = &x * &rotation + noise * ((1.0 - r2) / r2).sqrt();
    Ok([x, y, rotation])
}

/// Looks for planted bridges with `n` pairs in `k` dimensions.
pub(crate) fn recovery(n: usize, k: usize, r2: f64, seed: u64) -> Result<Recovery, GeometryError> {
    let one = |i: usize| -> Result<[f64; 4], GeometryError> {
        let name = format!("bridge/planted/{n}/{k}/{r2}/{i}");
        let [x, y, rotation] = pair(n, k, r2, seed, &name)?;
        let fit = if n > k + 1 {
            Fit::LeastSquares
        } else {
            ridge()
        };
        let found = r2_left_out(&x, &y, &fit)?;
        let mut draws = stream(seed, &format!("{name}/shuffled"));
        let mut above = true;
        for _ in 0..SHUFFLED {
            let order = shuffled(n, &mut draws);
            above &= found > r2_left_out(&x, &y.select_rows(&order), &fit)?;
        }
        let ridge = r2_left_out(&x, &y, &ridge())?;
        let plain = r2_left_out(&x, &y, &Fit::LeastSquares)?;
        let turned = Bridge::fit(&x, &y, &Fit::Procrustes)?.map;
        let error = (turned - &rotation).norm() / rotation.norm();
        Ok([f64::from(u8::from(above)), ridge, plain, error])
    };
    let all: Vec<[f64; 4]> = (0..PLANTED)
        .into_par_iter()
        .map(one)
        .collect::<Result<_, _>>()?;
    let mean = |at: usize| all.iter().map(|v| v[at]).sum::<f64>() / PLANTED as f64;
    Ok(Recovery {
        power: mean(0),
        ridge: mean(1),
        least_squares: mean(2),
        rotation_error: mean(3),
    })
}

/// A random order of 0..n.
pub(crate) fn shuffled(n: usize, draws: &mut rand_chacha::ChaCha20Rng) -> Vec<usize> {
    use rand_chacha::rand_core::RngCore;
    let keys: Vec<u64> = (0..n).map(|_| draws.next_u64()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|i| keys[*i]);
    order
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::recovery;

    #[test]
    fn many_pairs_show_a_bridge_and_few_do_not() {
        let many = recovery(100, 5, 0.8, 1).unwrap();
        assert!(many.power > 0.95, "{many:?}");
        assert!((many.ridge - 0.8).abs() < 0.05, "{many:?}");
        assert!(many.rotation_error < 0.2, "{many:?}");
        // A true bridge with as many unknowns as pairs: least squares says no.
        let few = recovery(12, 10, 0.8, 1).unwrap();
        assert!(few.least_squares < 0.0, "{few:?}");
        assert!(few.ridge > few.least_squares);
    }
}
