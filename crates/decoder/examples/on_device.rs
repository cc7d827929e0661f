//! Times passes on one device for `benches/gpu.py`, and says how near they are
//! to the CPU's.
//!
//! `on_device FOLDER IDS.json DEVICE DTYPE` (cpu or cuda:N; f32, f16 or bf16)
//! loads the model, warms up, and then answers every line on standard input
//! with one line of JSON, its `seconds` among them:
//!
//! - to `pass`, the gain pass: all prompts, the residual stream after every
//!   block recorded, no logits; `norms`, [prompt][2], at the last token after
//!   the last block but two and the last but one;
//! - to `patch`, patched runs of the last three blocks from the residual stream
//!   before them, kept from a pass, with logits at the last tokens: `runs`;
//! - to `agree`, the first prompts on this device and on the CPU in f32, block
//!   by block from the files: `sites`, by the name of a site without its block,
//!   the largest |a - e| / |e| of a row or square, in Euclidean norms.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, NoHooks, Pack, Placement, Residency};
use assay_hook_site::{BlockSite, HookSite};
use assay_trace::record;
use candle_core::{DType, Device, Tensor};
use serde_json::json;

/// Prompts whose sites are compared.
const COMPARED: usize = 3;

/// Patched runs that are timed together.
const PATCHED: usize = 10;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, ids, device, dtype] = args.as_slice() else {
        bail!("usage: on_device FOLDER IDS.json DEVICE DTYPE");
    };
    let device = match device.split_once(':') {
        None if device == "cpu" => Device::Cpu,
        Some(("cuda", number)) => Device::new_cuda(number.parse()?)?,
        _ => bail!("{device} is neither cpu nor cuda:N"),
    };
    let dtype = match dtype.as_str() {
        "f32" => DType::F32,
        "f16" => DType::F16,
        "bf16" => DType::BF16,
        other => bail!("{other} is none of f32, f16, bf16"),
    };
    let text = std::fs::read_to_string(ids).with_context(|| format!("failed to read {ids}"))?;
    let prompts: Vec<Vec<u32>> = serde_json::from_str(&text)?;
    let checkpoint = Checkpoint::open(Path::new(folder))?;
    let decoder = load(&checkpoint, &device, dtype, Residency::Resident)?;
    let pack = Pack::new(&prompts)?;
    gain_norms(&decoder, &pack)?;
    for line in std::io::stdin().lock().lines() {
        let mut start = Instant::now();
        let mut answer = match line?.as_str() {
            "pass" => json!({ "norms": gain_norms(&decoder, &pack)? }),
            "patch" => {
                let kept = Kept::new(&decoder, &pack)?;
                kept.patched(&decoder, &pack)?;
                start = Instant::now();
                for _ in 0..PATCHED {
                    kept.patched(&decoder, &pack)?;
                }
                json!({ "runs": PATCHED })
            }
            "agree" => {
                let some = Pack::new(&prompts[..COMPARED.min(prompts.len())])?;
                let cpu = load(&checkpoint, &Device::Cpu, DType::F32, Residency::Streamed)?;
                json!({ "sites": agreement(&decoder, &cpu, &some)? })
            }
            other => bail!("expected pass, patch or agree, found {other}"),
        };
        answer["seconds"] = start.elapsed().as_secs_f64().into();
        println!("{answer}");
    }
    Ok(())
}

fn load(
    checkpoint: &Checkpoint,
    device: &Device,
    dtype: DType,
    residency: Residency,
) -> Result<Decoder> {
    let placement = Placement {
        dtype,
        devices: std::slice::from_ref(device),
        residency,
        arithmetic: Arithmetic::Exact,
    };
    Ok(Decoder::load_with(checkpoint, &placement, &mut |_, _| ())?)
}

/// One gain pass: [prompt][2] norms at the last token.
fn gain_norms(decoder: &Decoder, pack: &Pack) -> Result<Vec<Vec<f32>>> {
    let n_layers = decoder.config().n_layers;
    let mut sites = BTreeSet::from([HookSite::Embed]);
    sites.extend((0..n_layers).map(|layer| BlockSite::ResidPost.at(layer)));
    let trace = record(decoder, pack, &sites, vec![])?;
    let last = Tensor::new(pack.last_rows(), &Device::Cpu)?;
    let [before, after] = [n_layers - 3, n_layers - 2].map(|layer| {
        let rows = trace.rows(BlockSite::ResidPost.at(layer))?;
        anyhow::Ok(rows.index_select(&last, 0)?.sqr()?.sum(1)?.sqrt()?)
    });
    Ok(Tensor::stack(&[before?, after?], 1)?.to_vec2()?)
}

/// The residual stream before the last three blocks.
struct Kept {
    x: Tensor,
    from: usize,
}

impl Kept {
    fn new(decoder: &Decoder, pack: &Pack) -> Result<Self> {
        let from = decoder.config().n_layers - 3;
        let x = decoder.embed(pack, &mut NoHooks)?;
        let x = decoder.run_blocks(pack, 0..from, &x, &mut NoHooks)?;
        Ok(Self { x, from })
    }

    /// Every row gets half of its neighbour's.
    fn patched(&self, decoder: &Decoder, pack: &Pack) -> Result<()> {
        let rows = self.x.dim(0)?;
        let next: Vec<u32> = (0..rows).map(|r| ((r + 1) % rows) as u32).collect();
        let neighbours = self
            .x
            .index_select(&Tensor::new(next, self.x.device())?, 0)?;
        let x = ((&self.x * 0.5)? + (neighbours * 0.5)?)?;
        let blocks = self.from..decoder.config().n_layers;
        let x = decoder.run_blocks(pack, blocks, &x, &mut NoHooks)?;
        let last = Tensor::new(pack.last_rows(), x.device())?;
        let logits = decoder.logits(&x.index_select(&last, 0)?)?;
        let some = logits.flatten_all()?.get(0)?.to_scalar::<f32>()?;
        ensure!(some.is_finite(), "a patched run gives {some}");
        Ok(())
    }
}

/// By the name of a site without its block, the largest distance.
fn agreement(decoder: &Decoder, cpu: &Decoder, pack: &Pack) -> Result<BTreeMap<String, f64>> {
    let is_result =
        |s: &HookSite| matches!(s, HookSite::Block { site, .. } if *site == BlockSite::Result);
    let sites = decoder.sites().into_iter().filter(|s| !is_result(s));
    let sites: BTreeSet<HookSite> = sites.collect();
    let ours = record(decoder, pack, &sites, vec![])?;
    let expected = record(cpu, pack, &sites, vec![])?;
    let mut worst = BTreeMap::new();
    for site in sites {
        let name = match site {
            HookSite::Block { site, .. } => site.name().to_owned(),
            other => other.to_string(),
        };
        for prompt in 0..pack.segments().len() {
            let (a, e) = (ours.prompt(site, prompt)?, expected.prompt(site, prompt)?);
            let off = distance(&a, &e)?;
            ensure!(!off.is_nan(), "{site} is no number");
            let entry = worst.entry(name.clone()).or_insert(0f64);
            *entry = entry.max(off);
        }
    }
    Ok(worst)
}

/// |a - e| / |e|. Scores hidden by the mask are -inf on both sides.
fn distance(a: &Tensor, e: &Tensor) -> Result<f64> {
    let flat = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (mut off, mut size) = (0.0, 0.0);
    for (a, e) in flat(a)?.into_iter().zip(flat(e)?) {
        if a != e {
            off += (a - e) * (a - e);
        }
        if e.is_finite() {
            size += e * e;
        }
    }
    Ok(if off == 0.0 { 0.0 } else { (off / size).sqrt() })
}
