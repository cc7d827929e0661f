//! Z as the weights give it: what the keys of a layer read of the residual
//! stream (METHODS §5).
//!
//! Of query head h with key head g(h), K_h = W_Q,hᵀ W_K,g is [d, d] and of rank
//! d_head at most. With thin factorizations W_Q,hᵀ = Q_q R_q and
//! W_K,gᵀ = Q_k R_k it is Q_q (R_q R_kᵀ) Q_kᵀ: its singular values are those of
//! the small matrix in brackets, and its right singular vectors are Q_k times
//! that one's. No [d, d] matrix is made.

use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::{GeometryError, Subspace, effective_rank};

/// The matrices that a mask is made of, [heads * d_head, d] each.
#[derive(Debug, Clone)]
pub struct QueryKey {
    /// n_heads * d_head rows.
    pub q: DMatrix<f64>,
    /// n_kv_heads * d_head rows.
    pub k: DMatrix<f64>,
    /// Rows of a head.
    pub d_head: usize,
}

/// The heads of a layer, factorized.
pub struct HeadMasks {
    d: usize,
    /// Of each kv head: an orthonormal basis of what its keys read, [d_head, d].
    keys: Vec<DMatrix<f64>>,
    /// Of each query head: its kv head, its singular values in descending
    /// order, and its right singular vectors in the kv head's basis, a row each.
    heads: Vec<(usize, Vec<f64>, DMatrix<f64>)>,
}

impl QueryKey {
    /// Factorizes every head, heads beside each other.
    ///
    /// # Errors
    /// Rows that are no whole number of heads, key heads that do not divide
    /// query heads, a head wider than the stream, widths that differ.
    pub fn factorize(&self) -> Result<HeadMasks, GeometryError> {
        let (d, d_head) = (self.q.ncols(), self.d_head);
        let whole = |rows: usize| d_head > 0 && rows > 0 && rows.is_multiple_of(d_head);
        let fits = whole(self.q.nrows())
            && whole(self.k.nrows())
            && self.q.nrows().is_multiple_of(self.k.nrows());
        if !fits || self.k.ncols() != d || d_head > d {
            return Err(GeometryError::Length {
                what: "rows of the query and of the key matrix, which must be whole heads no wider than the stream",
                left: self.q.nrows(),
                right: self.k.nrows(),
            });
        }
        let head = |m: &DMatrix<f64>, h: usize| m.rows(h * d_head, d_head).transpose();
        let kv_heads = self.k.nrows() / d_head;
        let n_heads = self.q.nrows() / d_head;
        let keys: Vec<_> = (0..kv_heads)
            .into_par_iter()
            .map(|g| {
                let qr = head(&self.k, g).qr();
                (qr.q().transpose(), qr.r())
            })
            .collect();
        let heads = (0..n_heads)
            .into_par_iter()
            .map(|h| {
                let g = h / (n_heads / kv_heads);
                let small = head(&self.q, h).qr().r() * keys[g].1.transpose();
                let svd = small.svd(false, true);
                let mut order: Vec<usize> = (0..d_head).collect();
                let values = &svd.singular_values;
                order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
                let right = svd.v_t.ok_or_else(no_vectors)?.select_rows(&order);
                Ok((g, order.iter().map(|i| values[*i]).collect(), right))
            })
            .collect::<Result<_, GeometryError>>()?;
        Ok(HeadMasks {
            d,
            keys: keys.into_iter().map(|(basis, _)| basis).collect(),
            heads,
        })
    }
}

fn no_vectors() -> GeometryError {
    GeometryError::Degenerate {
        what: "the number of singular vectors of a head".to_owned(),
        value: 0.0,
    }
}

impl HeadMasks {
    /// exp(H(σ/Σσ)) of each query head.
    ///
    /// # Errors
    /// A head whose matrix is zero.
    pub fn effective_ranks(&self) -> Result<Vec<f64>, GeometryError> {
        let heads = self.heads.iter();
        heads.map(|(_, values, _)| effective_rank(values)).collect()
    }

    /// Most dimensions that a mask can have: what the keys of all kv heads
    /// read together (E13).
    #[must_use]
    pub fn span(&self) -> usize {
        (self.keys.len() * self.keys.first().map_or(0, DMatrix::nrows)).min(self.d)
    }

    /// The top k right singular vectors of one head's K_h.
    ///
    /// # Errors
    /// No such head; k above d_head, or 0.
    pub fn of_head(&self, head: usize, k: usize) -> Result<Subspace, GeometryError> {
        let Some((g, values, right)) = self.heads.get(head) else {
            return Err(GeometryError::Length {
                what: "head asked for and heads there are",
                left: head,
                right: self.heads.len(),
            });
        };
        refuse_beyond(k, values.len())?;
        Subspace::spanning(&(right.rows(0, k) * &self.keys[*g]))
    }

    /// The mask as published: the top k right singular vectors of every head,
    /// without their singular values, stacked; of the stack the first k right
    /// singular vectors. A head has at most d_head of them.
    ///
    /// # Errors
    /// k above n_kv_heads * d_head, where the rest would be arbitrary (E13), or
    /// 0.
    pub fn of_all_heads(&self, k: usize) -> Result<Subspace, GeometryError> {
        refuse_beyond(k, self.span())?;
        // In a basis of all keys' spans, so that the stack is no wider than
        // that.
        let stacked: Vec<_> = self.keys.iter().flat_map(|b| b.row_iter()).collect();
        let all = DMatrix::from_rows(&stacked).transpose().qr().q(); // [d, span]
        let parts: Vec<DMatrix<f64>> = self
            .heads
            .par_iter()
            .map(|(g, values, right)| right.rows(0, k.min(values.len())) * (&self.keys[*g] * &all))
            .collect();
        let rows: Vec<_> = parts.iter().flat_map(|p| p.row_iter()).collect();
        let stack = DMatrix::from_rows(&rows);
        // Right singular vectors are the eigenvectors of the stack's own
        // product, which is no larger than the span.
        let eigen = nalgebra::SymmetricEigen::new(stack.tr_mul(&stack));
        let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
        order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
        order.truncate(k);
        let top = eigen.eigenvectors.select_columns(&order);
        Subspace::spanning(&(all * top).transpose())
    }
}

fn refuse_beyond(k: usize, most: usize) -> Result<(), GeometryError> {
    if (1..=most).contains(&k) {
        return Ok(());
    }
    Err(GeometryError::Length {
        what: "dimensions of a mask: those asked for and those that the keys read",
        left: k,
        right: most,
    })
}

/// ‖W P‖²_F / ‖W‖²_F over k/d: 1 where the rows of a matrix [out, d] read a
/// subspace as much as chance has it, below 1 where they avoid it.
///
/// # Errors
/// A matrix of another width, or of zeros.
pub fn avoidance(matrix: &DMatrix<f64>, subspace: &Subspace) -> Result<f64, GeometryError> {
    let whole = matrix.norm_squared();
    if whole == 0.0 {
        return Err(GeometryError::Degenerate {
            what: "the norm of a matrix that reads".to_owned(),
            value: whole,
        });
    }
    let inside = subspace.coordinates(matrix)?.norm_squared();
    Ok(inside / whole * subspace.d() as f64 / subspace.k() as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{QueryKey, avoidance};
    use crate::{Subspace, normals};
    use assay_stats::stream;
    use nalgebra::DMatrix;

    fn random(rows: usize, d: usize, name: &str) -> DMatrix<f64> {
        DMatrix::from_row_slice(rows, d, &normals(rows * d, &mut stream(1, name)))
    }

    /// Singular vectors of the whole [d, d] product, as METHODS writes it.
    fn whole(q: &DMatrix<f64>, k: &DMatrix<f64>, top: usize) -> (Vec<f64>, DMatrix<f64>) {
        let svd = (q.transpose() * k).svd(false, true);
        let mut order: Vec<usize> = (0..svd.singular_values.len()).collect();
        order.sort_by(|a, b| svd.singular_values[*b].total_cmp(&svd.singular_values[*a]));
        order.truncate(top);
        let values = order.iter().map(|i| svd.singular_values[*i]).collect();
        (values, svd.v_t.unwrap().select_rows(&order))
    }

    #[test]
    fn thin_factors_give_what_the_whole_product_gives() {
        let (d, d_head, heads, kv) = (24, 4, 6, 2);
        let factors = QueryKey {
            q: random(heads * d_head, d, "q"),
            k: random(kv * d_head, d, "k"),
            d_head,
        };
        let masks = factors.factorize().unwrap();
        assert_eq!(masks.span(), 8);
        let mut stack = Vec::new();
        for h in 0..heads {
            let q = factors.q.rows(h * d_head, d_head).into_owned();
            let k = factors.k.rows(h / 3 * d_head, d_head).into_owned();
            let (values, vectors) = whole(&q, &k, d_head);
            let entropy: f64 = {
                let sum: f64 = values.iter().sum();
                values.iter().map(|v| -(v / sum) * (v / sum).ln()).sum()
            };
            let rank = masks.effective_ranks().unwrap()[h];
            assert!((rank - entropy.exp()).abs() < 1e-10);
            let direct = Subspace::spanning(&vectors.rows(0, 3).into_owned()).unwrap();
            let thin = masks.of_head(h, 3).unwrap();
            assert!((direct.similarity(&thin).unwrap() - 1.0).abs() < 1e-10);
            stack.extend(vectors.rows(0, 3).row_iter().map(|r| r.into_owned()));
        }
        let svd = DMatrix::from_rows(&stack).svd(false, true);
        let v_t = svd.v_t.unwrap();
        let direct = Subspace::spanning(&v_t.rows(0, 3).into_owned()).unwrap();
        let thin = masks.of_all_heads(3).unwrap();
        assert!((direct.similarity(&thin).unwrap() - 1.0).abs() < 1e-10);
    }

    #[test]
    fn a_planted_key_space_is_found() {
        // Keys that read three planted directions only, whatever the queries.
        let (d, d_head) = (60, 8);
        let planted = Subspace::random(3, d, &mut stream(5, "planted")).unwrap();
        let q = random(4 * d_head, d, "queries");
        let k = random(d_head, 3, "keys") * planted.basis() + random(d_head, d, "rest") * 1e-3;
        let masks = QueryKey { q, k, d_head }.factorize().unwrap();
        let found = masks.of_all_heads(3).unwrap();
        assert!(planted.similarity(&found).unwrap() > 0.999);
    }

    #[test]
    fn more_dimensions_than_keys_read_are_refused() {
        let factors = QueryKey {
            q: random(16, 40, "q"),
            k: random(8, 40, "k"),
            d_head: 4,
        };
        let masks = factors.factorize().unwrap();
        assert!(masks.of_all_heads(8).is_ok());
        let refused = masks.of_all_heads(9).unwrap_err().to_string();
        assert!(refused.contains('9') && refused.contains('8'), "{refused}");
        assert!(masks.of_head(0, 5).is_err());
        assert!(masks.of_head(4, 2).is_err());
        let uneven = QueryKey {
            q: random(12, 40, "q"),
            ..factors
        };
        assert!(uneven.factorize().is_err());
    }

    #[test]
    fn avoidance_is_one_by_chance_and_nothing_where_nothing_is_read() {
        let z = Subspace::random(4, 30, &mut stream(6, "z")).unwrap();
        let isotropic = DMatrix::identity(30, 30);
        assert!((avoidance(&isotropic, &z).unwrap() - 1.0).abs() < 1e-12);
        let blind = &isotropic - z.project(&isotropic).unwrap();
        assert!(avoidance(&blind, &z).unwrap() < 1e-24);
        assert!(avoidance(&DMatrix::zeros(3, 30), &z).is_err());
    }
}
