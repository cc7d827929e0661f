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
//! - to `peak`, `bytes` of the GPU's memory that this process had reserved for
//!   tensors at most until then; null on the CPU;
//! - to `agree`, some prompts on this device and on the CPU in f32, block by
//!   block from the files: `sites`, by what this device computed in and by the
//!   name of a site without its block, the largest |a - e| / |e| of a prompt, in
//!   Euclidean norms, and what is allowed. More than that ends the program.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, NoHooks, Pack, Placement, Residency, memory};
use assay_hook_site::{BlockSite, HookSite};
use assay_trace::{Trace, record};
use candle_core::{DType, Device, Tensor};
use serde_json::json;

/// Every so many prompts, one whose sites are compared: of the 25, five of 5
/// to 32 tokens.
const COMPARED: usize = 6;

/// Weights in f32 up to which a model is compared in memory too: those of
/// Pythia up to 1.4b.
const CHEAP: u64 = 8 << 30;

/// Patched runs that are timed together.
const PATCHED: usize = 10;

/// A model's files, and the device that computes.
struct Model {
    folder: String,
    checkpoint: Checkpoint,
    device: Device,
}

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
    let decoder = load(&checkpoint, (&device, dtype, Residency::Resident))?;
    let pack = Pack::new(&prompts)?;
    gain_norms(&decoder, &pack)?;
    let model = Model {
        folder: folder.clone(),
        checkpoint,
        device,
    };
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
            "peak" => json!({ "bytes": peak(&model.device)? }),
            "agree" => json!({ "sites": agree(&model, &decoder, &prompts)? }),
            other => bail!("expected pass, patch, peak or agree, found {other}"),
        };
        answer["seconds"] = start.elapsed().as_secs_f64().into();
        println!("{answer}");
    }
    Ok(())
}

fn load(
    checkpoint: &Checkpoint,
    (device, dtype, residency): (&Device, DType, Residency),
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
    let norms = Tensor::stack(&[before?, after?], 1)?.to_vec2()?;
    // JSON has no word for them.
    let finite = norms.iter().flatten().all(|norm: &f32| norm.is_finite());
    ensure!(finite, "a norm of the residual stream is no number");
    Ok(norms)
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

/// Bytes that the tensor library has had reserved of a GPU's memory at most. The
/// context is not in them: CUDA's own, kernels, cuBLAS's workspace.
#[cfg(feature = "cuda")]
fn peak(device: &Device) -> Result<Option<u64>> {
    use candle_core::cuda::cudarc::driver::{result, sys};
    let Device::Cuda(gpu) = device else {
        return Ok(None);
    };
    let mut bytes = 0u64;
    let most = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH;
    // SAFETY: the device is there, its pool lives as long, and the attribute is
    // an integer of 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(gpu.cuda_stream().context().cu_device())?;
        result::mem_pool::get_attribute(pool, most, (&raw mut bytes).cast())?;
    }
    Ok(Some(bytes))
}

#[cfg(not(feature = "cuda"))]
fn peak(_: &Device) -> Result<Option<u64>> {
    Ok(None)
}

/// The distances of what this device computes in the type that was asked for,
/// and in f32, in which experiments run unless told otherwise, and in which
/// alone a product in TF32 shows.
fn agree(
    model: &Model,
    loaded: &Decoder,
    prompts: &[Vec<u32>],
) -> Result<BTreeMap<String, Distances>> {
    let some: Vec<_> = prompts.iter().step_by(COMPARED).cloned().collect();
    let pack = Pack::new(&some)?;
    let on_cpu = (&Device::Cpu, DType::F32, Residency::Streamed);
    let cpu = load(&model.checkpoint, on_cpu)?;
    let expected = record(&cpu, &pack, &sites(&cpu, true), vec![])?;
    let mut found = BTreeMap::new();
    let mut compare = |form: &str, decoder: &Decoder| -> Result<()> {
        let what = format!("{} in {form}", model.folder);
        found.insert(form.to_owned(), distances(&what, decoder, &expected)?);
        Ok(())
    };
    compare(loaded.dtype().as_str(), loaded)?;
    let f32 = |residency| load(&model.checkpoint, (&model.device, DType::F32, residency));
    let size = memory(&model.checkpoint.config, DType::F32, Residency::Resident)?;
    if loaded.dtype() != DType::F32 && size <= CHEAP {
        compare("f32", &f32(Residency::Resident)?)?;
    }
    compare("f32, streamed", &f32(Residency::Streamed)?)?;
    Ok(found)
}

/// Every site but hook_result, which is large, with or without the squares of
/// attention.
fn sites(decoder: &Decoder, squares: bool) -> BTreeSet<HookSite> {
    let left_out = |site: &HookSite| match site {
        HookSite::Block { site, .. } => match site {
            BlockSite::Result => true,
            BlockSite::AttnScores | BlockSite::Pattern => !squares,
            _ => false,
        },
        _ => false,
    };
    let all = decoder.sites().into_iter();
    all.filter(|site| !left_out(site)).collect()
}

/// By the name of a site without its block, the distance that is the largest
/// for what is allowed there, and what is allowed.
type Distances = BTreeMap<String, (f64, f64)>;

/// Twice, since attention goes prompt by prompt where its squares are looked
/// at, and takes all prompts side by side in the passes that are timed.
fn distances(what: &str, decoder: &Decoder, expected: &Trace) -> Result<Distances> {
    let pack = expected.pack();
    let mut worst = Distances::new();
    for (squares, how) in [(true, "prompt by prompt"), (false, "side by side")] {
        let sites = sites(decoder, squares);
        let actual = record(decoder, pack, &sites, vec![])?;
        for site in sites {
            let most = allowed(decoder, site);
            let name = match site {
                HookSite::Block { site, .. } => site.name().to_owned(),
                other => other.to_string(),
            };
            let worst = worst.entry(name).or_insert((0.0, most));
            for prompt in 0..pack.segments().len() {
                let (a, e) = (actual.prompt(site, prompt)?, expected.prompt(site, prompt)?);
                let off = distance(&a, &e)?;
                // No number is not within it either.
                ensure!(
                    off <= most,
                    "{what}, {how}: {site} of prompt {prompt} is {off:.1e} of its size from the \
                     CPU's in f32, where {most:.1e} is allowed"
                );
                if off / most > worst.0 / worst.1 {
                    *worst = (off, most);
                }
            }
        }
    }
    Ok(worst)
}

/// In f16 and bf16 eight roundings of the type for each block so far, as in
/// tests/composed.rs; in f32 what that test allows two ways of computing one
/// thing. Factors rounded as for TF32 put the first queries off by 2e-4.
fn allowed(decoder: &Decoder, site: HookSite) -> f64 {
    let rounding = match decoder.dtype() {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => return 5e-5,
    };
    let blocks = match site {
        HookSite::Embed | HookSite::PosEmbed => 1,
        HookSite::Block { layer, .. } => layer + 1,
        _ => decoder.config().n_layers,
    };
    8.0 * rounding * blocks as f64
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
