//! Participation ratio: how many directions a set of rows spreads over.

use crate::GeometryError;

/// Participation ratios of one window of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Participation {
    /// (Σσ²)² / Σσ⁴ of the uncentred rows, between 1 and the smaller of their
    /// number and their width. With few rows it lies far below that of the
    /// distribution they come from (Chun et al., arXiv 2509.26560).
    pub naive: f64,
    /// The same from pairs of different rows only, which takes that bias away
    /// where rows are independent; rows that resemble their neighbours still
    /// lower it. No upper bound.
    pub row_only: f64,
}

/// Participation ratios of `rows` (each of one width), by their Gram matrix G:
/// tr(G)² / ‖G‖²_F, no singular values needed; and, over i ≠ j only,
/// Σ G_ii G_jj / Σ G_ij².
///
/// # Errors
/// Fewer than two rows, rows of unlike widths, rows that are all zero or all
/// orthogonal.
pub fn participation(rows: &[&[f64]]) -> Result<Participation, GeometryError> {
    let degenerate = |what: &str, value: f64| GeometryError::Degenerate {
        what: what.to_owned(),
        value,
    };
    if rows.len() < 2 {
        return Err(degenerate("the number of rows", rows.len() as f64));
    }
    let (mut squares, mut off, mut trace, mut own) = (0.0, 0.0, 0.0, 0.0);
    for (i, x) in rows.iter().enumerate() {
        let length = crate::dot(x, x)?;
        trace += length;
        own += length * length;
        for y in &rows[..i] {
            let product = crate::dot(x, y)?;
            off += 2.0 * product * product;
        }
    }
    squares += own + off;
    if !(squares > 0.0 && squares.is_finite()) {
        return Err(degenerate("the norm of the Gram matrix", squares));
    }
    if off <= 0.0 {
        return Err(degenerate("the product of different rows", off));
    }
    Ok(Participation {
        naive: trace * trace / squares,
        row_only: (trace * trace - own) / off,
    })
}

/// Mean cosine of each row with the one before it.
///
/// # Errors
/// Fewer than two rows, a row of zeros.
pub fn autocorrelation(rows: &[&[f64]]) -> Result<f64, GeometryError> {
    let mut sum = 0.0;
    for pair in rows.windows(2) {
        let (x, y) = (pair[0], pair[1]);
        let lengths = crate::norm(x) * crate::norm(y);
        sum += crate::ratio(crate::dot(x, y)?, lengths, || "a row's norm".to_owned())?;
    }
    let pairs = rows.len().saturating_sub(1) as f64;
    crate::ratio(sum, pairs, || "the number of pairs of rows".to_owned())
}
