//! Masks of Z at the shape of one layer of Qwen2.5-3B: 16 query heads, 2 key
//! heads, d_head 128, d_model 2048.

use std::time::Duration;

use assay_geometry::{QueryKey, normals};
use assay_stats::stream;
use criterion::{Criterion, criterion_group, criterion_main};
use nalgebra::DMatrix;

fn one_layer(c: &mut Criterion) {
    let (d, d_head) = (2048, 128);
    let random = |rows: usize, name: &str| {
        DMatrix::from_row_slice(rows, d, &normals(rows * d, &mut stream(1, name)))
    };
    let layer = QueryKey {
        q: random(16 * d_head, "q"),
        k: random(2 * d_head, "k"),
        d_head,
    };
    let mut group = c.benchmark_group("mask of a layer of Qwen2.5-3B's shape");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(20));
    for k in [20, 50] {
        group.bench_function(format!("k = {k}"), |b| {
            b.iter(|| layer.factorize()?.of_all_heads(k));
        });
    }
    group.finish();
}

criterion_group!(benches, one_layer);
criterion_main!(benches);
