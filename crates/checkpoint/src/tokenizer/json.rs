//! What of tokenizer.json is given to the tokenizers library: the parts that
//! the supported families use, in forms that it does not panic on.
//!
//! tokenizers 0.23.2 panics on a template whose special token is not listed,
//! on merges shorter than the prefix of continuing pieces, on a decoder that
//! strips both ends, on a damaged Precompiled table, and its other models were
//! never needed: every family that assay reads has a byte-pair encoding.

use serde_json::Value;

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
    for (part, kinds) in PARTS {
        match json.get(part) {
            None | Some(Value::Null) => (),
            Some(value) => check_part(value, part, kinds)?,
        }
    }
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
        None | Some(Value::Null) => Ok(()),
        Some(rate) if rate.as_f64() == Some(0.0) => Ok(()),
        Some(rate) => Err(format!(
            "model.dropout is {rate}: ids would be random, remove it"
        )),
    }
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
