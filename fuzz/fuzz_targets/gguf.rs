//! A GGUF file: header, metadata, tokenizer and tensors.
#![no_main]

use assay_fuzz::{Bound, Parts, open_and_read, scratch, write};
use libfuzzer_sys::fuzz_target;

/// candle holds an array element of one byte in 32, in a vector that doubles
/// as it grows: 96 while it moves. The constant is for buffers and for the
/// patterns that words are split by.
const BOUND: Bound = Bound {
    per_byte: 100,
    constant: 4 << 20,
};

fuzz_target!(|input: &[u8]| {
    let Some(parts) = Parts::of(input) else {
        return;
    };
    let mut file = parts.header.to_vec();
    // The weights begin at the next multiple of the usual alignment.
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(&parts.data);
    write("model.gguf", &file);
    open_and_read(&scratch().join("model.gguf"), file.len(), BOUND);
});
