use crate::{GeometryError, dot};

/// The exact split of a block's change of the residual's squared norm:
/// |x + A + M|² = |x|² + |A|² + |M|² + 2 (x·A + x·M + A·M), every term
/// divided by |x|² (METHODS §3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockSplit {
    /// |A|² / |x|².
    pub attn: f64,
    /// |M|² / |x|².
    pub mlp: f64,
    /// 2 x·A / |x|².
    pub x_attn: f64,
    /// 2 x·M / |x|².
    pub x_mlp: f64,
    /// 2 A·M / |x|².
    pub attn_mlp: f64,
}

impl BlockSplit {
    /// |x + A + M|² / |x|², from the terms.
    #[must_use]
    pub fn total(&self) -> f64 {
        1.0 + self.attn + self.mlp + self.x_attn + self.x_mlp + self.attn_mlp
    }
}

/// Splits the change that `attn` and `mlp` make to `x`; all are rows of
/// d_model.
///
/// # Errors
/// The rows are not equally long, or x is zero.
pub fn split(x: &[f64], attn: &[f64], mlp: &[f64]) -> Result<BlockSplit, GeometryError> {
    let xx = dot(x, x)?;
    if !(xx > 0.0 && xx.is_finite()) {
        return Err(GeometryError::Degenerate {
            what: "the squared norm of the residual".to_owned(),
            value: xx,
        });
    }
    Ok(BlockSplit {
        attn: dot(attn, attn)? / xx,
        mlp: dot(mlp, mlp)? / xx,
        x_attn: 2.0 * dot(x, attn)? / xx,
        x_mlp: 2.0 * dot(x, mlp)? / xx,
        attn_mlp: 2.0 * dot(attn, mlp)? / xx,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::split;

    #[test]
    fn terms_add_up_to_the_squared_gain() {
        let (x, a, m) = ([2.0, 0.0], [-1.0, 1.0], [0.5, 3.0]);
        let parts = split(&x, &a, &m).unwrap();
        let gain2 = (1.5f64 * 1.5 + 4.0 * 4.0) / 4.0;
        assert!((parts.total() - gain2).abs() < 1e-15);
        assert_eq!(parts.x_attn, -1.0);
    }

    #[test]
    fn a_zero_residual_is_refused() {
        assert!(split(&[0.0], &[1.0], &[1.0]).is_err());
    }
}
