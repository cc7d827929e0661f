//! The decoder by the tensor library's operations alone, as on a GPU, and in
//! f16 and bf16, on models of every family drawn from seeds.
#![allow(clippy::unwrap_used)]

mod support;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, DecoderError, Hooks, Pack, Placement, Residency};
use assay_hook_site::{BlockSite, HookSite};
use assay_testkit::write_config;
use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use support::{MODEL_TYPES, Shape, config, with};

/// Models drawn for each family.
const CASES: u64 = 4;

/// A model whose weights are numbers of `storage`, and its prompts.
struct Case {
    checkpoint: Checkpoint,
    prompts: Vec<Vec<u32>>,
    _folder: tempfile::TempDir,
}

impl Case {
    fn draw(model_type: &str, seed: u64, storage: DType) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shape = Shape::draw(&mut rng);
        let config = config(model_type, &shape, &mut rng);
        Self::of(&config, (seed, storage), &mut rng)
    }

    /// A model of this config, and prompts drawn for it.
    fn of(config: &Value, (seed, storage): (u64, DType), rng: &mut ChaCha8Rng) -> Self {
        let vocab = config["vocab_size"].as_u64().unwrap() as u32;
        let mut prompt = |length: usize| -> Vec<u32> {
            let tokens = (0..length).map(|_| rng.random_range(0..vocab));
            tokens.collect()
        };
        let prompts = [1, 9, 33].map(&mut prompt).to_vec();
        let folder = tempfile::tempdir().unwrap();
        write_config(folder.path(), config, seed, storage).unwrap();
        Self {
            checkpoint: Checkpoint::open(folder.path()).unwrap(),
            prompts,
            _folder: folder,
        }
    }

    fn decoder(&self, dtype: DType, residency: Residency) -> Decoder {
        let placement = Placement {
            dtype,
            devices: &[Device::Cpu],
            residency,
            arithmetic: Arithmetic::Exact,
        };
        Decoder::load_with(&self.checkpoint, &placement, &mut |_, _| ()).unwrap()
    }
}

fn each(check: &mut dyn FnMut(&str, u64)) {
    for (i, model_type) in MODEL_TYPES.iter().enumerate() {
        for case in 0..CASES {
            check(model_type, 5000 + 100 * i as u64 + case);
        }
    }
}

/// Keeps what it sees at some sites.
struct Seen {
    sites: Vec<HookSite>,
    values: Vec<(HookSite, Tensor)>,
}

impl Seen {
    /// Of every site, or of those that do not make attention go prompt by
    /// prompt.
    fn of(decoder: &Decoder, squares: bool) -> Self {
        let square = |site: &HookSite| match site {
            HookSite::Block { site, .. } => {
                matches!(site, BlockSite::AttnScores | BlockSite::Pattern)
            }
            _ => false,
        };
        let sites = decoder.sites().into_iter();
        let sites = sites.filter(|s| squares || !square(s)).collect();
        let values = Vec::new();
        Self { sites, values }
    }
}

impl Hooks for Seen {
    fn wants(&self, site: HookSite) -> bool {
        self.sites.contains(&site)
    }

    fn at(
        &mut self,
        site: HookSite,
        _: Option<usize>,
        value: &Tensor,
    ) -> Result<Option<Tensor>, DecoderError> {
        self.values.push((site, value.detach().copy()?));
        Ok(None)
    }
}

fn values(x: &Tensor) -> Vec<f64> {
    let flat = x.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    flat.to_vec1().unwrap()
}

/// What all sites show: by the decoder's own kernels, or, if the residual
/// stream is a variable's, by the tensor library's operations.
fn seen(decoder: &Decoder, prompts: &[Vec<u32>], as_variable: bool, squares: bool) -> Seen {
    let pack = Pack::new(prompts).unwrap();
    let mut seen = Seen::of(decoder, squares);
    let mut x = decoder.embed(&pack, &mut seen).unwrap();
    if as_variable {
        x = Var::from_tensor(&x).unwrap().into_inner();
    }
    let blocks = 0..decoder.config().n_layers;
    let x = decoder.run_blocks(&pack, blocks, &x, &mut seen).unwrap();
    decoder.finish(&pack, &x, &mut seen).unwrap();
    seen
}

/// The kernels and the operations differ in the order of their sums, like two
/// implementations: every site of every family within 5e-5 + 5e-5 |e|, the
/// bound for those.
#[test]
fn the_composed_operations_agree_with_the_kernels() {
    const BOUND: f64 = 5e-5;
    let mut overall: f64 = 0.0;
    each(&mut |model_type, seed| {
        let case = Case::draw(model_type, seed, DType::F32);
        let decoder = case.decoder(DType::F32, Residency::Resident);
        let fused = seen(&decoder, &case.prompts, false, true);
        let composed = seen(&decoder, &case.prompts, true, true);
        assert_eq!(fused.values.len(), composed.values.len());
        for ((site, f), (same, c)) in fused.values.iter().zip(&composed.values) {
            assert_eq!(site, same);
            for (f, c) in values(f).into_iter().zip(values(c)) {
                if f != c {
                    let error = (f - c).abs() / (1.0 + f.abs());
                    assert!(error < BOUND, "{model_type} {seed} {site}: {c} and {f}");
                    overall = overall.max(error);
                }
            }
        }
    });
    println!("composed: worst {overall:.2e}");
    // They are two ways indeed.
    assert!(overall > 0.0);
}

/// Spacing of the numbers of a type relative to their size, halved: one
/// rounding.
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        other => panic!("{other:?} is not short"),
    }
}

/// Largest distance of two recorded residual streams and logits, by row:
/// |a - e| / |e| in Euclidean norms.
fn apart(model: &str, actual: &Seen, expected: &Seen) -> f64 {
    let mut worst: f64 = 0.0;
    for (site, a) in &actual.values {
        let compared = match site {
            HookSite::Logits => true,
            HookSite::Block { site, .. } => *site == BlockSite::ResidPost,
            _ => false,
        };
        if !compared {
            continue;
        }
        let (_, e) = expected.values.iter().find(|(s, _)| s == site).unwrap();
        // What hooks see is f32 whatever is computed in.
        assert_eq!(a.dtype(), DType::F32);
        let rows = |x: &Tensor| x.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
        for (a, e) in rows(a).iter().zip(&rows(e)) {
            let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
            let size = norm(&mut e.iter().copied());
            let error = norm(&mut a.iter().zip(e).map(|(a, e)| a - e));
            assert!(error.is_finite(), "{model} {site}");
            worst = worst.max(error / size);
        }
    }
    worst
}

/// In f16 and bf16 every row of the residual stream and of the logits is off by
/// a few roundings of that type, eight a block at most: the stream is rounded
/// twice in a block, what is added to it some ten times, each by half a spacing
/// at most and in no common direction. Up to about 4 are found in both types, so
/// the error is the type's and not a formula's. Prompt by prompt, where the
/// squares of attention are looked at, and side by side.
#[test]
fn short_types_are_off_by_their_roundings() {
    const MOST: f64 = 8.0;
    for dtype in [DType::F16, DType::BF16] {
        let mut overall: f64 = 0.0;
        each(&mut |model_type, seed| {
            let case = Case::draw(model_type, seed, dtype);
            let wide = case.decoder(DType::F32, Residency::Resident);
            let expected = seen(&wide, &case.prompts, false, true);
            let blocks = wide.config().n_layers as f64;
            let residency = match seed % 2 {
                0 => Residency::Resident,
                _ => Residency::Streamed,
            };
            let short = case.decoder(dtype, residency);
            for squares in [true, false] {
                let actual = seen(&short, &case.prompts, false, squares);
                let off = apart(model_type, &actual, &expected) / rounding(dtype) / blocks;
                let what = format!("{dtype:?} {model_type} {seed}: {off:.2} roundings a block");
                assert!(off < MOST, "{what}");
                // It does compute in the type.
                assert!(off > 0.1, "{what}");
                overall = overall.max(off);
            }
        });
        println!("{dtype:?}: at most {overall:.2} roundings a block");
    }
}

/// A norm of heads is rounded once, its gains included, as a norm of
/// transformers is: StableLM's in f16, in the dimensions that are not rotated.
#[test]
fn a_norm_of_heads_is_rounded_once() {
    let seed = 5900;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut shape = Shape::draw(&mut rng);
    shape.d_head = 12;
    let more = json!({ "qk_layernorm": true, "partial_rotary_factor": 0.36 });
    let config = with(config("stablelm", &shape, &mut rng), more);
    let case = Case::of(&config, (seed, DType::F16), &mut rng);
    let seen = seen(
        &case.decoder(DType::F16, Residency::Resident),
        &case.prompts,
        false,
        false,
    );
    let heads = |site: BlockSite| -> Vec<Vec<Vec<f64>>> {
        let (_, x) = seen.values.iter().find(|(s, _)| *s == site.at(0)).unwrap();
        x.to_dtype(DType::F64).unwrap().to_vec3().unwrap()
    };
    let gain = |head: usize| -> Vec<f64> {
        let name = format!("model.layers.0.self_attn.q_layernorm.norms.{head}.weight");
        let weights = &case.checkpoint.weights;
        let gain = weights.tensor(&name, &[shape.d_head], DType::F64, &Device::Cpu);
        gain.unwrap().to_vec1().unwrap()
    };
    let eps = case.checkpoint.config.norm_eps;
    for (before, after) in heads(BlockSite::Q).iter().zip(heads(BlockSite::RotQ)) {
        for (head, (x, y)) in before.iter().zip(after).enumerate() {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
            let gain = gain(head);
            // Four of twelve dimensions are rotated.
            for i in 4..x.len() {
                let exact = (x[i] - mean) / (var + eps).sqrt() * gain[i];
                // Half the spacing of the type there, and what f32 is off by.
                let half = 2f64.powf(exact.abs().log2().floor().max(-14.0) - 11.0);
                assert!((y[i] - exact).abs() < 1.01 * half, "{} and {exact}", y[i]);
            }
        }
    }
}
