use assay_checkpoint::Weights;
use candle_core::{DType, Device, Tensor};

use super::elementwise::{RowWithFn, RowsWith, on_cpu};
use super::real::Real;
use crate::DecoderError;

/// y = x Wᵀ + b.
pub(crate) struct Linear {
    w: Tensor,         // [in, out], a transposed view where the file has [out, in]
    b: Option<Tensor>, // [out]
}

/// How a file stores a weight matrix.
#[derive(Clone, Copy)]
pub(crate) enum Stored {
    /// [out, in]: torch's Linear.
    OutIn,
    /// [in, out]: GPT-2's Conv1D.
    InOut,
}

impl Linear {
    /// Loads `{name}.weight` and, if `bias`, `{name}.bias`.
    pub(crate) fn load(
        from: &Load,
        name: &str,
        (d_in, d_out): (usize, usize),
        bias: bool,
        stored: Stored,
    ) -> Result<Self, DecoderError> {
        let weight = format!("{name}.weight");
        let w = match stored {
            Stored::OutIn => from.tensor(&weight, &[d_out, d_in])?.t()?,
            Stored::InOut => from.tensor(&weight, &[d_in, d_out])?,
        };
        let b = if bias {
            Some(from.tensor(&format!("{name}.bias"), &[d_out])?)
        } else {
            None
        };
        Ok(Self { w, b })
    }

    /// x [rows, in] -> [rows, out], without the bias.
    pub(crate) fn matmul(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        Ok(x.matmul(&self.w)?)
    }

    /// x [rows, in] -> [rows, out].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let y = self.matmul(x)?;
        match &self.b {
            Some(b) => add_bias(y, b),
            None => Ok(y),
        }
    }

    /// [in, out].
    pub(crate) fn weight(&self) -> &Tensor {
        &self.w
    }

    /// [out].
    pub(crate) fn bias(&self) -> Option<&Tensor> {
        self.b.as_ref()
    }
}

struct AddBias;

impl RowWithFn for AddBias {
    fn apply<T: Real>(&self, row: &mut [T], bias: &[T]) {
        row.iter_mut().zip(bias).for_each(|(x, b)| *x += *b);
    }
}

/// x + b over `x` itself, which nobody else may hold.
pub(crate) fn add_bias(x: Tensor, b: &Tensor) -> Result<Tensor, DecoderError> {
    if !on_cpu(&x) {
        return Ok(x.broadcast_add(b)?);
    }
    x.inplace_op2(
        b,
        &RowsWith {
            name: "bias",
            f: AddBias,
        },
    )?;
    Ok(x)
}

/// Where weights go as they are read.
pub(crate) struct Load<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
}

impl Load<'_> {
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, DecoderError> {
        Ok(self.weights.tensor(name, shape, self.dtype, self.device)?)
    }
}
