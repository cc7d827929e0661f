//! Row-wise kernels on CPU tensors, in place where the tensor is ours alone.

use std::ops::Range;

use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::real::Real;

/// Do this crate's own CPU kernels serve the tensor? They have no backward, and
/// some work in place: a tensor on the way from a variable goes through the
/// tensor library's operations, which keep its gradient.
pub(crate) fn own_kernels(x: &Tensor) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64) && !x.track_op()
}

/// `x` in f32 where its own type is shorter: norms, activations and attention's
/// scores are computed so and rounded once, as transformers does.
pub(crate) fn widened(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32),
        _ => Ok(x.clone()),
    }
}

/// `x` as a matrix product takes it: the CPU's goes by any strides, NVIDIA's
/// wants rows without gaps.
pub(crate) fn for_product(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        return Ok(x.clone());
    }
    x.contiguous()
}

/// Rows a rayon task takes at a time: big enough to hide the hand-over.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (16_384 / width.max(1)).max(1)
}

/// Runs a loop as compiled for this machine's vector instructions, so far as
/// all that it calls is inlined. With the build's baseline, SSE2, a pass of
/// Pythia-70m's shape takes 4 % longer. No operation is contracted or
/// reordered, so every machine gets the same bits.
pub(crate) fn vectorised<L: Loop>(work: L) -> L::Output {
    pulp::Arch::new().dispatch(work)
}

/// What [`vectorised`] runs. Structs and not closures, because those cannot be
/// marked `#[inline(always)]`.
pub(crate) use pulp::NullaryFnOnce as Loop;

/// The elements of a contiguous layout.
pub(crate) fn span(layout: &Layout, op: &'static str) -> Result<Range<usize>> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(from..to),
        None => bail!("{op} needs a contiguous tensor"),
    }
}

/// A function of each row, in place.
pub(crate) struct Rows<F> {
    pub(crate) name: &'static str,
    pub(crate) f: F,
}

/// What [`Rows`] applies: one body for both types.
pub(crate) trait RowFn: Sync {
    fn apply<T: Real>(&self, row: &mut [T]);
}

struct RowLoop<'a, T, F> {
    rows: &'a mut [T],
    width: usize,
    f: &'a F,
}

impl<T: Real, F: RowFn> Loop for RowLoop<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for row in self.rows.chunks_exact_mut(self.width) {
            self.f.apply(row);
        }
    }
}

impl<F: RowFn> Rows<F> {
    /// The result does not depend on the number of threads: rows do not meet.
    fn run<T: Real>(&self, data: &mut [T], width: usize) {
        let f = &self.f;
        data.par_chunks_mut(rows_per_task(width) * width)
            .for_each(|rows| vectorised(RowLoop { rows, width, f }));
    }
}

impl<F: RowFn> InplaceOp1 for Rows<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let span = span(layout, self.name)?;
        let width = layout.dims().last().copied().unwrap_or(1);
        match storage {
            CpuStorage::F32(v) => self.run(&mut v[span], width),
            CpuStorage::F64(v) => self.run(&mut v[span], width),
            _ => bail!("{} is for f32 and f64", self.name),
        }
        Ok(())
    }
}

/// A function of each row and the same row of another tensor, in place.
pub(crate) struct Pairs<F> {
    pub(crate) name: &'static str,
    pub(crate) f: F,
}

/// What [`Pairs`] applies.
pub(crate) trait PairFn: Sync {
    fn apply<T: Real>(&self, row: &mut [T], other: &[T]);
}

struct PairLoop<'a, T, F> {
    x: &'a mut [T],
    y: &'a [T],
    f: &'a F,
}

impl<T: Real, F: PairFn> Loop for PairLoop<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.f.apply(self.x, self.y);
    }
}

impl<F: PairFn> Pairs<F> {
    fn run<T: Real>(&self, data: &mut [T], other: &[T]) {
        let (f, chunk) = (&self.f, rows_per_task(1));
        data.par_chunks_mut(chunk)
            .zip(other.par_chunks(chunk))
            .for_each(|(x, y)| vectorised(PairLoop { x, y, f }));
    }
}

impl<F: PairFn> InplaceOp2 for Pairs<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<()> {
        let (ours, other) = (span(l1, self.name)?, span(l2, self.name)?);
        if ours.len() != other.len() {
            bail!(
                "shape mismatch in {}, lhs: {:?}, rhs: {:?}",
                self.name,
                l1.dims(),
                l2.dims()
            );
        }
        match (s1, s2) {
            (CpuStorage::F32(v), CpuStorage::F32(w)) => {
                self.run(&mut v[ours], &w[other]);
            }
            (CpuStorage::F64(v), CpuStorage::F64(w)) => {
                self.run(&mut v[ours], &w[other]);
            }
            _ => bail!("{} is for f32 and f64, both sides alike", self.name),
        }
        Ok(())
    }
}
