//! Times cached greedy decoding for `benches/decode.py`.
//!
//! `decode FOLDER IDS.json STEPS [as-stored]` loads the model as f32 (or keeps
//! quantised matrices as they are) and answers every line on standard input
//! that holds a number of prompts with one line of JSON: `seconds` of STEPS
//! steps after the first token, which a pass over the prompts gives and the
//! clock leaves out, and the new `ids` of each prompt.

use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, KvCache, Pack, Placement, Residency};
use candle_core::{DType, Device, Tensor};
use serde_json::json;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (folder, ids, steps, arithmetic) = match args.as_slice() {
        [folder, ids, steps] => (folder, ids, steps, Arithmetic::Exact),
        [folder, ids, steps, last] if last == "as-stored" => {
            (folder, ids, steps, Arithmetic::AsStored)
        }
        _ => anyhow::bail!("usage: decode FOLDER IDS.json STEPS [as-stored]"),
    };
    let steps: usize = steps.parse().context("STEPS is not a number")?;
    let prompts: Vec<Vec<u32>> = serde_json::from_str(
        &std::fs::read_to_string(ids).with_context(|| format!("failed to read {ids}"))?,
    )?;
    let checkpoint = Checkpoint::open(Path::new(folder))?;
    let placement = Placement {
        dtype: DType::F32,
        devices: &[Device::Cpu],
        residency: Residency::Resident,
        arithmetic,
    };
    let decoder = Decoder::load_with(&checkpoint, &placement, &mut |_, _| ())?;
    for line in std::io::stdin().lock().lines() {
        let n: usize = line?
            .trim()
            .parse()
            .context("expected a number of prompts")?;
        let prompts: Vec<Vec<u32>> = prompts.iter().cycle().take(n).cloned().collect();
        println!("{}", decode(&decoder, &prompts, steps)?);
    }
    Ok(())
}

fn decode(decoder: &Decoder, prompts: &[Vec<u32>], steps: usize) -> Result<serde_json::Value> {
    let mut cache = KvCache::new(decoder.config(), prompts.len());
    let likeliest = |logits: Tensor| -> Result<Vec<u32>> { Ok(logits.argmax(1)?.to_vec1()?) };
    let pack = Pack::new(prompts)?;
    let mut next = likeliest(decoder.next_logits(&pack, &mut cache)?)?;
    let mut ids: Vec<Vec<u32>> = next.iter().map(|id| vec![*id]).collect();
    let start = Instant::now();
    for _ in 0..steps {
        let feed: Vec<Vec<u32>> = next.iter().map(|id| vec![*id]).collect();
        let pack = Pack::continuing(&feed, &cache.lengths())?;
        next = likeliest(decoder.next_logits(&pack, &mut cache)?)?;
        for (ids, id) in ids.iter_mut().zip(&next) {
            ids.push(*id);
        }
    }
    Ok(json!({ "seconds": start.elapsed().as_secs_f64(), "ids": ids }))
}
