//! Instruments put to drawn data whose truth is known, over noise and sample
//! size. One sample a case, `{instrument}.n{n}.noise{noise}`: series `value`
//! over draws, and `passed`, the share of draws that pass the instrument's mark.
//!
//! - `dimensions`: problems differ and languages agree in 6 of 48 dimensions;
//!   AUC of the audited weights (n pairs)
//! - `mask`: keys read a plane of 8 of 96 dimensions, all weights with noise;
//!   mean squared cosine of the mask with it (n heads)
//! - `bridge`: y = x R + noise that leaves R² = 0.8 in 10 dimensions;
//!   |R² by leaving one out - 0.8| (n pairs)
//! - `rotation`: |W - R| / |R| by Procrustes (n pairs)
//! - `contraction`: rows of 16 and of 8 equal dimensions of 32;
//!   |log (ratio of the row-only participation ratios) - log (1/2)| (n rows)
//! - `cosine`: pairs of rows at cosine -0.6 beside a common mean; |found + 0.6|
//!   (n rows)

use assay_experiment::{ExperimentError, Session};
use assay_geometry::{
    Bridge, ContrastSettings, Fit, GeometryError, QueryKey, Subspace, TwoClouds, auc, contrast,
    matched_cosines, mean_row, normals, participation, r2_left_out,
};
use assay_record::Sample;
use assay_stats::stream;
use nalgebra::DMatrix;
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;

use crate::blank;

/// Draws of a case.
pub(crate) const DRAWS: usize = 20;

/// An instrument, what is planted for it, and what it must reach.
pub(crate) struct Instrument {
    pub(crate) name: &'static str,
    /// What is measured.
    pub(crate) measure: &'static str,
    /// What a sample is.
    pub(crate) of: &'static str,
    /// Is more better?
    pub(crate) up: bool,
    pub(crate) mark: f64,
    pub(crate) sizes: &'static [usize],
    pub(crate) noises: &'static [f64],
    /// The case that its claim is about.
    pub(crate) at: (usize, f64),
    one: fn(usize, f64, &mut ChaCha20Rng) -> Result<f64, GeometryError>,
}

/// All of them; marks are those of experiment.toml, which a test compares.
pub(crate) const INSTRUMENTS: [Instrument; 6] = [
    Instrument {
        name: "dimensions",
        measure: "AUC",
        of: "pairs",
        up: true,
        mark: 0.9,
        sizes: &[5, 10, 20],
        noises: &[0.5, 1.0, 2.0, 4.0, 8.0],
        at: (20, 0.5),
        one: dimensions,
    },
    Instrument {
        name: "mask",
        measure: "mean squared cosine",
        of: "heads",
        up: true,
        mark: 0.9,
        sizes: &[1, 4],
        noises: &[0.1, 0.25, 0.5, 1.0],
        at: (4, 0.25),
        one: mask,
    },
    Instrument {
        name: "bridge",
        measure: "error of R²",
        of: "pairs",
        up: false,
        mark: 0.05,
        sizes: &[20, 40, 80, 160],
        noises: &[0.5],
        at: (160, 0.5),
        one: bridge,
    },
    Instrument {
        name: "rotation",
        measure: "relative error",
        of: "pairs",
        up: false,
        mark: 0.2,
        sizes: &[20, 40, 80, 160],
        noises: &[0.25, 0.5, 1.0, 2.0],
        at: (160, 0.5),
        one: rotation,
    },
    Instrument {
        name: "contraction",
        measure: "error of the log ratio",
        of: "rows",
        up: false,
        mark: 0.1,
        sizes: &[20, 40, 80, 160],
        noises: &[0.1, 0.25, 0.5],
        at: (160, 0.25),
        one: contraction,
    },
    Instrument {
        name: "cosine",
        measure: "error of the cosine",
        of: "rows",
        up: false,
        mark: 0.05,
        sizes: &[20, 40, 80, 160],
        noises: &[0.1, 0.25, 0.5, 1.0],
        at: (160, 0.25),
        one: cosine,
    },
];

impl Instrument {
    /// Unit of a case's sample.
    pub(crate) fn unit(&self, n: usize, noise: f64) -> String {
        format!("{}.n{n}.noise{noise}", self.name)
    }

    pub(crate) fn passes(&self, value: f64) -> bool {
        if self.up {
            value >= self.mark
        } else {
            value <= self.mark
        }
    }
}

pub(crate) fn measure(session: &mut Session, seed: u64) -> Result<Vec<Sample>, ExperimentError> {
    let mut samples = Vec::new();
    let all: usize = (INSTRUMENTS.iter())
        .map(|i| i.sizes.len() * i.noises.len())
        .sum();
    for instrument in &INSTRUMENTS {
        for n in instrument.sizes {
            for noise in instrument.noises {
                session.progress("known-answers: planted", samples.len() as u64, all as u64);
                let unit = instrument.unit(*n, *noise);
                let one = |draw: usize| {
                    let mut draws = stream(seed, &format!("known-answers/{unit}/{draw}"));
                    (instrument.one)(*n, *noise, &mut draws)
                };
                let values: Result<Vec<f64>, GeometryError> =
                    (0..DRAWS).into_par_iter().map(one).collect();
                let values = values.map_err(|e| ExperimentError::Statistic {
                    what: unit.clone(),
                    reason: e.to_string(),
                })?;
                let passed = values.iter().filter(|v| instrument.passes(**v)).count();
                let mut sample = blank(&unit);
                sample.scalar("passed", passed as f64 / DRAWS as f64)?;
                sample.series("value", values)?;
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

fn matrix(rows: usize, columns: usize, draws: &mut ChaCha20Rng) -> DMatrix<f64> {
    DMatrix::from_row_slice(rows, columns, &normals(rows * columns, draws))
}

fn dimensions(pairs: usize, noise: f64, draws: &mut ChaCha20Rng) -> Result<f64, GeometryError> {
    const D: usize = 48;
    const K: usize = 6;
    const TOKENS: usize = 12;
    let language = normals(D, draws);
    let mut sides: [Vec<DMatrix<f64>>; 2] = Default::default();
    for _ in 0..pairs {
        let topic = normals(D, draws);
        for (side, sign) in sides.iter_mut().zip([1.0, -1.0]) {
            let own = matrix(TOKENS, D, draws) * noise;
            side.push(DMatrix::from_fn(TOKENS, D, |i, j| {
                own[(i, j)] + if j < K { topic[j] } else { sign * language[j] }
            }));
        }
    }
    // Every dimension at deviation 1.
    let rows = (2 * pairs * TOKENS) as f64;
    for j in 0..D {
        let all = || sides.iter().flatten().map(|m| m.column(j));
        let mean = all().map(|c| c.sum()).sum::<f64>() / rows;
        let squares: f64 = all().map(|c| c.map(|v| (v - mean).powi(2)).sum()).sum();
        let sd = (squares / rows).sqrt();
        for cloud in sides.iter_mut().flatten() {
            cloud.column_mut(j).apply(|v| *v = (*v - mean) / sd);
        }
    }
    let [zh, en] = &sides;
    let together = (0..pairs).map(|i| TwoClouds::<f64>::new(&zh[i], &en[i]));
    let apart = (0..pairs).map(|i| {
        let side = if i.is_multiple_of(2) { zh } else { en };
        TwoClouds::<f64>::new(&side[i], &side[(i + 1) % pairs])
    });
    let settings = ContrastSettings {
        budget: 1.0,
        cap: 1.0 / K as f64,
        rate: 0.3,
        steps: 100,
        plateau: (20, 1e-4),
    };
    let together: Vec<_> = together.collect::<Result<_, _>>()?;
    let apart: Vec<_> = apart.collect::<Result<_, _>>()?;
    let found = contrast(&together, &apart, &settings, &mut |_| ())?;
    let truth: Vec<bool> = (0..D).map(|j| j < K).collect();
    auc(&found.weights, &truth)
}

fn mask(heads: usize, noise: f64, draws: &mut ChaCha20Rng) -> Result<f64, GeometryError> {
    const D: usize = 96;
    const K: usize = 8;
    const D_HEAD: usize = 16;
    let plane = Subspace::random(K, D, draws)?;
    let rows = heads * D_HEAD;
    // Rows of unit length in the plane, and noise of that length all over.
    let read = matrix(rows, K, draws) * plane.basis() / (K as f64).sqrt();
    let keys = read + matrix(rows, D, draws) * (noise / (D as f64).sqrt());
    let weights = QueryKey {
        q: matrix(rows, D, draws),
        k: keys,
        d_head: D_HEAD,
    };
    weights.factorize()?.of_all_heads(K)?.similarity(&plane)
}

/// y = x R + noise, with R a rotation.
fn turned(
    n: usize,
    noise: f64,
    draws: &mut ChaCha20Rng,
) -> Result<[DMatrix<f64>; 3], GeometryError> {
    const K: usize = 10;
    let rotation = Subspace::random(K, K, draws)?.basis().clone();
    let x = matrix(n, K, draws);
    let y = &x * &rotation + matrix(n, K, draws) * noise;
    Ok([x, y, rotation])
}

/// With noise 0.5 R² is 1 / (1 + 0.25) = 0.8.
fn bridge(n: usize, noise: f64, draws: &mut ChaCha20Rng) -> Result<f64, GeometryError> {
    let [x, y, _] = turned(n, noise, draws)?;
    let planted = 1.0 / (1.0 + noise * noise);
    Ok((r2_left_out(&x, &y, &Fit::LeastSquares)? - planted).abs())
}

fn rotation(n: usize, noise: f64, draws: &mut ChaCha20Rng) -> Result<f64, GeometryError> {
    let [x, y, rotation] = turned(n, noise, draws)?;
    let found = Bridge::fit(&x, &y, &Fit::Procrustes)?.map;
    Ok((found - &rotation).norm() / rotation.norm())
}

fn contraction(n: usize, noise: f64, draws: &mut ChaCha20Rng) -> Result<f64, GeometryError> {
    const D: usize = 32;
    let turn = Subspace::random(D, D, draws)?.basis().clone();
    let mut ratio_of = |wide: usize| -> Result<f64, GeometryError> {
        let mut rows = matrix(n, D, draws);
        for j in wide..D {
            rows.column_mut(j).fill(0.0);
        }
        // The noise is as long as its share of a row.
        let rows = (rows + matrix(n, D, draws) * (noise / (D as f64).sqrt())) * &turn;
        let rows: Vec<Vec<f64>> = (rows.row_iter())
            .map(|r| r.iter().copied().collect())
            .collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        Ok(participation(&rows)?.row_only)
    };
    let ratio = ratio_of(8)? / ratio_of(16)?;
    Ok((ratio / 0.5).ln().abs())
}

fn cosine(n: usize, noise: f64, draws: &mut ChaCha20Rng) -> Result<f64, GeometryError> {
    const D: usize = 64;
    const PLANTED: f64 = -0.6;
    let (common_a, common_m) = (normals(D, draws), normals(D, draws));
    let mut sides: [Vec<Vec<f64>>; 2] = Default::default();
    for _ in 0..n {
        // b at right angles to a, and as long.
        let unit = |v: Vec<f64>| {
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.into_iter().map(|x| x / length).collect::<Vec<f64>>()
        };
        let a = unit(normals(D, draws));
        let b = normals(D, draws);
        let along: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
        let b = unit(b.iter().zip(&a).map(|(y, x)| y - along * x).collect());
        let m = a.iter().zip(&b);
        let m: Vec<f64> = m
            .map(|(x, y)| PLANTED * x + (1.0 - PLANTED * PLANTED).sqrt() * y)
            .collect();
        let width = (D as f64).sqrt();
        for (side, (own, common)) in sides.iter_mut().zip([(a, &common_a), (m, &common_m)]) {
            let extra = normals(D, draws);
            let row = own.iter().zip(common).zip(&extra);
            side.push(
                row.map(|((v, c), e)| v + c + noise * e / width / 2.0)
                    .collect(),
            );
        }
    }
    let [a, m] = sides
        .each_ref()
        .map(|s| s.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let found = matched_cosines((&a, &mean_row(&a)?), (&m, &mean_row(&m)?))?;
    Ok((found.own - PLANTED).abs())
}
