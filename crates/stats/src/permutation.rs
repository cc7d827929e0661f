//! Permutation tests of a correlation.

use crate::partial::Residuals;
use crate::rng::shuffle;
use crate::{StatsError, check};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;

/// Up to this many admissible orderings (9!) are enumerated; beyond it they are drawn.
pub const EXHAUSTIVE_LIMIT: u128 = 362_880;

/// The number of draws the project's methods prescribe where enumeration is too long.
pub const PERMUTATION_DRAWS: u64 = 100_000;

/// |r*| within this of |r| counts as equal to it.
///
/// Tied values make different orderings give the same correlation up to
/// rounding, which for sums of at most some thousand products of unit vectors
/// stays below 1e-13; distinct correlations are rarely as close as 1e-12.
pub const TIE_TOLERANCE: f64 = 1e-12;

/// Which orderings of the units are equally likely under the null hypothesis.
///
/// Cluster labels are given one for each unit; equal labels are one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchangeability<'a> {
    /// Any unit may change places with any other.
    Free,
    /// Units change places within their cluster only. Valid whatever differs
    /// between clusters (means, variances); a cluster of one unit stays put.
    WithinClusters(&'a [usize]),
    /// Clusters change places as wholes, with clusters of the same size, and the
    /// order of units inside each is kept. Valid whatever the dependence inside
    /// a cluster, if it is the same in all; a cluster of unique size stays put.
    WholeClusters(&'a [usize]),
}

/// The outcome of a two-sided permutation test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PermutationTest {
    /// The statistic of the data as observed.
    pub statistic: f64,
    /// extreme / permutations if exhaustive, else (extreme + 1) / (permutations + 1).
    pub p: f64,
    /// Orderings at least as far from zero as the observed one, within [`TIE_TOLERANCE`].
    pub extreme: u64,
    /// Orderings looked at; if exhaustive the observed one is among them.
    pub permutations: u64,
    /// Whether every admissible ordering was enumerated.
    pub exhaustive: bool,
}

impl PermutationTest {
    pub(crate) fn new(statistic: f64, extreme: u64, permutations: u64, exhaustive: bool) -> Self {
        // A drawn test counts the observed ordering once more (Phipson and Smyth
        // 2010), so that p is never zero.
        let observed = if exhaustive { 0 } else { 1 };
        PermutationTest {
            statistic,
            p: (extreme + observed) as f64 / (permutations + observed) as f64,
            extreme,
            permutations,
            exhaustive,
        }
    }
}

/// Permutation test of Pearson's r of n >= 3 pairs, two-sided on |r|.
///
/// All n! orderings of y when n <= 9; otherwise `draws` of them from `rng`, and
/// p = (b + 1) / (m + 1). Assumes that the pairs are exchangeable under
/// independence. The statistic reported is r.
pub fn pearson_permutation(
    x: &[f64],
    y: &[f64],
    draws: u64,
    rng: ChaCha20Rng,
) -> Result<PermutationTest, StatsError> {
    let reduced = Residuals::new(x, y, &[])?;
    permute_residuals(&reduced, Exchangeability::Free, draws, rng)
}

/// Permutes the residuals of y over the admissible orderings and counts the
/// partial correlations with x that are at least as large as the observed one.
pub(crate) fn permute_residuals(
    reduced: &Residuals,
    exchangeability: Exchangeability,
    draws: u64,
    mut rng: ChaCha20Rng,
) -> Result<PermutationTest, StatsError> {
    if draws == 0 {
        return Err(StatsError::OutOfRange {
            argument: "draws",
            value: 0.0,
            rule: "at least 1",
        });
    }
    let observed = check::dot(&reduced.x, &reduced.y);
    let mut wheels = wheels(reduced.x.len(), exchangeability)?;
    let orderings = wheels.iter().fold(1, |product: u128, wheel| {
        product.saturating_mul(wheel.orderings())
    });
    if orderings == 1 {
        return Err(StatsError::NothingToPermute);
    }

    let mut permuted = reduced.y.clone();
    let mut is_extreme = |wheels: &[Wheel]| {
        for wheel in wheels {
            wheel.permute(&reduced.y, &mut permuted);
        }
        reduced
            .correlation_with(&permuted)
            .is_none_or(|r| r.abs() >= observed.abs() - TIE_TOLERANCE)
    };
    let (mut extreme, mut permutations) = (0, 0);
    let exhaustive = orderings <= EXHAUSTIVE_LIMIT;
    if exhaustive {
        loop {
            extreme += u64::from(is_extreme(&wheels));
            permutations += 1;
            // An odometer: a wheel that wraps round lets the next one advance.
            if !wheels.iter_mut().any(|w| next_permutation(&mut w.order)) {
                break;
            }
        }
    } else {
        while permutations < draws {
            for wheel in &mut wheels {
                shuffle(&mut rng, &mut wheel.order);
            }
            extreme += u64::from(is_extreme(&wheels));
            permutations += 1;
        }
    }
    Ok(PermutationTest::new(
        observed.clamp(-1.0, 1.0),
        extreme,
        permutations,
        exhaustive,
    ))
}

impl Residuals {
    /// Partial correlation of x with a permuted residual vector v of unit
    /// length, given the covariates: x·v / |v - Q Qᵀ v|, since x is orthogonal
    /// to Q. None if v lies in the covariates' span, where it is 0/0; such an
    /// ordering is counted as extreme, which can only raise p.
    fn correlation_with(&self, v: &[f64]) -> Option<f64> {
        let explained: f64 = (self.design.q.column_iter())
            .map(|q| q.iter().zip(v).map(|(q, v)| q * v).sum::<f64>().powi(2))
            .sum();
        let left = 1.0 - explained;
        (left > TIE_TOLERANCE).then(|| check::dot(&self.x, v) / left.sqrt())
    }
}

/// Blocks of units, all of one size, that change places among themselves.
struct Wheel {
    blocks: Vec<Vec<usize>>, // [block][unit of block] -> unit
    order: Vec<usize>,       // [block] -> the block whose values it takes
}

impl Wheel {
    fn new(blocks: Vec<Vec<usize>>) -> Self {
        let order = (0..blocks.len()).collect();
        Wheel { blocks, order }
    }

    /// Number of orderings, m! for m blocks, or the largest u128 if that is smaller.
    fn orderings(&self) -> u128 {
        (1..=self.blocks.len() as u128).fold(1, u128::saturating_mul)
    }

    fn permute(&self, values: &[f64], permuted: &mut [f64]) {
        for (target, &source) in self.blocks.iter().zip(&self.order) {
            for (&to, &from) in target.iter().zip(&self.blocks[source]) {
                permuted[to] = values[from];
            }
        }
    }
}

fn wheels(n: usize, exchangeability: Exchangeability) -> Result<Vec<Wheel>, StatsError> {
    let single = |units: Vec<usize>| Wheel::new(units.into_iter().map(|u| vec![u]).collect());
    Ok(match exchangeability {
        Exchangeability::Free => vec![single((0..n).collect())],
        Exchangeability::WithinClusters(labels) => {
            clusters(n, labels)?.into_values().map(single).collect()
        }
        Exchangeability::WholeClusters(labels) => {
            let mut by_size: BTreeMap<usize, Vec<Vec<usize>>> = BTreeMap::new();
            for units in clusters(n, labels)?.into_values() {
                by_size.entry(units.len()).or_default().push(units);
            }
            by_size.into_values().map(Wheel::new).collect()
        }
    })
}

/// The units of each label, in the order of labels and then of units.
fn clusters(n: usize, labels: &[usize]) -> Result<BTreeMap<usize, Vec<usize>>, StatsError> {
    check::same_length("the cluster labels", labels.len(), "x", n)?;
    let mut clusters: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (unit, &label) in labels.iter().enumerate() {
        clusters.entry(label).or_default().push(unit);
    }
    Ok(clusters)
}

/// Moves to the next permutation in lexicographic order; after the last one
/// wraps round to the first and returns false (Knuth, TAOCP 7.2.1.2, algorithm L).
fn next_permutation(items: &mut [usize]) -> bool {
    let Some(pivot) = items.windows(2).rposition(|pair| pair[0] < pair[1]) else {
        items.reverse();
        return false;
    };
    // A larger item follows the pivot, at least the one right after it.
    let larger = items
        .iter()
        .rposition(|&item| item > items[pivot])
        .unwrap_or(pivot + 1);
    items.swap(pivot, larger);
    items[pivot + 1..].reverse();
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[track_caller]
    fn check_orderings(n: usize, exchangeability: Exchangeability, expected: usize) {
        let mut wheels = wheels(n, exchangeability).unwrap();
        let units: Vec<f64> = (0..n).map(|u| u as f64).collect();
        let mut seen = BTreeSet::new();
        loop {
            let mut permuted = units.clone();
            wheels.iter().for_each(|w| w.permute(&units, &mut permuted));
            assert!(seen.insert(permuted.iter().map(|u| *u as usize).collect::<Vec<_>>()));
            if !wheels.iter_mut().any(|w| next_permutation(&mut w.order)) {
                break;
            }
        }
        assert_eq!(seen.len(), expected);
        // The odometer ends where it began.
        assert!(wheels.iter().all(|w| w.order.is_sorted()));
    }

    #[test]
    fn every_admissible_ordering_comes_once() {
        check_orderings(5, Exchangeability::Free, 120);
        // Clusters of 3, 2 and 1 units: 3! · 2! · 1!.
        let labels = [0, 1, 0, 2, 1, 0];
        check_orderings(6, Exchangeability::WithinClusters(&labels), 12);
        // Sizes 2, 2, 2 and 1: the three pairs change places.
        let labels = [0, 0, 1, 2, 1, 3, 2];
        check_orderings(7, Exchangeability::WholeClusters(&labels), 6);
    }

    #[test]
    fn clusters_bound_the_moves() {
        let labels = [0, 1, 0, 1];
        let mut wheels = wheels(4, Exchangeability::WholeClusters(&labels)).unwrap();
        assert!(next_permutation(&mut wheels[0].order));
        let mut permuted = [0.0; 4];
        wheels[0].permute(&[1.0, 2.0, 3.0, 4.0], &mut permuted);
        assert_eq!(permuted, [2.0, 1.0, 4.0, 3.0]);
    }
}
