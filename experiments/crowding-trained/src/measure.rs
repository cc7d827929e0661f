//! What is measured on one model. Per prompt, at the last token, of the model
//! as it is and (`untrained.`) as it was before the first step of training:
//! - `gain.as-published` |resid_post[L-2]| / |resid_post[L-3]|
//! - `gain.last-block` |resid_post[L-1]| / |resid_post[L-2]|
//! - `gain.by-block` |resid_post[l]| / |resid_pre[l]|
//! - `growth` |resid_post[L-1]| / |resid_post[0]|
//!
//! Sample "model" says what it is: what its recipe says, `steps` taken,
//! `valid-loss` and `trigram-loss` in nats a token, and `losses`, the learning
//! curve.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_decoder::Decoder;
use assay_experiment::{ExperimentError, Session, Tokenised, blank_samples};
use assay_geometry::{Rows, ratio};
use assay_hook_site::{BlockSite, SitePattern};
use assay_record::{PromptSet, Sample};
use assay_trace::{Trace, record, select_sites};
use assay_train::{Form, TrainError, Trained, variables};
use candle_core::Device;

const SITES: [&str; 2] = ["blocks.*.hook_resid_pre", "blocks.*.hook_resid_post"];

/// Fewest blocks for which the published gain exists.
const MIN_LAYERS: usize = 3;

pub(crate) fn plan(session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
    let layers = session.config().n_layers;
    if layers < MIN_LAYERS {
        return Err(session.unsuitable(format!(
            "has {layers} layers, and the published gain needs {MIN_LAYERS}"
        )));
    }
    trained(session)?;
    let tokens = session.tokenise(prompts)?;
    session.plan(&tokens.pack, &SITES)
}

/// What the model's folder says of its training.
fn trained(session: &Session) -> Result<Trained, ExperimentError> {
    let trained = Trained::read(session.folder()?);
    let trained = trained.map_err(|e| session.unsuitable(e.to_string()))?;
    trained.ok_or_else(|| {
        session.unsuitable(
            "is not one that `cargo xtask train` made, and this experiment compares models of which \
             every difference is known",
        )
    })
}

pub(crate) fn measure(
    session: &mut Session,
    prompts: &PromptSet,
) -> Result<Vec<Sample>, ExperimentError> {
    let trained = trained(session)?;
    let tokens = session.tokenise(prompts)?;
    let mut samples = blank_samples(prompts, &tokens);
    let trace = session.trace(&tokens.pack)?;
    gains(session, &trace, "", &mut samples)?;

    let refused = |e: TrainError| session.unsuitable(e.to_string());
    let config = session.config().clone();
    let start = variables(&config, &trained.recipe.init(), &Device::Cpu).map_err(refused)?;
    let start = Decoder::of_variables(&config, &Arc::new(start))?;
    let sites = select_sites(&start, &SITES.map(SitePattern::new))?;
    let trace = record(&start, &tokens.pack, &sites, Vec::new())?;
    gains(session, &trace, "untrained.", &mut samples)?;
    samples.push(about(&trained, &tokens)?);
    Ok(samples)
}

fn gains(
    session: &Session,
    trace: &Trace,
    prefix: &str,
    samples: &mut [Sample],
) -> Result<(), ExperimentError> {
    let layers = session.config().n_layers;
    let failed = |prompt: &str, layer: usize, reason: String| ExperimentError::Measure {
        model: session.model().to_owned(),
        prompt: prompt.to_owned(),
        layer,
        reason,
    };
    let mut post = Vec::new();
    for layer in 0..layers {
        let rows = Rows::new(trace.rows(BlockSite::ResidPost.at(layer))?);
        post.push(rows.map_err(|e| failed("", layer, e.to_string()))?.norms());
    }
    let first = Rows::new(trace.rows(BlockSite::ResidPre.at(0))?);
    let first = first.map_err(|e| failed("", 0, e.to_string()))?.norms();
    for (sample, segment) in samples.iter_mut().zip(trace.pack().segments()) {
        let end = segment.end - 1;
        let unit = sample.unit.clone();
        let gain = |later: f64, earlier: f64, layer: usize| {
            ratio(later, earlier, || "the residual's norm".to_owned())
                .map_err(|e| failed(&unit, layer, e.to_string()))
        };
        let mut by_block = vec![gain(post[0][end], first[end], 0)?];
        for layer in 1..layers {
            by_block.push(gain(post[layer][end], post[layer - 1][end], layer)?);
        }
        let growth = gain(post[layers - 1][end], post[0][end], layers - 1)?;
        let mut put = |name: &str, value| sample.scalar(&format!("{prefix}{name}"), value);
        put("gain.as-published", by_block[layers - 2])?;
        put("gain.last-block", by_block[layers - 1])?;
        put("growth", growth)?;
        sample.series(&format!("{prefix}gain.by-block"), by_block)?;
    }
    Ok(())
}

/// The sample of the model as a whole.
fn about(trained: &Trained, tokens: &Tokenised) -> Result<Sample, ExperimentError> {
    let recipe = &trained.recipe;
    let (layers, heads, d_head) = recipe.architecture.sizes(recipe.d_model);
    let (block, positions, form) = match recipe.architecture {
        Form::GptNeox { parallel: true, .. } => ("parallel", "rotary", "gpt-neox"),
        Form::GptNeox { .. } => ("sequential", "rotary", "gpt-neox"),
        Form::Gpt2 { .. } => ("sequential", "learned", "gpt2"),
        Form::Llama { .. } => ("sequential", "rotary", "llama"),
        Form::Qwen2 { .. } => ("sequential", "rotary", "qwen2"),
    };
    let tags = [
        ("cell", recipe.cell.clone()),
        ("block", block.to_owned()),
        ("positions", positions.to_owned()),
        ("form", form.to_owned()),
        ("shuffled", recipe.shuffled.to_string()),
        ("weights", trained.weights_sha256.clone()),
    ];
    let mut sample = Sample {
        unit: "model".to_owned(),
        cluster: "model".to_owned(),
        text: String::new(),
        token_ids: Vec::new(),
        special_tokens: 0,
        tags: tags.map(|(k, v)| (k.to_owned(), v)).into(),
        measures: BTreeMap::new(),
    };
    let prompt_tokens: usize = tokens.ids.iter().map(|t| t.ids.len()).sum();
    for (name, value) in [
        ("layers", layers as f64),
        ("heads", heads as f64),
        ("d-head", d_head as f64),
        ("seed", recipe.seed as f64),
        ("steps", trained.steps as f64),
        ("all-steps", recipe.training.steps as f64),
        ("tokens", trained.tokens as f64),
        ("parameters", trained.parameters as f64),
        ("prompt-tokens", prompt_tokens as f64),
        ("valid-loss", trained.valid_loss),
        ("trigram-loss", trained.trigram_loss),
    ] {
        sample.scalar(name, value)?;
    }
    sample.series("losses", trained.losses.clone())?;
    Ok(sample)
}
