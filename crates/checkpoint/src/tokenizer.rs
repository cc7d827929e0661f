use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

use crate::error::CheckpointError;

/// Turns text into token ids as the model's own tokenizer does, special tokens
/// included.
pub struct TextTokenizer {
    path: PathBuf,
    inner: Tokenizer,
    /// Put before every text, where a GGUF says so (`add_bos_token`).
    bos: Option<u32>,
}

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
        // tokenizers 0.23.2 panics on a decoder that is no JSON and on a
        // Precompiled normalizer whose table is damaged: the first is found
        // here, the second is of no use to the families that have a decoder.
        let json: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
        if json.get("normalizer").is_some_and(names_precompiled) {
            return Err(malformed(
                "normalizer Precompiled is not supported".to_owned(),
            ));
        }
        let mut inner = Tokenizer::from_bytes(&bytes).map_err(|e| malformed(e.to_string()))?;
        // A file may ask for padding or truncation; a measurement wants neither.
        inner.with_padding(None);
        let _ = inner.with_truncation(None);
        Ok(Self {
            path: path.to_path_buf(),
            inner,
            bos: None,
        })
    }

    /// Builds the tokenizer that a GGUF's metadata describe. None if the file
    /// has none. candle's own reader gives wrong ids for some kinds, so the
    /// kinds known to be right are a table here and others are refused.
    ///
    /// # Errors
    /// A kind that is not in the table, or fields that contradict each other.
    pub(crate) fn from_gguf(
        path: &Path,
        metadata: &HashMap<String, Value>,
    ) -> Result<Option<Self>, CheckpointError> {
        let field = |field: &str, reason: String| CheckpointError::Field {
            path: path.to_path_buf(),
            field: field.to_owned(),
            reason,
        };
        let text = |name: &str| match metadata.get(name) {
            Some(Value::String(s)) => Some(s.as_str()),
            _ => None,
        };
        let Some(model) = text("tokenizer.ggml.model") else {
            return Ok(None);
        };
        let pre = text("tokenizer.ggml.pre").unwrap_or("default");
        let pre_tokenizer: PreTokenizerWrapper = match (model, pre) {
            // Every digit by itself, then GPT-2's byte-level split.
            ("gpt2", "smollm") => Sequence::new(vec![
                Digits::new(true).into(),
                ByteLevel::new(false, true, true).into(),
            ])
            .into(),
            ("gpt2", "gpt-2") => ByteLevel::new(false, true, true).into(),
            _ => {
                return Err(field(
                    "tokenizer.ggml.pre",
                    format!(
                        "is {pre:?} for model {model:?}; supported are smollm and gpt-2 for gpt2"
                    ),
                ));
            }
        };
        let strings = |name: &str| -> Result<Vec<&str>, CheckpointError> {
            let Some(Value::Array(values)) = metadata.get(name) else {
                return Err(field(name, "is missing or no array".to_owned()));
            };
            let as_str = |(i, v): (usize, &'_ Value)| -> Result<(), CheckpointError> {
                match v {
                    Value::String(_) => Ok(()),
                    _ => Err(field(name, format!("holds no string at index {i}"))),
                }
            };
            values.iter().enumerate().try_for_each(as_str)?;
            Ok(values
                .iter()
                .filter_map(|v| match v {
                    Value::String(s) => Some(s.as_str()),
                    _ => None,
                })
                .collect())
        };
        let tokens = strings("tokenizer.ggml.tokens")?;
        let vocab: Vocab = (0u32..)
            .zip(&tokens)
            .map(|(i, t)| ((*t).to_owned(), i))
            .collect();
        let merges = strings("tokenizer.ggml.merges")?
            .into_iter()
            .map(|m| match m.split_once(' ') {
                Some((a, b)) => Ok((a.to_owned(), b.to_owned())),
                None => Err(field(
                    "tokenizer.ggml.merges",
                    format!("holds {m:?}, which is not two tokens"),
                )),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .build()
            .map_err(|e| field("tokenizer.ggml.merges", e.to_string()))?;
        let mut inner = Tokenizer::new(bpe);
        inner.with_pre_tokenizer(Some(pre_tokenizer));
        inner.with_decoder(Some(ByteLevel::new(false, true, true)));
        let control = control_tokens(metadata, &tokens);
        inner
            .add_special_tokens(control)
            .map_err(|e| field("tokenizer.ggml.token_type", e.to_string()))?;
        let bos = match metadata.get("tokenizer.ggml.add_bos_token") {
            Some(Value::Bool(true)) => match metadata.get("tokenizer.ggml.bos_token_id") {
                Some(Value::U32(id)) => Some(*id),
                _ => {
                    return Err(field(
                        "tokenizer.ggml.bos_token_id",
                        "is missing though add_bos_token is true".to_owned(),
                    ));
                }
            },
            _ => None,
        };
        Ok(Some(Self {
            path: path.to_path_buf(),
            inner,
            bos,
        }))
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
        let encoding = self
            .inner
            .encode(text, true)
            .map_err(|e| failed(e.to_string()))?;
        let mut ids = encoding.get_ids().to_vec();
        let mut special: usize = encoding
            .get_special_tokens_mask()
            .iter()
            .map(|m| *m as usize)
            .sum();
        if let Some(bos) = self.bos {
            ids.insert(0, bos);
            special += 1;
        }
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
        self.inner
            .decode(ids, true)
            .map_err(|e| CheckpointError::Tokenize {
                path: self.path.clone(),
                text: format!("{ids:?}"),
                reason: e.to_string(),
            })
    }

    /// The file that the tokenizer came from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Is there a `"type": "Precompiled"` in a normalizer, or in a sequence of them?
fn names_precompiled(normalizer: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Object};
    match normalizer {
        Object(map) => {
            map.get("type").is_some_and(|t| t == "Precompiled")
                || map.values().any(names_precompiled)
        }
        Array(items) => items.iter().any(names_precompiled),
        _ => false,
    }
}

/// Tokens of type 3, "control" in the GGUF specification.
fn control_tokens(metadata: &HashMap<String, Value>, tokens: &[&str]) -> Vec<AddedToken> {
    let Some(Value::Array(types)) = metadata.get("tokenizer.ggml.token_type") else {
        return Vec::new();
    };
    types
        .iter()
        .zip(tokens)
        .filter(|(kind, _)| matches!(kind, Value::I32(3)))
        .map(|(_, token)| AddedToken::from(*token, true))
        .collect()
}
