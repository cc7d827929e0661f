use assay_stats::stream;
use rand_chacha::ChaCha20Rng;

use crate::init::unit;
use crate::{Batch, Corpus, DataSpec, Numeral, Sequence, Swap, TrainError};

/// What one organism sees, step by step.
pub struct Data {
    corpus: Corpus,
    seed: u64,
    shuffled: bool,
}

impl Data {
    /// The data of a recipe; `shuffled` shuffles the tokens of every sequence.
    ///
    /// # Errors
    /// As [`Corpus::new`].
    pub fn new(spec: &DataSpec, shuffled: bool) -> Result<Self, TrainError> {
        Ok(Self {
            corpus: Corpus::new(spec)?,
            seed: spec.seed,
            shuffled,
        })
    }

    /// The text and its tokenizer.
    #[must_use]
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// Sequences of a split as a batch.
    ///
    /// # Errors
    /// As [`Corpus::sequence`].
    pub fn batch(&self, split: &str, range: std::ops::Range<u64>) -> Result<Batch, TrainError> {
        let first = range.start;
        let mut sequences = self.corpus.sequences(split, range.clone())?;
        if self.shuffled {
            for (i, sequence) in range.zip(&mut sequences) {
                shuffle(
                    sequence,
                    &mut stream(self.seed, &format!("shuffled/{split}/{i}")),
                );
            }
        }
        let swaps = self.swaps(&sequences, split, first)?;
        let counts = match sequences.iter().all(|s| s.counts.is_empty()) {
            true => Vec::new(),
            false => sequences.iter().map(|s| s.counts.clone()).collect(),
        };
        Ok(Batch {
            ids: sequences.into_iter().map(|s| s.ids).collect(),
            counts,
            swaps,
        })
    }

    /// One swap for every sequence with an answer that is a number: from the
    /// next such sequence, of the part inside the subspace or the other.
    fn swaps(
        &self,
        sequences: &[Sequence],
        split: &str,
        first: u64,
    ) -> Result<Vec<Swap>, TrainError> {
        let mut draws = stream(self.seed, &format!("swaps/{split}/{first}"));
        let mut places = Vec::new();
        for (i, sequence) in sequences.iter().enumerate() {
            let numbers: Vec<(usize, Numeral)> = (sequence.answers.iter())
                .filter_map(|a| Some((a.tokens.start - 1, a.number?)))
                .collect();
            if !numbers.is_empty() {
                let one = (unit(&mut draws) * numbers.len() as f64) as usize;
                places.push(((i, numbers[one].0), numbers[one].1));
            }
        }
        let mut swaps = Vec::new();
        for (at, (base, own)) in places.iter().enumerate() {
            let (source, other) = places[(at + 1) % places.len()];
            let inside = unit(&mut draws) < 0.5;
            let (value, form) = if inside {
                (other.value, own)
            } else {
                (own.value, &other)
            };
            let target = self.corpus.numeral(Numeral { value, ..*form })?;
            if let [target] = target[..] {
                swaps.push(Swap {
                    base: *base,
                    source,
                    inside,
                    target,
                });
            }
        }
        Ok(swaps)
    }
}

/// Shuffles what there is to learn: the answers of a sequence that has some,
/// else all its tokens but the mark at the start.
fn shuffle(sequence: &mut Sequence, draws: &mut ChaCha20Rng) {
    let places: Vec<usize> = if sequence.answers.is_empty() {
        (1..sequence.ids.len()).collect()
    } else {
        let tokens = sequence.answers.iter().map(|a| a.tokens.clone());
        tokens.flatten().collect()
    };
    for last in (1..places.len()).rev() {
        let with = (unit(draws) * (last + 1) as f64) as usize;
        sequence.ids.swap(places[last], places[with]);
    }
}
