//! GGUF files of every family against transformers with the weights that
//! llama.cpp's conversion began with: golden/gguf, one folder a case.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, Pack};
use assay_hook_site::HookSite;
use assay_trace::record;
use candle_core::{DType, Device, Tensor};

/// Both parts of the tolerance `TOLERANCE + TOLERANCE * |expected|`, that of
/// the parity test of all sites: two f32 implementations that sum in different
/// orders stay within it. The generator makes sure that transformers' own f32
/// is within 2e-5 of its f64 on every case.
const TOLERANCE: f64 = 5e-5;

fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().unwrap();
    flat.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Worst of |a - e| / (1 + |e|); what is no number is an infinite error.
fn worst(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let errors = actual.iter().zip(expected).map(|(a, e)| {
        let error = (a - e).abs() / (1.0 + e.abs());
        if error.is_nan() { f64::INFINITY } else { error }
    });
    errors.fold(0.0, f64::max)
}

/// Compares the logits and every block's output; gives what differs.
fn check(folder: &Path) -> Vec<String> {
    let case = folder.file_name().unwrap().to_string_lossy().into_owned();
    let reference = folder.join("reference.safetensors");
    let mut expected = candle_core::safetensors::load(reference, &Device::Cpu).unwrap();
    let ids = expected.remove("ids").unwrap();
    let ids: Vec<i64> = ids
        .flatten_all()
        .and_then(|ids| ids.to_dtype(DType::I64))
        .and_then(|ids| ids.to_vec1())
        .unwrap();
    let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
    let load = |dtype| {
        let checkpoint = Checkpoint::open(&folder.join("model.gguf"))?;
        Decoder::load(&checkpoint, dtype, &Device::Cpu, &mut |_, _| ())
    };
    let (decoder, exact) = match (load(DType::F32), load(DType::F64)) {
        (Ok(decoder), Ok(exact)) => (decoder, exact),
        (Err(error), _) | (_, Err(error)) => return vec![format!("{case}: {error}")],
    };
    let wanted: BTreeSet<String> = (0..decoder.config().n_layers)
        .map(|layer| format!("blocks.{layer}.hook_resid_post"))
        .chain(["logits".to_owned()])
        .collect();
    assert_eq!(expected.keys().cloned().collect::<BTreeSet<_>>(), wanted);
    let sites: BTreeSet<HookSite> = decoder
        .sites()
        .into_iter()
        .filter(|site| wanted.contains(&site.to_string()))
        .collect();
    assert_eq!(sites.len(), wanted.len());
    let pack = Pack::new(&[ids]).unwrap();
    let (trace, exact) = (
        record(&decoder, &pack, &sites, vec![]).unwrap(),
        record(&exact, &pack, &sites, vec![]).unwrap(),
    );
    let mut overall = 0f64;
    let mut failures = Vec::new();
    for site in sites {
        let expected = values(&expected[&site.to_string()]);
        let in_f32 = worst(&values(&trace.prompt(site, 0).unwrap()), &expected);
        let in_f64 = worst(&values(&exact.prompt(site, 0).unwrap()), &expected);
        overall = overall.max(in_f32);
        // The f64 rerun tells a wrong formula (both off) from rounding (f32 off).
        if in_f32 > TOLERANCE || in_f64 > TOLERANCE {
            failures.push(format!(
                "{case}: {site}: error {in_f32:e} in f32, {in_f64:e} in f64"
            ));
        }
    }
    println!("{case}: worst error {overall:.2e}");
    failures
}

#[test]
fn every_gguf_case_matches_transformers() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/gguf");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("model.gguf").exists())
        .collect();
    folders.sort();
    assert!(!folders.is_empty());
    let failures: Vec<String> = folders.iter().flat_map(|folder| check(folder)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
