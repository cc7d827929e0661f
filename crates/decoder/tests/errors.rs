//! Prompts and calls that a pass cannot serve: one error that says why.
#![allow(clippy::unwrap_used)]

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, DecoderError, Hooks, NoHooks, Pack};
use assay_hook_site::{BlockSite, HookSite};
use assay_testkit::{Architecture, TinyModel, write_hf};
use candle_core::{DType, Device, Tensor};

fn families() -> [TinyModel; 3] {
    [
        TinyModel::gpt_neox(1),
        TinyModel::gpt2(1),
        TinyModel::llama(1),
    ]
}

fn load(spec: &TinyModel) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    write_hf(folder.path(), spec).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap()
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

#[test]
fn edits_that_do_not_fit_name_the_site() {
    for spec in families() {
        let decoder = load(&spec);
        let pack = Pack::new(&[vec![1, 2, 3], vec![4]]).unwrap();
        for site in decoder.sites() {
            let mut shorter = At(site, |v: &Tensor| v.narrow(0, 0, v.dim(0)? - 1));
            let error = decoder
                .forward(&pack, &mut shorter)
                .unwrap_err()
                .to_string();
            let start = format!("hook at {site}: shape mismatch, site: [");
            assert!(error.starts_with(&start), "{error}");
            let mut wider = At(site, |v: &Tensor| v.to_dtype(DType::F64));
            let error = decoder.forward(&pack, &mut wider).unwrap_err().to_string();
            assert!(
                error.starts_with(&start) && error.contains("F64"),
                "{error}"
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
