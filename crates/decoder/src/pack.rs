use std::ops::Range;

use candle_core::Tensor;

use crate::DecoderError;

/// Prompts laid end to end for one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    ids: Vec<u32>,
    segments: Vec<Range<usize>>,
    /// Tokens of each prompt that went before and are in a cache.
    past: Vec<usize>,
    /// Fewest rows of the tensors of a pass.
    min_rows: usize,
}

impl Pack {
    /// Fewest rows of a matrix product at which a row's bits no longer depend
    /// on how many other rows there are (candle's CPU matmul takes another
    /// path below it).
    pub const MIN_ROWS: usize = 32;

    /// Packs prompts of token ids.
    ///
    /// # Errors
    /// No prompts, or an empty one.
    pub fn new(prompts: &[Vec<u32>]) -> Result<Self, DecoderError> {
        let mut ids = Vec::new();
        let mut segments = Vec::new();
        for (index, prompt) in prompts.iter().enumerate() {
            if prompt.is_empty() {
                return Err(DecoderError::Prompt {
                    index,
                    reason: "has no tokens".to_owned(),
                });
            }
            segments.push(ids.len()..ids.len() + prompt.len());
            ids.extend(prompt);
        }
        if segments.is_empty() {
            return Err(DecoderError::Prompt {
                index: 0,
                reason: "is missing: the pack is empty".to_owned(),
            });
        }
        let past = vec![0; segments.len()];
        Ok(Self {
            ids,
            segments,
            past,
            min_rows: Self::MIN_ROWS,
        })
    }

    /// Packs what follows `past` tokens of each prompt that a cache holds. Such
    /// a pack is not padded to [`Pack::MIN_ROWS`]: a decoding step has few
    /// rows, and its bits are not those of a pass over the whole prompt.
    ///
    /// # Errors
    /// As [`Pack::new`]; another number of pasts than of prompts; a past beyond
    /// what positions, which are u32, can count.
    pub fn continuing(prompts: &[Vec<u32>], past: &[usize]) -> Result<Self, DecoderError> {
        if prompts.len() != past.len() {
            return Err(DecoderError::Prompt {
                index: prompts.len().min(past.len()),
                reason: format!(
                    "has no counterpart: {} prompts continue {}",
                    prompts.len(),
                    past.len()
                ),
            });
        }
        let mut pack = Self::new(prompts)?;
        for (index, (segment, past)) in pack.segments.iter().zip(past).enumerate() {
            if u32::try_from(past.saturating_add(segment.len())).is_err() {
                return Err(DecoderError::Prompt {
                    index,
                    reason: format!("continues {past} tokens, more than positions can count"),
                });
            }
        }
        pack.past = past.to_vec();
        if past.iter().any(|p| *p > 0) {
            pack.min_rows = 1;
        }
        Ok(pack)
    }

    /// Tokens of each prompt that went before and are in a cache.
    #[must_use]
    pub fn past(&self) -> &[usize] {
        &self.past
    }

    /// Rows of each prompt.
    #[must_use]
    pub fn segments(&self) -> &[Range<usize>] {
        &self.segments
    }

    /// Number of tokens, padding not counted.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Token ids of all prompts, end to end.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Row of the last token of each prompt.
    #[must_use]
    pub fn last_rows(&self) -> Vec<u32> {
        self.segments.iter().map(|s| s.end as u32 - 1).collect()
    }

    /// Position of every row within its prompt.
    #[must_use]
    pub fn positions(&self) -> Vec<u32> {
        let spans = self.segments.iter().zip(&self.past);
        spans
            .flat_map(|(s, past)| *past as u32..(past + s.len()) as u32)
            .collect()
    }

    /// Rows of the tensors of a pass: tokens and padding.
    pub(crate) fn rows(&self) -> usize {
        self.tokens().max(self.min_rows)
    }

    /// `x` [tokens, …] with rows of zeros below it up to `rows`.
    pub(crate) fn pad(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        pad_rows(x, self.rows())
    }

    pub(crate) fn check(&self, vocab: usize, context: usize) -> Result<(), DecoderError> {
        for (index, segment) in self.segments.iter().enumerate() {
            let length = self.past[index] + segment.len();
            if length > context {
                return Err(DecoderError::Prompt {
                    index,
                    reason: format!("has {length} tokens and the model's context is {context}"),
                });
            }
            if let Some(id) = self.ids[segment.clone()]
                .iter()
                .find(|id| **id as usize >= vocab)
            {
                return Err(DecoderError::Prompt {
                    index,
                    reason: format!("has token {id} and the vocabulary ends at {vocab}"),
                });
            }
        }
        Ok(())
    }
}

/// `x` with rows of zeros below it up to `rows`.
pub(crate) fn pad_rows(x: &Tensor, rows: usize) -> Result<Tensor, DecoderError> {
    let have = x.dim(0)?;
    if have >= rows {
        return Ok(x.clone());
    }
    let mut shape = x.dims().to_vec();
    shape[0] = rows - have;
    let zeros = Tensor::zeros(shape, x.dtype(), x.device())?;
    Ok(Tensor::cat(&[x, &zeros], 0)?)
}
