//! The MLP's non-linearity.

use assay_checkpoint::Activation;
use candle_core::Tensor;

use super::elementwise::{PairFn, Pairs, RowFn, Rows, own_kernels, widened};
use super::real::Real;
use crate::DecoderError;

// Inlined into the loop over a row, which is then vectorised.

#[inline(always)]
fn gelu_erf<T: Real>(x: T) -> T {
    let phi = T::ONE + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf();
    T::of(0.5) * x * phi
}

/// x/2 (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x³):
/// Hendrycks & Gimpel 2016.
#[inline(always)]
fn gelu_tanh<T: Real>(x: T) -> T {
    let c = T::of((2.0 / std::f64::consts::PI).sqrt());
    let u = c * (x + T::of(0.044_715) * x * x * x);
    x / (T::ONE + (T::of(-2.0) * u).exp())
}

#[inline(always)]
fn silu<T: Real>(x: T) -> T {
    x / (T::ONE + (-x).exp())
}

#[inline(always)]
fn relu<T: Real>(x: T) -> T {
    if x > T::ZERO { x } else { T::ZERO }
}

#[inline(always)]
fn each<T: Real>(r: &mut [T], f: impl Fn(T) -> T) {
    for x in r {
        *x = f(*x);
    }
}

struct Act(Activation);

impl RowFn for Act {
    #[inline(always)]
    fn apply<T: Real>(&self, r: &mut [T]) {
        // The match outside the loop, so that each loop has one body.
        match self.0 {
            Activation::GeluErf => each(r, gelu_erf),
            Activation::GeluTanh => each(r, gelu_tanh),
            Activation::Silu => each(r, silu),
            Activation::Relu => each(r, relu),
        }
    }
}

struct Gate(Activation);

impl PairFn for Gate {
    #[inline(always)]
    fn apply<T: Real>(&self, r: &mut [T], other: &[T]) {
        match self.0 {
            Activation::GeluErf => gate(r, other, gelu_erf),
            Activation::GeluTanh => gate(r, other, gelu_tanh),
            Activation::Silu => gate(r, other, silu),
            Activation::Relu => gate(r, other, relu),
        }
    }
}

#[inline(always)]
fn gate<T: Real>(r: &mut [T], other: &[T], f: impl Fn(T) -> T) {
    for (x, y) in r.iter_mut().zip(other) {
        *x = f(*x) * *y;
    }
}

/// act(x); on the CPU over `x` itself, which nobody else may hold.
pub(crate) fn activate(kind: Activation, x: Tensor) -> Result<Tensor, DecoderError> {
    if own_kernels(&x) {
        x.inplace_op1(&Rows {
            name: "activation",
            f: Act(kind),
        })?;
        return Ok(x);
    }
    let wide = widened(&x)?;
    let y = match kind {
        Activation::GeluErf => wide.gelu_erf()?,
        Activation::GeluTanh => wide.gelu()?,
        Activation::Silu => wide.silu()?,
        Activation::Relu => wide.relu()?,
    };
    Ok(y.to_dtype(x.dtype())?)
}

/// act(x) * linear; on the CPU over `x` itself, which nobody else may hold.
pub(crate) fn gate_by(
    kind: Activation,
    x: Tensor,
    linear: &Tensor,
) -> Result<Tensor, DecoderError> {
    if !own_kernels(&x) {
        return Ok((activate(kind, x)? * linear)?);
    }
    x.inplace_op2(
        linear,
        &Pairs {
            name: "gated activation",
            f: Gate(kind),
        },
    )?;
    Ok(x)
}
