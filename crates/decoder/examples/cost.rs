//! How cost grows: `cost` times forward passes over model size, number of
//! prompts and length of a prompt, one of them at a time, and prints Markdown
//! tables with the fitted exponents: seconds ~ (size)^exponent, by least
//! squares over the logarithms. Random GPT-NeoX weights, f32, no logits.
//!
//! `cost [LONGEST]`: prompts up to LONGEST tokens, 2048 if left out.

use std::time::Instant;

use anyhow::{Context, Result};
use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, NoHooks, Pack};
use assay_testkit::write_config;
use candle_core::{DType, Device};
use serde_json::json;

/// A timed pass is repeated until this much time has gone, and at least thrice.
const SECONDS: f64 = 1.0;

struct Model {
    _folder: tempfile::TempDir,
    decoder: Decoder,
    parameters: f64,
}

/// A GPT-NeoX of this width and depth, heads of 64.
fn model(d: usize, layers: usize) -> Result<Model> {
    let folder = tempfile::tempdir()?;
    let config = json!({
        "model_type": "gpt_neox", "hidden_size": d, "num_hidden_layers": layers,
        "num_attention_heads": d / 64, "intermediate_size": 4 * d, "vocab_size": 512,
        "max_position_embeddings": 2048, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
        "rotary_pct": 0.25, "rotary_emb_base": 10000, "use_parallel_residual": true,
    });
    write_config(folder.path(), &config, 1, DType::F16)?;
    let checkpoint = Checkpoint::open(folder.path())?;
    Ok(Model {
        decoder: Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ())?,
        parameters: (12 * d * d * layers) as f64,
        _folder: folder,
    })
}

fn prompts(number: usize, length: usize) -> Result<Pack> {
    let ids = |i: usize| (0..length).map(move |t| ((i * 131 + t * 17) % 512) as u32);
    let prompts: Vec<Vec<u32>> = (0..number).map(|i| ids(i).collect()).collect();
    Ok(Pack::new(&prompts)?)
}

/// Median seconds of a pass.
fn seconds(decoder: &Decoder, pack: &Pack) -> Result<f64> {
    decoder.forward(pack, &mut NoHooks)?;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || begun.elapsed().as_secs_f64() < SECONDS {
        let start = Instant::now();
        decoder.forward(pack, &mut NoHooks)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Slope of log y on log x.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let logs = points.iter().map(|(x, y)| (x.ln(), y.ln()));
    let (sx, sy) = logs
        .clone()
        .fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mx, my) = (sx / n, sy / n);
    let products = logs.map(|(x, y)| ((x - mx) * (y - my), (x - mx) * (x - mx)));
    let (sxy, sxx) = products.fold((0.0, 0.0), |(a, b), (p, q)| (a + p, b + q));
    sxy / sxx
}

fn table(head: &str, points: &[(f64, f64)]) {
    println!("| {head} | seconds |\n|---|---|");
    for (x, y) in points {
        println!("| {x} | {y:.4} |");
    }
    let half = points.len() / 2;
    println!(
        "\nExponent {:.2} over all, {:.2} over the upper half.\n",
        exponent(points),
        exponent(&points[half..])
    );
}

fn main() -> Result<()> {
    let longest: usize = match std::env::args().nth(1) {
        Some(text) => text.parse().context("LONGEST is not a number")?,
        None => 2048,
    };
    let mut points = Vec::new();
    for (d, layers) in [(128, 6), (256, 6), (512, 6), (768, 12), (1024, 24)] {
        let model = model(d, layers)?;
        points.push((
            model.parameters,
            seconds(&model.decoder, &prompts(25, 16)?)?,
        ));
    }
    table("parameters of the blocks, 25 prompts of 16", &points);

    let Model {
        decoder, _folder, ..
    } = model(512, 6)?;
    let numbers = [1, 2, 4, 8, 16, 32, 64, 128];
    let by_number = numbers.map(|n| Ok((n as f64, seconds(&decoder, &prompts(n, 16)?)?)));
    let by_number: Vec<(f64, f64)> = by_number.into_iter().collect::<Result<_>>()?;
    table("prompts of 16 tokens, d = 512, 6 blocks", &by_number);

    let mut by_length = Vec::new();
    let mut length = 1;
    while length <= longest.min(decoder.config().context) {
        let pass = seconds(&decoder, &prompts(1, length)?)?;
        by_length.push((length as f64, pass));
        length *= 2;
    }
    table("tokens of one prompt, d = 512, 6 blocks", &by_length);
    Ok(())
}
