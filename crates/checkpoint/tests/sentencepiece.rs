//! SentencePiece vocabularies of GGUF files against the ids that the
//! sentencepiece library gives: golden/tokenizer, one folder a case.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use assay_checkpoint::Checkpoint;

/// What stands for a space inside pieces; where a text has it, a space comes
/// back, from the library too.
const SPACE: char = '\u{2581}';

#[test]
fn every_vocabulary_gives_the_librarys_ids() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/tokenizer");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("ids.json").exists())
        .collect();
    folders.sort();
    assert!(!folders.is_empty());
    for folder in folders {
        let case = folder.display();
        let rows = std::fs::read(folder.join("ids.json")).unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&rows).unwrap();
        assert!(!rows.is_empty(), "{case}");
        let checkpoint = Checkpoint::open(&folder.join("model.gguf")).unwrap();
        let tokenizer = checkpoint.tokenizer.unwrap();
        for row in rows {
            let text = row["text"].as_str().unwrap();
            let expected: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
            let found = tokenizer.encode(text).unwrap();
            assert_eq!(found.ids, expected, "{case}: {text:?}");
            let back = tokenizer.decode(&found.ids).unwrap();
            assert_eq!(back, text.replace(SPACE, " "), "{case}");
        }
    }
}
