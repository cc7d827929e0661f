//! Times the gain pass for `benches/paired.py` and `benches/streamed.py`: all
//! prompts in one pack, the residual stream recorded before and after every
//! block, no logits.
//!
//! `gain_pass FOLDER IDS.json [streamed]` loads the model as f32 (or leaves
//! its blocks in their files), warms up, and then answers every line on
//! standard input with one line of JSON:
//!
//! - to `pass`, one gain pass: its `seconds`, recording and norms included, and
//!   `norms`, [prompt][2], of the residual stream at the last token after the
//!   last block but two and the last but one (hidden_states[-3] and [-2] of
//!   transformers), so that the other side can check that it timed the same
//!   computation; and `peak_bytes`, the process's peak of memory so far;
//! - to `matmul`, the weight matmuls of a pass on matrices of the same shapes
//!   and nothing else: their `seconds`, and `gflop`, their floating point
//!   operations in 1e9.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use assay_checkpoint::{Architecture, Checkpoint, DecoderConfig};
use assay_decoder::{Arithmetic, Decoder, Pack, Placement, Residency};
use assay_hook_site::{BlockSite, HookSite};
use assay_trace::record;
use candle_core::{DType, Device, Tensor};
use serde_json::json;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (folder, ids, residency) = match args.as_slice() {
        [folder, ids] => (folder, ids, Residency::Resident),
        [folder, ids, last] if last == "streamed" => (folder, ids, Residency::Streamed),
        _ => anyhow::bail!("usage: gain_pass FOLDER IDS.json [streamed]"),
    };
    let prompts: Vec<Vec<u32>> = serde_json::from_str(
        &std::fs::read_to_string(ids).with_context(|| format!("failed to read {ids}"))?,
    )?;
    let checkpoint = Checkpoint::open(Path::new(folder))?;
    let placement = Placement {
        dtype: DType::F32,
        devices: &[Device::Cpu],
        residency,
        arithmetic: Arithmetic::Exact,
    };
    let decoder = Decoder::load_with(&checkpoint, &placement, &mut |_, _| ())?;
    let pack = Pack::new(&prompts)?;
    let mut matmuls = None;
    if residency == Residency::Resident {
        gain_norms(&decoder, &pack)?;
    }
    for line in std::io::stdin().lock().lines() {
        let mut start = Instant::now();
        let mut answer = match line?.as_str() {
            "pass" => {
                let norms = gain_norms(&decoder, &pack)?;
                json!({ "norms": norms, "peak_bytes": peak_bytes()? })
            }
            "matmul" => {
                if matmuls.is_none() {
                    let ready = Matmuls::new(decoder.config(), pack.tokens(), residency)?;
                    ready.run()?;
                    matmuls = Some(ready);
                    start = Instant::now();
                }
                json!({ "gflop": matmuls.as_ref().map(Matmuls::run).transpose()? })
            }
            other => anyhow::bail!("expected pass or matmul, found {other}"),
        };
        answer["seconds"] = start.elapsed().as_secs_f64().into();
        println!("{answer}");
    }
    Ok(())
}

/// One gain pass: [prompt][2] norms at the last token.
fn gain_norms(decoder: &Decoder, pack: &Pack) -> Result<Vec<Vec<f32>>> {
    let n_layers = decoder.config().n_layers;
    let mut sites = BTreeSet::from([HookSite::Embed]);
    sites.extend((0..n_layers).map(|layer| BlockSite::ResidPost.at(layer)));
    let trace = record(decoder, pack, &sites, vec![])?;
    let last = Tensor::new(pack.last_rows(), &Device::Cpu)?;
    let norms = [n_layers - 3, n_layers - 2].map(|layer| {
        let rows = trace.rows(BlockSite::ResidPost.at(layer))?;
        let norms = rows.index_select(&last, 0)?.sqr()?.sum(1)?.sqrt()?;
        anyhow::Ok(norms)
    });
    let [before, after] = norms;
    Ok(Tensor::stack(&[before?, after?], 1)?.to_vec2()?)
}

/// VmHWM of this process: pages of mapped files count too.
fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB"));
    let kib: u64 = kib.context("VmHWM is missing")?.trim().parse()?;
    Ok(kib * 1024)
}

/// The weight matmuls of a pass and nothing else. For a streamed model there
/// is one block's weights, which every block multiplies with.
struct Matmuls {
    n_layers: usize,
    inputs: Vec<Tensor>,      // of each linear layer, [tokens, in]
    blocks: Vec<Vec<Tensor>>, // weights of each linear layer, [in, out]
}

impl Matmuls {
    fn new(config: &DecoderConfig, tokens: usize, residency: Residency) -> Result<Self> {
        let (d, d_mlp) = (config.d_model, config.d_mlp);
        anyhow::ensure!(
            config.architecture == Architecture::GptNeoX,
            "the shapes are known for gpt_neox only"
        );
        let shapes = [(d, 3 * d), (d, d), (d, d_mlp), (d_mlp, d)];
        let ones = |rows, columns| Tensor::ones((rows, columns), DType::F32, &Device::Cpu);
        let inputs = shapes.map(|(d_in, _)| ones(tokens, d_in));
        let held = match residency {
            Residency::Resident => config.n_layers,
            Residency::Streamed => 1,
        };
        let blocks = (0..held).map(|_| {
            let weights = shapes.map(|(d_in, d_out)| ones(d_in, d_out));
            weights.into_iter().collect()
        });
        Ok(Self {
            n_layers: config.n_layers,
            inputs: inputs.into_iter().collect::<Result<_, _>>()?,
            blocks: blocks.collect::<Result<_, _>>()?,
        })
    }

    /// Multiplies; gives back the floating point operations, 1e9.
    fn run(&self) -> Result<f64> {
        for block in self.blocks.iter().cycle().take(self.n_layers) {
            for (x, w) in self.inputs.iter().zip(block) {
                x.matmul(w)?;
            }
        }
        let tokens = self.inputs.first().map_or(0, |x| x.dims()[0]);
        let block = self.blocks.first().into_iter().flatten();
        let weights: usize = block.map(Tensor::elem_count).sum();
        Ok(2.0 * tokens as f64 * (weights * self.n_layers) as f64 / 1e9)
    }
}
