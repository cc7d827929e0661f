//! Whatever can change a number is another record: nothing stale is ever taken
//! for a result.
#![allow(clippy::unwrap_used)]

mod fixture;

use std::collections::BTreeSet;
use std::path::Path;

use assay_record::{NUMERIC_SOURCES, RecordKey, Store, numeric_fingerprint};
use serde_json::Value;

/// The fixture's key with one field changed, for every field that a key has.
fn changed_keys() -> Vec<(String, RecordKey)> {
    let Value::Object(fields) = serde_json::to_value(fixture::key()).unwrap() else {
        panic!("a key is an object");
    };
    let mut keys = Vec::new();
    for (name, value) in &fields {
        let other = match value {
            Value::String(text) => Value::from(format!("{text}x")),
            Value::Number(number) => Value::from(number.as_u64().unwrap() + 1),
            Value::Object(_) => Value::Object(serde_json::Map::new()),
            other => panic!("a field of an unforeseen kind: {other}"),
        };
        let mut changed = fields.clone();
        changed.insert(name.clone(), other);
        let key = serde_json::from_value(Value::Object(changed)).unwrap();
        keys.push((name.clone(), key));
    }
    keys
}

#[test]
fn every_field_is_part_of_the_id() {
    let mut ids = BTreeSet::from([fixture::key().id().unwrap()]);
    for (field, key) in changed_keys() {
        assert!(
            ids.insert(key.id().unwrap()),
            "{field} does not change the id"
        );
    }
    // The names of PROBES 9 and no fewer.
    assert_eq!(ids.len(), 15);
}

#[test]
fn fields_do_not_run_into_each_other() {
    let key = |model: &str, revision: &str| {
        let (model, revision) = (model.to_owned(), revision.to_owned());
        let key = RecordKey {
            model,
            revision,
            ..fixture::key()
        };
        key.id().unwrap()
    };
    assert_ne!(key("ab", "c"), key("a", "bc"));
    assert_ne!(key("a\",\"b", "c"), key("a", "b\",\"c"));
}

#[test]
fn name_and_value_of_a_switch_count() {
    let id = |name: &str, value: &str| {
        let mut key = fixture::key();
        key.switches.insert(name.to_owned(), value.to_owned());
        key.id().unwrap()
    };
    let ids = BTreeSet::from([id("A", "0"), id("A", "1"), id("B", "0"), id("B", "1")]);
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_store_has_nothing_under_another_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let record = fixture::record(vec![1.0]);
    store.commit(&record, &fixture::made()).unwrap();
    assert_eq!(store.get(&record.key).unwrap(), Some(record));
    for (field, key) in changed_keys() {
        assert_eq!(store.get(&key).unwrap(), None, "{field}");
    }
}

const LOCK: &str = "[[package]]\nname = \"candle-core\"\nversion = \"0.11.1\"\n\n\
                    [[package]]\nname = \"serde\"\nversion = \"1.0.0\"\n";

/// A workspace of empty numeric crates and two experiments.
fn workspace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let experiments = ["experiments/one/src", "experiments/two/src"];
    for name in NUMERIC_SOURCES.iter().chain(&experiments) {
        write(folder.path(), &a_file_of(name), name);
    }
    write(folder.path(), "Cargo.lock", LOCK);
    folder
}

fn a_file_of(source: &str) -> String {
    match source.ends_with(".rs") {
        true => source.to_owned(),
        false => format!("{source}/lib.rs"),
    }
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Does writing this file change the fingerprint of experiment "one"?
#[track_caller]
fn check_fingerprint(file: &str, text: &str, changes: bool) {
    let folder = workspace();
    let before = numeric_fingerprint(folder.path(), "one").unwrap();
    write(folder.path(), file, text);
    let after = numeric_fingerprint(folder.path(), "one").unwrap();
    assert_eq!(before != after, changes, "{file}");
}

#[test]
fn the_fingerprint_is_that_of_the_code_that_computes() {
    for name in NUMERIC_SOURCES {
        check_fingerprint(&a_file_of(name), "changed", true);
        if !name.ends_with(".rs") {
            check_fingerprint(&format!("{name}/deep/new.rs"), "", true);
        }
    }
    check_fingerprint("experiments/one/src/lib.rs", "changed", true);
    let bumped = LOCK.replace("0.11.1", "0.11.2");
    check_fingerprint("Cargo.lock", &bumped, true);
}

#[test]
fn the_fingerprint_is_of_nothing_else() {
    check_fingerprint("experiments/two/src/lib.rs", "changed", false);
    check_fingerprint("crates/stats/src/bootstrap.rs", "new", false);
    check_fingerprint("crates/experiment/src/page.rs", "new", false);
    check_fingerprint("crates/decoder/src/notes.md", "changed", false);
    check_fingerprint("crates/decoder/tests/some.rs", "changed", false);
    let other = LOCK.replace("1.0.0", "1.0.1");
    check_fingerprint("Cargo.lock", &other, false);
}

#[test]
fn a_fingerprint_without_sources_is_an_error() {
    let folder = workspace();
    let error = numeric_fingerprint(folder.path(), "three").unwrap_err();
    assert!(error.to_string().contains("experiments/three"), "{error}");
}
