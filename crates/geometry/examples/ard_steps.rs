//! Times steps of the published ARD-MMD fit for `benches/ard.py`: 20 pairs of
//! 32 rows in 2048 dimensions, f32.
//!
//! Answers every line on standard input with the seconds that so many steps
//! took and the objective before the last of them, as JSON.

use std::io::BufRead;
use std::time::Instant;

use assay_geometry::{GeometryError, LengthFit, LengthSettings, TwoClouds};
use nalgebra::DMatrix;

/// The value that `benches/ard.py` puts there too: no generator is shared.
fn value(pair: usize, side: usize, i: usize, j: usize) -> f64 {
    let at = ((pair * 2 + side) * 32 + i) * 2048 + j;
    (at as f64 * 0.618_033_988_749_895).fract() * 2.0 - 1.0 + 0.1 * side as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cloud = |pair, side| DMatrix::from_fn(32, 2048, |i, j| value(pair, side, i, j));
    let pairs: Vec<TwoClouds<f32>> = (0..20)
        .map(|p| TwoClouds::new(&cloud(p, 0), &cloud(p, 1)))
        .collect::<Result<_, GeometryError>>()?;
    let settings = LengthSettings {
        lambda: 0.01,
        rate: 0.01,
        steps: (1000, 1000),
        plateau: (50, 0.0),
    };
    for line in std::io::stdin().lock().lines() {
        let steps: usize = line?.trim().parse()?;
        let mut fit = LengthFit::from(vec![3.0; 2048]);
        let started = Instant::now();
        for _ in 0..steps {
            fit.step(&pairs, &settings)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let objective = fit.objective.last().copied().unwrap_or_default();
        println!("{{\"seconds\": {seconds}, \"objective\": {objective}}}");
    }
    Ok(())
}
