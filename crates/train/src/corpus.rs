//! Text from a seed, and the tokenizer that cuts it.

use std::ops::Range;

use assay_problems::Language;
use assay_stats::stream;
use rand_chacha::ChaCha20Rng;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::arithmetic::{Kind, Problem, draw_kind, number_answer};
use crate::init::unit;
use crate::{DataKind, DataSpec, TrainError, Trigram, story};

/// Token 0: stands before every story.
pub const END: &str = "<|endoftext|>";

/// Stories or problems that the tokenizer is trained on.
const TOKENIZER_TEXTS: usize = 2_000;

/// Discount of the trigram model, the usual value (Ney et al. 1994).
const DISCOUNT: f64 = 0.75;

/// A sequence of tokens.
pub struct Sequence {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Of each token but the first, whether its prediction is part of the
    /// loss. Empty: all of them.
    pub counts: Vec<bool>,
    /// What is asked for in it.
    pub answers: Vec<Answer>,
}

/// An answer in a sequence.
pub struct Answer {
    /// Kind of the problem and code of the language: "sum.zh".
    pub of: String,
    /// Its tokens, by place in the sequence.
    pub tokens: Range<usize>,
    /// The number that it is, if it is one.
    pub number: Option<Numeral>,
}

/// A number as it is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numeral {
    /// The number.
    pub value: i64,
    /// In this language.
    pub language: Language,
    /// In words, not digits?
    pub words: bool,
}

/// Sequences of one length from a seed. Sequence i of a split is a function of
/// the seed, the split and i alone, so that training can begin anywhere.
pub struct Corpus {
    kind: DataKind,
    seed: u64,
    length: usize,
    tokenizer: Tokenizer,
}

impl Corpus {
    /// A corpus with a byte-level tokenizer trained on its own text.
    ///
    /// # Errors
    /// The tokenizer library refuses.
    pub fn new(spec: &DataSpec) -> Result<Self, TrainError> {
        let text = (0..TOKENIZER_TEXTS).map(|i| {
            let mut draws = stream(spec.seed, &format!("tokenizer/{i}"));
            match spec.kind {
                DataKind::Stories => format!(" {}", story(&mut draws)),
                DataKind::Problems => {
                    let language = Language::BOTH[i % 2];
                    let problem = Problem::draw(&mut draws, Kind::ALL[i % Kind::ALL.len()], false);
                    let (question, answer) = problem.line(language);
                    format!("{question}{answer}\n")
                }
            }
        });
        // A story begins as a word within one does; a problem does not.
        let byte_level = ByteLevel::new(spec.kind == DataKind::Stories, true, true);
        let mut tokenizer = Tokenizer::new(BPE::default());
        tokenizer.with_pre_tokenizer(Some(byte_level));
        tokenizer.with_decoder(Some(byte_level));
        let mut trainer = TrainerWrapper::from(
            BpeTrainerBuilder::new()
                .vocab_size(spec.vocab)
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
            kind: spec.kind,
            seed: spec.seed,
            length: spec.length,
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

    fn encode(&self, text: &str) -> Result<Vec<u32>, TrainError> {
        let encoding = self.tokenizer.encode(text, false);
        Ok(encoding.map_err(TrainError::tokenizer)?.get_ids().to_vec())
    }

    /// The tokens of a number.
    ///
    /// # Errors
    /// The tokenizer library refuses.
    pub fn numeral(&self, n: Numeral) -> Result<Vec<u32>, TrainError> {
        self.encode(&number_answer(n.language, n.words, n.value))
    }

    /// Sequence `index` of a split ("train", "valid"): stories end to end, each
    /// behind [`END`], or lines of problems of one kind in one language behind
    /// one; those of a split other than "train" are held out.
    ///
    /// # Errors
    /// The tokenizer library refuses.
    pub fn sequence(&self, split: &str, index: u64) -> Result<Sequence, TrainError> {
        let mut draws = stream(self.seed, &format!("{split}/{index}"));
        match self.kind {
            DataKind::Stories => self.stories(&mut draws),
            DataKind::Problems => self.problems(&mut draws, split != "train"),
        }
    }

    fn stories(&self, draws: &mut ChaCha20Rng) -> Result<Sequence, TrainError> {
        let mut ids = Vec::with_capacity(self.length);
        while ids.len() < self.length {
            ids.extend(self.encode(&format!("{END} {}", story(draws)))?);
        }
        ids.truncate(self.length);
        Ok(Sequence {
            ids,
            counts: Vec::new(),
            answers: Vec::new(),
        })
    }

    fn problems(&self, draws: &mut ChaCha20Rng, held_out: bool) -> Result<Sequence, TrainError> {
        let kind = draw_kind(draws);
        let language = Language::BOTH[usize::from(unit(draws) < 0.5)];
        // In one sequence of four the questions are learnt too, so that a text
        // goes on after an answer.
        let whole = unit(draws) < 0.25;
        let mut ids = self.encode(END)?;
        let mut answers = Vec::new();
        let mut counts = Vec::new();
        loop {
            let problem = Problem::draw(draws, kind, held_out);
            let (question, answer) = problem.line(language);
            let (question, answer) = (self.encode(&question)?, self.encode(&answer)?);
            let end = self.encode("\n")?;
            if ids.len() + question.len() + answer.len() + end.len() > self.length {
                break;
            }
            ids.extend(&question);
            counts.extend(question.iter().map(|_| whole));
            answers.push(Answer {
                of: format!("{}.{}", kind.name(), language.code()),
                tokens: ids.len()..ids.len() + answer.len(),
                number: kind.number_in_words().map(|words| Numeral {
                    value: problem.answer,
                    language,
                    words,
                }),
            });
            for part in [answer, end] {
                counts.extend(part.iter().map(|_| true));
                ids.extend(part);
            }
        }
        Ok(Sequence {
            ids,
            counts,
            answers,
        })
    }

    /// Sequences of a split.
    ///
    /// # Errors
    /// As [`Corpus::sequence`].
    pub fn sequences(&self, split: &str, range: Range<u64>) -> Result<Vec<Sequence>, TrainError> {
        range.map(|i| self.sequence(split, i)).collect()
    }

    /// Loss in nats a token on `valid` sequences of a trigram model counted on
    /// `train` ones: what must be beaten.
    ///
    /// # Errors
    /// As [`Corpus::sequence`].
    pub fn trigram_loss(&self, train: u64, valid: u64) -> Result<f64, TrainError> {
        let ids = |split: &str, n: u64| -> Result<Vec<Vec<u32>>, TrainError> {
            let all = self.sequences(split, 0..n)?;
            Ok(all.into_iter().map(|s| s.ids).collect())
        };
        let model = Trigram::count(&ids("train", train)?, self.vocab(), DISCOUNT);
        Ok(model.loss(&ids("valid", valid)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Corpus, END};
    use crate::{DataKind, DataSpec};

    fn spec(kind: DataKind, length: usize, vocab: usize) -> DataSpec {
        DataSpec {
            kind,
            seed: 3,
            length,
            vocab,
            valid: 1,
        }
    }

    #[test]
    fn sequences_are_stories_behind_their_mark() {
        let corpus = Corpus::new(&spec(DataKind::Stories, 64, 512)).unwrap();
        assert!(corpus.vocab() <= 512);
        let ids = corpus.sequence("train", 5).unwrap().ids;
        assert_eq!((ids.len(), ids[0]), (64, 0));
        assert_eq!(ids, corpus.sequence("train", 5).unwrap().ids);
        assert_ne!(ids, corpus.sequence("valid", 5).unwrap().ids);
        let text = corpus.tokenizer.decode(&ids, false).unwrap();
        assert!(text.starts_with(END), "{text}");
        // Words of the grammar are whole tokens: the sequence says much.
        assert!(text.len() > 3 * ids.len(), "{text}");
        let again = Corpus::new(&spec(DataKind::Stories, 64, 512)).unwrap();
        assert_eq!(
            again.tokenizer_json().unwrap(),
            corpus.tokenizer_json().unwrap()
        );
    }

    /// Parts are encoded one by one, as the whole text is.
    #[test]
    fn sequences_are_problems_in_one_language() {
        let corpus = Corpus::new(&spec(DataKind::Problems, 96, 1024)).unwrap();
        for index in 0..40 {
            let sequence = corpus.sequence("train", index).unwrap();
            let text = corpus.tokenizer.decode(&sequence.ids[1..], true).unwrap();
            let whole = corpus.tokenizer.encode(text.as_str(), true).unwrap();
            assert_eq!(whole.get_ids(), sequence.ids, "{text}");
            assert_eq!(sequence.counts.len(), sequence.ids.len() - 1);
            for answer in sequence.answers {
                let ids = &sequence.ids[answer.tokens];
                assert_eq!(ids.len(), 1, "{}: {text}", answer.of);
            }
        }
    }
}
