//! Paired sign-flip permutation tests.

use crate::check;
use crate::permutation::{PermutationTest, TIE_TOLERANCE};
use crate::{StatsError, describe};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;

/// Up to this many units all sign patterns are enumerated; beyond it they are drawn.
pub const SIGN_FLIP_EXHAUSTIVE_UNITS: usize = 20;

/// One column of a sign-flip test over several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignFlipColumn {
    /// The test of this column alone; its statistic is the mean difference.
    pub alone: PermutationTest,
    /// The test against the largest statistic over all columns: its p controls
    /// the family-wise error over the columns.
    pub family: PermutationTest,
}

/// Two-sided sign-flip test of whether n >= 2 paired differences are symmetric
/// about zero. See [`sign_flip_max`], of which it is the one-column case.
pub fn sign_flip(
    differences: &[f64],
    draws: u64,
    rng: ChaCha20Rng,
) -> Result<PermutationTest, StatsError> {
    check::sample("differences", differences, 2)?;
    let tests = test_columns(&[differences], draws, rng)?;
    // One column in, one column out; alone and family are the same test.
    tests
        .first()
        .map(|column| column.alone)
        .ok_or(StatsError::TooFew {
            argument: "differences",
            got: 0,
            need: 1,
        })
}

/// Sign-flip tests of several `columns` of paired differences of the same n >= 2
/// units, with the max-statistic over columns (Westfall and Young 1993,
/// single-step; Nichols and Holmes 2002).
///
/// A unit's sign is flipped in all columns at once, so dependence between
/// columns is kept. The statistic of a column is |sum x| / sqrt(n sum x²),
/// which grows with |t| of the one-sample test and, since flips leave the
/// denominator alone, with |mean|; columns of different scale compare on it. A
/// column of zeros has statistic 0. All 2^n patterns when n <=
/// [`SIGN_FLIP_EXHAUSTIVE_UNITS`], else `draws` of them from `rng`.
pub fn sign_flip_max(
    columns: &[&[f64]],
    draws: u64,
    rng: ChaCha20Rng,
) -> Result<Vec<SignFlipColumn>, StatsError> {
    let units = columns.first().map_or(0, |column| column.len());
    for (index, column) in columns.iter().enumerate() {
        let checked = check::same_length("the column", column.len(), "the first", units)
            .and_then(|()| check::sample("the column", column, 2));
        check::in_column("columns", index, checked)?;
    }
    test_columns(columns, draws, rng)
}

fn test_columns(
    columns: &[&[f64]],
    draws: u64,
    mut rng: ChaCha20Rng,
) -> Result<Vec<SignFlipColumn>, StatsError> {
    if draws == 0 {
        return Err(StatsError::OutOfRange {
            argument: "draws",
            value: 0.0,
            rule: "at least 1",
        });
    }
    let units = columns.first().map_or(0, |column| column.len());
    let scaled: Vec<Vec<f64>> = columns.iter().map(|column| scale(column)).collect();
    let rows: Vec<Vec<f64>> = (0..units)
        .map(|unit| scaled.iter().map(|column| column[unit]).collect())
        .collect();
    let mut counts = Counts::new(&rows, columns.len());

    let exhaustive = units <= SIGN_FLIP_EXHAUSTIVE_UNITS;
    let permutations = if exhaustive { 1_u64 << units } else { draws };
    if exhaustive {
        // A pattern and its opposite have the same |statistic|, so the last
        // unit's sign stays and each pattern stands for two.
        for pattern in 0..permutations / 2 {
            counts.add(&rows, &[pattern], 2);
        }
    } else {
        let mut words = vec![0_u64; units.div_ceil(64)];
        for _ in 0..draws {
            words.fill_with(|| rng.next_u64());
            counts.add(&rows, &words, 1);
        }
    }
    columns
        .iter()
        .zip(counts.alone.into_iter().zip(counts.family))
        .map(|(column, (alone, family))| {
            let mean = describe::mean(column)?;
            let test = |extreme| PermutationTest::new(mean, extreme, permutations, exhaustive);
            Ok(SignFlipColumn {
                alone: test(alone),
                family: test(family),
            })
        })
        .collect()
}

/// Sign patterns at least as extreme as the observed one, by column.
struct Counts {
    observed: Vec<f64>, // [column], |statistic|
    flipped: Vec<f64>,  // [column], statistic of the current pattern
    alone: Vec<u64>,    // [column]
    family: Vec<u64>,   // [column]
}

impl Counts {
    fn new(rows: &[Vec<f64>], columns: usize) -> Self {
        let mut counts = Counts {
            observed: vec![0.0; columns],
            flipped: vec![0.0; columns],
            alone: vec![0; columns],
            family: vec![0; columns],
        };
        let unflipped = vec![0; rows.len().div_ceil(64)];
        counts.flip(rows, &unflipped);
        counts.observed = counts.flipped.iter().map(|v| v.abs()).collect();
        counts
    }

    /// The statistic of every column with the units whose bit is set flipped.
    fn flip(&mut self, rows: &[Vec<f64>], words: &[u64]) {
        self.flipped.fill(0.0);
        for (unit, row) in rows.iter().enumerate() {
            let flips = (words[unit / 64] >> (unit % 64)) & 1 == 1;
            let sign = if flips { -1.0 } else { 1.0 };
            for (sum, value) in self.flipped.iter_mut().zip(row) {
                *sum += sign * value;
            }
        }
    }

    fn add(&mut self, rows: &[Vec<f64>], words: &[u64], weight: u64) {
        self.flip(rows, words);
        let largest = self.flipped.iter().map(|v| v.abs()).fold(0.0, f64::max);
        for (column, &observed) in self.observed.iter().enumerate() {
            let bound = observed - TIE_TOLERANCE;
            self.alone[column] += weight * u64::from(self.flipped[column].abs() >= bound);
            self.family[column] += weight * u64::from(largest >= bound);
        }
    }
}

/// Divides by sqrt(n sum x²), by way of the largest |x| so that no square leaves f64.
fn scale(column: &[f64]) -> Vec<f64> {
    let largest = column.iter().map(|v| v.abs()).fold(0.0, f64::max);
    if largest == 0.0 {
        return column.to_vec();
    }
    let squares: f64 = column.iter().map(|v| (v / largest).powi(2)).sum();
    let length = (column.len() as f64 * squares).sqrt();
    column.iter().map(|v| v / largest / length).collect()
}
