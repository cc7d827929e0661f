//! What a unit costs beside its computing: claim it, commit its record, find it
//! again, let it go.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use assay_record::{Attempt, Made, ModelFacts, Record, RecordKey, Sample, Store};
use criterion::{Criterion, criterion_group, criterion_main};

/// A record of 25 prompts with six series of twelve values.
fn record(model: &str) -> Record {
    let sample = |prompt: usize| {
        let mut sample = Sample {
            unit: format!("prompt-{prompt}"),
            cluster: "made-up".to_owned(),
            text: "made up".to_owned(),
            token_ids: vec![7; 12],
            special_tokens: 0,
            tags: Default::default(),
            measures: BTreeMap::new(),
        };
        for series in 0..6 {
            let values = (0..12).map(|i| (i + prompt * series) as f64 / 7.0);
            sample
                .series(&format!("series-{series}"), values.collect())
                .unwrap();
        }
        sample
    };
    let hash = |letter: &str| letter.repeat(64);
    Record {
        key: RecordKey {
            experiment: "made-up".to_owned(),
            spec_version: 1,
            spec_sha256: hash("a"),
            fingerprint: hash("b"),
            model: model.to_owned(),
            revision: "local".to_owned(),
            weights_sha256: hash("c"),
            tokenizer_sha256: hash("d"),
            prompts_sha256: hash("e"),
            dtype: "f32".to_owned(),
            device_class: "cpu".to_owned(),
            setting: "default".to_owned(),
            switches: BTreeMap::new(),
        },
        family: "made-up".to_owned(),
        facts: ModelFacts {
            model_type: "made-up".to_owned(),
            n_layers: 12,
            n_heads: 1,
            n_kv_heads: 1,
            d_model: 1,
            d_head: 1,
            d_mlp: 1,
            vocab: 1,
            rho: 1.0,
            block: String::new(),
            norm: String::new(),
            position: String::new(),
            parameters: 1,
            stored: String::new(),
        },
        samples: (0..25).map(sample).collect(),
    }
}

fn protocol(c: &mut Criterion) {
    // On the disk that stores lie on, not in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let made = Made {
        at: 0,
        host: "here".to_owned(),
        commit: "none".to_owned(),
        command: Vec::new(),
        threads: 1,
        milliseconds: 0,
    };
    c.bench_function("unit/claim and let go", |b| {
        b.iter(|| matches!(store.claim("unit").unwrap(), Attempt::Claimed(_)));
    });
    let record = record("one");
    c.bench_function("unit/commit", |b| {
        b.iter(|| store.commit(&record, &made).unwrap());
    });
    c.bench_function("unit/find whole", |b| {
        b.iter(|| store.get(&record.key).unwrap().is_some());
    });
}

criterion_group!(benches, protocol);
criterion_main!(benches);
