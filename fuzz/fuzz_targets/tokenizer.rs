//! tokenizer.json, and a text through it and back.
#![no_main]

use assay_fuzz::{Bound, CONFIG, open_and_read, scratch, write};
use libfuzzer_sys::fuzz_target;

/// The file is held as JSON values by us (91 bytes for a byte at worst) and
/// again by the library, which tries one kind after the other.
const PER_BYTE: usize = 300;

/// The regex library gives up on a pattern that takes more than 10 MiB, and
/// compiles a pattern up to three times.
const PER_PATTERN: usize = 32 << 20;

/// A safetensors file without tensors.
const NO_WEIGHTS: &[u8] = b"\x02\0\0\0\0\0\0\0{}";

fuzz_target!(
    init: {
        write("config.json", CONFIG.as_bytes());
        write("model.safetensors", NO_WEIGHTS);
    },
    |input: &[u8]| {
        write("tokenizer.json", input);
        let size = input.len() + CONFIG.len() + NO_WEIGHTS.len();
        let patterns = input.windows(5).filter(|w| w == b"Regex").count();
        let bound = Bound {
            per_byte: PER_BYTE,
            // The library's own patterns on top.
            constant: (1 + patterns) * PER_PATTERN,
        };
        open_and_read(scratch(), size, bound);
    }
);
