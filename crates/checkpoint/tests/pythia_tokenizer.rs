//! The real Pythia tokenizer against transformers, where the files that lie
//! beside the project are there.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;

use assay_checkpoint::Checkpoint;
use assay_testkit::{Text, TinyModel};
use support::Folder;

#[test]
fn h25_prompts_get_the_ids_that_transformers_gives() {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let tokenizer = shared.join("tokenizers/gpt-neox-20b/tokenizer.json");
    if !tokenizer.exists() {
        println!("skipped: ../shared/tokenizers/gpt-neox-20b is not beside this checkout");
        return;
    }
    let prompts = std::fs::read(shared.join("facts/h25_prompts.json")).unwrap();
    let prompts: serde_json::Value = serde_json::from_slice(&prompts).unwrap();
    let prompts = prompts["h25_sweep_25"].as_array().unwrap();
    // Written by reference/neox_ids.py.
    let expected: Vec<Vec<u32>> =
        serde_json::from_str(include_str!("reference/neox_ids.json")).unwrap();
    assert_eq!((prompts.len(), expected.len()), (25, 25));

    let folder = Folder::of(&TinyModel {
        text: Text::None,
        ..TinyModel::gpt_neox(1)
    });
    std::fs::copy(&tokenizer, folder.file("tokenizer.json")).unwrap();
    let tokenizer = Checkpoint::open(folder.path()).unwrap().tokenizer.unwrap();
    for (prompt, expected) in prompts.iter().zip(expected) {
        let prompt = prompt["prompt"].as_str().unwrap();
        let ids = tokenizer.encode(prompt).unwrap();
        assert_eq!(ids.ids, expected, "{prompt:?}");
        assert_eq!(ids.special, 0);
        assert_eq!(tokenizer.decode(&ids.ids).unwrap(), prompt);
    }
}
