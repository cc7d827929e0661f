//! Named random streams.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

/// The random stream called `name` under `seed`.
///
/// The ChaCha20 key is SHA-256 of the ASCII text `assay stream v1`, a zero
/// byte, `seed` as 8 little-endian bytes, and `name` as UTF-8; the nonce is 0
/// and the block counter starts at 0. Two names give unrelated streams, and the
/// definition depends on no library's seeding, so it is stable across versions.
///
/// ```
/// use rand_chacha::rand_core::RngCore;
/// let mut a = assay_stats::stream(25, "h25/bootstrap");
/// let mut b = assay_stats::stream(25, "h25/bootstrap");
/// assert_eq!(a.next_u64(), b.next_u64());
/// ```
#[must_use]
pub fn stream(seed: u64, name: &str) -> ChaCha20Rng {
    let key = Sha256::new()
        .chain_update(b"assay stream v1\0")
        .chain_update(seed.to_le_bytes())
        .chain_update(name.as_bytes())
        .finalize();
    ChaCha20Rng::from_seed(key.into())
}

/// A uniform index in `0..bound`, without bias: Lemire (2019), "Fast random
/// integer generation in an interval", algorithm 5, on 64-bit words.
///
/// Written out rather than taken from `rand`, whose range sampling may change
/// between versions: recorded estimates must not change with an update.
pub(crate) fn index_below(rng: &mut ChaCha20Rng, bound: std::num::NonZeroUsize) -> usize {
    let bound = bound.get() as u64;
    let rejected = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        if product as u64 >= rejected {
            return (product >> 64) as usize;
        }
    }
}

/// Fisher-Yates shuffle from the last place down.
pub(crate) fn shuffle(rng: &mut ChaCha20Rng, items: &mut [usize]) {
    for last in (1..items.len()).rev() {
        let places = std::num::NonZeroUsize::MIN.saturating_add(last);
        items.swap(last, index_below(rng, places));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::num::NonZeroUsize;

    #[test]
    fn names_and_seeds_part_streams() {
        let first = |seed, name| stream(seed, name).next_u64();
        assert_ne!(first(1, "a"), first(1, "b"));
        assert_ne!(first(1, "a"), first(2, "a"));
    }

    #[test]
    fn rejection_is_lemires() {
        let reference = include_str!("../tests/reference/cases.json");
        let reference: serde_json::Value = serde_json::from_str(reference).unwrap();
        for case in reference["streams"].as_array().unwrap() {
            let seed = case["seed"].as_str().unwrap().parse().unwrap();
            let mut rng = stream(seed, case["name"].as_str().unwrap());
            let bound = NonZeroUsize::new(case["bound"].as_u64().unwrap() as usize).unwrap();
            for expected in case["indices"].as_array().unwrap() {
                assert_eq!(
                    index_below(&mut rng, bound) as u64,
                    expected.as_u64().unwrap()
                );
            }
        }
    }

    #[test]
    fn indices_are_uniform() {
        // 70,000 draws over 7 cells: chi-squared on 6 df exceeds 22.5 with p = 0.001.
        let bound = NonZeroUsize::new(7).unwrap();
        let mut rng = stream(3, "uniform");
        let mut cells = [0_f64; 7];
        for _ in 0..70_000 {
            cells[index_below(&mut rng, bound)] += 1.0;
        }
        let chi2: f64 = cells.iter().map(|c| (c - 1e4).powi(2) / 1e4).sum();
        assert!(chi2 < 22.5, "chi-squared {chi2}");
    }
}
