//! Text from a seed, and the tokenizer that cuts it.

use assay_stats::stream;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::{TrainError, Trigram, story};

/// Token 0: stands before every story.
pub const END: &str = "<|endoftext|>";

/// Stories that the tokenizer is trained on.
const TOKENIZER_STORIES: usize = 2_000;

/// Discount of the trigram model, the usual value (Ney et al. 1994).
const DISCOUNT: f64 = 0.75;

/// Sequences of one length from a seed. Sequence i of a split is a function of
/// the seed, the split and i alone, so that training can begin anywhere.
pub struct Corpus {
    seed: u64,
    length: usize,
    tokenizer: Tokenizer,
}

impl Corpus {
    /// A corpus of sequences of `length` tokens, with a byte-level tokenizer of
    /// about `vocab` tokens trained on its own text.
    ///
    /// # Errors
    /// The tokenizer library refuses.
    pub fn new(seed: u64, length: usize, vocab: usize) -> Result<Self, TrainError> {
        let text = (0..TOKENIZER_STORIES)
            .map(|i| format!(" {}", story(&mut stream(seed, &format!("tokenizer/{i}")))));
        // A text begins as a word within one does.
        let byte_level = ByteLevel::new(true, true, true);
        let mut tokenizer = Tokenizer::new(BPE::default());
        tokenizer.with_pre_tokenizer(Some(byte_level));
        tokenizer.with_decoder(Some(byte_level));
        let mut trainer = TrainerWrapper::from(
            BpeTrainerBuilder::new()
                .vocab_size(vocab)
                .min_frequency(2)
                .show_progress(false)
                .special_tokens(vec![AddedToken::from(END, true)])
                .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
                .build(),
        );
        tokenizer
            .train(&mut trainer, text)
            .map_err(TrainError::tokenizer)?;
        // Every text stands behind the mark, as in training.
        let behind_the_mark = TemplateProcessing::builder()
            .try_single(format!("{END} $A"))
            .map_err(|reason| TrainError::Tokenizer { reason })?
            .special_tokens(vec![(END, 0)])
            .build()
            .map_err(|e| TrainError::Tokenizer {
                reason: e.to_string(),
            })?;
        tokenizer.with_post_processor(Some(behind_the_mark));
        Ok(Self {
            seed,
            length,
            tokenizer,
        })
    }

    /// Number of tokens.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// tokenizer.json.
    ///
    /// # Errors
    /// The tokenizer library refuses.
    pub fn tokenizer_json(&self) -> Result<String, TrainError> {
        self.tokenizer
            .to_string(true)
            .map_err(TrainError::tokenizer)
    }

    /// Sequence `index` of a split ("train", "valid"): stories end to end, each
    /// behind [`END`].
    ///
    /// # Errors
    /// The tokenizer library refuses.
    pub fn sequence(&self, split: &str, index: u64) -> Result<Vec<u32>, TrainError> {
        let mut draws = stream(self.seed, &format!("{split}/{index}"));
        let mut ids = Vec::with_capacity(self.length);
        while ids.len() < self.length {
            let text = format!("{END} {}", story(&mut draws));
            let encoding = self
                .tokenizer
                .encode(text, false)
                .map_err(TrainError::tokenizer)?;
            ids.extend_from_slice(encoding.get_ids());
        }
        ids.truncate(self.length);
        Ok(ids)
    }

    /// Sequences of a split.
    ///
    /// # Errors
    /// As [`Corpus::sequence`].
    pub fn sequences(
        &self,
        split: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<Vec<u32>>, TrainError> {
        range.map(|i| self.sequence(split, i)).collect()
    }

    /// Loss in nats a token on `valid` sequences of a trigram model counted on
    /// `train` ones: what must be beaten.
    ///
    /// # Errors
    /// As [`Corpus::sequence`].
    pub fn trigram_loss(&self, train: u64, valid: u64) -> Result<f64, TrainError> {
        let model = Trigram::count(&self.sequences("train", 0..train)?, self.vocab(), DISCOUNT);
        Ok(model.loss(&self.sequences("valid", 0..valid)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Corpus, END};

    #[test]
    fn sequences_are_stories_behind_their_mark() {
        let corpus = Corpus::new(3, 64, 512).unwrap();
        assert!(corpus.vocab() <= 512);
        let ids = corpus.sequence("train", 5).unwrap();
        assert_eq!((ids.len(), ids[0]), (64, 0));
        assert_eq!(ids, corpus.sequence("train", 5).unwrap());
        assert_ne!(ids, corpus.sequence("valid", 5).unwrap());
        let text = corpus.tokenizer.decode(&ids, false).unwrap();
        assert!(text.starts_with(END), "{text}");
        // Words of the grammar are whole tokens: the sequence says much.
        assert!(text.len() > 3 * ids.len(), "{text}");
        let again = Corpus::new(3, 64, 512).unwrap();
        assert_eq!(
            again.tokenizer_json().unwrap(),
            corpus.tokenizer_json().unwrap()
        );
    }
}
