//! torch's files, byte by byte.

use std::io::{Cursor, Write};

use assay_testkit::TinyModel;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Opcodes of a pickle, put one after the other.
#[derive(Clone)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    /// Protocol 2 and an empty dict.
    pub fn new() -> Self {
        Self(vec![0x80, 2, b'}'])
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        let length = text.len() as u32;
        self.bytes(b"X")
            .bytes(&length.to_le_bytes())
            .bytes(text.as_bytes())
    }

    /// A number of 8 bytes.
    pub fn number(self, value: i64) -> Self {
        self.bytes(&[0x8a, 8]).bytes(&value.to_le_bytes())
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.bytes(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn tuple(self, numbers: &[i64]) -> Self {
        let start = self.bytes(b"(");
        numbers.iter().fold(start, |p, n| p.number(*n)).bytes(b"t")
    }

    /// A storage of `elements` under `key`.
    pub fn storage(self, class: &str, key: &str, elements: i64) -> Self {
        self.bytes(b"(")
            .text("storage")
            .global("torch", class)
            .text(key)
            .text("cpu")
            .number(elements)
            .bytes(b"tQ")
    }

    /// Sets an entry of the dict to a tensor of the storage that `storage`
    /// puts there.
    pub fn tensor(
        self,
        name: &str,
        storage: impl FnOnce(Self) -> Self,
        offset: i64,
        (shape, stride): (&[i64], &[i64]),
    ) -> Self {
        let start = self
            .text(name)
            .global("torch._utils", "_rebuild_tensor_v2")
            .bytes(b"(");
        storage(start)
            .number(offset)
            .tuple(shape)
            .tuple(stride)
            // No gradient; an empty dict of hooks.
            .bytes(b"\x89}tRs")
    }

    pub fn end(self) -> Vec<u8> {
        self.bytes(b".").0
    }
}

/// A zip archive of entries under "archive/".
pub fn archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        writer
            .start_file(format!("archive/{name}"), options)
            .unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The weights of a tiny model as torch would store them.
pub fn model(spec: &TinyModel) -> Vec<u8> {
    let mut pickle = Pickle::new();
    let mut storages = Vec::new();
    for (i, (name, tensor)) in assay_testkit::tensors(spec)
        .unwrap()
        .into_iter()
        .enumerate()
    {
        let shape: Vec<i64> = tensor.dims().iter().map(|d| *d as i64).collect();
        let stride: Vec<i64> = tensor.stride().iter().map(|s| *s as i64).collect();
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        let count = values.len() as i64;
        let key = i.to_string();
        pickle = pickle.tensor(
            &name,
            |p| p.storage("FloatStorage", &key, count),
            0,
            (&shape, &stride),
        );
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        storages.push((format!("data/{key}"), bytes));
    }
    let pickle = pickle.end();
    let mut entries: Vec<(&str, &[u8])> = vec![("data.pkl", &pickle), ("byteorder", b"little")];
    entries.extend(storages.iter().map(|(n, b)| (n.as_str(), b.as_slice())));
    archive(&entries, CompressionMethod::Stored)
}
