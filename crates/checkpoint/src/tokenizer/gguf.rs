//! The tokenizer that a GGUF's metadata describe. candle's own reader gives
//! wrong ids for some kinds, so the kinds known to be right are a table here
//! and others are refused.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

use super::sentencepiece::{Kind, Piece, SentencePiece};
use super::{Inner, TextTokenizer, stray_merge};
use crate::error::CheckpointError;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";

/// How words are split before byte-level BPE, in the models' own
/// tokenizer.json: Qwen2's takes digits one by one, LLaMA 3's in threes.
const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A file's metadata, with errors that name the file and the field.
pub(super) struct Metadata<'a> {
    pub(super) path: &'a Path,
    pub(super) metadata: &'a HashMap<String, Value>,
}

pub(super) fn read(metadata: &Metadata) -> Result<Option<TextTokenizer>, CheckpointError> {
    let Some(model) = metadata.text(MODEL) else {
        return Ok(None);
    };
    let pre = metadata.text(PRE).unwrap_or("default");
    // llama.cpp puts the first token before a text of a SentencePiece model
    // unless the file says otherwise.
    let (inner, usual_bos) = match (model, pre) {
        ("gpt2", "gpt-2" | "smollm" | "qwen2" | "llama-bpe") => {
            (Inner::Library(Box::new(metadata.byte_level(pre)?)), false)
        }
        ("llama", "default") => {
            let model = metadata.sentencepiece()?;
            (Inner::SentencePiece(Box::new(model)), true)
        }
        _ => {
            return Err(metadata.error(
                PRE,
                format!(
                    "is {pre:?} for model {model:?}; supported are gpt-2, smollm, qwen2, \
                     llama-bpe for gpt2, and default for llama"
                ),
            ));
        }
    };
    Ok(Some(TextTokenizer {
        path: metadata.path.to_path_buf(),
        inner,
        bos: metadata.added("bos", usual_bos)?,
        eos: metadata.added("eos", false)?,
    }))
}

impl Metadata<'_> {
    fn error(&self, field: &str, reason: impl Into<String>) -> CheckpointError {
        CheckpointError::Field {
            path: self.path.to_path_buf(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    fn text(&self, field: &str) -> Option<&str> {
        match self.metadata.get(field) {
            Some(Value::String(s)) => Some(s),
            _ => None,
        }
    }

    fn flag(&self, field: &str, absent: bool) -> Result<bool, CheckpointError> {
        match self.metadata.get(field) {
            None => Ok(absent),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.error(field, "is not true or false")),
        }
    }

    fn array(&self, field: &str) -> Result<&[Value], CheckpointError> {
        match self.metadata.get(field) {
            Some(Value::Array(values)) => Ok(values),
            _ => Err(self.error(field, "is missing or no array")),
        }
    }

    fn strings(&self, field: &str) -> Result<Vec<&str>, CheckpointError> {
        let values = self.array(field)?.iter().enumerate();
        let strings = values.map(|(i, value)| match value {
            Value::String(s) => Ok(s.as_str()),
            _ => Err(self.error(field, format!("holds no string at index {i}"))),
        });
        strings.collect()
    }

    /// The types of the tokens; all are normal where the field is missing.
    fn kinds(&self, count: usize) -> Result<Vec<Kind>, CheckpointError> {
        if !self.metadata.contains_key(TYPES) {
            return Ok(vec![Kind::Normal; count]);
        }
        let values = self.array(TYPES)?;
        self.check_length(TYPES, values.len(), count)?;
        let kinds = values.iter().enumerate().map(|(i, value)| {
            let number = match value {
                Value::I32(number) => i64::from(*number),
                Value::U32(number) => i64::from(*number),
                _ => -1,
            };
            Kind::from_number(number)
                .ok_or_else(|| self.error(TYPES, format!("holds no token type at index {i}")))
        });
        kinds.collect()
    }

    fn check_length(
        &self,
        field: &str,
        found: usize,
        tokens: usize,
    ) -> Result<(), CheckpointError> {
        if found == tokens {
            return Ok(());
        }
        Err(self.error(field, format!("has {found} entries for {tokens} tokens")))
    }

    /// The token that `add_{which}_token` asks for.
    fn added(&self, which: &str, absent: bool) -> Result<Option<u32>, CheckpointError> {
        if !self.flag(&format!("tokenizer.ggml.add_{which}_token"), absent)? {
            return Ok(None);
        }
        let field = format!("tokenizer.ggml.{which}_token_id");
        let tokens = self.array(TOKENS)?.len();
        match self.metadata.get(&field) {
            Some(Value::U32(id)) if (*id as usize) < tokens => Ok(Some(*id)),
            Some(Value::U32(id)) => {
                Err(self.error(&field, format!("is {id}, and there are {tokens} tokens")))
            }
            _ => Err(self.error(
                &field,
                format!("is missing though add_{which}_token is true"),
            )),
        }
    }

    /// Byte-level BPE with its merges listed.
    fn byte_level(&self, pre: &str) -> Result<Tokenizer, CheckpointError> {
        let tokens = self.strings(TOKENS)?;
        let kinds = self.kinds(tokens.len())?;
        let vocab: Vocab = (0u32..)
            .zip(&tokens)
            .map(|(i, t)| ((*t).to_owned(), i))
            .collect();
        let merges = self
            .strings(MERGES)?
            .into_iter()
            .map(|m| match m.split_once(' ') {
                Some((a, b)) => Ok((a.to_owned(), b.to_owned())),
                None => Err(self.error(MERGES, format!("holds {m:?}, which is not two tokens"))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let pairs = merges.iter().map(|(a, b)| (a.as_str(), b.as_str()));
        if let Some(merged) = stray_merge(|token| vocab.contains_key(token), pairs) {
            return Err(self.error(MERGES, format!("makes {merged:?}, which is no token")));
        }
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            // LLaMA 3's: a word that is a token is that token, whatever its
            // merges would make of it.
            .ignore_merges(pre == "llama-bpe")
            .build()
            .map_err(|e| self.error(MERGES, e.to_string()))?;
        let mut tokenizer = Tokenizer::new(bpe);
        if pre == "qwen2" {
            tokenizer
                .with_normalizer(Some(NFC))
                .map_err(|e| self.error(PRE, e.to_string()))?;
        }
        tokenizer.with_pre_tokenizer(Some(self.words(pre)?));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
        // Tokens that are found in a text before it is split.
        let whole = |wanted: Kind, special: bool| {
            let all = tokens.iter().zip(&kinds);
            let some = all.filter(move |(_, kind)| **kind == wanted);
            some.map(move |(token, _)| AddedToken::from(*token, special).normalized(false))
        };
        tokenizer
            .add_special_tokens(whole(Kind::Control, true))
            .and_then(|_| tokenizer.add_tokens(whole(Kind::UserDefined, false)))
            .map_err(|e| self.error(TYPES, e.to_string()))?;
        Ok(tokenizer)
    }

    /// How a text is split into words.
    fn words(&self, pre: &str) -> Result<PreTokenizerWrapper, CheckpointError> {
        let split = |words: &str| -> Result<PreTokenizerWrapper, CheckpointError> {
            let pattern = SplitPattern::Regex(words.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|e| self.error(PRE, e.to_string()))?;
            let bytes = ByteLevel::new(false, true, false);
            Ok(Sequence::new(vec![split.into(), bytes.into()]).into())
        };
        match pre {
            "qwen2" => split(QWEN2_WORDS),
            "llama-bpe" => split(LLAMA3_WORDS),
            // Every digit by itself, then GPT-2's byte-level split.
            "smollm" => Ok(Sequence::new(vec![
                Digits::new(true).into(),
                ByteLevel::new(false, true, true).into(),
            ])
            .into()),
            _ => Ok(ByteLevel::new(false, true, true).into()),
        }
    }

    /// A SentencePiece vocabulary with its scores.
    fn sentencepiece(&self) -> Result<SentencePiece, CheckpointError> {
        const WHITESPACE: &str = "tokenizer.ggml.remove_extra_whitespaces";
        const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
        if self.flag(WHITESPACE, false)? {
            return Err(self.error(WHITESPACE, "is true, which is not supported"));
        }
        if let Some(Value::Array(map)) = self.metadata.get(CHARSMAP)
            && !map.is_empty()
        {
            return Err(self.error(CHARSMAP, "is there, which is not supported"));
        }
        let tokens = self.strings(TOKENS)?;
        let kinds = self.kinds(tokens.len())?;
        let scores = self.array(SCORES)?;
        self.check_length(SCORES, scores.len(), tokens.len())?;
        let mut pieces = Vec::with_capacity(tokens.len());
        for (i, ((text, kind), score)) in tokens.iter().zip(kinds).zip(scores).enumerate() {
            let Value::F32(score) = score else {
                return Err(self.error(SCORES, format!("holds no number at index {i}")));
            };
            if score.is_nan() {
                return Err(self.error(SCORES, format!("holds NaN at index {i}")));
            }
            pieces.push(Piece {
                text: (*text).to_owned(),
                score: *score,
                kind,
            });
        }
        let space_prefix = self.flag("tokenizer.ggml.add_space_prefix", true)?;
        SentencePiece::new(pieces, space_prefix).map_err(|reason| self.error(TOKENS, reason))
    }
}
