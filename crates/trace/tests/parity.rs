//! Every hook site of every reference case against Hugging Face transformers
//! (golden/parity, written by golden/parity/generate.py), and the contracts
//! that every family keeps.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use assay_checkpoint::{BlockKind, Checkpoint, NormPlace};
use assay_decoder::{Decoder, Pack};
use assay_hook_site::{BlockSite, HookSite};
use assay_trace::{Edit, Trace, record};
use candle_core::{DType, Device, Tensor};

/// Every case of golden/parity, in order of name.
fn cases() -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/parity");
    let folders = std::fs::read_dir(root).unwrap().map(|e| e.unwrap());
    let mut cases: Vec<String> = folders
        .filter(|e| e.path().join("config.json").exists())
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

/// Both parts of the tolerance `TOLERANCE + TOLERANCE * |expected|`: two f32
/// implementations that sum in different orders stay within it (the worst
/// error found is printed and is several times smaller).
const TOLERANCE: f64 = 5e-5;

fn folder(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../golden/parity")
        .join(case)
}

fn load(case: &str, dtype: DType) -> Decoder {
    let checkpoint = Checkpoint::open(&folder(case)).unwrap();
    Decoder::load(&checkpoint, dtype, &Device::Cpu, &mut |_, _| ()).unwrap()
}

fn reference(case: &str) -> (Vec<u32>, HashMap<String, Tensor>) {
    let path = folder(case).join("reference.safetensors");
    let mut tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let ids = tensors.remove("ids").unwrap();
    let ids: Vec<i64> = ids.flatten_all().unwrap().to_vec1().unwrap();
    // What the MLP's norm reads is the residual after attention where there is
    // one (transformers' input of that norm), else the block's own input.
    for layer in 0.. {
        let at = |site: BlockSite| site.at(layer).to_string();
        let Some(pre) = tensors.get(&at(BlockSite::ResidPre)) else {
            break;
        };
        let mlp_in = tensors.get(&at(BlockSite::ResidMid)).unwrap_or(pre);
        tensors.insert(at(BlockSite::MlpIn), mlp_in.clone());
    }
    (ids.into_iter().map(|i| i as u32).collect(), tensors)
}

fn record_all(decoder: &Decoder, ids: &[u32]) -> Trace {
    let sites: BTreeSet<HookSite> = decoder.sites().into_iter().collect();
    record(
        decoder,
        &Pack::new(&[ids.to_vec()]).unwrap(),
        &sites,
        vec![],
    )
    .unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().unwrap();
    flat.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Worst of |a - e| / (1 + |e|) over all elements; a NaN or an infinity on one
/// side only is an infinite error.
fn worst(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let pairs = actual.iter().zip(expected);
    pairs
        .map(|(a, e)| {
            if a == e {
                0.0
            } else {
                (a - e).abs() / (1.0 + e.abs())
            }
        })
        .map(|x| if x.is_nan() { f64::INFINITY } else { x })
        .fold(0.0, f64::max)
}

#[track_caller]
fn check_parity(case: &str) {
    let (ids, expected) = reference(case);
    let f32_trace = record_all(&load(case, DType::F32), &ids);
    let f64_trace = record_all(&load(case, DType::F64), &ids);
    let names: BTreeSet<String> = f32_trace.sites().map(|s| s.to_string()).collect();
    assert_eq!(names, expected.keys().cloned().collect(), "sites of {case}");
    let mut failures = Vec::new();
    let mut overall: f64 = 0.0;
    for site in f32_trace.sites() {
        let expected = values(&expected[&site.to_string()]);
        let in_f32 = worst(&values(&f32_trace.prompt(site, 0).unwrap()), &expected);
        let in_f64 = worst(&values(&f64_trace.prompt(site, 0).unwrap()), &expected);
        overall = overall.max(in_f32);
        // The f64 rerun tells a wrong formula (both off) from rounding (f32 off).
        if in_f32 > TOLERANCE || in_f64 > TOLERANCE {
            failures.push(format!(
                "{site}: error {in_f32:e} in f32, {in_f64:e} in f64"
            ));
        }
    }
    println!("{case}: {} sites, worst error {overall:.2e}", names.len());
    assert!(failures.is_empty(), "{case}:\n{}", failures.join("\n"));
}

#[test]
fn every_site_matches_transformers() {
    cases().iter().for_each(|case| check_parity(case));
}

/// The parts sum to the residual, per block kind, exactly as added; where the
/// norms stand after the sums, the residual is the norm of the sum.
#[test]
fn parts_sum_to_the_residual() {
    for case in &cases() {
        let (ids, _) = reference(case);
        let checkpoint = Checkpoint::open(&folder(case)).unwrap();
        let decoder = load(case, DType::F64);
        let trace = record_all(&decoder, &ids);
        for layer in 0..decoder.config().n_layers {
            let at = |site: BlockSite| trace.rows(site.at(layer)).unwrap().clone();
            let check = |sum: Tensor, to: Tensor| {
                // Only the order of two f64 additions differs: a few 1e-16.
                let error = worst(&values(&sum), &values(&to));
                assert!(error < 1e-14, "{case} block {layer}: {error:e}");
            };
            let (pre, post) = (at(BlockSite::ResidPre), at(BlockSite::ResidPost));
            let (attn, mlp) = (at(BlockSite::AttnOut), at(BlockSite::MlpOut));
            if decoder.config().norm_place == NormPlace::Post {
                let mid = at(BlockSite::ResidMid);
                let normed = |norm: &str, sum: Tensor| {
                    let part = |part: &str| {
                        let name = format!("model.decoder.layers.{layer}.{norm}.{part}");
                        let d = [decoder.config().d_model];
                        let weights = &checkpoint.weights;
                        weights.tensor(&name, &d, DType::F64, &Device::Cpu).unwrap()
                    };
                    let centred = sum.broadcast_sub(&sum.mean_keepdim(1).unwrap()).unwrap();
                    let variance = centred.sqr().unwrap().mean_keepdim(1).unwrap();
                    let scale = (variance + decoder.config().norm_eps)
                        .unwrap()
                        .sqrt()
                        .unwrap();
                    let normed = centred.broadcast_div(&scale).unwrap();
                    let normed = normed.broadcast_mul(&part("weight")).unwrap();
                    normed.broadcast_add(&part("bias")).unwrap()
                };
                check(
                    normed("self_attn_layer_norm", (pre + attn).unwrap()),
                    mid.clone(),
                );
                check(normed("final_layer_norm", (mid + mlp).unwrap()), post);
                continue;
            }
            check(((&pre + &attn).unwrap() + &mlp).unwrap(), post);
            if decoder.config().block == BlockKind::Sequential {
                check((&pre + &attn).unwrap(), at(BlockSite::ResidMid));
            }
        }
    }
}

/// The residual that the MLP's norm reads is the one after attention in
/// sequential blocks and the block's input in parallel ones, to the bit; an
/// edit of it reaches the MLP and not the residual beside it.
#[test]
fn an_edit_of_mlp_in_reaches_the_mlp_alone() {
    for case in &cases() {
        let (ids, _) = reference(case);
        let decoder = load(case, DType::F64);
        let pack = Pack::new(std::slice::from_ref(&ids)).unwrap();
        let sites: BTreeSet<HookSite> = decoder.sites().into_iter().collect();
        let plain = record_all(&decoder, &ids);
        let (same, source) = match decoder.config().block {
            BlockKind::Sequential => (true, BlockSite::ResidMid),
            BlockKind::Parallel => (false, BlockSite::ResidPre),
        };
        for layer in 0..decoder.config().n_layers {
            let at = |trace: &Trace, site: BlockSite| values(trace.rows(site.at(layer)).unwrap());
            assert_eq!(at(&plain, BlockSite::MlpIn), at(&plain, source), "{case}");
            let edit = Edit::new(BlockSite::MlpIn.at(layer), |_, x| x * 2.0 + x.sqr()?);
            let edited = record(&decoder, &pack, &sites, vec![edit]).unwrap();
            let mut beside = vec![BlockSite::ResidPre, BlockSite::AttnOut];
            if same {
                beside.push(BlockSite::ResidMid);
            }
            for site in beside {
                assert_eq!(at(&edited, site), at(&plain, site), "{case} {site:?}");
            }
            let (before, after) = (
                at(&plain, BlockSite::MlpOut),
                at(&edited, BlockSite::MlpOut),
            );
            assert_ne!(before, after, "{case} block {layer}");
            if decoder.config().norm_place != NormPlace::Post {
                // What is added changes, and what it is added to does not.
                let left = |trace: &Trace| -> Vec<f64> {
                    let post = at(trace, BlockSite::ResidPost);
                    let mlp = at(trace, BlockSite::MlpOut);
                    post.iter()
                        .zip(&mlp)
                        .map(|(post, mlp)| post - mlp)
                        .collect()
                };
                let error = worst(&left(&edited), &left(&plain));
                assert!(error < 1e-13, "{case} block {layer}: {error:e}");
            }
        }
    }
}

/// `sublayer_inputs` are what the blocks' norms give: with gain and bias undone
/// they would be the recorded normalized values, so over the tokens each
/// dimension is an affine function of its normalized one.
#[test]
fn sublayer_inputs_are_gain_and_bias_of_the_normalized() {
    for case in &cases() {
        let (ids, _) = reference(case);
        let decoder = load(case, DType::F64);
        let trace = record_all(&decoder, &ids);
        for layer in 0..decoder.config().n_layers {
            let at = |site: BlockSite| trace.rows(site.at(layer)).unwrap().clone();
            let (x, mlp_in) = (at(BlockSite::ResidPre), at(BlockSite::MlpIn));
            let inputs = decoder.sublayer_inputs(layer, &x, &mlp_in).unwrap();
            let [attn, mlp] = inputs.unwrap();
            if decoder.config().norm_place == NormPlace::Post {
                assert_eq!(values(&attn), values(&x));
                assert_eq!(values(&mlp), values(&mlp_in));
                continue;
            }
            let second = if decoder.config().shared_norm {
                BlockSite::Ln1Normalized
            } else {
                BlockSite::Ln2Normalized
            };
            let pairs = [(attn, BlockSite::Ln1Normalized), (mlp, second)];
            for (input, normalized) in pairs {
                let (input, normalized) = (input.to_vec2().unwrap(), at(normalized));
                let normalized: Vec<Vec<f64>> = normalized.to_vec2().unwrap();
                let input: Vec<Vec<f64>> = input;
                for i in 0..decoder.config().d_model {
                    let (u, v, w) = (&normalized[0], &normalized[1], &normalized[2]);
                    let (a, b, c) = (input[0][i], input[1][i], input[2][i]);
                    let cross = (a - b) * (u[i] - w[i]) - (a - c) * (u[i] - v[i]);
                    assert!(cross.abs() < 1e-12, "{case} block {layer}: {cross:e}");
                }
                // And not the normalized values themselves: gains are drawn.
                assert_ne!(input, normalized, "{case}");
            }
        }
        let beyond = decoder.config().n_layers;
        let x = trace.rows(BlockSite::ResidPre.at(0)).unwrap();
        assert!(decoder.sublayer_inputs(beyond, x, x).unwrap().is_none());
    }
}

/// With one norm for attention and MLP, an edit of `MlpIn` gives the MLP the
/// norm of the edited residual, and edits of the norm itself reach both.
#[test]
fn a_shared_norm_is_taken_again_for_the_mlp() {
    for case in ["gptj", "phi", "falcon-7b-form", "stablelm-parallel-qk-norm"] {
        let (ids, _) = reference(case);
        let decoder = load(case, DType::F64);
        let pack = Pack::new(std::slice::from_ref(&ids)).unwrap();
        let sites = BTreeSet::from([BlockSite::MlpPre.at(0), BlockSite::Q.at(0)]);
        let other = |x: &Tensor| x.sqr()? + x;
        let run = |at: &[BlockSite]| {
            let edits = at
                .iter()
                .map(|site| Edit::new(site.at(0), move |_, x| other(x)));
            record(&decoder, &pack, &sites, edits.collect()).unwrap()
        };
        let seen = |trace: &Trace, site: BlockSite| values(trace.rows(site.at(0)).unwrap());
        let (moved, beside) = (run(&[BlockSite::ResidPre]), run(&[BlockSite::MlpIn]));
        let plain = run(&[]);
        // The block's input replaced gives the same MLP, and other queries.
        let error = worst(
            &seen(&beside, BlockSite::MlpPre),
            &seen(&moved, BlockSite::MlpPre),
        );
        assert!(error < 1e-13, "{case}: {error:e}");
        assert_eq!(seen(&beside, BlockSite::Q), seen(&plain, BlockSite::Q));
        assert_ne!(seen(&moved, BlockSite::Q), seen(&plain, BlockSite::Q));
        let both = run(&[BlockSite::Ln1Normalized, BlockSite::MlpIn]);
        assert_ne!(
            seen(&both, BlockSite::Q),
            seen(&plain, BlockSite::Q),
            "{case}"
        );
        let alone = run(&[BlockSite::Ln1Normalized]);
        for other in [&alone, &beside] {
            assert_ne!(
                seen(&both, BlockSite::MlpPre),
                seen(other, BlockSite::MlpPre)
            );
        }
    }
}

/// V is what attention mixes: z = pattern · V at every layer (erratum E5).
#[test]
fn z_is_rebuilt_from_pattern_and_v() {
    for case in &cases() {
        let (ids, _) = reference(case);
        let decoder = load(case, DType::F64);
        let trace = record_all(&decoder, &ids);
        let group = decoder.config().n_heads / decoder.config().n_kv_heads;
        for layer in 0..decoder.config().n_layers {
            let at = |site: BlockSite| trace.prompt(site.at(layer), 0).unwrap();
            let (v, pattern) = (at(BlockSite::V), at(BlockSite::Pattern));
            let (t, kv, d) = v.dims3().unwrap();
            let repeated = v
                .unsqueeze(2)
                .unwrap()
                .broadcast_as((t, kv, group, d))
                .unwrap()
                .reshape((t, kv * group, d))
                .unwrap();
            let v = repeated.transpose(0, 1).unwrap().contiguous().unwrap();
            let z = pattern.matmul(&v).unwrap().transpose(0, 1).unwrap();
            let error = worst(&values(&z), &values(&at(BlockSite::Z)));
            assert!(error < 1e-14, "{case} block {layer}: {error:e}");
        }
    }
}

fn bits(trace: &Trace) -> BTreeMap<HookSite, Vec<u64>> {
    let sites: Vec<HookSite> = trace.sites().collect();
    let at = |site| values(&trace.prompt(site, 0).unwrap());
    sites
        .into_iter()
        .map(|site| (site, at(site).iter().map(|v| v.to_bits()).collect()))
        .collect()
}

/// Handing a site its own value changes no bit anywhere, and any other value
/// changes the logits: no hook is silently ignored.
#[test]
fn self_patch_is_nothing_and_another_edit_is_something() {
    for case in &cases() {
        let (ids, _) = reference(case);
        let decoder = load(case, DType::F32);
        let sites: BTreeSet<HookSite> = decoder.sites().into_iter().collect();
        let pack = Pack::new(std::slice::from_ref(&ids)).unwrap();
        let plain = bits(&record_all(&decoder, &ids));
        for site in decoder.sites() {
            let same = Edit::new(site, |_, value| value.copy());
            let patched = record(&decoder, &pack, &sites, vec![same]).unwrap();
            assert!(bits(&patched) == plain, "{case}: self-patch at {site}");
            // Not a mere scaling: norms and softmax would undo one.
            let other = Edit::new(site, |_, value| {
                let n = value.elem_count();
                let ramp = Tensor::arange(0f32, n as f32, value.device())?;
                let ramp = (ramp / n as f64)?.reshape(value.shape())?;
                value * ramp.affine(0.5, 0.75)?
            });
            let logits = BTreeSet::from([HookSite::Logits]);
            let patched = bits(&record(&decoder, &pack, &logits, vec![other]).unwrap());
            let unchanged = patched[&HookSite::Logits] == plain[&HookSite::Logits];
            assert!(!unchanged, "{case}: the edit at {site} changed nothing");
        }
    }
}

/// A prompt's bits do not depend on its pack-mates or their order.
#[test]
fn alone_packed_and_reversed_are_bit_identical() {
    for case in &cases() {
        let (ids, _) = reference(case);
        let decoder = load(case, DType::F32);
        let sites: BTreeSet<HookSite> = decoder.sites().into_iter().collect();
        let prompts: Vec<Vec<u32>> = (0..12)
            .map(|i| {
                ids.iter()
                    .cycle()
                    .skip(i)
                    .take(1 + (i * 5) % 9)
                    .copied()
                    .collect()
            })
            .collect();
        let reversed: Vec<Vec<u32>> = prompts.iter().rev().cloned().collect();
        let run =
            |p: &[Vec<u32>]| record(&decoder, &Pack::new(p).unwrap(), &sites, vec![]).unwrap();
        let (packed, turned) = (run(&prompts), run(&reversed));
        for (i, prompt) in prompts.iter().enumerate() {
            let alone = run(std::slice::from_ref(prompt));
            for site in decoder.sites() {
                let expected = values(&alone.prompt(site, 0).unwrap());
                let mate = values(&packed.prompt(site, i).unwrap());
                let back = values(&turned.prompt(site, prompts.len() - 1 - i).unwrap());
                assert!(expected == mate, "{case}: prompt {i} packed, {site}");
                assert!(expected == back, "{case}: prompt {i} reversed, {site}");
            }
        }
    }
}
