//! GGUF headers, byte by byte, and a tokenizer for one.

use candle_core::quantized::gguf_file::Value;

/// Fields of a GGUF file, put one after the other.
#[derive(Clone)]
pub struct Gguf(pub Vec<u8>);

impl Gguf {
    /// Magic, version 3, and the counts.
    pub fn new(tensors: u64, metadata: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(tensors).u64(metadata)
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn u32(self, x: u32) -> Self {
        self.bytes(&x.to_le_bytes())
    }

    pub fn u64(self, x: u64) -> Self {
        self.bytes(&x.to_le_bytes())
    }

    pub fn text(self, text: &str) -> Self {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    /// A metadata entry up to its value.
    pub fn key(self, key: &str, kind: u32) -> Self {
        self.text(key).u32(kind)
    }

    /// A metadata entry of type U32.
    pub fn count(self, key: &str, value: u32) -> Self {
        self.key(key, 4).u32(value)
    }

    /// A tensor's entry, at offset 0 of the data.
    pub fn tensor(self, name: &str, dims: &[u64], kind: u32) -> Self {
        let start = self.text(name).u32(dims.len() as u32);
        let dims = dims.iter().fold(start, |g, d| g.u64(*d));
        dims.u32(kind).u64(0)
    }
}

/// Metadata of a small SentencePiece vocabulary: the unknown token, two control
/// tokens, a user-defined one, the bytes, and pieces that "▁the" is joined of.
pub fn sentencepiece() -> Vec<(String, Value)> {
    let text = |s: &str| Value::String(s.to_owned());
    let mut pieces: Vec<(String, f32, i32)> = [
        ("<unk>", 0.0, 2),
        ("<s>", 0.0, 3),
        ("</s>", 0.0, 3),
        ("\n\n", 0.0, 4),
        ("▁t", -1.0, 1),
        ("he", -2.0, 1),
        ("▁the", -3.0, 1),
        ("▁", -10.0, 1),
        ("t", -11.0, 1),
        ("h", -12.0, 1),
        ("e", -13.0, 1),
        ("a", -14.0, 1),
    ]
    .map(|(piece, score, kind)| (piece.to_owned(), score, kind))
    .to_vec();
    pieces.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    let tokens = pieces.iter().map(|(piece, ..)| text(piece)).collect();
    let scores = pieces.iter().map(|(_, score, _)| Value::F32(*score));
    let kinds = pieces.iter().map(|(.., kind)| Value::I32(*kind));
    let fields = [
        ("model", text("llama")),
        ("tokens", Value::Array(tokens)),
        ("scores", Value::Array(scores.collect())),
        ("token_type", Value::Array(kinds.collect())),
        ("add_bos_token", Value::Bool(true)),
        ("bos_token_id", Value::U32(1)),
    ];
    fields
        .map(|(name, value)| (format!("tokenizer.ggml.{name}"), value))
        .to_vec()
}
