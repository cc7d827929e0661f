//! Files of prompts, in each of their forms.
#![no_main]

use assay_fuzz::{Bound, read_text, scratch};
use assay_record::{PromptFile, PromptFormat, PromptSet};
use libfuzzer_sys::fuzz_target;

/// A line of one byte is a prompt with four strings and a map of tags.
const BOUND: Bound = Bound {
    per_byte: 1000,
    constant: 256 << 10,
};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let path = scratch().join("prompts.jsonl");
    for format in [
        PromptFormat::Prompts,
        PromptFormat::Lines,
        PromptFormat::Field("text".to_owned()),
    ] {
        let file = PromptFile {
            path: &path,
            text,
            format: &format,
        };
        read_text(text.len(), BOUND, || PromptSet::parse(&[file]));
    }
});
