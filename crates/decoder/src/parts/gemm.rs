//! Matrix products on slices, by the crate that candle's own CPU products call:
//! candle gives no way to add onto a bias or to write into part of a tensor.

use candle_core::{Layout, Result, bail};
use gemm::Parallelism;

use super::real::Real;

/// A matrix within a slice: [rows, columns], element (i, j) at
/// start + i * row_step + j * column_step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) start: usize,
    pub(crate) row_step: usize,
    pub(crate) column_step: usize,
}

impl Matrix {
    /// The matrix that a layout describes.
    pub(crate) fn of(layout: &Layout) -> Result<Self> {
        let (rows, columns) = layout.shape().dims2()?;
        let [row_step, column_step] = *layout.stride() else {
            bail!("a matrix has two strides");
        };
        Ok(Self {
            rows,
            columns,
            start: layout.start_offset(),
            row_step,
            column_step,
        })
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_step: self.column_step,
            column_step: self.row_step,
            ..self
        }
    }

    /// Elements that a slice needs to hold it.
    fn end(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        self.start + (self.rows - 1) * self.row_step + (self.columns - 1) * self.column_step + 1
    }
}

/// What becomes of the elements of the product's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Overwritten,
    AddedTo,
}

/// out = a b, or out += a b, on all threads if it is big. The bits of a row of
/// `out` depend on that row of `a`, on `b` and on the shapes alone.
pub(crate) fn gemm<T: Real>(
    (out, o): (&mut [T], Matrix),
    target: Target,
    (a, la): (&[T], Matrix),
    (b, lb): (&[T], Matrix),
) -> Result<()> {
    let (m, n, k) = (la.rows, lb.columns, la.columns);
    if lb.rows != k || o.rows != m || o.columns != n {
        bail!("shape mismatch in product, lhs: {la:?}, rhs: {lb:?}, out: {o:?}");
    }
    if o.end() > out.len() || la.end() > a.len() || lb.end() > b.len() {
        bail!("a matrix of the product lies beyond its tensor");
    }
    let (old, parallelism) = match (target, rayon::current_num_threads()) {
        (Target::Overwritten, 1) => (T::ZERO, Parallelism::None),
        (Target::Overwritten, n) => (T::ZERO, Parallelism::Rayon(n)),
        (Target::AddedTo, 1) => (T::ONE, Parallelism::None),
        (Target::AddedTo, n) => (T::ONE, Parallelism::Rayon(n)),
    };
    // SAFETY: every element that the three matrices name lies in its slice, as
    // checked above, and `out` is borrowed for us alone.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr().add(o.start),
            o.column_step as isize,
            o.row_step as isize,
            target == Target::AddedTo,
            a.as_ptr().add(la.start),
            la.column_step as isize,
            la.row_step as isize,
            b.as_ptr().add(lb.start),
            lb.column_step as isize,
            lb.row_step as isize,
            old,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
    Ok(())
}
