//! Prompts and calls that a pass cannot serve: one error that says why.
#![allow(clippy::unwrap_used)]

mod support;

use assay_checkpoint::Checkpoint;
use assay_decoder::{
    Arithmetic, Decoder, DecoderError, Hooks, KvCache, NoHooks, Pack, Placement, Residency, greedy,
};
use assay_hook_site::{BlockSite, HookSite};
use assay_testkit::{Architecture, TinyModel, write_hf};
use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn families() -> [TinyModel; 3] {
    [
        TinyModel::gpt_neox(1),
        TinyModel::gpt2(1),
        TinyModel::llama(1),
    ]
}

fn open(spec: &TinyModel) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    write_hf(folder.path(), spec).unwrap();
    Checkpoint::open(folder.path()).unwrap()
}

fn load(spec: &TinyModel) -> Decoder {
    Decoder::load(&open(spec), DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap()
}

#[track_caller]
fn check<T>(result: Result<T, DecoderError>, expected: &str) {
    match result {
        Ok(_) => panic!("it worked, and {expected:?} was expected"),
        Err(error) => assert_eq!(error.to_string(), expected),
    }
}

#[test]
fn prompts_without_tokens_are_refused() {
    check(Pack::new(&[]), "prompt 0 is missing: the pack is empty");
    check(Pack::new(&[vec![]]), "prompt 0 has no tokens");
    check(
        Pack::new(&[vec![1, 2], vec![], vec![3]]),
        "prompt 1 has no tokens",
    );
}

#[test]
fn a_prompt_may_fill_the_context_and_not_more() {
    for spec in families() {
        let decoder = load(&spec);
        let full = Pack::new(&[vec![1], vec![2; 128]]).unwrap();
        decoder.forward(&full, &mut NoHooks).unwrap();
        let long = Pack::new(&[vec![1], vec![2; 129]]).unwrap();
        check(
            decoder.forward(&long, &mut NoHooks),
            "prompt 1 has 129 tokens and the model's context is 128",
        );
    }
}

#[test]
fn tokens_beyond_the_vocabulary_are_refused() {
    for spec in families() {
        let decoder = load(&spec);
        let last = Pack::new(&[vec![511]]).unwrap();
        decoder.forward(&last, &mut NoHooks).unwrap();
        for id in [512, u32::MAX] {
            let pack = Pack::new(&[vec![1, 2], vec![3, id]]).unwrap();
            let expected = format!("prompt 1 has token {id} and the vocabulary ends at 512");
            check(decoder.forward(&pack, &mut NoHooks), &expected);
        }
    }
}

#[test]
#[allow(clippy::reversed_empty_ranges)]
fn blocks_beyond_the_model_are_refused() {
    for spec in families() {
        let decoder = load(&spec);
        let pack = Pack::new(&[vec![1, 2, 3]]).unwrap();
        let x = decoder.embed(&pack, &mut NoHooks).unwrap();
        for range in [0..3, 2..3, 3..3, 2..1, 0..usize::MAX] {
            let expected = format!(
                "blocks {}..{} are asked for and the model has 2",
                range.start, range.end
            );
            check(
                decoder.run_blocks(&pack, range, &x, &mut NoHooks),
                &expected,
            );
        }
        // No blocks at all: the residual stream as it was.
        for range in [0..0, 1..1, 2..2] {
            let y = decoder.run_blocks(&pack, range, &x, &mut NoHooks).unwrap();
            assert_eq!(y.to_vec2::<f32>().unwrap(), x.to_vec2::<f32>().unwrap());
        }
    }
}

/// A residual stream of another width than the model's is an error, not a wrong
/// result.
#[test]
fn a_residual_stream_that_does_not_fit_is_refused() {
    for spec in families() {
        let decoder = load(&spec);
        let pack = Pack::new(&[vec![1, 2, 3]]).unwrap();
        for shape in [(3, 31), (3, 33), (3, 64), (3, 1)] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            let y = decoder.run_blocks(&pack, 0..2, &x, &mut NoHooks);
            assert!(y.is_err(), "{:?} {shape:?}", spec.architecture);
        }
    }
}

/// Gives back what `f` makes of the value at one site.
struct At<F>(HookSite, F);

impl<F: FnMut(&Tensor) -> candle_core::Result<Tensor>> Hooks for At<F> {
    fn wants(&self, site: HookSite) -> bool {
        site == self.0
    }

    fn at(
        &mut self,
        _: HookSite,
        _: Option<usize>,
        value: &Tensor,
    ) -> Result<Option<Tensor>, DecoderError> {
        Ok(Some((self.1)(value)?))
    }
}

/// Every site of every family.
#[test]
fn edits_that_do_not_fit_name_the_site() {
    for model_type in support::MODEL_TYPES {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let shape = support::Shape::draw(&mut rng);
        let config = support::config(model_type, &shape, &mut rng);
        let checkpoint = support::model(&config, 1).checkpoint;
        let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ());
        let decoder = decoder.unwrap();
        let pack = Pack::new(&[vec![1, 2, 3], vec![4]]).unwrap();
        for site in decoder.sites() {
            let mut shorter = At(site, |v: &Tensor| v.narrow(0, 0, v.dim(0)? - 1));
            let error = decoder
                .forward(&pack, &mut shorter)
                .unwrap_err()
                .to_string();
            let start = format!("hook at {site}: shape mismatch, site: [");
            assert!(error.starts_with(&start), "{model_type}: {error}");
            let mut wider = At(site, |v: &Tensor| v.to_dtype(DType::F64));
            let error = decoder.forward(&pack, &mut wider).unwrap_err().to_string();
            assert!(
                error.starts_with(&start) && error.contains("F64"),
                "{model_type}: {error}"
            );
        }
    }
}

/// Which sites a family has is not a matter of what was asked.
#[test]
fn families_have_the_sites_of_their_blocks() {
    for spec in families() {
        let sites = load(&spec).sites();
        let has = |site: BlockSite| sites.contains(&site.at(1));
        let llama = spec.architecture == Architecture::Llama;
        let gpt2 = spec.architecture == Architecture::Gpt2;
        assert_eq!(has(BlockSite::MlpPreLinear), llama);
        assert_eq!(has(BlockSite::ResidMid), llama || gpt2);
        assert_eq!(has(BlockSite::RotQ), !gpt2);
        assert_eq!(sites.contains(&HookSite::PosEmbed), gpt2);
        assert!(!sites.contains(&BlockSite::Q.at(2)));
    }
}

#[test]
fn a_placement_needs_a_device() {
    for spec in families() {
        for residency in [Residency::Resident, Residency::Streamed] {
            let placement = Placement {
                dtype: DType::F32,
                devices: &[],
                residency,
                arithmetic: Arithmetic::Exact,
            };
            check(
                Decoder::load_with(&open(&spec), &placement, &mut |_, _| ()),
                "a decoder needs at least one device, and none is given",
            );
        }
    }
}

#[test]
fn a_pack_continues_as_many_prompts_as_it_has() {
    check(
        Pack::continuing(&[vec![1]], &[4, 5]),
        "prompt 1 has no counterpart: 1 prompts continue 2",
    );
    check(
        Pack::continuing(&[vec![1], vec![2]], &[]),
        "prompt 0 has no counterpart: 2 prompts continue 0",
    );
    check(
        Pack::continuing(&[vec![1], vec![]], &[4, 5]),
        "prompt 1 has no tokens",
    );
}

/// Positions are u32: none wraps round to a small one that a context has.
#[test]
fn a_past_beyond_all_positions_is_refused() {
    let last = u32::MAX as usize;
    for past in [last, last + 1, usize::MAX] {
        let expected = format!("prompt 1 continues {past} tokens, more than positions can count");
        check(Pack::continuing(&[vec![1], vec![1]], &[0, past]), &expected);
    }
    for spec in families() {
        let pack = Pack::continuing(&[vec![1]], &[last - 1]).unwrap();
        check(
            load(&spec).embed(&pack, &mut NoHooks),
            "prompt 0 has 4294967295 tokens and the model's context is 128",
        );
    }
}

/// A cache of prompts of 3 tokens and 1.
fn filled(decoder: &Decoder) -> KvCache {
    let mut cache = KvCache::new(decoder.config(), 2);
    let pack = Pack::new(&[vec![1, 2, 3], vec![4]]).unwrap();
    decoder.extend(&pack, &mut cache, &mut NoHooks).unwrap();
    assert_eq!(cache.lengths(), [3, 1]);
    cache
}

/// A pack that does not continue what a cache holds is refused before anything
/// is done, and the cache is as it was.
#[test]
fn a_pack_that_does_not_continue_the_cache_is_refused() {
    for spec in families() {
        let decoder = load(&spec);
        let mut cache = filled(&decoder);
        let two = [vec![5], vec![6]];
        for past in [[0, 0], [1, 3], [3, 2], [4, 1]] {
            let pack = Pack::continuing(&two, &past).unwrap();
            let expected = format!(
                "the cache holds [3, 1] tokens of each prompt, and the pack continues {past:?}"
            );
            check(decoder.extend(&pack, &mut cache, &mut NoHooks), &expected);
            check(decoder.next_logits(&pack, &mut cache), &expected);
        }
        let one = Pack::continuing(&two[..1], &[3]).unwrap();
        check(
            decoder.extend(&one, &mut cache, &mut NoHooks),
            "the cache holds [3, 1] tokens of each prompt, and the pack continues [3]",
        );
        let mut empty = KvCache::new(decoder.config(), 0);
        check(
            decoder.extend(&one, &mut empty, &mut NoHooks),
            "the cache holds [] tokens of each prompt, and the pack continues [3]",
        );
        let pack = Pack::continuing(&two, &[3, 1]).unwrap();
        decoder.extend(&pack, &mut cache, &mut NoHooks).unwrap();
        assert_eq!(cache.lengths(), [4, 2]);
    }
}

#[test]
fn a_continuing_pack_needs_its_cache() {
    for spec in families() {
        let decoder = load(&spec);
        let expected = "the cache is needed for a pack that continues prompts";
        let pack = Pack::continuing(&[vec![1, 2], vec![3]], &[0, 5]).unwrap();
        let x = decoder.embed(&pack, &mut NoHooks).unwrap();
        check(decoder.run_blocks(&pack, 0..2, &x, &mut NoHooks), expected);
        check(decoder.forward(&pack, &mut NoHooks), expected);
        // Nothing went before: as any other pack.
        let fresh = Pack::continuing(&[vec![1, 2], vec![3]], &[0, 0]).unwrap();
        decoder.forward(&fresh, &mut NoHooks).unwrap();
    }
}

/// What went before counts towards the context, and positions go on from it.
#[test]
fn past_and_new_tokens_may_fill_the_context_and_not_more() {
    for spec in families() {
        let decoder = load(&spec);
        let mut cache = KvCache::new(decoder.config(), 2);
        let extend = |cache: &mut KvCache, prompts: &[Vec<u32>]| {
            let pack = Pack::continuing(prompts, &cache.lengths())?;
            decoder.extend(&pack, cache, &mut NoHooks)
        };
        extend(&mut cache, &[vec![1], vec![2; 126]]).unwrap();
        check(
            extend(&mut cache, &[vec![1], vec![2; 3]]),
            "prompt 1 has 129 tokens and the model's context is 128",
        );
        assert_eq!(cache.lengths(), [1, 126]);
        extend(&mut cache, &[vec![1], vec![2; 2]]).unwrap();
        check(
            extend(&mut cache, &[vec![1], vec![2]]),
            "prompt 1 has 129 tokens and the model's context is 128",
        );
        check(
            extend(&mut cache, &[vec![512], vec![2]]),
            "prompt 0 has token 512 and the vocabulary ends at 512",
        );
    }
}

#[test]
fn a_continuation_beyond_the_context_is_refused() {
    for spec in families() {
        let decoder = load(&spec);
        let prompts = [vec![1], vec![2; 120]];
        // The last of the new tokens is not fed.
        let out = greedy(&decoder, &prompts, 9, &[]).unwrap();
        assert_eq!([out[0].len(), out[1].len()], [9, 9]);
        check(
            greedy(&decoder, &prompts, 10, &[]),
            "prompt 1 has 129 tokens and the model's context is 128",
        );
        assert!(greedy(&decoder, &[], 3, &[]).unwrap().is_empty());
        check(
            greedy(&decoder, &[vec![1], vec![]], 3, &[]),
            "prompt 1 has no tokens",
        );
        check(
            greedy(&decoder, &[vec![512]], 3, &[]),
            "prompt 0 has token 512 and the vocabulary ends at 512",
        );
        let none: [Vec<u32>; 2] = [vec![], vec![]];
        assert_eq!(greedy(&decoder, &prompts, 0, &[]).unwrap(), none);
    }
}
