use std::path::Path;
use std::time::Instant;

use assay_checkpoint::Checkpoint;
use assay_decoder::Residency;
use assay_record::ComputeType;
use assay_record::wire::Work;
use assay_trace::Recording;
use candle_core::{DType, Device, Tensor};

use crate::experiments::Declared;
use crate::{facts, hold};

/// What computing some experiments on a model takes, without reading its
/// weights. `rate` is this machine's [`matmul_rate`].
pub(crate) fn describe(
    model: &Path,
    (dtype, limit): (Option<ComputeType>, Option<u64>),
    asked: &[&Declared],
    rate: f64,
) -> anyhow::Result<Work> {
    if Recording::is_in(model) {
        Recording::open(model)?;
        return Ok(Work {
            memory: 0,
            streamed: false,
            seconds: 0.0,
        });
    }
    let checkpoint = Checkpoint::open(model)?;
    let facts = facts::shape(&checkpoint);
    let mut seconds = 0.0;
    let (mut extra, mut activations) = (0, 0);
    for declared in asked {
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
        seconds += flop / rate;
    }
    let (residency, memory) = hold::choose(&checkpoint.config, dtype, (extra, activations), limit)?;
    Ok(Work {
        memory,
        streamed: residency == Residency::Streamed,
        seconds,
    })
}

/// Operations per second of an f32 matrix product of the usual size, measured
/// for a tenth of a second.
pub(crate) fn matmul_rate() -> anyhow::Result<f64> {
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
