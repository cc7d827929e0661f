use std::collections::HashMap;

/// A trigram model with interpolated absolute discounting (Ney, Essen & Kneser
/// 1994): counts of three tokens, backed off to two, one and a uniform law.
/// What a trained model must beat to have learnt more than local habits.
pub struct Trigram {
    discount: f64,
    vocab: usize,
    orders: [HashMap<Vec<u32>, Counts>; 3],
}

#[derive(Default)]
struct Counts {
    total: f64,
    next: HashMap<u32, f64>,
}

impl Trigram {
    /// Counts sequences of token ids, each by itself.
    #[must_use]
    pub fn count(sequences: &[Vec<u32>], vocab: usize, discount: f64) -> Self {
        let mut orders: [HashMap<Vec<u32>, Counts>; 3] = Default::default();
        for ids in sequences {
            for (at, next) in ids.iter().enumerate() {
                for (order, counts) in orders.iter_mut().enumerate().take(at + 1) {
                    let entry = counts.entry(ids[at - order..at].to_vec()).or_default();
                    entry.total += 1.0;
                    *entry.next.entry(*next).or_default() += 1.0;
                }
            }
        }
        Self {
            discount,
            vocab,
            orders,
        }
    }

    /// Probability of `next` after `before`, of which the last two tokens
    /// count.
    #[must_use]
    pub fn probability(&self, before: &[u32], next: u32) -> f64 {
        let mut p = 1.0 / self.vocab as f64;
        for (order, counts) in self.orders.iter().enumerate().take(before.len() + 1) {
            let Some(seen) = counts.get(&before[before.len() - order..]) else {
                break;
            };
            let count = seen.next.get(&next).copied().unwrap_or(0.0);
            let left = self.discount * seen.next.len() as f64 / seen.total;
            p = (count - self.discount).max(0.0) / seen.total + left * p;
        }
        p
    }

    /// Mean of -log p in nats over all tokens but the first of each sequence.
    #[must_use]
    pub fn loss(&self, sequences: &[Vec<u32>]) -> f64 {
        let (mut sum, mut n) = (0.0, 0.0);
        for ids in sequences {
            for at in 1..ids.len() {
                sum -= self.probability(&ids[..at], ids[at]).ln();
                n += 1.0;
            }
        }
        sum / n
    }
}

#[cfg(test)]
mod tests {
    use super::Trigram;

    #[test]
    fn probabilities_sum_to_one_and_follow_the_counts() {
        let model = Trigram::count(&[vec![0, 1, 2, 0, 1, 3], vec![4, 1, 2]], 5, 0.5);
        for before in [&[][..], &[0], &[0, 1], &[4, 4], &[2, 2, 1]] {
            let sum: f64 = (0..5).map(|next| model.probability(before, next)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{before:?}: {sum}");
        }
        // After (0, 1) came 2 once and 3 once; after 1 came 2 twice and 3 once;
        // of 9 tokens 2 were twice 2, with 5 kinds seen.
        let one = 1.5 / 9.0 + 0.5 * 5.0 / 9.0 / 5.0;
        let two = 1.5 / 3.0 + 0.5 * 2.0 / 3.0 * one;
        let three = 0.5 / 2.0 + 0.5 * 2.0 / 2.0 * two;
        assert!((model.probability(&[0, 1], 2) - three).abs() < 1e-12);
    }
}
