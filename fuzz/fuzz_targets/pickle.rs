//! data.pkl within a valid pytorch_model.bin.
#![no_main]

use std::io::{Cursor, Write};

use assay_fuzz::{Bound, CONFIG, Parts, open_and_read, scratch, write};
use libfuzzer_sys::fuzz_target;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An opcode of one byte pushes a value of at most 100 bytes onto a stack that
/// doubles as it grows. The constant is for the archive's directory.
const BOUND: Bound = Bound {
    per_byte: 300,
    constant: 256 << 10,
};

/// How many storages the archive has; each is all of the input's weights.
const STORAGES: usize = 16;

fn archive(pickle: &[u8], storage: &[u8]) -> zip::result::ZipResult<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    writer.start_file("archive/data.pkl", stored)?;
    writer.write_all(pickle)?;
    writer.start_file("archive/byteorder", stored)?;
    writer.write_all(b"little")?;
    for key in 0..STORAGES {
        writer.start_file(format!("archive/data/{key}"), stored)?;
        writer.write_all(storage)?;
    }
    Ok(writer.finish()?.into_inner())
}

fuzz_target!(
    init: write("config.json", CONFIG.as_bytes()),
    |input: &[u8]| {
        let Some(parts) = Parts::of(input) else { return };
        // 16 times as much would be slow to write for nothing.
        let storage = &parts.data[..parts.data.len().min(1 << 10)];
        let file = archive(parts.header, storage).expect("a vector can be written to");
        write("pytorch_model.bin", &file);
        open_and_read(scratch(), file.len() + CONFIG.len(), BOUND);
    }
);
