//! A prompt's bits depend neither on its pack-mates nor on the number of
//! threads.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use assay_decoder::{Decoder, DecoderError, Hooks, Pack};
use assay_hook_site::HookSite;
use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use support::Shape;

/// A model of each family, of this shape, with its name.
fn families(shape: Shape, seed: u64) -> impl Iterator<Item = (&'static str, Decoder)> {
    support::MODEL_TYPES.iter().map(move |model_type| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let config = support::config(model_type, &shape, &mut rng);
        let checkpoint = support::model(&config, seed).checkpoint;
        let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ());
        (*model_type, decoder.unwrap())
    })
}

fn small(seed: u64) -> impl Iterator<Item = (&'static str, Decoder)> {
    let shape = Shape {
        n_layers: 2,
        n_heads: 6,
        n_kv_heads: 2,
        d_head: 7,
        d_model: 37,
        d_mlp: 50,
        vocab: 512,
        context: 48,
    };
    families(shape, seed)
}

/// Large enough for the matrix products to be split among threads.
fn large(seed: u64) -> impl Iterator<Item = (&'static str, Decoder)> {
    let shape = Shape {
        n_layers: 2,
        n_heads: 6,
        n_kv_heads: 2,
        d_head: 36,
        d_model: 250,
        d_mlp: 700,
        vocab: 1500,
        context: 128,
    };
    families(shape, seed)
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
    for (family, decoder) in small(3) {
        let prompts: Vec<Vec<u32>> = (1..=40).map(prompt).collect();
        let packed = bits(&decoder, &prompts, true);
        for (i, prompt) in prompts.iter().enumerate() {
            let alone = std::slice::from_ref(prompt);
            for ((site, _), values) in bits(&decoder, alone, true) {
                let same = packed[&(site, i)] == values;
                assert!(same, "{family}: {} tokens, {site}", i + 1);
            }
            let unobserved = bits(&decoder, alone, false);
            let same = packed[&(HookSite::Logits, i)] == unobserved[&(HookSite::Logits, 0)];
            assert!(same, "{family}: {} tokens unobserved", i + 1);
        }
    }
}

/// Packs of 1 to 40 rows made of one-token prompts, and of two prompts.
#[test]
fn packs_of_1_to_40_rows() {
    for (family, decoder) in small(4) {
        let first = bits(&decoder, &[vec![7]], true);
        for rows in 1..=40 {
            let single: Vec<Vec<u32>> = (0..rows).map(|i| vec![7 + i]).collect();
            let pair = [vec![7], prompt(rows as usize)];
            for pack in [single.as_slice(), pair.as_slice()] {
                for ((site, i), values) in bits(&decoder, pack, true) {
                    let same = i != 0 || first[&(site, 0)] == values;
                    assert!(same, "{family}: {rows} rows, {site}");
                }
            }
        }
    }
}

/// A line for each family, with a hash of all bits of a pass.
fn digests() -> Vec<String> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let prompts: Vec<Vec<u32>> = [100, 1, 37, 128, 64].map(prompt).to_vec();
    let digest = |(family, decoder): (&str, Decoder)| {
        let mut hash = DefaultHasher::new();
        for every in [true, false] {
            bits(&decoder, &prompts, every)
                .into_values()
                .for_each(|b| b.hash(&mut hash));
        }
        format!("digest {family} {}", hash.finish())
    };
    large(5).map(digest).collect()
}

const CHILD: &str = "ASSAY_TEST_PRINT_DIGEST";

/// Pools of 1 and 2 threads in this process, and processes of their own with
/// RAYON_NUM_THREADS, which candle reads once.
#[test]
fn threads_change_no_bit() {
    if std::env::var_os(CHILD).is_some() {
        // The test harness has begun a line.
        println!("\n{}", digests().join("\n"));
        return;
    }
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    };
    let one = pool(1).install(digests);
    assert_eq!(pool(2).install(digests), one, "a pool of 2 threads");
    for threads in ["1", "2", "3"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "threads_change_no_bit", "--nocapture"])
            .env(CHILD, "1")
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let printed: Vec<&str> = text.lines().filter(|l| l.starts_with("digest ")).collect();
        assert_eq!(printed, one, "{threads} threads: {text}");
    }
}
