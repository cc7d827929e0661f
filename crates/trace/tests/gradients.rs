//! Gradients at every site of every reference case against finite differences.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, Pack};
use assay_hook_site::HookSite;
use assay_trace::{Edit, Trace, TraceError, gradients, record};
use candle_core::{D, DType, Device, Tensor};

fn folder(case: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/parity");
    root.join(case)
}

fn cases() -> Vec<String> {
    let folders = std::fs::read_dir(folder("")).unwrap().map(|e| e.unwrap());
    let mut cases: Vec<String> = folders
        .filter(|e| e.path().join("config.json").exists())
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn load(case: &str, dtype: DType) -> Decoder {
    let checkpoint = Checkpoint::open(&folder(case)).unwrap();
    Decoder::load(&checkpoint, dtype, &Device::Cpu, &mut |_, _| ()).unwrap()
}

/// Two prompts of unlike length, in the vocabulary of every case.
fn pack() -> Pack {
    Pack::new(&[vec![3, 1, 4, 1, 5, 9, 2, 6], vec![2, 7, 1]]).unwrap()
}

/// Mean of -log p of token 1 over all positions.
fn objective(logits: &Tensor) -> candle_core::Result<Tensor> {
    let max = logits.detach().max_keepdim(D::Minus1)?;
    let shifted = logits.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    (log_sum - shifted.narrow(D::Minus1, 1, 1)?)?.mean_all()
}

fn value(decoder: &Decoder, edits: Vec<Edit>) -> f64 {
    let logits = BTreeSet::from([HookSite::Logits]);
    let trace = record(decoder, &pack(), &logits, edits).unwrap();
    let value = objective(trace.rows(HookSite::Logits).unwrap()).unwrap();
    value.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

/// Gradient of one prompt, or of the pack at sites of rows.
fn parts(trace: &Trace, site: HookSite) -> Vec<Tensor> {
    match trace.rows(site) {
        Ok(rows) => vec![rows.clone()],
        Err(_) => (0..2).map(|i| trace.prompt(site, i).unwrap()).collect(),
    }
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    let product = (a * b).unwrap().sum_all().unwrap();
    product.to_scalar().unwrap()
}

/// A fixed direction without structure, of unit length.
fn direction(like: &Tensor) -> Tensor {
    let wave: Vec<f64> = (0..like.elem_count())
        .map(|i| (1.0 + 7.3 * i as f64).sin())
        .collect();
    let wave = Tensor::from_vec(wave, like.dims(), &Device::Cpu).unwrap();
    (&wave / dot(&wave, &wave).sqrt()).unwrap()
}

/// In f64 a step of 1e-6 leaves about 1e-10 of rounding and 1e-12 of
/// curvature, so that a thousandth of a per cent of the gradient's length is
/// far above both and far below any missing part.
const STEP: f64 = 1e-6;
const TOLERANCE: f64 = 1e-5;

#[track_caller]
fn check(case: &str) {
    let decoder = load(case, DType::F64);
    let sites: BTreeSet<HookSite> = decoder.sites().into_iter().collect();
    let (number, gradient) = gradients(&decoder, &pack(), &sites, &mut objective).unwrap();
    let plain = value(&decoder, vec![]);
    assert!((number - plain).abs() < 1e-12, "{case}: {number}, {plain}");
    let mut worst: f64 = 0.0;
    for site in &sites {
        let parts = parts(&gradient, *site);
        for (i, g) in parts.iter().enumerate() {
            let length = dot(g, g).sqrt();
            assert!(length > 0.0, "{case}: no gradient at {site}");
            let towards = ((g / length).unwrap() + direction(g)).unwrap();
            let moved = |step: f64| {
                let towards = (&towards * step).unwrap();
                let edit = Edit::new(*site, move |segment, x| match segment {
                    Some(s) if s != i => Ok(x.clone()),
                    _ => x + &towards,
                });
                value(&decoder, vec![edit])
            };
            let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let error = (slope - dot(g, &towards)).abs() / length;
            worst = worst.max(error);
            assert!(error < TOLERANCE, "{case}, {site}: off by {error:e}");
        }
    }
    println!("{case}: {} sites, worst {worst:.1e}", sites.len());
}

#[test]
fn every_site_matches_finite_differences() {
    cases().iter().for_each(|case| check(case));
}

/// f32 gradients differ from those in f64 by rounding: within a thousandth of
/// the longest at the site.
#[test]
fn f32_gradients_are_those_of_f64() {
    for case in &cases() {
        let decoder = load(case, DType::F32);
        let sites: BTreeSet<HookSite> = decoder.sites().into_iter().collect();
        let mut in_f64 = |x: &Tensor| objective(&x.to_dtype(DType::F64)?);
        let (_, ours) = gradients(&decoder, &pack(), &sites, &mut in_f64).unwrap();
        let exact = load(case, DType::F64);
        let (_, exact) = gradients(&exact, &pack(), &sites, &mut objective).unwrap();
        for site in &sites {
            for (a, b) in parts(&ours, *site).iter().zip(parts(&exact, *site)) {
                let off = (a.to_dtype(DType::F64).unwrap() - &b).unwrap();
                let share = (dot(&off, &off) / dot(&b, &b)).sqrt();
                assert!(share < 1e-3, "{case}, {site}: {share:e}");
            }
        }
    }
}

#[test]
fn what_has_no_gradient_is_said() {
    let decoder = load("neox-parallel", DType::F32);
    let site = BTreeSet::from([HookSite::Logits]);
    let ask = |f: &mut dyn FnMut(&Tensor) -> candle_core::Result<Tensor>| {
        gradients(&decoder, &pack(), &site, f).err().unwrap()
    };
    let whole = ask(&mut |x| Ok(x.clone()));
    assert!(matches!(whole, TraceError::Objective { .. }), "{whole}");
    let cut = ask(&mut |x| x.detach().mean_all());
    assert!(matches!(cut, TraceError::Objective { .. }), "{cut}");
    let missing = BTreeSet::from([assay_hook_site::BlockSite::ResidMid.at(0)]);
    let missing = gradients(&decoder, &pack(), &missing, &mut objective).err();
    assert!(matches!(missing, Some(TraceError::NoSuchSite { .. })));
}

/// In bf16 the gradient of the whole, at the embedding, is that in f32 but for
/// the roundings of a pass and of the way back, sixteen a block; in f16 there is
/// none, and the error says what to ask for.
#[test]
fn gradients_in_short_types() {
    let case = "llama-gqa-tied";
    let sites = BTreeSet::from([HookSite::Embed]);
    let of = |dtype| gradients(&load(case, dtype), &pack(), &sites, &mut objective);
    let rows = |trace: &Trace| {
        let rows = trace.rows(HookSite::Embed).unwrap();
        rows.to_dtype(DType::F64).unwrap()
    };
    let wide = rows(&of(DType::F32).unwrap().1);
    let short = rows(&of(DType::BF16).unwrap().1);
    let blocks = load(case, DType::F32).config().n_layers as f64;
    let off = (&short - &wide).unwrap();
    let off = (dot(&off, &off) / dot(&wide, &wide)).sqrt() / 2f64.powi(-8) / blocks;
    println!("bf16: {off:.1} roundings a block");
    assert!(off < 16.0 && off > 0.1, "{off}");
    let error = of(DType::F16).err().unwrap().to_string();
    assert!(error.contains("--dtype f32 or bf16"), "{error}");
}
