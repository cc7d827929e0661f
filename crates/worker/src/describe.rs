use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use assay_checkpoint::Checkpoint;
use assay_decoder::Residency;
use assay_record::ComputeType;
use assay_record::wire::Event;
use assay_trace::Recording;
use candle_core::{DType, Device, Tensor};

use crate::{emit, experiments, facts, hold};

/// Says what a model is and what the experiments `asked` (every one if none
/// is) need of it, without reading its weights.
pub(crate) fn describe(
    model: &Path,
    dtype: Option<ComputeType>,
    limit: Option<u64>,
    asked: &[String],
) -> anyhow::Result<()> {
    if Recording::is_in(model) {
        let recording = Recording::open(model)?;
        return emit(&Event::Described {
            facts: facts::of_recording(recording.config())?,
            memory: 0,
            streamed: false,
            seconds: BTreeMap::new(),
        });
    }
    let checkpoint = Checkpoint::open(model)?;
    let facts = facts::shape(&checkpoint);
    let rate = matmul_rate()?;
    let mut seconds = BTreeMap::new();
    let (mut extra, mut activations) = (0, 0);
    let names: Vec<&str> = if asked.is_empty() {
        experiments::names().collect()
    } else {
        asked.iter().map(String::as_str).collect()
    };
    for name in names {
        let declared = experiments::find(name)?;
        let mut tokens = 0;
        if let Some(tokenizer) = &checkpoint.tokenizer {
            for prompt in &declared.prompts.prompts {
                tokens += tokenizer.encode(&prompt.text)?.ids.len();
            }
        }
        let embedding = (facts.vocab * facts.d_model) as f64;
        let in_blocks = (facts.parameters as f64 - embedding).max(0.0);
        let flop = 2.0 * in_blocks * tokens as f64 * declared.experiment.passes(facts.n_layers);
        extra = extra.max(declared.experiment.extra_memory(&facts));
        let kept = declared.experiment.activations(&facts, tokens as u64);
        activations = activations.max(kept);
        seconds.insert(name.to_owned(), flop / rate);
    }
    let (residency, memory) = hold::choose(&checkpoint.config, dtype, (extra, activations), limit)?;
    emit(&Event::Described {
        facts,
        memory,
        streamed: residency == Residency::Streamed,
        seconds,
    })
}

/// Operations per second of an f32 matrix product of the usual size, measured
/// for a tenth of a second.
fn matmul_rate() -> anyhow::Result<f64> {
    let (m, k, n) = (400, 1024, 1024);
    let a = Tensor::ones((m, k), DType::F32, &Device::Cpu)?;
    let b = Tensor::ones((k, n), DType::F32, &Device::Cpu)?;
    let _warm = a.matmul(&b)?;
    let started = Instant::now();
    let mut products = 0;
    while started.elapsed().as_secs_f64() < 0.1 {
        let _product = a.matmul(&b)?;
        products += 1;
    }
    let flop = f64::from(products) * 2.0 * (m * k * n) as f64;
    Ok(flop / started.elapsed().as_secs_f64())
}
