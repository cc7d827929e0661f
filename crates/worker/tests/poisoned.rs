//! A record that differs from the wanted one in a single field of its key is
//! never taken for it, whichever the field and wherever it is filed.
#![allow(clippy::unwrap_used)]

mod at_work;

use std::collections::BTreeMap;

use assay_record::wire::{Event, OwnPrompts};
use assay_record::{Made, Measure, PromptFormat, Record, RecordKey};
use at_work::{EXPERIMENT, Work, committed, model, run, survey};

/// The key with one field changed, for every field. A field more in the key
/// breaks this pattern.
fn changed(key: &RecordKey) -> Vec<(&'static str, RecordKey)> {
    let RecordKey {
        experiment,
        spec_version,
        spec_sha256,
        fingerprint,
        model,
        family,
        revision,
        weights_sha256,
        tokenizer_sha256,
        prompts_sha256,
        dtype,
        device_class,
        setting,
        switches: _,
    } = key.clone();
    let other_hash = |hash: String| {
        let first = if hash.starts_with('0') { "1" } else { "0" };
        format!("{first}{}", hash.get(1..).unwrap())
    };
    let more = [("NVIDIA_TF32_OVERRIDE".to_owned(), "1".to_owned())];
    let with = |change: &dyn Fn(&mut RecordKey)| {
        let mut key = key.clone();
        change(&mut key);
        key
    };
    assert_eq!(experiment, EXPERIMENT);
    vec![
        (
            "experiment",
            with(&|k| k.experiment = "value-contraction".to_owned()),
        ),
        ("spec_version", with(&|k| k.spec_version = spec_version + 1)),
        (
            "spec_sha256",
            with(&|k| k.spec_sha256 = other_hash(spec_sha256.clone())),
        ),
        (
            "fingerprint",
            with(&|k| k.fingerprint = other_hash(fingerprint.clone())),
        ),
        ("model", with(&|k| k.model = format!("{model}-2"))),
        ("family", with(&|k| k.family = format!("{family}-2"))),
        ("revision", with(&|k| k.revision = format!("{revision}-2"))),
        (
            "weights_sha256",
            with(&|k| k.weights_sha256 = other_hash(weights_sha256.clone())),
        ),
        (
            "tokenizer_sha256",
            with(&|k| k.tokenizer_sha256 = other_hash(tokenizer_sha256.clone())),
        ),
        (
            "prompts_sha256",
            with(&|k| k.prompts_sha256 = other_hash(prompts_sha256.clone())),
        ),
        (
            "dtype",
            with(&|k| k.dtype = if dtype == "f32" { "f64" } else { "f32" }.to_owned()),
        ),
        (
            "device_class",
            with(&|k| k.device_class = format!("{device_class}-2")),
        ),
        ("setting", with(&|k| k.setting = format!("{setting}, full"))),
        ("switches", with(&|k| k.switches.extend(more.clone()))),
    ]
}

/// The record with another key, and numbers that nobody would miss.
fn poison(honest: &Record, key: RecordKey) -> Record {
    let mut record = Record {
        key,
        ..honest.clone()
    };
    for sample in &mut record.samples {
        for measure in sample.measures.values_mut() {
            match measure {
                Measure::Scalar(value) => *value = 666.0,
                Measure::Series(values) => values.fill(666.0),
            }
        }
    }
    record
}

fn note() -> Made {
    Made {
        at: 0,
        host: String::new(),
        commit: String::new(),
        command: Vec::new(),
        threads: 1,
        milliseconds: 0,
    }
}

/// The honest record of the model, and the store without it.
fn honest(work: &Work) -> (Record, String) {
    let (record, computed) = work.record(&work.request());
    assert!(computed);
    let id = record.key.id().unwrap();
    std::fs::remove_dir_all(work.path("store")).unwrap();
    (record, id)
}

#[test]
fn every_field_of_a_key_is_changed_here() {
    let work = Work::new();
    let (record, _) = honest(&work);
    let changed = changed(&record.key);
    let fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_value(serde_json::to_value(&record.key).unwrap()).unwrap();
    assert_eq!(changed.len(), fields.len());
    for (field, key) in changed {
        let other: BTreeMap<String, serde_json::Value> =
            serde_json::from_value(serde_json::to_value(key).unwrap()).unwrap();
        let differ = fields.keys().filter(|name| fields[*name] != other[*name]);
        assert_eq!(differ.collect::<Vec<_>>(), [field], "just that field");
    }
}

#[test]
fn a_record_of_another_key_under_its_own_name_is_a_miss() {
    let work = Work::new();
    let (honest, id) = honest(&work);
    for (field, key) in changed(&honest.key) {
        let store = work.store();
        let other = store.commit(&poison(&honest, key), &note()).unwrap();
        assert_ne!(other, id, "{field}");
        let surveyed = survey(&work.request());
        let present = surveyed.iter().find_map(|event| match event {
            Event::Surveyed { survey, .. } => Some(survey.clone().unwrap().present),
            _ => None,
        });
        assert_eq!(present.unwrap(), BTreeMap::new(), "{field}");
        let (found, computed) = committed(&run(&work.request(), &[]));
        assert!(computed, "{field}: it was taken from the store");
        assert_eq!(found, id, "{field}");
        assert_eq!(store.read(EXPERIMENT, &id).unwrap(), honest, "{field}");
        std::fs::remove_dir_all(work.path("store")).unwrap();
    }
}

#[test]
fn a_record_of_another_key_under_the_wanted_name_is_damage() {
    let work = Work::new();
    let (honest, id) = honest(&work);
    for (field, key) in changed(&honest.key) {
        let store = work.store();
        let experiment = key.experiment.clone();
        let other = store.commit(&poison(&honest, key), &note()).unwrap();
        let wanted = store.record_path(EXPERIMENT, &id);
        std::fs::create_dir_all(wanted.parent().unwrap()).unwrap();
        std::fs::rename(store.record_path(&experiment, &other), &wanted).unwrap();
        let surveyed = survey(&work.request());
        let named = surveyed.iter().any(|event| {
            matches!(event, Event::Warning { message }
                if message.contains(&id) && message.contains("it holds record")
                    && message.contains("it is computed again"))
        });
        assert!(named, "{field}: {surveyed:?}");
        let (found, computed) = committed(&run(&work.request(), &[]));
        assert!(computed && found == id, "{field}");
        assert_eq!(store.read(EXPERIMENT, &id).unwrap(), honest, "{field}");
        // What was mended is found.
        assert_eq!(committed(&run(&work.request(), &[])), (id.clone(), false));
        std::fs::remove_dir_all(work.path("store")).unwrap();
    }
}

/// The other way round: what a user can change about a run is another record,
/// and the one that is there is not shown as its.
#[test]
fn what_changes_about_a_run_is_another_record() {
    let work = Work::new();
    let (honest, computed) = work.record(&work.request());
    assert!(computed);
    let id = honest.key.id().unwrap();
    let check = |what: &str, events: &[Event]| {
        let (other, computed) = committed(events);
        assert!(computed && other != id, "{what}");
    };
    let mut request = work.request();
    request.model = "tiny-2".to_owned();
    check("model", &run(&request, &[]));
    request = work.request();
    request.family = "of another family".to_owned();
    check("family", &run(&request, &[]));
    request = work.request();
    request.revision = "step10".to_owned();
    check("revision", &run(&request, &[]));
    let text = "{\"id\": \"p1\", \"category\": \"plain\", \"text\": \"One two three.\"}\n";
    std::fs::write(work.path("own.jsonl"), text).unwrap();
    request = work.request();
    request.prompts = Some(OwnPrompts {
        files: vec![work.path("own.jsonl")],
        json: PromptFormat::Prompts,
    });
    check("prompts", &run(&request, &[]));
    check(
        "switches",
        &run(&work.request(), &[("CUBLAS_WORKSPACE_CONFIG", ":4096:8")]),
    );
    // Other files under the same names.
    assay_testkit::write_hf(&work.path("tiny"), &model(2)).unwrap();
    check("weights", &run(&work.request(), &[]));
    assay_testkit::write_hf(&work.path("tiny"), &model(1)).unwrap();
    let path = work.path("tiny/tokenizer.json");
    let tokenizer = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, tokenizer + "\n").unwrap();
    check("tokenizer", &run(&work.request(), &[]));
}
