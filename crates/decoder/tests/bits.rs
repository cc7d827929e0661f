//! A prompt's bits depend neither on its pack-mates nor on the number of
//! threads.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, DecoderError, Hooks, Pack};
use assay_hook_site::HookSite;
use assay_testkit::{Text, TinyModel, write_hf};
use candle_core::{DType, Device, Tensor};

fn load(spec: &TinyModel) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    write_hf(folder.path(), spec).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap()
}

/// Bits of every value of every site, prompt by prompt.
struct Bits<'a> {
    pack: &'a Pack,
    every: bool,
    seen: BTreeMap<(HookSite, usize), Vec<u32>>,
}

impl Hooks for Bits<'_> {
    fn wants(&self, site: HookSite) -> bool {
        self.every || site == HookSite::Logits
    }

    fn at(
        &mut self,
        site: HookSite,
        segment: Option<usize>,
        value: &Tensor,
    ) -> Result<Option<Tensor>, DecoderError> {
        let mut keep = |prompt: usize, value: &Tensor| -> candle_core::Result<()> {
            let values = value.flatten_all()?.to_vec1::<f32>()?;
            let bits = values.into_iter().map(f32::to_bits).collect();
            self.seen.insert((site, prompt), bits);
            Ok(())
        };
        match segment {
            Some(prompt) => keep(prompt, value)?,
            None => {
                for (prompt, rows) in self.pack.segments().iter().enumerate() {
                    keep(prompt, &value.narrow(0, rows.start, rows.len())?)?;
                }
            }
        }
        Ok(None)
    }
}

fn bits(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    every: bool,
) -> BTreeMap<(HookSite, usize), Vec<u32>> {
    let pack = Pack::new(prompts).unwrap();
    let mut hooks = Bits {
        pack: &pack,
        every,
        seen: BTreeMap::new(),
    };
    decoder.forward(&pack, &mut hooks).unwrap();
    hooks.seen
}

fn prompt(length: usize) -> Vec<u32> {
    (0..length as u32)
        .map(|i| (i * 37 + length as u32 * 11) % 512)
        .collect()
}

/// Prompts of 1 to 40 tokens, whose rows alone are fewer and more than a matrix
/// product needs: each alone as in one pack of all, with every site looked at
/// and with none but the logits.
#[test]
fn prompts_of_1_to_40_tokens_alone_and_packed() {
    for spec in [
        TinyModel::gpt_neox(3),
        TinyModel::gpt2(3),
        TinyModel::llama(3),
    ] {
        let decoder = load(&spec);
        let prompts: Vec<Vec<u32>> = (1..=40).map(prompt).collect();
        let packed = bits(&decoder, &prompts, true);
        for (i, prompt) in prompts.iter().enumerate() {
            let alone = std::slice::from_ref(prompt);
            for ((site, _), values) in bits(&decoder, alone, true) {
                let same = packed[&(site, i)] == values;
                assert!(same, "{:?}: {} tokens, {site}", spec.architecture, i + 1);
            }
            let unobserved = bits(&decoder, alone, false);
            let same = packed[&(HookSite::Logits, i)] == unobserved[&(HookSite::Logits, 0)];
            assert!(same, "{:?}: {} tokens unobserved", spec.architecture, i + 1);
        }
    }
}

/// Packs of 1 to 40 rows made of one-token prompts, and of two prompts.
#[test]
fn packs_of_1_to_40_rows() {
    for spec in [
        TinyModel::gpt_neox(4),
        TinyModel::gpt2(4),
        TinyModel::llama(4),
    ] {
        let decoder = load(&spec);
        let first = bits(&decoder, &[vec![7]], true);
        for rows in 1..=40 {
            let single: Vec<Vec<u32>> = (0..rows).map(|i| vec![7 + i]).collect();
            let pair = [vec![7], prompt(rows as usize)];
            for pack in [single.as_slice(), pair.as_slice()] {
                for ((site, i), values) in bits(&decoder, pack, true) {
                    let same = i != 0 || first[&(site, 0)] == values;
                    assert!(same, "{:?}: {rows} rows, {site}", spec.architecture);
                }
            }
        }
    }
}

/// Large enough for the matrix products to be split among threads.
fn large(spec: TinyModel) -> TinyModel {
    TinyModel {
        d_model: 256,
        n_heads: 8,
        n_kv_heads: if spec.n_kv_heads == 2 { 2 } else { 8 },
        d_mlp: 1024,
        vocab: 2048,
        text: Text::None,
        ..spec
    }
}

/// A hash of all bits of a pass over three families.
fn digest() -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    let prompts: Vec<Vec<u32>> = [100, 1, 37, 128, 64].map(prompt).to_vec();
    for spec in [
        TinyModel::gpt_neox(5),
        TinyModel::gpt2(5),
        TinyModel::llama(5),
    ] {
        let decoder = load(&large(spec));
        for every in [true, false] {
            bits(&decoder, &prompts, every)
                .into_values()
                .for_each(|b| b.hash(&mut hash));
        }
    }
    hash.finish()
}

const CHILD: &str = "ASSAY_TEST_PRINT_DIGEST";

/// Pools of 1 and 2 threads in this process, and processes of their own with
/// RAYON_NUM_THREADS, which candle reads once.
#[test]
fn threads_change_no_bit() {
    if std::env::var_os(CHILD).is_some() {
        println!("digest {}", digest());
        return;
    }
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    };
    let one = pool(1).install(digest);
    assert_eq!(pool(2).install(digest), one, "a pool of 2 threads");
    for threads in ["1", "2", "3"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "threads_change_no_bit", "--nocapture"])
            .env(CHILD, "1")
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let printed = text.lines().find_map(|l| l.split("digest ").nth(1));
        assert_eq!(
            printed,
            Some(one.to_string().as_str()),
            "{threads} threads: {text}"
        );
    }
}
