//! Interchange intervention training (Geiger et al. 2022, "Inducing Causal
//! Structure for Interpretable Neural Networks"): a model is trained so that a
//! chosen subspace of one block's input holds a chosen variable, here the
//! number that is the answer. Whatever is put into the subspace from another
//! problem must then change the number and nothing else; whatever is put into
//! the complement must change how it is written and nothing else.

use std::path::Path;

use assay_decoder::{Decoder, NoHooks, Pack};
use assay_geometry::Subspace;
use assay_stats::stream;
use candle_core::{D, DType, Device, Tensor};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use crate::{Batch, TrainError};

/// What a recipe says of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InterchangeSpec {
    /// Dimensions of the subspace.
    pub dimensions: usize,
    /// The block whose input it is a subspace of.
    pub block: usize,
    /// Weight of the swaps' loss beside that of the text.
    pub weight: f64,
    /// Seed of the subspace, which is drawn at random.
    pub seed: u64,
}

impl InterchangeSpec {
    /// The subspace.
    ///
    /// # Errors
    /// More dimensions than the model has.
    pub fn subspace(&self, d_model: usize) -> Result<Subspace, TrainError> {
        let mut draws = stream(self.seed, "interchange/subspace");
        let subspace = Subspace::random(self.dimensions, d_model, &mut draws);
        subspace.map_err(|e| TrainError::Batch {
            reason: format!("has no subspace to swap: {e}"),
        })
    }
}

/// File in a model's folder that holds a [`HeldSubspace`].
pub(crate) const HELD: &str = "subspace.json";

/// The subspace that a model was trained to hold its answers in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldSubspace {
    /// The block whose input it is a subspace of.
    pub block: usize,
    /// [k][d_model], orthonormal.
    pub basis: Vec<Vec<f64>>,
}

impl HeldSubspace {
    pub(crate) fn new(spec: &InterchangeSpec, d_model: usize) -> Result<Self, TrainError> {
        let subspace = spec.subspace(d_model)?;
        let rows = subspace.basis().row_iter();
        Ok(Self {
            block: spec.block,
            basis: rows.map(|r| r.iter().copied().collect()).collect(),
        })
    }

    /// Of the model in a folder, whose residual stream is `d_model` wide, the
    /// block and the subspace; nothing where it was not trained so.
    ///
    /// # Errors
    /// A file that cannot be read, is another, or is of another model.
    pub fn read(folder: &Path, d_model: usize) -> Result<Option<(usize, Subspace)>, TrainError> {
        let path = folder.join(HELD);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
        let wrong = |reason: String| TrainError::State {
            path: path.clone(),
            reason,
        };
        let held: Self = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if let Some(row) = held.basis.iter().find(|row| row.len() != d_model) {
            let width = row.len();
            return Err(wrong(format!(
                "a row of its basis has {width} entries, and the model is {d_model} wide"
            )));
        }
        let basis = DMatrix::from_row_slice(held.basis.len(), d_model, &held.basis.concat());
        let subspace = Subspace::spanning(&basis).map_err(|e| wrong(e.to_string()))?;
        Ok(Some((held.block, subspace)))
    }
}

/// One position's residual stream put into another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swap {
    /// Sequence and position that receive.
    pub base: (usize, usize),
    /// Sequence and position that give.
    pub source: (usize, usize),
    /// Is it the part in the subspace that is put, and not the other?
    pub inside: bool,
    /// The token that then is to follow.
    pub target: u32,
}

/// A subspace that is to hold the answers.
pub struct Interchange {
    pub(crate) block: usize,
    pub(crate) weight: f64,
    /// [d_model, d_model].
    projector: Tensor,
}

impl Interchange {
    /// A recipe's.
    ///
    /// # Errors
    /// As [`InterchangeSpec::subspace`].
    pub fn new(spec: &InterchangeSpec, d_model: usize, dtype: DType) -> Result<Self, TrainError> {
        let basis = spec.subspace(d_model)?;
        let basis = basis.basis();
        let projector = basis.transpose() * basis;
        let values: Vec<f64> = projector.iter().copied().collect();
        let projector = Tensor::from_vec(values, (d_model, d_model), &Device::Cpu)?;
        Ok(Self {
            block: spec.block,
            weight: spec.weight,
            projector: projector.to_dtype(dtype)?,
        })
    }

    /// The residual stream with every swap done; nothing if there are none.
    pub(crate) fn put(
        &self,
        x: &Tensor,
        pack: &Pack,
        swaps: &[Swap],
    ) -> Result<Option<Tensor>, TrainError> {
        if swaps.is_empty() {
            return Ok(None);
        }
        let rows = |of: fn(&Swap) -> (usize, usize)| -> Result<Tensor, TrainError> {
            let rows: Vec<u32> = swaps.iter().map(|s| row(pack, of(s))).collect();
            Ok(Tensor::new(rows, x.device())?)
        };
        let (base, source) = (rows(|s| s.base)?, rows(|s| s.source)?);
        let all = (x.index_select(&source, 0)? - x.index_select(&base, 0)?)?;
        let inside = all.matmul(&self.projector.to_device(x.device())?)?;
        let mask: Vec<u32> = swaps.iter().map(|s| u32::from(s.inside)).collect();
        let mask = Tensor::from_vec(mask, (swaps.len(), 1), x.device())?;
        let mask = mask.broadcast_as(all.shape())?;
        let change = mask.where_cond(&inside, &(all - &inside)?)?;
        Ok(Some(x.index_add(&base, &change, 0)?))
    }

    /// Shares of a batch's swaps, inside and outside, after which the most
    /// likely token is the one that is to follow.
    ///
    /// # Errors
    /// Whatever a pass can say.
    pub fn accuracy(&self, decoder: &Decoder, batch: &Batch) -> Result<[f64; 2], TrainError> {
        let inputs: Vec<Vec<u32>> = batch.ids.clone();
        let pack = Pack::new(&inputs)?;
        let x = decoder.embed(&pack, &mut NoHooks)?;
        let x = decoder.run_blocks(&pack, 0..self.block, &x, &mut NoHooks)?;
        let Some(x) = self.put(&x, &pack, &batch.swaps)? else {
            return Ok([0.0; 2]);
        };
        let layers = decoder.config().n_layers;
        let x = decoder.run_blocks(&pack, self.block..layers, &x, &mut NoHooks)?;
        let (rows, targets) = bases(&pack, &batch.swaps);
        let x = x.index_select(&Tensor::new(rows, x.device())?, 0)?;
        let found = decoder.logits(&x)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let mut right = [0.0; 2];
        let mut all = [0.0; 2];
        for ((swap, found), target) in batch.swaps.iter().zip(found).zip(targets) {
            let side = usize::from(!swap.inside);
            all[side] += 1.0;
            right[side] += f64::from(u8::from(found == target));
        }
        Ok([0, 1].map(|side| right[side] / f64::max(all[side], 1.0)))
    }
}

/// The row of a pack that a position of a sequence is.
fn row(pack: &Pack, (sequence, position): (usize, usize)) -> u32 {
    let start = pack.segments().get(sequence).map_or(0, |s| s.start);
    u32::try_from(start + position).unwrap_or(u32::MAX)
}

/// Rows that receive, and the tokens that are to follow them.
pub(crate) fn bases(pack: &Pack, swaps: &[Swap]) -> (Vec<u32>, Vec<u32>) {
    (swaps.iter())
        .map(|s| (row(pack, s.base), s.target))
        .unzip()
}
