//! The residual streams of all prompts of the bank, as one shared pass gives
//! them.

use std::ops::Range;
use std::rc::Rc;

use assay_decoder::Pack;
use assay_experiment::{ExperimentError, Session};
use assay_hook_site::BlockSite;
use assay_trace::Trace;
use candle_core::Tensor;
use nalgebra::DMatrix;

use crate::masks::{Pooled, Shape};
use crate::patch::matrix;

/// A position is massive if its residual stream is this many times as long as
/// the prompt's median one.
const MASSIVE: f64 = 10.0;

/// Residual streams before every block and after the last.
pub(crate) struct Streams {
    trace: Rc<Trace>,
    pack: Pack,
    n_layers: usize,
    massive: Vec<bool>,
}

/// Sites that [`Streams::of`] reads.
pub(crate) fn sites(n_layers: usize) -> [String; 2] {
    let last = BlockSite::ResidPost.at(n_layers - 1);
    ["blocks.*.hook_resid_pre".to_owned(), last.to_string()]
}

impl Streams {
    /// Reads the planned pass; positions are massive or not at block `l1`.
    pub(crate) fn of(
        session: &mut Session,
        pack: &Pack,
        shape: &Shape,
    ) -> Result<Self, ExperimentError> {
        let mut streams = Self {
            trace: session.trace(pack)?,
            pack: pack.clone(),
            n_layers: shape.n_layers,
            massive: Vec::new(),
        };
        let rows = matrix(streams.at(shape.l1)?)?;
        streams.massive = massive(&rows, pack.segments());
        Ok(streams)
    }

    pub(crate) fn n_layers(&self) -> usize {
        self.n_layers
    }

    pub(crate) fn segments(&self) -> &[Range<usize>] {
        self.pack.segments()
    }

    /// Before block `layer`, or after the last: [tokens, d_model].
    pub(crate) fn at(&self, layer: usize) -> Result<&Tensor, ExperimentError> {
        let site = if layer == self.n_layers {
            BlockSite::ResidPost.at(self.n_layers - 1)
        } else {
            BlockSite::ResidPre.at(layer)
        };
        Ok(self.trace.rows(site)?)
    }

    /// Is the position of this row massive?
    pub(crate) fn massive(&self, row: usize) -> bool {
        self.massive.get(row).copied().unwrap_or_default()
    }

    /// How many are.
    pub(crate) fn massive_positions(&self) -> usize {
        self.massive.iter().filter(|m| **m).count()
    }

    /// Mean of each prompt's rows that are wanted, [prompts, d]; of all where
    /// none is.
    pub(crate) fn mean(&self, rows: &DMatrix<f64>, want: impl Fn(usize) -> bool) -> DMatrix<f64> {
        let means = self.segments().iter().map(|segment| {
            let mut wanted: Vec<usize> = segment.clone().filter(|row| want(*row)).collect();
            if wanted.is_empty() {
                wanted = segment.clone().collect();
            }
            rows.select_rows(&wanted).row_mean()
        });
        DMatrix::from_rows(&means.collect::<Vec<_>>())
    }

    /// Both layers, pooled by mean and by last token; `sides` are the prompts
    /// of each pair, Chinese and English.
    pub(crate) fn pooled(
        &self,
        shape: &Shape,
        sides: &[(usize, usize)],
    ) -> Result<Vec<Pooled>, ExperimentError> {
        let mut pooled = Vec::new();
        let (zh, en): (Vec<usize>, Vec<usize>) = sides.iter().copied().unzip();
        for (layer_name, layer) in shape.layers() {
            let rows = matrix(self.at(layer)?)?;
            let last: Vec<usize> = self.segments().iter().map(|s| s.end - 1).collect();
            let kinds = [
                ("mean", self.mean(&rows, |_| true)),
                ("last", rows.select_rows(&last)),
            ];
            pooled.extend(kinds.map(|(pooling, rows)| Pooled {
                layer_name,
                layer,
                pooling,
                zh: rows.select_rows(&zh),
                en: rows.select_rows(&en),
            }));
        }
        Ok(pooled)
    }
}

/// Which rows are massive among those of their segment.
pub(crate) fn massive(rows: &DMatrix<f64>, segments: &[Range<usize>]) -> Vec<bool> {
    let norms: Vec<f64> = rows.row_iter().map(|r| r.norm()).collect();
    let mut massive = vec![false; norms.len()];
    for segment in segments {
        let mut sorted = norms[segment.clone()].to_vec();
        sorted.sort_by(f64::total_cmp);
        let limit = MASSIVE * sorted[sorted.len() / 2];
        for row in segment.clone() {
            massive[row] = norms[row] > limit;
        }
    }
    massive
}
