//! Activations of both languages as clouds of rows.

use assay_experiment::{ExperimentError, Session, Tokenised};
use assay_geometry::{QueryKey, TwoClouds};
use assay_hook_site::BlockSite;
use assay_trace::Trace;
use candle_core::{DType, Tensor};
use nalgebra::DMatrix;

/// Rows of a cloud at most: about what the published prompts had.
const ROWS: usize = 32;

/// Both sides of the pairs, a matrix [tokens, d] each.
pub(crate) struct Clouds {
    pub(crate) zh: Vec<DMatrix<f64>>,
    pub(crate) en: Vec<DMatrix<f64>>,
}

impl Clouds {
    /// Before block `layer`; `sides` are (Chinese, English) prompts. The last
    /// positions of each prompt, as many as published; a token that begins
    /// every prompt is left out: it is the same row in both clouds.
    pub(crate) fn before(
        trace: &Trace,
        layer: usize,
        sides: &[(usize, usize)],
        tokens: &Tokenised,
    ) -> Result<Self, ExperimentError> {
        let at = |i: usize| {
            let rows = trace.prompt(BlockSite::ResidPre.at(layer), i)?;
            let all = rows.dim(0)?;
            let kept = (all - tokens.ids[i].special).min(ROWS);
            matrix(&rows.narrow(0, all - kept, kept)?)
        };
        Ok(Self {
            zh: sides
                .iter()
                .map(|(zh, _)| at(*zh))
                .collect::<Result<_, _>>()?,
            en: sides
                .iter()
                .map(|(_, en)| at(*en))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn d(&self) -> usize {
        self.zh.first().map_or(0, DMatrix::ncols)
    }

    fn rows(&self) -> impl Iterator<Item = &DMatrix<f64>> {
        self.zh.iter().chain(&self.en)
    }

    /// Mean and standard deviation of each dimension over all rows; a deviation
    /// of 0 is given as 1.
    fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        let d = self.d();
        let (mut n, mut sum, mut squares) = (0.0, vec![0.0; d], vec![0.0; d]);
        for rows in self.rows() {
            n += rows.nrows() as f64;
            for (j, column) in rows.column_iter().enumerate() {
                sum[j] += column.sum();
                squares[j] += column.norm_squared();
            }
        }
        let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
        let spread = squares.iter().zip(&mean).map(|(s, m)| {
            let variance = s / n - m * m;
            if variance > 0.0 { variance.sqrt() } else { 1.0 }
        });
        (mean.clone(), spread.collect())
    }

    /// Variance of each dimension over all rows.
    pub(crate) fn variances(&self) -> Vec<f64> {
        self.moments().1.iter().map(|s| s * s).collect()
    }

    /// With every dimension at mean 0 and deviation 1.
    pub(crate) fn standardised(&self) -> Self {
        let (mean, spread) = self.moments();
        let of = |rows: &DMatrix<f64>| {
            DMatrix::from_fn(rows.nrows(), rows.ncols(), |i, j| {
                (rows[(i, j)] - mean[j]) / spread[j]
            })
        };
        Self {
            zh: self.zh.iter().map(of).collect(),
            en: self.en.iter().map(of).collect(),
        }
    }

    /// In another basis, a row a direction.
    pub(crate) fn turned(&self, basis: &DMatrix<f64>) -> Self {
        let of = |rows: &DMatrix<f64>| rows * basis.transpose();
        Self {
            zh: self.zh.iter().map(of).collect(),
            en: self.en.iter().map(of).collect(),
        }
    }

    /// Clouds of some pairs' two languages.
    pub(crate) fn together<T: assay_geometry::Precision>(
        &self,
        pairs: &[usize],
    ) -> Result<Vec<TwoClouds<T>>, assay_geometry::GeometryError> {
        let all = pairs.iter();
        all.map(|i| TwoClouds::new(&self.zh[*i], &self.en[*i]))
            .collect()
    }

    /// Clouds of different problems in one language: each with the next, in
    /// Chinese and in English by turns.
    pub(crate) fn apart<T: assay_geometry::Precision>(
        &self,
        pairs: &[usize],
    ) -> Result<Vec<TwoClouds<T>>, assay_geometry::GeometryError> {
        let n = pairs.len();
        (0..n)
            .map(|at| {
                let (i, j) = (pairs[at], pairs[(at + 1) % n]);
                let side = if at.is_multiple_of(2) {
                    &self.zh
                } else {
                    &self.en
                };
                TwoClouds::new(&side[i], &side[j])
            })
            .collect()
    }
}

/// Rows [n, d] as an f64 matrix.
pub(crate) fn matrix(rows: &Tensor) -> Result<DMatrix<f64>, ExperimentError> {
    let (n, d) = rows.dims2()?;
    let values: Vec<f64> = rows.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    Ok(DMatrix::from_row_slice(n, d, &values))
}

/// What the queries and keys of a layer are made of.
pub(crate) fn query_key(session: &Session, layer: usize) -> Result<QueryKey, ExperimentError> {
    let readers = session.decoder()?.readers(layer)?.ok_or_else(|| {
        session.unsuitable("has no query and key matrices of their own behind a norm without bias")
    })?;
    Ok(QueryKey {
        q: matrix(&readers.q)?,
        k: matrix(&readers.k)?,
        d_head: session.config().d_head,
    })
}
