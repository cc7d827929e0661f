//! pytorch_model.bin as a whole: the zip archive around the pickle.
#![no_main]

use assay_fuzz::{Bound, CONFIG, open_and_read, scratch, write};
use libfuzzer_sys::fuzz_target;

/// The zip library keeps about 400 bytes for an entry, which takes at least 46
/// in the archive's directory, twice while the list grows. The constant is for
/// its buffers.
const BOUND: Bound = Bound {
    per_byte: 300,
    constant: 1 << 20,
};

fuzz_target!(
    init: write("config.json", CONFIG.as_bytes()),
    |file: &[u8]| {
        write("pytorch_model.bin", file);
        open_and_read(scratch(), file.len() + CONFIG.len(), BOUND);
    }
);
