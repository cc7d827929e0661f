//! The parts of a pass, timed by criterion: `cargo xtask bench`.
//!
//! Shapes are those of the claims' models: a block of Pythia-70m, 160m and
//! 410m over the 402 tokens of the 25 prompts, a decoding step of Qwen2.5-0.5B
//! with two of its blocks. Weights are random; time does not depend on them.

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, KvCache, NoHooks, Pack};
use assay_hook_site::HookSite;
use assay_testkit::write_config;
use assay_trace::{Edit, record};
use candle_core::{DType, Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// d_model, heads of a Pythia.
const PYTHIAS: [(&str, usize, usize); 3] = [("70m", 512, 8), ("160m", 768, 12), ("410m", 1024, 16)];

/// A Pythia of one block and a small vocabulary.
fn pythia(d: usize, heads: usize) -> Value {
    json!({
        "model_type": "gpt_neox", "hidden_size": d, "num_hidden_layers": 1,
        "num_attention_heads": heads, "intermediate_size": 4 * d, "vocab_size": 1024,
        "max_position_embeddings": 2048, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
        "rotary_pct": 0.25, "rotary_emb_base": 10000, "use_parallel_residual": true,
    })
}

/// Two of the 24 blocks of Qwen2.5-0.5B, and a small vocabulary.
fn qwen() -> Value {
    json!({
        "model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 2,
        "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864,
        "vocab_size": 1024, "max_position_embeddings": 2048, "hidden_act": "silu",
        "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": true,
    })
}

/// A model of this config; its files live as long as the folder.
fn model(config: &Value) -> Result<(tempfile::TempDir, Checkpoint, Decoder)> {
    let folder = tempfile::tempdir()?;
    write_config(folder.path(), config, 1, DType::F16)?;
    let checkpoint = Checkpoint::open(folder.path())?;
    let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ())?;
    Ok((folder, checkpoint, decoder))
}

/// 25 prompts of 7 to 25 tokens, 400 in all.
fn prompts() -> Vec<Vec<u32>> {
    let length = |i: u32| 7 + (i * 7) % 19;
    let ids = |i: u32| (0..length(i)).map(|t| (i * 131 + t * 17) % 1024).collect();
    (0..25).map(ids).collect()
}

fn pass(c: &mut Criterion) -> Result<()> {
    for (name, d, heads) in PYTHIAS {
        let (_folder, checkpoint, decoder) = model(&pythia(d, heads))?;
        let pack = Pack::new(&prompts())?;
        let x = decoder.embed(&pack, &mut NoHooks)?;
        let mut group = c.benchmark_group(format!("pythia-{name}"));
        group.throughput(Throughput::Elements(pack.tokens() as u64));
        group.bench_function("embedding", |b| {
            b.iter(|| decoder.embed(&pack, &mut NoHooks))
        });
        group.bench_function("block", |b| {
            b.iter(|| decoder.run_blocks(&pack, 0..1, &x, &mut NoHooks));
        });
        let weights = [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)];
        let ones = |r, c| Tensor::ones((r, c), DType::F32, &Device::Cpu);
        let pairs: Vec<(Tensor, Tensor)> = weights
            .iter()
            .map(|(i, o)| Ok((ones(pack.tokens(), *i)?, ones(*i, *o)?)))
            .collect::<Result<_>>()?;
        group.bench_function("weight matmuls of a block", |b| {
            b.iter(|| pairs.iter().try_for_each(|(x, w)| x.matmul(w).map(|_| ())));
        });
        let sites = decoder.sites().into_iter().collect();
        group.bench_function("pass, every site recorded", |b| {
            b.iter(|| record(&decoder, &pack, &sites, Vec::new()));
        });
        let logits = [HookSite::Logits].into_iter().collect();
        group.bench_function("pass, one site edited", |b| {
            b.iter(|| {
                let edit = Edit::new(HookSite::Embed, |_, x| x * 0.5);
                record(&decoder, &pack, &logits, vec![edit])
            });
        });
        let name = "gpt_neox.layers.0.mlp.dense_h_to_4h.weight";
        group.bench_function("reading f16 to f32, turned", |b| {
            b.iter(|| {
                let weights = &checkpoint.weights;
                weights.transposed(name, [4 * d, d], DType::F32, &Device::Cpu)
            });
        });
        group.finish();
    }
    Ok(())
}

fn decoding(c: &mut Criterion) -> Result<()> {
    let (_folder, _checkpoint, decoder) = model(&qwen())?;
    let mut group = c.benchmark_group("qwen2.5-0.5b, two blocks");
    for batch in [1, 8, 32] {
        let prompts: Vec<Vec<u32>> = prompts().into_iter().cycle().take(batch).collect();
        let next = vec![vec![1]; batch];
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("step of {batch} prompts"), |b| {
            b.iter_batched(
                || -> Result<KvCache> {
                    let mut cache = KvCache::new(decoder.config(), batch);
                    decoder.next_logits(&Pack::new(&prompts)?, &mut cache)?;
                    Ok(cache)
                },
                |cache| -> Result<Tensor> {
                    let mut cache = cache?;
                    let pack = Pack::continuing(&next, &cache.lengths())?;
                    Ok(decoder.next_logits(&pack, &mut cache)?)
                },
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
    Ok(())
}

/// A bench that cannot be set up has no time: it says why and stops.
fn or_stop(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("error: {error}");
        std::process::exit(2);
    }
}

fn parts(c: &mut Criterion) {
    or_stop(pass(c));
    or_stop(decoding(c));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_secs(1))
        .measurement_time(std::time::Duration::from_secs(3))
        .sample_size(20);
    targets = parts
}
criterion_main!(benches);
