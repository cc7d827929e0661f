//! GGUF headers, byte by byte.

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
