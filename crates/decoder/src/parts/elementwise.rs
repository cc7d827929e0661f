//! Row-wise kernels on CPU tensors, in place where the tensor is ours alone.

use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::real::Real;

/// Do this crate's own CPU kernels serve the tensor?
pub(crate) fn on_cpu(x: &Tensor) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64)
}

/// Rows a rayon task takes at a time: big enough to hide the hand-over.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (16_384 / width.max(1)).max(1)
}

/// `data` as rows of `width`, each given to `f` on some thread. The result
/// does not depend on the number of threads: rows do not meet.
pub(crate) fn each_row<T: Real>(data: &mut [T], width: usize, f: impl Fn(&mut [T]) + Sync) {
    data.par_chunks_mut(rows_per_task(width) * width)
        .for_each(|rows| rows.chunks_exact_mut(width).for_each(&f));
}

/// The elements of a contiguous layout.
pub(crate) fn range(layout: &Layout, op: &'static str) -> Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(range) => Ok(range),
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

impl<F: RowFn> InplaceOp1 for Rows<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (from, to) = range(layout, self.name)?;
        let width = layout.dims().last().copied().unwrap_or(1);
        match storage {
            CpuStorage::F32(v) => each_row(&mut v[from..to], width, |r| self.f.apply(r)),
            CpuStorage::F64(v) => each_row(&mut v[from..to], width, |r| self.f.apply(r)),
            _ => bail!("{} is for f32 and f64", self.name),
        }
        Ok(())
    }
}

/// A function of each row and one shared row, in place.
pub(crate) struct RowsWith<F> {
    pub(crate) name: &'static str,
    pub(crate) f: F,
}

/// What [`RowsWith`] applies.
pub(crate) trait RowWithFn: Sync {
    fn apply<T: Real>(&self, row: &mut [T], shared: &[T]);
}

impl<F: RowWithFn> InplaceOp2 for RowsWith<F> {
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
        let (from, to) = range(l1, self.name)?;
        let (a, b) = range(l2, self.name)?;
        let width = l1.dims().last().copied().unwrap_or(1);
        if b - a != width {
            bail!("shape mismatch in {}, rows: {width}, shared: {}", self.name, b - a);
        }
        match (s1, s2) {
            (CpuStorage::F32(v), CpuStorage::F32(w)) => {
                let shared = &w[a..b];
                each_row(&mut v[from..to], width, |r| self.f.apply(r, shared));
            }
            (CpuStorage::F64(v), CpuStorage::F64(w)) => {
                let shared = &w[a..b];
                each_row(&mut v[from..to], width, |r| self.f.apply(r, shared));
            }
            _ => bail!("{} is for f32 and f64, both sides alike", self.name),
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

fn each_pair<T: Real>(data: &mut [T], other: &[T], f: impl Fn(&mut [T], &[T]) + Sync) {
    let chunk = rows_per_task(1);
    data.par_chunks_mut(chunk)
        .zip(other.par_chunks(chunk))
        .for_each(|(x, y)| f(x, y));
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
        let (from, to) = range(l1, self.name)?;
        let (a, b) = range(l2, self.name)?;
        if b - a != to - from {
            bail!(
                "shape mismatch in {}, lhs: {:?}, rhs: {:?}",
                self.name,
                l1.dims(),
                l2.dims()
            );
        }
        match (s1, s2) {
            (CpuStorage::F32(v), CpuStorage::F32(w)) => {
                each_pair(&mut v[from..to], &w[a..b], |x, y| self.f.apply(x, y));
            }
            (CpuStorage::F64(v), CpuStorage::F64(w)) => {
                each_pair(&mut v[from..to], &w[a..b], |x, y| self.f.apply(x, y));
            }
            _ => bail!("{} is for f32 and f64, both sides alike", self.name),
        }
        Ok(())
    }
}
