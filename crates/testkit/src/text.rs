use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

use crate::{TestkitError, Text};

/// Token 0, special.
pub(crate) const END: &str = "<|endoftext|>";

/// Words whose letters are merged from left to right. Some of them join digits,
/// line ends and bytes of one character, so that a wrong split shows.
const WORDS: [&str; 24] = [
    " the", " of", " is", " and", " to", " in", " a", "The", "ing", "er", " year", " cap", "ital",
    " France", "12", " 1", "19", "00", "\n\n", "  ", "é", "ü", "中", "'s",
];

/// Vocabulary in the order of ids, and merges in the order of rank. The
/// vocabulary is [`END`], the 256 bytes in GPT-2's alphabet, and the merges.
#[must_use]
pub fn tokenizer_parts() -> (Vec<String>, Vec<(String, String)>) {
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let mut tokens = vec![END.to_owned()];
    tokens.extend(bytes.iter().map(char::to_string));
    let mut merges = Vec::new();
    for word in WORDS {
        let mut letters = word.bytes().map(byte_letter);
        let mut left = String::from(letters.next().unwrap_or_default());
        for letter in letters {
            let joined = format!("{left}{letter}");
            if !tokens.contains(&joined) {
                tokens.push(joined.clone());
                merges.push((left, letter.to_string()));
            }
            left = joined;
        }
    }
    (tokens, merges)
}

/// The letter that stands for a byte in GPT-2's alphabet: itself where it is
/// printable, and the next free one from U+0100 on where it is not.
fn byte_letter(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        char::from(byte)
    } else {
        let before = (0..byte).filter(|b| !printable(*b)).count() as u32;
        char::from_u32(256 + before).unwrap_or_default()
    }
}

/// The tokenizer as tokenizer.json holds it; None for a model without text.
///
/// # Errors
/// The tokenizer library refuses.
pub fn tokenizer(text: Text) -> Result<Option<Tokenizer>, TestkitError> {
    let byte_level = ByteLevel::new(false, true, true);
    let split: PreTokenizerWrapper = match text {
        Text::None => return Ok(None),
        Text::Gpt2 => byte_level.into(),
        Text::SmolLm => Sequence::new(vec![Digits::new(true).into(), byte_level.into()]).into(),
    };
    let (tokens, merges) = tokenizer_parts();
    let bpe = BPE::builder()
        .vocab_and_merges(
            tokens
                .into_iter()
                .zip(0u32..)
                .collect::<tokenizers::models::bpe::Vocab>(),
            merges,
        )
        .build()?;
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(split));
    tokenizer.with_decoder(Some(byte_level));
    tokenizer.add_special_tokens([AddedToken::from(END, true)])?;
    Ok(Some(tokenizer))
}
