use assay_checkpoint::{DecoderConfig, NormKind};
use assay_hook_site::HookSite;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result as CandleResult, Shape, Tensor, bail};
use rayon::prelude::*;

use super::elementwise::{RowWithFn, RowsWith, on_cpu, range, rows_per_task};
use super::linear::Load;
use super::real::Real;
use crate::DecoderError;
use crate::pass::Pass;

/// A norm with its gain and bias.
pub(crate) struct Norm {
    kind: NormKind,
    eps: f64,
    gain: Tensor,         // [d_model]
    bias: Option<Tensor>, // [d_model], LayerNorm only
}

impl Norm {
    /// Loads `{name}.weight` and, for LayerNorm, `{name}.bias`.
    pub(crate) fn load(
        from: &Load,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, DecoderError> {
        let d = [config.d_model];
        Ok(Self {
            kind: config.norm,
            eps: config.norm_eps,
            gain: from.tensor(&format!("{name}.weight"), &d)?,
            bias: match config.norm {
                NormKind::LayerNorm => Some(from.tensor(&format!("{name}.bias"), &d)?),
                NormKind::RmsNorm => None,
            },
        })
    }

    /// x [rows, d_model] -> norm(x) * gain + bias [rows, d_model].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        if !on_cpu(x) {
            let normalized = self.normalize(x, &self.scale(x)?)?;
            return self.affine(normalized);
        }
        let x = x.contiguous()?;
        let normalized = x.apply_op1_no_bwd(&Normalize {
            kind: self.kind,
            eps: self.eps,
            scale_only: false,
        })?;
        self.affine(normalized)
    }

    /// As `forward`, showing the scale and the normalized value on the way.
    /// An edited scale or value is what the rest goes on with.
    pub(crate) fn hooked(
        &self,
        pass: &mut Pass,
        x: &Tensor,
        scale_site: HookSite,
        normalized_site: HookSite,
    ) -> Result<Tensor, DecoderError> {
        let (see_scale, see_normalized) = (
            pass.hooks.wants(scale_site),
            pass.hooks.wants(normalized_site),
        );
        if !see_scale && !see_normalized {
            return self.forward(x);
        }
        let scale = self.scale(x)?;
        let shown = pass.at(scale_site, scale)?;
        let normalized = self.normalize(x, &shown)?;
        let normalized = pass.at(normalized_site, normalized)?;
        // The hook may still hold the tensor: the gain goes onto a copy.
        self.affine(normalized.copy()?)
    }

    /// sqrt(var + eps), or the root mean square [rows, 1].
    fn scale(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        if on_cpu(x) {
            return Ok(x.contiguous()?.apply_op1_no_bwd(&Normalize {
                kind: self.kind,
                eps: self.eps,
                scale_only: true,
            })?);
        }
        let centred = self.centred(x)?;
        Ok((centred.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?)
    }

    fn normalize(&self, x: &Tensor, scale: &Tensor) -> Result<Tensor, DecoderError> {
        Ok(self.centred(x)?.broadcast_div(scale)?)
    }

    fn centred(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        Ok(match self.kind {
            NormKind::LayerNorm if on_cpu(x) => x.contiguous()?.apply_op1_no_bwd(&Centre)?,
            NormKind::LayerNorm => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            NormKind::RmsNorm => x.clone(),
        })
    }

    /// x * gain + bias over `x` itself, which nobody else may hold.
    fn affine(&self, x: Tensor) -> Result<Tensor, DecoderError> {
        if !on_cpu(&x) {
            let y = x.broadcast_mul(&self.gain)?;
            return Ok(match &self.bias {
                Some(b) => y.broadcast_add(b)?,
                None => y,
            });
        }
        x.inplace_op2(
            &self.gain,
            &RowsWith {
                name: "gain",
                f: Gain,
            },
        )?;
        match &self.bias {
            Some(b) => super::linear::add_bias(x, b),
            None => Ok(x),
        }
    }
}

struct Gain;

impl RowWithFn for Gain {
    fn apply<T: Real>(&self, row: &mut [T], gain: &[T]) {
        row.iter_mut().zip(gain).for_each(|(x, g)| *x = *x * *g);
    }
}

/// Sum in eight lanes, each in f64: exact enough that the order does not show
/// in f32, and fast.
fn sum<T: Real>(row: &[T], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    let chunks = row.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|x| f(x.to_f64())).sum();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x.to_f64());
        }
    }
    lanes.iter().sum::<f64>() + rest
}

fn mean<T: Real>(row: &[T]) -> T {
    T::of(sum(row, |x| x) / row.len() as f64)
}

/// The scale of a row and the centre it is taken about.
fn centre_and_scale<T: Real>(kind: NormKind, eps: f64, row: &[T]) -> (T, T) {
    let centre = match kind {
        NormKind::LayerNorm => mean(row),
        NormKind::RmsNorm => T::ZERO,
    };
    let c = centre.to_f64();
    let variance = sum(row, |x| (x - c) * (x - c)) / row.len() as f64;
    (centre, T::of((variance + eps).sqrt()))
}

/// [rows, d] -> normalized [rows, d], or its scale [rows, 1].
struct Normalize {
    kind: NormKind,
    eps: f64,
    scale_only: bool,
}

impl Normalize {
    fn run<T: Real>(&self, x: &[T], width: usize) -> Vec<T> {
        if self.scale_only {
            let rows = x.par_chunks_exact(width);
            return rows
                .map(|row| centre_and_scale(self.kind, self.eps, row).1)
                .collect();
        }
        let mut out = vec![T::ZERO; x.len()];
        let chunk = rows_per_task(width) * width;
        out.par_chunks_mut(chunk)
            .zip(x.par_chunks(chunk))
            .for_each(|(out, x)| {
                for (out, row) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let (centre, scale) = centre_and_scale(self.kind, self.eps, row);
                    for (o, x) in out.iter_mut().zip(row) {
                        *o = (*x - centre) / scale;
                    }
                }
            });
        out
    }
}

impl CustomOp1 for Normalize {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let (from, to) = range(layout, "norm")?;
        let (rows, width) = layout.shape().dims2()?;
        let shape = Shape::from((rows, if self.scale_only { 1 } else { width }));
        let out = match storage {
            CpuStorage::F32(v) => CpuStorage::F32(self.run(&v[from..to], width)),
            CpuStorage::F64(v) => CpuStorage::F64(self.run(&v[from..to], width)),
            _ => bail!("norm is for f32 and f64"),
        };
        Ok((out, shape))
    }
}

/// Each row minus its mean, as [`Normalize`] computes it.
struct Centre;

impl CustomOp1 for Centre {
    fn name(&self) -> &'static str {
        "centre"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        fn run<T: Real>(x: &[T], width: usize) -> Vec<T> {
            x.chunks_exact(width)
                .flat_map(|row| {
                    let centre = mean(row);
                    row.iter().map(move |x| *x - centre)
                })
                .collect()
        }
        let (from, to) = range(layout, "centre")?;
        let (_, width) = layout.shape().dims2()?;
        let out = match storage {
            CpuStorage::F32(v) => CpuStorage::F32(run(&v[from..to], width)),
            CpuStorage::F64(v) => CpuStorage::F64(run(&v[from..to], width)),
            _ => bail!("centre is for f32 and f64"),
        };
        Ok((out, layout.shape().clone()))
    }
}
