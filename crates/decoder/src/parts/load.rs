//! Where the tensors of a model come from as its parts are built: the files,
//! or nowhere, when only their names and shapes are wanted.

use std::sync::{Arc, Mutex};

use assay_checkpoint::Weights;
use candle_core::{DType, Device, Tensor};

use super::linear::{Linear, Matrix};
use crate::{DecoderError, Variables};

/// What a stored tensor is to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorKind {
    /// A row per token or position: [rows, d].
    Embedding,
    /// A weight matrix, [out, in].
    OutIn,
    /// A weight matrix, [in, out] (GPT-2).
    InOut,
    /// A norm's gain: [d].
    Gain,
    /// A bias: [d].
    Bias,
}

/// A tensor that a config calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// As transformers writes it.
    pub name: String,
    /// As stored.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: TensorKind,
}

/// Where parts take their tensors from, and how they keep them.
pub(crate) struct Load<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
    /// Keep the blocks of quantised matrices instead of widening them.
    pub(crate) as_stored: bool,
    /// Leave matrices in the order of their file. For one pass over a streamed
    /// block, turning [out, in] round costs more than it saves.
    pub(crate) in_file_order: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Files(&'a Weights),
    Variables(&'a Variables),
    /// Notes what is asked for, and gives tensors that take no memory.
    Listing(&'a Mutex<Vec<TensorSpec>>),
}

/// What holds the tensors of a model for as long as it lives.
#[derive(Clone)]
pub(crate) enum Stored {
    Files(Arc<Weights>),
    Variables(Arc<Variables>),
}

impl Stored {
    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Stored::Files(weights) => Source::Files(weights),
            Stored::Variables(variables) => Source::Variables(variables),
        }
    }
}

impl Load<'_> {
    /// A tensor kept in the order in which it is stored.
    pub(crate) fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        kind: TensorKind,
    ) -> Result<Tensor, DecoderError> {
        match self.source {
            Source::Files(weights) => Ok(weights.tensor(name, shape, self.dtype, self.device)?),
            Source::Variables(variables) => variables.get(name, shape),
            Source::Listing(list) => self.note(list, name, shape, kind),
        }
    }

    /// As [`Load::tensor`], of at least f32: what norms are made of.
    pub(crate) fn wide_tensor(
        &self,
        name: &str,
        shape: &[usize],
        kind: TensorKind,
    ) -> Result<Tensor, DecoderError> {
        let dtype = self.wide_dtype();
        Load { dtype, ..*self }.tensor(name, shape, kind)
    }

    /// The type that norms are computed in.
    pub(crate) fn wide_dtype(&self) -> DType {
        match self.dtype {
            DType::F16 | DType::BF16 => DType::F32,
            dtype => dtype,
        }
    }

    /// A weight matrix, [in, out] however it is stored.
    pub(crate) fn matrix(
        &self,
        name: &str,
        (d_in, d_out): (usize, usize),
        kind: TensorKind,
    ) -> Result<Matrix, DecoderError> {
        if kind == TensorKind::InOut {
            return Ok(Matrix::Dense(self.tensor(name, &[d_in, d_out], kind)?));
        }
        match self.source {
            Source::Files(weights) => {
                if self.as_stored
                    && self.dtype == DType::F32
                    && let Some(stored) = weights.quantized(name, [d_out, d_in])?
                {
                    return Matrix::quantized(stored);
                }
                let shape = [d_out, d_in];
                if self.in_file_order {
                    let w = weights.tensor(name, &shape, self.dtype, self.device)?;
                    return Ok(Matrix::Dense(w.t()?));
                }
                let w = weights.transposed(name, shape, self.dtype, self.device)?;
                Ok(Matrix::Dense(w))
            }
            // A view, which changes as the variable does.
            Source::Variables(variables) => {
                Ok(Matrix::Dense(variables.get(name, &[d_out, d_in])?.t()?))
            }
            Source::Listing(list) => {
                let w = self.note(list, name, &[d_out, d_in], kind)?;
                Ok(Matrix::Dense(w.t()?))
            }
        }
    }

    /// `{name}.weight`, a matrix, and `{name}.bias` if `bias`.
    pub(crate) fn linear(
        &self,
        name: &str,
        shape: (usize, usize),
        bias: bool,
    ) -> Result<Linear, DecoderError> {
        self.linear_of(name, shape, bias, TensorKind::OutIn)
    }

    /// As [`Load::linear`], stored as `kind` says.
    pub(crate) fn linear_of(
        &self,
        name: &str,
        shape: (usize, usize),
        bias: bool,
        kind: TensorKind,
    ) -> Result<Linear, DecoderError> {
        let w = self.matrix(&format!("{name}.weight"), shape, kind)?;
        let b = match bias {
            true => Some(self.tensor(&format!("{name}.bias"), &[shape.1], TensorKind::Bias)?),
            false => None,
        };
        Ok(Linear::new(w, b))
    }

    fn note(
        &self,
        list: &Mutex<Vec<TensorSpec>>,
        name: &str,
        shape: &[usize],
        kind: TensorKind,
    ) -> Result<Tensor, DecoderError> {
        let spec = TensorSpec {
            name: name.to_owned(),
            shape: shape.to_vec(),
            kind,
        };
        match list.lock() {
            Ok(mut list) => list.push(spec),
            Err(poisoned) => poisoned.into_inner().push(spec),
        }
        // One element, seen as many.
        let one = Tensor::zeros(1, self.dtype, self.device)?;
        Ok(one.broadcast_as(shape)?)
    }
}
