//! What of tokenizer.json is given to the tokenizers library: the parts that
//! the supported families use, in forms that it does not panic on.
//!
//! tokenizers 0.23.2 panics on a template whose special token is not listed,
//! on a merge longer than every token or shorter than the prefix of continuing
//! pieces, on a decoder that
//! strips both ends, on a damaged Precompiled table, and its other models were
//! never needed: every family that assay reads has a byte-pair encoding.

use serde::Serialize;
use serde_json::Value;
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer,
};

use super::stray_merge;

/// The parts of a tokenizer besides its model, with the kinds that are read.
const PARTS: [(&str, &[&str]); 4] = [
    (
        "normalizer",
        &[
            "Sequence",
            "NFC",
            "NFD",
            "NFKC",
            "NFKD",
            "Lowercase",
            "Prepend",
            "Replace",
        ],
    ),
    (
        "pre_tokenizer",
        &[
            "Sequence",
            "ByteLevel",
            "Digits",
            "Metaspace",
            "Punctuation",
            "Split",
        ],
    ),
    (
        "post_processor",
        &[
            "Sequence",
            "ByteLevel",
            "RobertaProcessing",
            "TemplateProcessing",
        ],
    ),
    (
        "decoder",
        &[
            "Sequence",
            "ByteFallback",
            "ByteLevel",
            "Fuse",
            "Metaspace",
            "Replace",
            "Strip",
        ],
    ),
];

/// Can this be given to the library? If not, why.
pub(super) fn check(json: &Value) -> Result<(), String> {
    check_parts(json)?;
    let Some(model) = json.get("model") else {
        return Err("field model is missing".to_owned());
    };
    // Old files leave the type out; then it is seen by the merges.
    match model.get("type") {
        None if model.get("merges").is_some() => (),
        Some(kind) if kind == "BPE" => (),
        kind => {
            let kind = kind.unwrap_or(&Value::Null);
            return Err(format!("model type {kind} is not supported; BPE is"));
        }
    }
    for field in ["continuing_subword_prefix", "end_of_word_suffix"] {
        match model.get(field) {
            None | Some(Value::Null) => (),
            Some(text) if text == "" => (),
            Some(text) => return Err(format!("model.{field} is {text}, which is not supported")),
        }
    }
    match model.get("dropout") {
        None | Some(Value::Null) => (),
        Some(rate) if rate.as_f64() == Some(0.0) => (),
        Some(rate) => {
            return Err(format!(
                "model.dropout is {rate}: ids would be random, remove it"
            ));
        }
    }
    check_merges(model)
}

/// Does every merge make a token? What is no merge at all is left to the
/// library, which says so.
fn check_merges(model: &Value) -> Result<(), String> {
    let vocab = model.get("vocab").and_then(Value::as_object);
    let merges = model.get("merges").and_then(Value::as_array);
    let pairs = merges.into_iter().flatten().filter_map(|merge| {
        match (merge.as_str(), merge.as_array().map(Vec::as_slice)) {
            // Copied from the first line of merges.txt.
            (Some(line), _) if line.starts_with("#version") => None,
            (Some(line), _) => line.split_once(' '),
            (_, Some([a, b])) => Some((a.as_str()?, b.as_str()?)),
            _ => None,
        }
    });
    let is_token = |token: &str| vocab.is_some_and(|vocab| vocab.contains_key(token));
    match stray_merge(is_token, pairs) {
        Some(merged) => Err(format!("model.merges makes {merged:?}, which is no token")),
        None => Ok(()),
    }
}

/// Checks what the library built. It goes by a part's fields where they do not
/// fit its type, so that this may be another part than the file says.
pub(super) fn check_built(tokenizer: &Tokenizer) -> Result<(), String> {
    if !matches!(tokenizer.get_model(), ModelWrapper::BPE(_)) {
        return Err("its model is no byte-pair encoding, which is what is supported".to_owned());
    }
    let built = serde_json::to_value(Built {
        normalizer: tokenizer.get_normalizer(),
        pre_tokenizer: tokenizer.get_pre_tokenizer(),
        post_processor: tokenizer.get_post_processor(),
        decoder: tokenizer.get_decoder(),
    });
    check_parts(&built.map_err(|e| e.to_string())?)
}

/// The parts that [`PARTS`] names, as the library has them.
#[derive(Serialize)]
struct Built<'a> {
    normalizer: Option<&'a NormalizerWrapper>,
    pre_tokenizer: Option<&'a PreTokenizerWrapper>,
    post_processor: Option<&'a PostProcessorWrapper>,
    decoder: Option<&'a DecoderWrapper>,
}

fn check_parts(tokenizer: &Value) -> Result<(), String> {
    for (part, kinds) in PARTS {
        match tokenizer.get(part) {
            None | Some(Value::Null) => (),
            Some(value) => check_part(value, part, kinds)?,
        }
    }
    Ok(())
}

/// One part, or one of a sequence of them.
fn check_part(value: &Value, part: &str, kinds: &[&str]) -> Result<(), String> {
    let kind = value.get("type").and_then(Value::as_str);
    let Some(kind) = kind.filter(|kind| kinds.contains(kind)) else {
        let kind = kind.unwrap_or("of no type");
        let known = kinds.join(", ");
        return Err(format!(
            "{part} {kind} is not supported; supported are {known}"
        ));
    };
    if value.get("precompiled_charsmap").is_some() {
        return Err(format!("{part} {kind} has a table of Precompiled"));
    }
    match kind {
        "Sequence" => {
            // Each part has a name of its own for the items.
            let items = ["normalizers", "pretokenizers", "processors", "decoders"];
            let items = items
                .iter()
                .filter_map(|field| value.get(field)?.as_array());
            items
                .flatten()
                .try_for_each(|item| check_part(item, part, kinds))
        }
        "Strip" if value.get("stop").and_then(Value::as_u64) != Some(0) => Err(format!(
            "{part} Strip has another stop than 0, which is not supported"
        )),
        "TemplateProcessing" => check_template(value, part),
        _ => Ok(()),
    }
}

/// Are the special tokens of the templates listed, with an id for each token?
fn check_template(value: &Value, part: &str) -> Result<(), String> {
    let tokens = value.get("special_tokens");
    for template in ["single", "pair"] {
        let pieces = value.get(template).and_then(Value::as_array);
        for piece in pieces.into_iter().flatten() {
            if template == "single" && piece.pointer("/Sequence/id").is_some_and(|id| id != "A") {
                return Err(format!("{part}.single takes a second text"));
            }
            let Some(id) = piece.pointer("/SpecialToken/id").and_then(Value::as_str) else {
                continue;
            };
            let Some(token) = tokens.and_then(|t| t.get(id)) else {
                return Err(format!(
                    "{part}.{template} has special token {id:?}, which special_tokens lacks"
                ));
            };
            let count = |field| token.get(field).and_then(Value::as_array).map(Vec::len);
            if count("ids") != count("tokens") {
                return Err(format!(
                    "{part}.special_tokens.{id:?} has not one id for each token"
                ));
            }
        }
    }
    Ok(())
}
