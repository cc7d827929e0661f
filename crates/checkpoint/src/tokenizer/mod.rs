//! Text to token ids and back: a tokenizer.json by the tokenizers library, or
//! what a GGUF's metadata describe.

mod gguf;
mod json;
mod sentencepiece;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Value;
use tokenizers::Tokenizer;

use crate::error::CheckpointError;
use sentencepiece::SentencePiece;

/// Turns text into token ids as the model's own tokenizer does, special tokens
/// included.
pub struct TextTokenizer {
    path: PathBuf,
    inner: Inner,
    /// Put before every text, where a GGUF says so (`add_bos_token`).
    bos: Option<u32>,
    /// Put behind every text, where a GGUF says so (`add_eos_token`).
    eos: Option<u32>,
}

enum Inner {
    Library(Box<Tokenizer>),
    SentencePiece(Box<SentencePiece>),
}

/// What the families' tokenizers call such tokens.
const ENDS: &[&str] = &[
    "</s>",
    "<eos>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
];

/// The ids of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIds {
    /// Ids, special tokens included.
    pub ids: Vec<u32>,
    /// How many of them the tokenizer added by itself.
    pub special: usize,
}

impl TextTokenizer {
    /// Reads a tokenizer.json.
    ///
    /// # Errors
    /// It is not one.
    pub(crate) fn from_file(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = std::fs::read(path).map_err(CheckpointError::io(path))?;
        let malformed = |reason: String| CheckpointError::Malformed {
            path: path.to_path_buf(),
            kind: "tokenizer.json",
            reason,
        };
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
        drop(bytes);
        json::check(&value).map_err(malformed)?;
        // What was checked and nothing else: a field that is there twice is one
        // thing to one reader and another to the next.
        let checked = value.to_string();
        drop(value);
        let mut inner =
            Tokenizer::from_bytes(checked.as_bytes()).map_err(|e| malformed(e.to_string()))?;
        json::check_built(&inner).map_err(malformed)?;
        // A file may ask for padding or truncation; a measurement wants neither.
        inner.with_padding(None);
        let _ = inner.with_truncation(None);
        Ok(Self {
            path: path.to_path_buf(),
            inner: Inner::Library(Box::new(inner)),
            bos: None,
            eos: None,
        })
    }

    /// Builds the tokenizer that a GGUF's metadata describe. None if the file
    /// has none.
    ///
    /// # Errors
    /// A kind that is not in the table, or fields that contradict each other.
    pub(crate) fn from_gguf(
        path: &Path,
        metadata: &HashMap<String, Value>,
    ) -> Result<Option<Self>, CheckpointError> {
        gguf::read(&gguf::Metadata { path, metadata })
    }

    /// The ids of `text`, with the special tokens that the model's own
    /// tokenizer adds.
    ///
    /// # Errors
    /// The text is empty, or gives no token.
    pub fn encode(&self, text: &str) -> Result<TokenIds, CheckpointError> {
        let failed = |reason: String| CheckpointError::Tokenize {
            path: self.path.clone(),
            text: text.chars().take(60).collect(),
            reason,
        };
        if text.is_empty() {
            return Err(failed("the text is empty".to_owned()));
        }
        let (mut ids, mut special) = match &self.inner {
            Inner::Library(library) => {
                let encoding = library
                    .encode(text, true)
                    .map_err(|e| failed(e.to_string()))?;
                let mask = encoding.get_special_tokens_mask();
                let special = mask.iter().map(|m| *m as usize).sum();
                (encoding.get_ids().to_vec(), special)
            }
            Inner::SentencePiece(model) => (model.encode(text), 0),
        };
        special += usize::from(self.bos.is_some()) + usize::from(self.eos.is_some());
        ids.splice(0..0, self.bos);
        ids.extend(self.eos);
        if ids.len() == special {
            return Err(failed("it gives no tokens of its own".to_owned()));
        }
        Ok(TokenIds { ids, special })
    }

    /// The text of some ids, special tokens left out.
    ///
    /// # Errors
    /// The tokenizer's decoder refuses.
    pub fn decode(&self, ids: &[u32]) -> Result<String, CheckpointError> {
        let text = match &self.inner {
            Inner::Library(library) => library.decode(ids, true).map_err(|e| e.to_string()),
            Inner::SentencePiece(model) => model.decode(ids),
        };
        text.map_err(|reason| CheckpointError::Tokenize {
            path: self.path.clone(),
            text: format!("{ids:?}"),
            reason,
        })
    }

    /// Tokens by which models end a text or their turn, of those that have
    /// one: decoding stops there.
    #[must_use]
    pub fn ends(&self) -> Vec<u32> {
        let id = |name: &&str| match &self.inner {
            Inner::Library(library) => library.token_to_id(name),
            Inner::SentencePiece(model) => match model.encode(name).as_slice() {
                [id] => Some(*id),
                _ => None,
            },
        };
        ENDS.iter().filter_map(id).collect()
    }

    /// The file that the tokenizer came from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The first merge that makes no token. tokenizers 0.23.2 copies it into a
/// buffer of the longest token's length before it looks for it, and panics.
fn stray_merge<'a>(
    is_token: impl Fn(&str) -> bool,
    merges: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<String> {
    let mut merges = merges.into_iter().map(|(a, b)| format!("{a}{b}"));
    merges.find(|merged| !is_token(merged))
}
