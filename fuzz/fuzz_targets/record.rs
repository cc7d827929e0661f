//! A record in the store. An input that is the body of a record is given the
//! hash and the name that it must have, so that what lies behind those checks is
//! reached too.
#![no_main]

use std::fs;

use assay_fuzz::{Bound, read_text, scratch};
use assay_record::{Record, Store, canonical_json, sha256_hex};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The text, its tree of values (91 bytes for a byte at worst), the record made
/// from it, and its canonical text.
const BOUND: Bound = Bound {
    per_byte: 500,
    constant: 256 << 10,
};

const ID: &str = "0000";

fuzz_target!(|input: &[u8]| {
    let store = Store::open(scratch()).expect("the scratch folder is a store");
    let file = match serde_json::from_slice::<Value>(input) {
        Ok(body) if body.get("format").is_none() => {
            let Ok(text) = canonical_json(&body) else {
                return;
            };
            let hash = sha256_hex(text.as_bytes());
            let format = Record::FORMAT;
            format!(r#"{{"format":{format},"sha256":"{hash}","record":{text}}}"#).into_bytes()
        }
        _ => input.to_vec(),
    };
    let path = store.record_path("fuzz", ID);
    fs::create_dir_all(path.parent().expect("a record lies in a folder"))
        .expect("the folder of temporary files can be written");
    fs::write(&path, &file).expect("the folder of temporary files can be written");
    read_text(file.len(), BOUND, || store.read("fuzz", ID));
});
