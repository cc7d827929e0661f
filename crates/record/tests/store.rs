//! A record that can be read is the record that was written.
#![allow(clippy::unwrap_used)]

mod fixture;

use std::path::{Path, PathBuf};

use assay_record::{Measure, Record, RecordError, RecordKey, Store, write_atomically};

/// A store with one record, and the record's file.
fn stored(record: &Record) -> (tempfile::TempDir, Store, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let id = store.commit(record, &fixture::made()).unwrap();
    let path = store.record_path("made-up", &id);
    (folder, store, path)
}

/// splitmix64: bit patterns without a pattern.
fn patterns() -> impl Iterator<Item = u64> {
    let mut state = 0u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[test]
fn numbers_come_back_to_the_bit() {
    let mut values = vec![
        0.0,
        -0.0,
        1.0,
        -3.0,
        1.0 / 3.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::EPSILON,
        9_007_199_254_740_993.0,
        1.0f64.next_up(),
        1.0f64.next_down(),
        5e-5,
        1e23,
    ];
    let any = patterns().map(f64::from_bits).filter(|v| v.is_finite());
    values.extend(any.take(20_000));
    let record = fixture::record(values.clone());
    let (_folder, store, _path) = stored(&record);
    let back = store.get(&record.key).unwrap().unwrap();
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let series = back.samples[0].get_series("gain.by-layer").unwrap();
    assert_eq!(bits(series), bits(&values));
    let scalar = back.samples[0].get("gain").unwrap();
    assert_eq!(scalar.to_bits(), (0.1f64 + 0.2).to_bits());
    assert_eq!(back, record);
}

#[test]
fn equal_records_have_equal_files() {
    let record = fixture::record(vec![1.5, -2.5]);
    let (_a, _, first) = stored(&record);
    let (_b, store, second) = stored(&record);
    assert_eq!(first.file_name(), second.file_name());
    let bytes = std::fs::read(&second).unwrap();
    assert_eq!(std::fs::read(first).unwrap(), bytes);
    store.commit(&record, &fixture::made()).unwrap();
    assert_eq!(std::fs::read(second).unwrap(), bytes);
}

/// Damage is noticed, or it is none: reading gives an error or the very
/// record (a flipped last digit may read as the same number, and the line end
/// of the file means nothing).
#[track_caller]
fn check_damage(record: &Record, store: &Store, path: &Path, bytes: &[u8]) -> bool {
    std::fs::write(path, bytes).unwrap();
    match store.get(&record.key) {
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(&path.display().to_string()), "{text}");
            true
        }
        Ok(found) => {
            assert_eq!(found.as_ref(), Some(record));
            false
        }
    }
}

#[test]
fn a_flipped_byte_is_noticed() {
    let record = fixture::record(vec![0.1, 1.0 / 3.0]);
    let (_folder, store, path) = stored(&record);
    let whole = std::fs::read(&path).unwrap();
    for flip in [0x01, 0x20, 0x80] {
        let mut unnoticed = 0;
        for i in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[i] ^= flip;
            unnoticed += usize::from(!check_damage(&record, &store, &path, &bytes));
        }
        assert!(unnoticed <= 2, "{unnoticed} flips with {flip:#x}");
    }
}

#[test]
fn a_truncated_file_is_noticed() {
    let record = fixture::record(vec![0.1]);
    let (_folder, store, path) = stored(&record);
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() - 1 {
        assert!(
            check_damage(&record, &store, &path, &whole[..len]),
            "{len} bytes"
        );
    }
}

#[test]
fn damage_and_other_versions_have_their_own_words() {
    let record = fixture::record(vec![0.25]);
    let (_folder, store, path) = stored(&record);
    let text = std::fs::read_to_string(&path).unwrap();
    let after = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        store.get(&record.key).unwrap_err()
    };
    let error = after("0.25", "0.75");
    assert!(matches!(error, RecordError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("is damaged"), "{error}");
    let error = after("\"format\": 2", "\"format\": 3");
    let text = error.to_string();
    assert!(text.contains("record format 3; this build reads format 2"));
}

/// Where fuzzing begins (fuzz/examples/seeds.rs) is a record of today's form.
#[test]
fn the_fuzzers_seed_is_a_record() {
    let seed = include_str!("../../../fuzz/seeds/record/small");
    let record: Record = serde_json::from_str(seed).unwrap();
    assert_eq!(record.samples.len(), 1);
}

#[test]
fn a_record_under_a_foreign_name_is_refused() {
    let record = fixture::record(vec![1.0]);
    let (_folder, store, path) = stored(&record);
    let other = RecordKey {
        model: "another".to_owned(),
        ..fixture::key()
    };
    let foreign = store.record_path("made-up", &other.id().unwrap());
    std::fs::copy(&path, &foreign).unwrap();
    let error = store.get(&other).unwrap_err().to_string();
    let own = record.key.id().unwrap();
    assert!(
        error.contains(&format!("it holds record {own} of made-up")),
        "{error}"
    );
    // The right id in the folder of another experiment.
    let elsewhere = store.record_path("elsewhere", &own);
    std::fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    std::fs::copy(&path, &elsewhere).unwrap();
    let error = store.read("elsewhere", &own).unwrap_err().to_string();
    assert!(error.contains("of made-up"), "{error}");
}

#[test]
fn a_list_holds_every_whole_record_and_names_the_others() {
    let record = fixture::record(vec![1.0]);
    let (_folder, store, path) = stored(&record);
    // What a killed run leaves behind is no record.
    std::fs::write(path.with_file_name(".tmpAbCdEf"), "{").unwrap();
    std::fs::write(path.with_file_name("stray.json"), "{}").unwrap();
    let (records, errors) = store.list("made-up").unwrap();
    assert_eq!(records, [record]);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("stray.json"));
    let (none, errors) = store.list("never-run").unwrap();
    assert!(none.is_empty() && errors.is_empty());
}

#[test]
fn writing_replaces_whole_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/file");
    write_atomically(&path, b"a long first text").unwrap();
    write_atomically(&path, b"short").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"short");
    let names = std::fs::read_dir(path.parent().unwrap()).unwrap();
    assert_eq!(names.count(), 1);
    // Others may read it: a temporary file's own mode would not let them.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}

#[test]
fn a_file_in_the_way_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file).unwrap_err().to_string();
    assert!(error.starts_with("cannot create") && error.contains("file"));
    let error = write_atomically(&file.join("below"), b"").unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}

/// How it was made lies beside the record, and a note that is damaged is named.
#[test]
fn how_a_record_was_made_is_kept() {
    let record = fixture::record(vec![1.0]);
    let (folder, store, path) = stored(&record);
    let id = record.key.id().unwrap();
    assert_eq!(store.made("made-up", &id).unwrap(), Some(fixture::made()));
    assert_eq!(store.made("made-up", "another").unwrap(), None);
    let bytes = std::fs::read_to_string(&path).unwrap();
    let note = folder.path().join(format!("made/made-up/{id}.json"));
    let text = std::fs::read_to_string(&note).unwrap();
    std::fs::write(&note, text.replace("0123abcd", "1123abcd")).unwrap();
    let error = store.made("made-up", &id).unwrap_err();
    assert!(matches!(error, RecordError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), bytes);
}

/// Scalars stay scalars and series series, also where they are whole or empty.
#[test]
fn kinds_of_measures_come_back() {
    let mut record = fixture::record(Vec::new());
    record.samples[0].scalar("whole", 2.0).unwrap();
    record.samples[0].series("one", vec![2.0]).unwrap();
    let (_folder, store, _path) = stored(&record);
    let back = store.get(&record.key).unwrap().unwrap();
    let measures = &back.samples[0].measures;
    assert_eq!(measures["whole"], Measure::Scalar(2.0));
    assert_eq!(measures["one"], Measure::Series(vec![2.0]));
    assert_eq!(measures["gain.by-layer"], Measure::Series(Vec::new()));
}

/// A NaN put past `Sample::scalar` is refused at the door, not at the reading.
#[test]
fn a_record_that_could_not_be_read_back_is_not_written() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut record = fixture::record(vec![1.0]);
        let measures = &mut record.samples[0].measures;
        measures.insert("smuggled".to_owned(), Measure::Series(vec![1.0, value]));
        let error = store.commit(&record, &fixture::made()).unwrap_err();
        assert!(
            matches!(error, RecordError::NotFinite { .. }),
            "{value}: {error}"
        );
        assert!(store.list("made-up").unwrap().0.is_empty());
    }
}
