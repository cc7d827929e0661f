//! claims.toml.
#![no_main]

use assay_fuzz::{Bound, read_text, scratch};
use assay_record::ClaimsFile;
use libfuzzer_sys::fuzz_target;

/// A TOML parser's tree of a table a byte.
const BOUND: Bound = Bound {
    per_byte: 1000,
    constant: 256 << 10,
};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let path = scratch().join("claims.toml");
    read_text(text.len(), BOUND, || ClaimsFile::parse(text, &path));
});
