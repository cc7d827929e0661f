//! What either objective recovers of planted dimensions: problems differ and
//! languages agree in k of them, languages differ in the others.

use assay_geometry::{
    ContrastSettings, GeometryError, LengthFit, LengthSettings, Subspace, auc, contrast,
    effective_number, normals,
};
use assay_stats::stream;
use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::clouds::Clouds;

const D: usize = 48;
const K: usize = 6;
const TOKENS: usize = 12;
/// Draws of each kind.
pub(crate) const DRAWS: usize = 6;

/// In which basis the planted dimensions lie, and in which they are looked
/// for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// On axes.
    Axes,
    /// On no axis, looked for on axes: relevance by dimension sees only axes.
    Rotated,
    /// On no axis, looked for in the planted basis, as Z's gives one.
    Found,
}

impl Basis {
    pub(crate) const ALL: [Basis; 3] = [Basis::Axes, Basis::Rotated, Basis::Found];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Basis::Axes => "axes",
            Basis::Rotated => "rotated",
            Basis::Found => "in-its-basis",
        }
    }
}

/// [AUC, effective number of dimensions] of the published objective and of the
/// audited one, means over draws.
pub(crate) fn recovery(
    basis: Basis,
    pairs: usize,
    noise: f64,
    seed: u64,
) -> Result<[f64; 4], GeometryError> {
    let one = |draw: usize| -> Result<[f64; 4], GeometryError> {
        let name = format!("ard/planted/{}/{pairs}/{noise}/{draw}", basis.name());
        let clouds = plant(basis, pairs, noise, seed, &name)?;
        let truth: Vec<bool> = (0..D).map(|j| j < K).collect();
        let all: Vec<usize> = (0..pairs).collect();
        // Published: from log ℓ that give the kernel some width.
        let mut fit = LengthFit::from(vec![(D as f64).sqrt().ln(); D]);
        let settings = LengthSettings {
            lambda: 0.01,
            rate: 0.01,
            steps: (300, 300),
            plateau: (50, 1e-4),
        };
        fit.run(&clouds.together::<f64>(&all)?, &settings, &mut |_| ())?;
        let published = fit.weights();
        let clouds = clouds.standardised();
        let settings = ContrastSettings {
            budget: 1.0,
            cap: 1.0 / K as f64,
            rate: 0.3,
            steps: 100,
            plateau: (20, 1e-4),
        };
        let audited = contrast(
            &clouds.together::<f64>(&all)?,
            &clouds.apart::<f64>(&all)?,
            &settings,
            &mut |_| (),
        )?;
        Ok([
            auc(&published, &truth)?,
            effective_number(&published)?,
            auc(&audited.weights, &truth)?,
            effective_number(&audited.weights)?,
        ])
    };
    let all: Vec<[f64; 4]> = (0..DRAWS)
        .into_par_iter()
        .map(one)
        .collect::<Result<_, _>>()?;
    let mut mean = [0.0; 4];
    for values in &all {
        mean.iter_mut()
            .zip(values)
            .for_each(|(m, v)| *m += v / DRAWS as f64);
    }
    Ok(mean)
}

/// Clouds in which problems differ and languages agree in the first `K`
/// dimensions of a basis; the language moves the others.
fn plant(
    basis: Basis,
    pairs: usize,
    noise: f64,
    seed: u64,
    name: &str,
) -> Result<Clouds, GeometryError> {
    let mut draws = stream(seed, name);
    let turn = Subspace::random(D, D, &mut draws)?.basis().clone();
    let language = normals(D, &mut draws);
    let (mut zh, mut en) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        let topic = normals(D, &mut draws);
        for (side, sign) in [(&mut zh, 1.0), (&mut en, -1.0)] {
            let own = normals(TOKENS * D, &mut draws);
            side.push(DMatrix::from_fn(TOKENS, D, |i, j| {
                let part = if j < K { topic[j] } else { sign * language[j] };
                part + noise * own[i * D + j]
            }));
        }
    }
    let clouds = Clouds { zh, en };
    Ok(match basis {
        Basis::Axes => clouds,
        Basis::Rotated => clouds.turned(&turn),
        Basis::Found => clouds.turned(&turn).turned(&turn.transpose()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Basis, K, recovery};

    #[test]
    fn the_audited_objective_finds_axes_and_not_rotations() {
        let [_, _, axes, effective] = recovery(Basis::Axes, 10, 0.5, 1).unwrap();
        assert!(axes > 0.95, "{axes}");
        assert!(effective > K as f64 - 1.5, "{effective}");
        let [_, _, rotated, _] = recovery(Basis::Rotated, 10, 0.5, 1).unwrap();
        assert!(rotated < 0.8, "{rotated}");
        let [_, _, found, _] = recovery(Basis::Found, 10, 0.5, 1).unwrap();
        assert!(found > 0.95, "{found}");
    }
}
