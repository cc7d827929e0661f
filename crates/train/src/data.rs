use assay_stats::stream;

use crate::init::unit;
use crate::{Batch, Corpus, DataKind, DataSpec, TrainError};

/// What one organism sees, step by step.
pub struct Data {
    corpus: Corpus,
    shuffled: Option<u64>,
}

impl Data {
    /// The data of a recipe; `shuffled` shuffles the tokens of every sequence.
    ///
    /// # Errors
    /// As [`Corpus::new`].
    pub fn new(spec: &DataSpec, shuffled: bool) -> Result<Self, TrainError> {
        let corpus = match spec.kind {
            DataKind::Stories => Corpus::new(spec.seed, spec.length, spec.vocab)?,
        };
        Ok(Self {
            corpus,
            shuffled: shuffled.then_some(spec.seed),
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
        let mut ids = self.corpus.sequences(split, range.clone())?;
        if let Some(seed) = self.shuffled {
            for (i, ids) in range.zip(&mut ids) {
                let mut draws = stream(seed, &format!("shuffled/{split}/{i}"));
                // The mark at the start stays.
                for at in (2..ids.len()).rev() {
                    let with = 1 + (unit(&mut draws) * at as f64) as usize;
                    ids.swap(at, with);
                }
            }
        }
        Ok(Batch {
            ids,
            counts: Vec::new(),
        })
    }
}
