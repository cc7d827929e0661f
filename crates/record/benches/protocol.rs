//! What a unit costs beside its computing: claim it, commit its record, find it
//! again, let it go.
#![allow(clippy::unwrap_used, missing_docs)]

use assay_record::{Attempt, Record, Sample, Store};
use criterion::{Criterion, criterion_group, criterion_main};

#[path = "../tests/fixture/mod.rs"]
mod fixture;

/// A record of 25 prompts with six series of twelve values.
fn record() -> Record {
    let mut record = fixture::record(Vec::new());
    let plain = record.samples.remove(0);
    let sample = |prompt: usize| {
        let mut sample = Sample {
            unit: format!("prompt-{prompt}"),
            ..plain.clone()
        };
        for series in 0..6 {
            let values = (0..12).map(|i| (i + prompt * series) as f64 / 7.0);
            sample
                .series(&format!("series-{series}"), values.collect())
                .unwrap();
        }
        sample
    };
    record.samples = (0..25).map(sample).collect();
    record
}

fn protocol(c: &mut Criterion) {
    // On the disk that stores lie on, not in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let made = fixture::made();
    c.bench_function("unit/claim and let go", |b| {
        b.iter(|| matches!(store.claim("unit").unwrap(), Attempt::Claimed(_)));
    });
    let record = record();
    c.bench_function("unit/commit", |b| {
        b.iter(|| store.commit(&record, &made).unwrap());
    });
    c.bench_function("unit/find whole", |b| {
        b.iter(|| store.get(&record.key).unwrap().is_some());
    });
}

criterion_group!(benches, protocol);
criterion_main!(benches);
