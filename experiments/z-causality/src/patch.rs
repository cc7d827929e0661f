//! A patch: part of a residual stream is replaced by that of a source.

use assay_experiment::ExperimentError;
use assay_geometry::Subspace;
use candle_core::{DType, Tensor};

/// A basis as a tensor beside activations: [k, d_model].
#[derive(Debug, Clone)]
pub(crate) struct Basis(Tensor);

impl Basis {
    pub(crate) fn new(subspace: &Subspace, like: &Tensor) -> Result<Self, ExperimentError> {
        // A row of the basis is a column of its transpose, which nalgebra
        // keeps in order.
        let values = subspace.basis().transpose().as_slice().to_vec();
        let tensor = Tensor::from_vec(values, (subspace.k(), subspace.d()), like.device())?;
        Ok(Self(tensor.to_dtype(like.dtype())?))
    }

    /// The rows' parts inside: [n, d_model].
    pub(crate) fn inside(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        rows.matmul(&self.0.t()?)?.matmul(&self.0)
    }
}

/// Which part is replaced.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// Z: x + P (source - x), which is P_⊥ x + P source.
    In(Basis),
    /// Its complement: x + P_⊥ (source - x).
    Outside(Basis),
    /// Everything.
    All,
}

impl Part {
    /// `x` with this part replaced by `source`'s, both [n, d_model]. Written as
    /// a difference added: a source that equals `x` changes no bit.
    pub(crate) fn replaced(&self, x: &Tensor, source: &Tensor) -> candle_core::Result<Tensor> {
        let difference = (source - x)?;
        x + match self {
            Part::In(basis) => basis.inside(&difference)?,
            Part::Outside(basis) => (&difference - basis.inside(&difference)?)?,
            Part::All => difference,
        }
    }

    /// Its name in samples.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Part::In(_) => "z",
            Part::Outside(_) => "z-perp",
            Part::All => "full",
        }
    }
}

/// Rows [n, d_model] as an f64 matrix.
pub(crate) fn matrix(rows: &Tensor) -> Result<nalgebra::DMatrix<f64>, ExperimentError> {
    let (n, d) = rows.dims2()?;
    let values: Vec<f64> = rows.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    Ok(nalgebra::DMatrix::from_row_slice(n, d, &values))
}

/// An f64 matrix as rows beside activations.
pub(crate) fn tensor(
    rows: &nalgebra::DMatrix<f64>,
    like: &Tensor,
) -> Result<Tensor, ExperimentError> {
    let values = rows.transpose().as_slice().to_vec();
    let tensor = Tensor::from_vec(values, rows.shape(), like.device())?;
    Ok(tensor.to_dtype(like.dtype())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Basis, Part, matrix, tensor};
    use assay_geometry::{Subspace, normals};
    use assay_stats::stream;
    use candle_core::{DType, Device, Tensor};

    fn rows(name: &str) -> Tensor {
        let values = normals(6 * 20, &mut stream(1, name));
        let rows = Tensor::from_vec(values, (6, 20), &Device::Cpu).unwrap();
        rows.to_dtype(DType::F32).unwrap()
    }

    fn worst(a: &Tensor, b: &Tensor) -> f64 {
        (matrix(a).unwrap() - matrix(b).unwrap()).abs().max()
    }

    #[test]
    fn parts_are_replaced_and_the_rest_stays() {
        let (x, source) = (rows("x"), rows("source"));
        let z = Subspace::random(4, 20, &mut stream(2, "z")).unwrap();
        let basis = Basis::new(&z, &x).unwrap();
        let inside = Part::In(basis.clone()).replaced(&x, &source).unwrap();
        let outside = Part::Outside(basis.clone()).replaced(&x, &source).unwrap();
        let expected = |a: &Tensor, b: &Tensor| {
            let (a, b) = (matrix(a).unwrap(), matrix(b).unwrap());
            let mixed = &a - z.project(&a).unwrap() + z.project(&b).unwrap();
            tensor(&mixed, &x).unwrap()
        };
        // f32 sums of 20 terms of order 1.
        assert!(worst(&inside, &expected(&x, &source)) < 2e-6);
        assert!(worst(&outside, &expected(&source, &x)) < 2e-6);
        let all = Part::All.replaced(&x, &source).unwrap();
        assert!(worst(&all, &source) < 1e-6);
    }

    #[test]
    fn a_source_that_is_the_target_changes_no_bit() {
        let x = rows("x");
        let z = Subspace::random(4, 20, &mut stream(2, "z")).unwrap();
        let basis = Basis::new(&z, &x).unwrap();
        for part in [Part::In(basis.clone()), Part::Outside(basis), Part::All] {
            let same = part.replaced(&x, &x).unwrap();
            assert_eq!(same.to_vec2::<f32>().unwrap(), x.to_vec2::<f32>().unwrap());
        }
    }
}
