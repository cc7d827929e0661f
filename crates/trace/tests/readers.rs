//! The matrices that read the residual stream give what the sites show.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, Pack, Readers};
use assay_hook_site::BlockSite;
use assay_trace::record;
use candle_core::{DType, Device, Tensor};

fn load(case: &str) -> Decoder {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/parity");
    let checkpoint = Checkpoint::open(&root.join(case)).unwrap();
    Decoder::load(&checkpoint, DType::F64, &Device::Cpu, &mut |_, _| ()).unwrap()
}

/// Worst difference between two tensors of one size, after `shift` is taken
/// off as what a bias adds: the first row's difference.
fn worst(a: &Tensor, b: &Tensor) -> f64 {
    let difference = (a - b).unwrap();
    let bias = difference.narrow(0, 0, 1).unwrap();
    let rest = difference.broadcast_sub(&bias).unwrap().abs().unwrap();
    let values: Vec<f64> = rest.flatten_all().unwrap().to_vec1().unwrap();
    values.into_iter().fold(0.0, f64::max)
}

#[track_caller]
fn check(case: &str, qk_gains: bool) {
    let decoder = load(case);
    let pack = Pack::new(&[vec![3, 1, 4, 1, 5, 9, 2, 6], vec![2, 7, 1]]).unwrap();
    let sites = [
        BlockSite::Ln1Normalized,
        BlockSite::Q,
        BlockSite::K,
        BlockSite::V,
        BlockSite::Ln2Normalized,
        BlockSite::MlpPre,
        BlockSite::MlpPreLinear,
    ];
    for layer in 0..decoder.config().n_layers {
        let Readers {
            attn_gain,
            q,
            k,
            v,
            qk_gains: gains,
            mlp_gain,
            gate,
            up,
        } = decoder.readers(layer).unwrap().unwrap();
        assert_eq!(gains.is_some(), qk_gains, "{case}");
        let wanted = sites.iter().map(|s| s.at(layer)).collect();
        let trace = record(&decoder, &pack, &wanted, Vec::new()).unwrap();
        let at = |site: BlockSite| {
            let rows = trace.rows(site.at(layer)).unwrap();
            rows.flatten_from(1).unwrap()
        };
        let read = |site, gain: &Tensor, weight: &Tensor| {
            let input = at(site).broadcast_mul(gain).unwrap();
            input.matmul(&weight.t().unwrap()).unwrap()
        };
        let of = |weight| read(BlockSite::Ln1Normalized, &attn_gain, weight);
        let mlp = |weight| read(BlockSite::Ln2Normalized, &mlp_gain, weight);
        for (site, read) in [
            (BlockSite::Q, of(&q)),
            (BlockSite::K, of(&k)),
            (BlockSite::V, of(&v)),
            (BlockSite::MlpPre, mlp(&gate)),
            (BlockSite::MlpPreLinear, mlp(&up)),
        ] {
            let worst = worst(&at(site), &read);
            // Rounding of f64 sums over a few dozen terms of order 1.
            assert!(worst < 1e-12, "{case} layer {layer} {site:?}: {worst}");
        }
    }
    let beyond = decoder.config().n_layers;
    assert!(decoder.readers(beyond).unwrap().is_none());
}

#[test]
fn llama_qwen_and_gemma_read_by_these_matrices() {
    check("llama-gqa-tied", false);
    check("qwen2", false);
    check("qwen3", true);
    check("gemma3", true);
}

#[test]
fn a_fused_family_has_none() {
    assert!(load("neox-parallel").readers(0).unwrap().is_none());
}
