//! What each block adds to the residual stream, inside Z and outside
//! (METHODS §5 B).

use assay_experiment::ExperimentError;
use assay_geometry::Subspace;
use assay_record::Sample;
use assay_stats::stream;
use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::masks::RANDOM;
use crate::patch::matrix;
use crate::streams::Streams;

/// Norms of rows' parts in a subspace and of the rest.
fn parts(rows: &DMatrix<f64>, z: &Subspace) -> Vec<(f64, f64)> {
    let inside = rows * z.basis().transpose();
    let both = rows.row_iter().zip(inside.row_iter());
    both.map(|(row, part)| {
        let (whole, part) = (row.norm_squared(), part.norm_squared());
        (part.sqrt(), (whole - part).max(0.0).sqrt())
    })
    .collect()
}

/// Writes the decomposition into the samples of the prompts, and the ratios of
/// random subspaces into the model's.
pub(crate) fn measure(
    streams: &Streams,
    z: &Subspace,
    seed: u64,
    samples: &mut [Sample],
    model: &mut Sample,
) -> Result<(), ExperimentError> {
    let blocks = streams.n_layers();
    let kinds = ["update", "update-token", "update-bare"];
    // [kind][prompt][block] (in Z, outside).
    let mut found = vec![vec![Vec::with_capacity(blocks); samples.len()]; kinds.len()];
    let mut random = vec![vec![0.0; blocks]; RANDOM];
    let subspaces: Vec<Subspace> = (0..RANDOM)
        .map(|n| {
            let mut draws = stream(seed, &format!("z-causality/update/{n}"));
            Subspace::random(z.k(), z.d(), &mut draws)
        })
        .collect::<Result<_, _>>()
        .map_err(|e| failed(&e))?;
    for block in 0..blocks {
        let added = matrix(&(streams.at(block + 1)? - streams.at(block)?)?)?;
        let pooled = streams.mean(&added, |_| true);
        let bare = streams.mean(&added, |row| !streams.massive(row));
        for (kind, rows) in [(0, &pooled), (2, &bare)] {
            for (prompt, norms) in parts(rows, z).into_iter().enumerate() {
                found[kind][prompt].push(norms);
            }
        }
        let tokens = parts(&added, z);
        for (prompt, segment) in streams.segments().iter().enumerate() {
            let n = segment.len() as f64;
            let rows = tokens[segment.clone()].iter();
            let (inside, outside) = rows.fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
            found[1][prompt].push((inside / n, outside / n));
        }
        let ratios: Vec<f64> = subspaces
            .par_iter()
            .map(|p| {
                let (inside, outside) = parts(&pooled, p)
                    .into_iter()
                    .fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
                inside / outside
            })
            .collect();
        for (row, ratio) in random.iter_mut().zip(ratios) {
            row[block] = ratio;
        }
    }
    for (kind, by_prompt) in kinds.iter().zip(found) {
        for (sample, norms) in samples.iter_mut().zip(by_prompt) {
            let (inside, outside) = norms.into_iter().unzip();
            sample.series(&format!("{kind}.z.by-block"), inside)?;
            sample.series(&format!("{kind}.perp.by-block"), outside)?;
        }
    }
    Ok(model.series("update.random", random.concat())?)
}

fn failed(reason: &assay_geometry::GeometryError) -> ExperimentError {
    ExperimentError::Statistic {
        what: "random subspaces beside the updates".to_owned(),
        reason: reason.to_string(),
    }
}
