//! config.json of any family.
#![no_main]

use assay_fuzz::{Bound, parse};
use libfuzzer_sys::fuzz_target;

/// serde_json takes 91 bytes for a byte in the worst case (`{"":0},` becomes a
/// map's node of 632). The constant is for the list of windows of 10,000
/// blocks and the names of 16 blocks' tensors.
const BOUND: Bound = Bound {
    per_byte: 100,
    constant: 1 << 20,
};

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        parse(text, BOUND);
    }
});
