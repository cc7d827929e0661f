//! The MLP's non-linearity, fused with the bias before it where nobody looks
//! between them. Fused or not, an element goes through the same operations in
//! the same order, so the bits are equal.

use assay_checkpoint::Activation;
use candle_core::Tensor;

use super::elementwise::{RowFn, RowWithFn, Rows, RowsWith, on_cpu};
use super::real::Real;
use crate::DecoderError;

fn element<T: Real>(kind: Activation, x: T) -> T {
    let half = T::of(0.5);
    let one = T::of(1.0);
    match kind {
        Activation::GeluErf => {
            half * x * (one + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
        }
        Activation::GeluTanh => {
            // sqrt(2/pi), Hendrycks & Gimpel 2016.
            let c = T::of((2.0 / std::f64::consts::PI).sqrt());
            half * x * (one + (c * (x + T::of(0.044_715) * x * x * x)).tanh())
        }
        Activation::Silu => x / (one + (-x).exp()),
        Activation::Relu => {
            if x > T::ZERO {
                x
            } else {
                T::ZERO
            }
        }
    }
}

fn row<T: Real>(kind: Activation, row: &mut [T]) {
    // The match outside the loop, so that each loop has one body.
    match kind {
        Activation::GeluErf => row.iter_mut().for_each(|x| *x = element(Activation::GeluErf, *x)),
        other => row.iter_mut().for_each(|x| *x = element(other, *x)),
    }
}

struct Act(Activation);

impl RowFn for Act {
    fn apply<T: Real>(&self, r: &mut [T]) {
        row(self.0, r);
    }
}

struct BiasAct(Activation);

impl RowWithFn for BiasAct {
    fn apply<T: Real>(&self, r: &mut [T], bias: &[T]) {
        r.iter_mut().zip(bias).for_each(|(x, b)| *x += *b);
        row(self.0, r);
    }
}

struct Gate(Activation);

/// act(x) [rows, n] in a new tensor.
pub(crate) fn activate(kind: Activation, x: &Tensor) -> Result<Tensor, DecoderError> {
    if on_cpu(x) {
        let y = x.copy()?;
        y.inplace_op1(&Rows {
            name: "activation",
            f: Act(kind),
        })?;
        return Ok(y);
    }
    Ok(match kind {
        Activation::GeluErf => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::Silu => x.silu()?,
        Activation::Relu => x.relu()?,
    })
}

/// act(x + bias) over `x` itself, which nobody else may hold.
pub(crate) fn bias_activate_in_place(
    kind: Activation,
    x: Tensor,
    bias: &Tensor,
) -> Result<Tensor, DecoderError> {
    x.inplace_op2(
        bias,
        &RowsWith {
            name: "bias and activation",
            f: BiasAct(kind),
        },
    )?;
    Ok(x)
}

impl super::elementwise::PairFn for Gate {
    fn apply<T: Real>(&self, r: &mut [T], other: &[T]) {
        let kind = self.0;
        r.iter_mut()
            .zip(other)
            .for_each(|(x, y)| *x = element(kind, *x) * *y);
    }
}

/// act(x) * linear over `x` itself, which nobody else may hold.
pub(crate) fn gate_in_place(
    kind: Activation,
    x: Tensor,
    linear: &Tensor,
) -> Result<Tensor, DecoderError> {
    x.inplace_op2(
        linear,
        &super::elementwise::Pairs {
            name: "gated activation",
            f: Gate(kind),
        },
    )?;
    Ok(x)
}
