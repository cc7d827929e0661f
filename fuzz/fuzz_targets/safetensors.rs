//! The header of model.safetensors. An even fill byte has the header's length
//! set right, so that changes that move bytes are not all refused at once.
#![no_main]

use assay_fuzz::{Bound, CONFIG, Parts, open_and_read, scratch, write};
use libfuzzer_sys::fuzz_target;

/// The header is parsed twice, as JSON values (91 bytes for a byte at worst)
/// and by the library; the constant is for the reader's buffers.
const BOUND: Bound = Bound {
    per_byte: 100,
    constant: 256 << 10,
};

fuzz_target!(
    init: write("config.json", CONFIG.as_bytes()),
    |input: &[u8]| {
        let Some(parts) = Parts::of(input) else { return };
        let mut file = parts.header.to_vec();
        if parts.fill % 2 == 0
            && let Some(json) = file.len().checked_sub(8)
        {
            file[..8].copy_from_slice(&(json as u64).to_le_bytes());
        }
        file.extend(&parts.data);
        write("model.safetensors", &file);
        open_and_read(scratch(), file.len() + CONFIG.len(), BOUND);
    }
);
