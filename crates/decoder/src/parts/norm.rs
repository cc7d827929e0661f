use assay_checkpoint::{DecoderConfig, NormKind};
use assay_hook_site::{BlockSite, HookSite};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, Layout, Result as CandleResult, Shape, Tensor,
    bail,
};
use rayon::prelude::*;

use super::elementwise::{Loop, own_kernels, rows_per_task, span, vectorised, widened};
use super::load::{Load, TensorKind};
use super::real::Real;
use crate::DecoderError;
use crate::pass::Pass;

/// A norm with its gain and bias, both in f32 where the model computes in a
/// shorter type: the norm is taken in f32 then, and its result rounded once.
pub(crate) struct Norm {
    kind: NormKind,
    eps: f64,
    gain: Tensor,         // [d_model]
    bias: Option<Tensor>, // [d_model], LayerNorm only
}

impl Norm {
    /// From gain and bias [d_model].
    pub(crate) fn new(kind: NormKind, eps: f64, gain: Tensor, bias: Option<Tensor>) -> Self {
        Self {
            kind,
            eps,
            gain,
            bias,
        }
    }

    /// Loads `{name}.weight` and, for LayerNorm, `{name}.bias`.
    pub(crate) fn load(
        from: &Load,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, DecoderError> {
        Self::of_width(from, name, config, config.d_model)
    }

    /// As [`Norm::load`], for vectors of `width`.
    pub(crate) fn of_width(
        from: &Load,
        name: &str,
        config: &DecoderConfig,
        width: usize,
    ) -> Result<Self, DecoderError> {
        let part = |part: &str, kind| from.wide_tensor(&format!("{name}.{part}"), &[width], kind);
        let gain = part("weight", TensorKind::Gain)?;
        let gain = if config.gain_from_one {
            (gain + 1.0)?
        } else {
            gain
        };
        let bias = match config.norm {
            NormKind::LayerNorm => Some(part("bias", TensorKind::Bias)?),
            NormKind::RmsNorm => None,
        };
        Ok(Self::new(config.norm, config.norm_eps, gain, bias))
    }

    /// What the normalised vector is multiplied by, [d_model].
    pub(crate) fn gain(&self) -> Tensor {
        self.gain.clone()
    }

    /// The norm that attention reads, with its sites.
    pub(crate) fn first(
        &self,
        pass: &mut Pass,
        layer: usize,
        x: &Tensor,
    ) -> Result<Tensor, DecoderError> {
        let sites = [BlockSite::Ln1Scale, BlockSite::Ln1Normalized];
        let [scale, normalized] = sites.map(|site| site.at(layer));
        self.hooked(pass, x, scale, normalized)
    }

    /// The norm that the MLP reads, with its sites.
    pub(crate) fn second(
        &self,
        pass: &mut Pass,
        layer: usize,
        x: &Tensor,
    ) -> Result<Tensor, DecoderError> {
        let sites = [BlockSite::Ln2Scale, BlockSite::Ln2Normalized];
        let [scale, normalized] = sites.map(|site| site.at(layer));
        self.hooked(pass, x, scale, normalized)
    }

    /// x [rows, d_model] -> norm(x) * gain + bias [rows, d_model].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let dtype = x.dtype();
        let x = widened(x)?;
        let y = if own_kernels(&x) {
            let x = x.contiguous()?;
            let (kind, eps) = (self.kind, self.eps);
            let norm = Normalize { kind, eps };
            match &self.bias {
                Some(bias) => x.apply_op3_no_bwd(&self.gain, bias, &norm)?,
                None => x.apply_op2_no_bwd(&self.gain, &norm)?,
            }
        } else {
            self.affine(&self.normalize(&x, &self.scale(&x)?)?)?
        };
        Ok(y.to_dtype(dtype)?)
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
        let wide = widened(x)?;
        let scale = self.scale(&wide)?;
        let shown = pass.at(scale_site, scale)?;
        let normalized = self.normalize(&wide, &shown)?;
        let normalized = pass.at(normalized_site, normalized)?;
        Ok(self.affine(&normalized)?.to_dtype(x.dtype())?)
    }

    /// sqrt(var + eps), or the root mean square [rows, 1].
    fn scale(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        if own_kernels(x) {
            return Ok(x.contiguous()?.apply_op1_no_bwd(&Scale {
                kind: self.kind,
                eps: self.eps,
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
            NormKind::LayerNorm if own_kernels(x) => x.contiguous()?.apply_op1_no_bwd(&Centre)?,
            NormKind::LayerNorm => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            NormKind::RmsNorm => x.clone(),
        })
    }

    /// x * gain + bias.
    fn affine(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let y = x.broadcast_mul(&self.gain)?;
        Ok(match &self.bias {
            Some(b) => y.broadcast_add(b)?,
            None => y,
        })
    }
}

/// Sum in eight lanes, each in f64: exact enough that the order does not show
/// in f32, and fast.
#[inline(always)]
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

#[inline(always)]
fn mean<T: Real>(row: &[T]) -> T {
    T::of(sum(row, |x| x) / row.len() as f64)
}

/// The scale of a row and the centre it is taken about.
#[inline(always)]
fn centre_and_scale<T: Real>(kind: NormKind, eps: f64, row: &[T]) -> (T, T) {
    let centre = match kind {
        NormKind::LayerNorm => mean(row),
        NormKind::RmsNorm => T::ZERO,
    };
    let c = centre.to_f64();
    let variance = sum(row, |x| (x - c) * (x - c)) / row.len() as f64;
    (centre, T::of((variance + eps).sqrt()))
}

/// x [rows, d], gain [d], bias [d] if any -> norm(x) * gain + bias [rows, d].
/// The same operations as `normalize` and `affine`, in one pass over memory.
struct Normalize {
    kind: NormKind,
    eps: f64,
}

impl Normalize {
    fn run<T: Real>(&self, x: &[T], gain: &[T], bias: Option<&[T]>) -> Vec<T> {
        let width = gain.len();
        let chunk = rows_per_task(width) * width;
        let mut out = vec![T::ZERO; x.len()];
        out.par_chunks_mut(chunk)
            .zip(x.par_chunks(chunk))
            .for_each(|(out, x)| {
                let norm = self;
                vectorised(NormLoop {
                    norm,
                    out,
                    x,
                    gain,
                    bias,
                });
            });
        out
    }
}

struct NormLoop<'a, T> {
    norm: &'a Normalize,
    out: &'a mut [T],
    x: &'a [T],
    gain: &'a [T],
    bias: Option<&'a [T]>,
}

impl<T: Real> Loop for NormLoop<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.gain.len();
        let rows = self.out.chunks_exact_mut(width);
        for (out, x) in rows.zip(self.x.chunks_exact(width)) {
            let (centre, scale) = centre_and_scale(self.norm.kind, self.norm.eps, x);
            for ((o, x), gain) in out.iter_mut().zip(x).zip(self.gain) {
                *o = (*x - centre) / scale * *gain;
            }
            if let Some(bias) = self.bias {
                for (o, b) in out.iter_mut().zip(bias) {
                    *o += *b;
                }
            }
        }
    }
}

impl CustomOp2 for Normalize {
    fn name(&self) -> &'static str {
        "rms norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (x, gain) = (span(l1, "norm")?, span(l2, "norm")?);
        let out = match (s1, s2) {
            (CpuStorage::F32(v), CpuStorage::F32(g)) => {
                CpuStorage::F32(self.run(&v[x], &g[gain], None))
            }
            (CpuStorage::F64(v), CpuStorage::F64(g)) => {
                CpuStorage::F64(self.run(&v[x], &g[gain], None))
            }
            _ => bail!("norm is for f32 and f64, both alike"),
        };
        Ok((out, l1.shape().clone()))
    }
}

impl CustomOp3 for Normalize {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (x, gain, bias) = (span(l1, "norm")?, span(l2, "norm")?, span(l3, "norm")?);
        let out = match (s1, s2, s3) {
            (CpuStorage::F32(v), CpuStorage::F32(g), CpuStorage::F32(b)) => {
                CpuStorage::F32(self.run(&v[x], &g[gain], Some(&b[bias])))
            }
            (CpuStorage::F64(v), CpuStorage::F64(g), CpuStorage::F64(b)) => {
                CpuStorage::F64(self.run(&v[x], &g[gain], Some(&b[bias])))
            }
            _ => bail!("norm is for f32 and f64, all three alike"),
        };
        Ok((out, l1.shape().clone()))
    }
}

/// x [rows, d] -> its scale [rows, 1].
struct Scale {
    kind: NormKind,
    eps: f64,
}

impl CustomOp1 for Scale {
    fn name(&self) -> &'static str {
        "norm scale"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = span(layout, "norm scale")?;
        let (rows, width) = layout.shape().dims2()?;
        let out = match storage {
            CpuStorage::F32(v) => CpuStorage::F32(self.run(&v[x], width)),
            CpuStorage::F64(v) => CpuStorage::F64(self.run(&v[x], width)),
            _ => bail!("norm scale is for f32 and f64"),
        };
        Ok((out, Shape::from((rows, 1))))
    }
}

impl Scale {
    fn run<T: Real>(&self, x: &[T], width: usize) -> Vec<T> {
        let rows = x.par_chunks_exact(width);
        rows.map(|row| centre_and_scale(self.kind, self.eps, row).1)
            .collect()
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
        let x = span(layout, "centre")?;
        let (_, width) = layout.shape().dims2()?;
        let out = match storage {
            CpuStorage::F32(v) => CpuStorage::F32(run(&v[x], width)),
            CpuStorage::F64(v) => CpuStorage::F64(run(&v[x], width)),
            _ => bail!("centre is for f32 and f64"),
        };
        Ok((out, layout.shape().clone()))
    }
}
