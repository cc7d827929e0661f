//! Models of every family with shapes and options drawn from seeds: whatever
//! way a prompt is run, it gives the same; and the recorded parts of a pass
//! add up.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use assay_checkpoint::{BlockKind, NormPlace};
use assay_decoder::{Arithmetic, Decoder, KvCache, NoHooks, Pack, Placement, Residency, greedy};
use assay_hook_site::{BlockSite, HookSite};
use assay_testkit::tensors_of;
use assay_trace::{Edit, Trace, record};
use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use support::{MODEL_TYPES, Model, Shape, config, model};

/// Models drawn for each family.
const CASES: u64 = 6;

/// Both parts of `BOUND + BOUND * |expected|` on logits, between passes that
/// sum in another order or in another precision: the same as between two
/// implementations in f32. The worst of each family is printed.
const BOUND: f64 = 5e-5;

/// One drawn model.
struct Case {
    config: Value,
    seed: u64,
    model: Model,
    prompts: Vec<Vec<u32>>,
}

/// Says which model it was when a test fails on it, by whatever panic.
impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, config {}", self.seed, self.config);
        }
    }
}

impl Case {
    fn draw(model_type: &str, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shape = Shape::draw(&mut rng);
        let config = config(model_type, &shape, &mut rng);
        let mut prompt = |length: usize| -> Vec<u32> {
            (0..length)
                .map(|_| rng.random_range(0..shape.vocab as u32))
                .collect()
        };
        // Rows alone fewer and more than a matrix product needs, and one as
        // long as the context.
        let prompts = [1, 7, shape.context, 2, 33].map(&mut prompt).to_vec();
        let model = model(&config, seed);
        Self {
            config,
            seed,
            model,
            prompts,
        }
    }

    fn decoder(&self, dtype: DType, devices: &[Device], residency: Residency) -> Decoder {
        let placement = Placement {
            dtype,
            devices,
            residency,
            arithmetic: Arithmetic::Exact,
        };
        Decoder::load_with(&self.model.checkpoint, &placement, &mut |_, _| ()).unwrap()
    }

    fn plain(&self) -> Decoder {
        self.decoder(DType::F32, &[Device::Cpu], Residency::Resident)
    }
}

/// Runs `check` on every drawn model of every family; prints the largest of
/// what it gives for each family.
fn each(what: &str, check: impl Fn(&Case) -> f64) {
    for (i, model_type) in MODEL_TYPES.iter().enumerate() {
        let mut worst: f64 = 0.0;
        for case in 0..CASES {
            let case = Case::draw(model_type, 1000 * i as u64 + case);
            worst = worst.max(check(&case));
        }
        println!("{what}: {model_type}: worst {worst:.2e}");
    }
}

/// Logits of all rows of a pack, prompt by prompt: [prompt][position][vocab].
fn logits(decoder: &Decoder, prompts: &[Vec<u32>]) -> Vec<Vec<Vec<f64>>> {
    let pack = Pack::new(prompts).unwrap();
    let x = decoder.embed(&pack, &mut NoHooks).unwrap();
    let blocks = 0..decoder.config().n_layers;
    let x = decoder.run_blocks(&pack, blocks, &x, &mut NoHooks).unwrap();
    let rows = matrix(&decoder.logits(&x).unwrap());
    let segments = pack.segments().iter();
    segments.map(|s| rows[s.clone()].to_vec()).collect()
}

fn matrix(x: &Tensor) -> Vec<Vec<f64>> {
    x.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
}

/// The largest |a - e| / (1 + |e|); fails above BOUND, and on a NaN.
#[track_caller]
fn close(what: &str, actual: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let mut worst: f64 = 0.0;
    for (position, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(a.len(), e.len(), "{what}");
        for (token, (a, e)) in a.iter().zip(e).enumerate() {
            let error = (a - e).abs() / (1.0 + e.abs());
            assert!(
                error <= BOUND,
                "{what}: position {position}, token {token}: {a} and {e}"
            );
            worst = worst.max(error);
        }
        let (best, margin) = likeliest(e);
        if margin > 2.0 * BOUND * (1.0 + e[best].abs()) {
            assert_eq!(likeliest(a).0, best, "{what}: position {position}");
        }
    }
    worst
}

/// The likeliest token, and by how much it is ahead of the next.
fn likeliest(logits: &[f64]) -> (usize, f64) {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    (order[0], logits[order[0]] - logits[order[1]])
}

/// Alone, in a pack, in the reverse order, beside one long prompt, from
/// streamed blocks and from blocks spread over places: the same bits.
#[test]
fn no_way_of_running_a_prompt_changes_a_bit() {
    each("bits", |case| {
        let decoder = case.plain();
        let packed = logits(&decoder, &case.prompts);
        let long = &case.prompts[2];
        for (i, prompt) in case.prompts.iter().enumerate() {
            let alone = logits(&decoder, std::slice::from_ref(prompt));
            assert!(alone[0] == packed[i], "prompt {i} alone");
            let beside = logits(&decoder, &[long.clone(), prompt.clone()]);
            assert!(beside[1] == packed[i], "prompt {i} after a long one");
        }
        let reversed: Vec<Vec<u32>> = case.prompts.iter().rev().cloned().collect();
        let mut backwards = logits(&decoder, &reversed);
        backwards.reverse();
        assert!(backwards == packed, "reversed");
        let places = [Device::Cpu, Device::Cpu, Device::Cpu];
        for (devices, residency) in [
            (&places[..1], Residency::Streamed),
            (&places[..], Residency::Resident),
            (&places[..], Residency::Streamed),
        ] {
            let other = case.decoder(DType::F32, devices, residency);
            let same = logits(&other, &case.prompts) == packed;
            assert!(same, "{residency:?} over {} devices", devices.len());
        }
        0.0
    });
}

#[test]
fn double_precision_agrees() {
    each("f64", |case| {
        let single = logits(&case.plain(), &case.prompts);
        let double = case.decoder(DType::F64, &[Device::Cpu], Residency::Resident);
        let double = logits(&double, &case.prompts);
        let pairs = single.iter().zip(&double);
        pairs.fold(0.0, |worst, (a, e)| worst.max(close("f64", a, e)))
    });
}

/// Logits of all rows with a cache for each prompt, which is cut into pieces of
/// these lengths in turn.
fn cached(decoder: &Decoder, prompts: &[Vec<u32>], pieces: &[usize]) -> Vec<Vec<Vec<f64>>> {
    prompts
        .iter()
        .map(|prompt| {
            let mut cache = KvCache::new(decoder.config(), 1);
            let mut rows = Vec::new();
            let mut pieces = pieces.iter().cycle();
            while rows.len() < prompt.len() {
                let start = rows.len();
                let end = prompt.len().min(start + pieces.next().unwrap());
                let piece = vec![prompt[start..end].to_vec()];
                let pack = Pack::continuing(&piece, &cache.lengths()).unwrap();
                let x = decoder.extend(&pack, &mut cache, &mut NoHooks).unwrap();
                rows.extend(matrix(&decoder.logits(&x).unwrap()));
                assert_eq!(cache.lengths(), [end]);
            }
            rows
        })
        .collect()
}

#[test]
fn a_cache_agrees_with_whole_passes() {
    each("cache", |case| {
        let decoder = case.plain();
        let whole = logits(&decoder, &case.prompts);
        let mut worst: f64 = 0.0;
        for pieces in [&[1][..], &[5, 1, 2], &[40, 3]] {
            let cached = cached(&decoder, &case.prompts, pieces);
            for (a, e) in cached.iter().zip(&whole) {
                worst = worst.max(close(&format!("pieces of {pieces:?}"), a, e));
            }
        }
        worst.max(together(&decoder, case, &whole))
    });
}

/// All prompts side by side in one cache, of unequal pasts and unequal pieces:
/// the last logits of each step by `next_logits`.
fn together(decoder: &Decoder, case: &Case, whole: &[Vec<Vec<f64>>]) -> f64 {
    let prompts: Vec<&Vec<u32>> = case.prompts.iter().filter(|p| p.len() > 6).collect();
    let whole = whole.iter().filter(|rows| rows.len() > 6);
    let whole: Vec<&Vec<Vec<f64>>> = whole.collect();
    let mut cache = KvCache::new(decoder.config(), prompts.len());
    let mut worst: f64 = 0.0;
    // The i-th prompt has i + 1 tokens at first, then one, two and one more.
    for new in [0, 1, 2, 1] {
        let past = cache.lengths();
        let piece = |i: usize| match new {
            0 => prompts[i][..=i].to_vec(),
            n => prompts[i][past[i]..past[i] + n].to_vec(),
        };
        let pieces: Vec<Vec<u32>> = (0..prompts.len()).map(piece).collect();
        let pack = Pack::continuing(&pieces, &past).unwrap();
        let next = matrix(&decoder.next_logits(&pack, &mut cache).unwrap());
        let ends = cache.lengths();
        for (i, row) in next.into_iter().enumerate() {
            let expected = &whole[i][ends[i] - 1..ends[i]];
            worst = worst.max(close("side by side", &[row], expected));
        }
    }
    worst
}

/// `greedy` against whole passes over ever longer prompts, as long as the
/// choice does not hang on rounding; in every family that has to be most steps.
#[test]
fn greedy_continuations_are_those_without_a_cache() {
    for (i, model_type) in MODEL_TYPES.iter().enumerate() {
        let (mut compared, mut all) = (0, 0);
        for case in 0..CASES {
            let case = Case::draw(model_type, 1000 * i as u64 + case);
            let (clear, steps) = greedy_agrees(&case);
            compared += clear;
            all += steps;
        }
        println!("greedy: {model_type}: {compared} of {all} steps compared");
        assert!(compared * 10 > all * 9, "{model_type}: {compared} of {all}");
    }
}

/// Steps that could be compared, and all.
fn greedy_agrees(case: &Case) -> (usize, usize) {
    const STEPS: usize = 8;
    let decoder = case.plain();
    let short: Vec<Vec<u32>> = [0, 1, 3, 4].map(|i| case.prompts[i].clone()).to_vec();
    let out = greedy(&decoder, &short, STEPS, &[]).unwrap();
    let mut compared = 0;
    for (prompt, out) in short.iter().zip(&out) {
        assert_eq!(out.len(), STEPS);
        let mut text = prompt.clone();
        for token in out {
            let rows = logits(&decoder, std::slice::from_ref(&text)).remove(0);
            let last = rows.last().unwrap();
            let (best, margin) = likeliest(last);
            if margin <= 2.0 * BOUND * (1.0 + last[best].abs()) {
                break;
            }
            compared += 1;
            assert_eq!(*token as usize, best, "after {} tokens", text.len());
            text.push(*token);
        }
    }
    // A stop token ends a continuation and is kept.
    let alone = greedy(&decoder, &short[1..2], STEPS, &[])
        .unwrap()
        .remove(0);
    let stop = alone[2];
    let first = alone.iter().position(|t| *t == stop).unwrap();
    let stopped = greedy(&decoder, &short[1..2], STEPS, &[stop]).unwrap();
    assert_eq!(stopped, [alone[..=first].to_vec()]);
    (compared, short.len() * STEPS)
}

/// Handing back what was shown, at one site or at all, changes no bit.
#[test]
fn an_edit_that_changes_nothing_changes_no_bit() {
    each("identical edits", |case| {
        let decoder = case.plain();
        let prompts = &case.prompts[..2];
        let pack = Pack::new(prompts).unwrap();
        let plain = logits(&decoder, prompts).concat();
        let logits_only = BTreeSet::from([HookSite::Logits]);
        let check = |what: &str, sites: &[HookSite]| {
            let edit = |site: &HookSite| Edit::new(*site, |_, value| value.copy());
            let edits = sites.iter().map(edit).collect();
            let trace = record(&decoder, &pack, &logits_only, edits).unwrap();
            let same = matrix(trace.rows(HookSite::Logits).unwrap()) == plain;
            assert!(same, "{what} handed back");
        };
        let sites = decoder.sites();
        for site in &sites {
            check(&site.to_string(), &[*site]);
        }
        check("all sites", &sites);
        0.0
    });
}

/// Spacing of f32 numbers relative to their size, halved: one rounding.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

struct Recorded<'a> {
    trace: &'a Trace,
    layer: usize,
}

impl Recorded<'_> {
    fn site(&self, site: BlockSite) -> Vec<f64> {
        values(self.trace.rows(site.at(self.layer)).unwrap())
    }
}

fn values(x: &Tensor) -> Vec<f64> {
    let x = x.to_dtype(DType::F64).unwrap();
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// `sum` is the parts' sum, but for one rounding per addition; a share of that
/// bound comes back.
#[track_caller]
fn sums(what: &str, sum: &[f64], parts: &[Vec<f64>]) -> f64 {
    let mut worst: f64 = 0.0;
    for (i, s) in sum.iter().enumerate() {
        let exact: f64 = parts.iter().map(|p| p[i]).sum();
        let size: f64 = parts.iter().map(|p| p[i].abs()).sum();
        let bound = parts.len() as f64 * ROUNDING * size;
        assert!((s - exact).abs() <= bound, "{what}: {s} and {exact}");
        if bound > 0.0 {
            worst = worst.max((s - exact).abs() / bound);
        }
    }
    worst
}

/// A full recording reaches every site that the model says it has; blocks hand
/// on what they give; the residual is the sum of its parts or, in blocks with
/// the norm after, the norm of that sum; z is pattern times V; and a pattern
/// is a distribution over the keys that a query may see.
#[test]
fn recorded_parts_add_up() {
    each("parts: share of the bound", |case| {
        let decoder = case.plain();
        let pack = Pack::new(&case.prompts).unwrap();
        let sites: BTreeSet<HookSite> = decoder.sites().into_iter().collect();
        let trace = record(&decoder, &pack, &sites, vec![]).unwrap();
        assert_eq!(trace.sites().collect::<BTreeSet<_>>(), sites);
        // Looking changes no bit.
        let unseen = logits(&decoder, &case.prompts).concat();
        let seen = matrix(trace.rows(HookSite::Logits).unwrap());
        assert!(seen == unseen, "logits of a recorded pass");
        let mut worst: f64 = 0.0;
        for layer in 0..decoder.config().n_layers {
            let at = Recorded {
                trace: &trace,
                layer,
            };
            if layer > 0 {
                let before = trace.rows(BlockSite::ResidPost.at(layer - 1)).unwrap();
                assert!(values(before) == at.site(BlockSite::ResidPre));
            }
            worst = worst.max(residual(case, &decoder, &at));
            for prompt in 0..case.prompts.len() {
                worst = worst.max(mixing(&decoder, &trace, layer, prompt));
            }
        }
        worst
    });
}

fn residual(case: &Case, decoder: &Decoder, at: &Recorded) -> f64 {
    use BlockSite::{AttnOut, MlpOut, ResidMid, ResidPost, ResidPre};
    let config = decoder.config();
    let post = at.site(ResidPost);
    if config.block == BlockKind::Parallel {
        let parts = [ResidPre, AttnOut, MlpOut].map(|s| at.site(s));
        return sums("parallel", &post, &parts);
    }
    let mid = at.site(ResidMid);
    let attention = [at.site(ResidPre), at.site(AttnOut)];
    let mlp = [mid.clone(), at.site(MlpOut)];
    if config.norm_place != NormPlace::Post {
        return sums("mid", &mid, &attention).max(sums("post", &post, &mlp));
    }
    let prefix = format!("model.decoder.layers.{}", at.layer);
    let width = config.d_model;
    let norm = |name: &str, parts: &[Vec<f64>; 2], normed: &[f64]| {
        let tensor = |part: &str| -> Vec<f64> {
            let name = format!("{prefix}.{name}.{part}");
            let tensors = tensors_of(&case.config, case.seed).unwrap();
            let (_, tensor) = tensors.into_iter().find(|(n, _)| *n == name).unwrap();
            values(&tensor)
        };
        let (gain, bias) = (tensor("weight"), tensor("bias"));
        let sum: Vec<f64> = parts[0].iter().zip(&parts[1]).map(|(a, b)| a + b).collect();
        for (x, y) in sum.chunks(width).zip(normed.chunks(width)) {
            let mean = x.iter().sum::<f64>() / width as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            for i in 0..width {
                let e = (x[i] - mean) / (variance + 1e-5).sqrt() * gain[i] + bias[i];
                let error = (y[i] - e).abs() / (1.0 + e.abs());
                assert!(error <= BOUND, "{name}: {} and {e}", y[i]);
            }
        }
    };
    norm("self_attn_layer_norm", &attention, &mid);
    norm("final_layer_norm", &mlp, &post);
    0.0
}

fn mixing(decoder: &Decoder, trace: &Trace, layer: usize, prompt: usize) -> f64 {
    let config = decoder.config();
    let of = |site: BlockSite| values(&trace.prompt(site.at(layer), prompt).unwrap());
    let (pattern, v, z) = (of(BlockSite::Pattern), of(BlockSite::V), of(BlockSite::Z));
    let (heads, kv_heads, width) = (config.n_heads, config.n_kv_heads, config.d_head);
    let tokens = z.len() / heads / width;
    let window = config.windows[layer].unwrap_or(tokens);
    let mut worst: f64 = 0.0;
    for (head, query) in (0..heads).flat_map(|h| (0..tokens).map(move |q| (h, q))) {
        let row = &pattern[(head * tokens + query) * tokens..][..tokens];
        let hidden = |key: usize| key > query || key + window <= query;
        assert!((0..tokens).all(|key| !hidden(key) || row[key] == 0.0));
        let total: f64 = row.iter().sum();
        assert!((total - 1.0).abs() <= tokens as f64 * 2.0 * ROUNDING);
        for i in 0..width {
            let kv = head / (heads / kv_heads);
            let terms = (0..tokens).map(|key| row[key] * v[(key * kv_heads + kv) * width + i]);
            let exact: f64 = terms.clone().sum();
            // A product and a sum are rounded for each key.
            let bound = 2.0 * tokens as f64 * ROUNDING * terms.map(f64::abs).sum::<f64>();
            let z = z[(query * heads + head) * width + i];
            assert!((z - exact).abs() <= bound, "z: {z} and {exact}");
            if bound > 0.0 {
                worst = worst.max((z - exact).abs() / bound);
            }
        }
    }
    worst
}
