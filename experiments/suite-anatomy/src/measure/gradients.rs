//! Gradients.
//!
//! Of each text's mean next-token loss in nats, on a part of each set:
//! - `loss` the loss itself
//! - `gradient.<site>.by-layer` norm of the gradient with respect to a site's
//!   activations, over all tokens
//! - `gradient.attn-weight.by-layer`, `gradient.mlp-weight.by-layer` Frobenius
//!   norm of the gradient with respect to the projections into the residual
//!   stream: ∂L/∂W = Σ_t input_t ⊗ ∂L/∂output_t, so that its squared norm is
//!   Σ_{s,t} (input_s·input_t)(output gradient_s·output gradient_t). Where a
//!   norm stands between projection and residual (sandwich norms) the gradient
//!   at the projection is not at a site, and both are left out
//!
//! Of the model: `map.gradient.<site>.<set>` log mean norm of the loss's
//! gradient over texts, [layer][position]. As published, on a few short texts:
//! `published.<attn|mlp>-weight.log` mean over texts of the log norm of
//! ∂Σlogits_t/∂W, [layer][t], and `.difference` the same less the log norm of
//! the gradient of all tokens' sum of logits; `published.positions` the number
//! of tokens t, `published.texts` that of texts.

use std::collections::BTreeSet;

use assay_checkpoint::NormPlace;
use assay_decoder::Pack;
use assay_experiment::{ExperimentError, Session};
use assay_geometry::Rows;
use assay_hook_site::{BlockSite, HookSite};
use assay_record::Sample;
use assay_trace::{Trace, gradients, record};
use candle_core::{D, DType, Device, Tensor};

use super::{PART_TOKENS, SITES, Texts, failed, ids_of, median, part};

/// Longest text of the gradients as published: each of its tokens costs a pass
/// there and back.
const PUBLISHED_TOKENS: usize = 12;

/// Texts of each set there.
const PUBLISHED_TEXTS: usize = 2;

/// The projections into the residual stream: what goes in, what comes out.
const WEIGHTS: [(&str, BlockSite, BlockSite); 2] = [
    ("attn", BlockSite::Z, BlockSite::AttnOut),
    ("mlp", BlockSite::MlpPost, BlockSite::MlpOut),
];

fn sites_of(layers: usize, kinds: &[BlockSite]) -> BTreeSet<HookSite> {
    let all = kinds.iter().flat_map(|k| (0..layers).map(|l| k.at(l)));
    all.collect()
}

/// Is the output of both projections a site?
fn at_projection(session: &Session) -> bool {
    session.config().norm_place != NormPlace::Sandwich
}

pub(super) fn measure(
    session: &mut Session,
    texts: &Texts,
    samples: &mut [Sample],
    model: &mut Sample,
) -> Result<(), ExperimentError> {
    let stage = format!("suite-anatomy: gradients on {}", texts.name);
    session.progress(&stage, 0, 1);
    let layers = session.config().n_layers;
    let chosen = part(texts, PART_TOKENS);
    let pack = Pack::new(&ids_of(texts, &chosen))?;
    let inputs = sites_of(layers, &WEIGHTS.map(|w| w.1));
    let activations = record(session.decoder()?, &pack, &inputs, Vec::new())?;
    let at = sites_of(layers, &SITES.map(|s| s.0));
    let mut losses = Vec::new();
    let (_, trace) = gradients(session.decoder()?, &pack, &at, &mut |logits| {
        let by_text = text_losses(logits, &pack)?;
        losses = by_text.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        by_text.sum_all()
    })?;
    let name = session.model().to_owned();
    let fail = |c: usize, l: usize, why: String| failed(&name, texts, chosen[c], l, why);
    for (c, loss) in losses.iter().enumerate() {
        if !loss.is_finite() {
            return Err(fail(c, layers - 1, format!("the loss is {loss}")));
        }
        samples[texts.at[chosen[c]]].scalar("loss", *loss)?;
    }
    let positions = median(pack.segments().iter().map(|s| s.len() - 1).collect());
    model.scalar(
        &format!("map.gradient-positions.{}", texts.name),
        positions as f64,
    )?;
    for (site, site_name) in SITES {
        let mut by_text = vec![Vec::new(); chosen.len()];
        let mut map = Vec::new();
        for l in 0..layers {
            let rows = Rows::new(trace.rows(site.at(l))?);
            let norms = rows.map_err(|e| fail(0, l, e.to_string()))?.norms();
            for (c, segment) in pack.segments().iter().enumerate() {
                let squares = norms[segment.clone()].iter().map(|n| n * n);
                by_text[c].push(squares.sum::<f64>().sqrt());
            }
            for position in 0..positions {
                // A last token has no next one, and no gradient in the last layer.
                let own = pack.segments().iter().filter(|s| s.len() - 1 > position);
                let own: Vec<f64> = own.map(|s| norms[s.start + position]).collect();
                let mean = own.iter().sum::<f64>() / own.len() as f64;
                if !(mean > 0.0 && mean.is_finite()) {
                    return Err(fail(0, l, format!("a gradient's mean norm is {mean}")));
                }
                map.push(mean.ln());
            }
        }
        model.series(&format!("map.gradient.{site_name}.{}", texts.name), map)?;
        for (c, values) in by_text.into_iter().enumerate() {
            let sample = &mut samples[texts.at[chosen[c]]];
            sample.series(&format!("gradient.{site_name}.by-layer"), values)?;
        }
    }
    if at_projection(session) {
        for (module, input, output) in WEIGHTS {
            for (c, text) in chosen.iter().enumerate() {
                let values = (0..layers)
                    .map(|l| weight_norm(&activations, &trace, (input, output), l, c))
                    .collect::<Result<Vec<_>, _>>()?;
                let sample = &mut samples[texts.at[*text]];
                sample.series(&format!("gradient.{module}-weight.by-layer"), values)?;
            }
        }
    }
    session.progress(&stage, 1, 1);
    Ok(())
}

/// Mean next-token loss in nats of every text: [texts].
fn text_losses(logits: &Tensor, pack: &Pack) -> candle_core::Result<Tensor> {
    let mut losses = Vec::new();
    for segment in pack.segments() {
        let n = segment.len() - 1;
        let own = logits.narrow(0, segment.start, n)?;
        let next = &pack.ids()[segment.start + 1..segment.end];
        let next = Tensor::new(next, logits.device())?.unsqueeze(1)?;
        // The largest logit is taken off before exp, as a constant.
        let max = own.max_keepdim(D::Minus1)?.detach();
        let total = own.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?;
        let loss = ((total.log()? + max)? - own.gather(&next, 1)?)?;
        losses.push(loss.mean_all()?.unsqueeze(0)?);
    }
    Tensor::cat(&losses, 0)
}

/// Norm of the gradient of a projection's weight over one text.
fn weight_norm(
    inputs: &Trace,
    outputs: &Trace,
    (input, output): (BlockSite, BlockSite),
    layer: usize,
    text: usize,
) -> Result<f64, ExperimentError> {
    let gram = |trace: &Trace, site: BlockSite| -> Result<Tensor, ExperimentError> {
        let rows = trace.prompt(site.at(layer), text)?.flatten_from(1)?;
        let rows = rows.to_dtype(DType::F64)?.contiguous()?;
        Ok(rows.matmul(&rows.t()?)?)
    };
    let squared = (gram(inputs, input)? * gram(outputs, output)?)?.sum_all()?;
    // A sum of squares, below 0 by rounding only.
    Ok(squared.to_scalar::<f64>()?.max(0.0).sqrt())
}

/// As published: one pass there and back for every token.
pub(super) fn published(
    session: &mut Session,
    sets: &[Texts],
    model: &mut Sample,
) -> Result<(), ExperimentError> {
    let layers = session.config().n_layers;
    let mut ids = Vec::new();
    for texts in sets {
        let short = texts.tokens.ids.iter();
        let short = short.filter(|i| i.ids.len() <= PUBLISHED_TOKENS);
        ids.extend(short.take(PUBLISHED_TEXTS).map(|i| i.ids.clone()));
    }
    if ids.is_empty() || !at_projection(session) {
        return Ok(());
    }
    let pack = Pack::new(&ids)?;
    let inputs = sites_of(layers, &WEIGHTS.map(|w| w.1));
    let activations = record(session.decoder()?, &pack, &inputs, Vec::new())?;
    let outputs = sites_of(layers, &WEIGHTS.map(|w| w.2));
    let positions = median(pack.segments().iter().map(|s| s.len()).collect());
    // Log norms of the gradient of some tokens' sums: [module][layer][text].
    let logs = |session: &Session, rows: Vec<u32>| -> Result<Vec<Vec<Vec<f64>>>, ExperimentError> {
        let rows = Tensor::new(rows, &Device::Cpu)?;
        let sum = &mut |logits: &Tensor| logits.index_select(&rows, 0)?.sum_all();
        let (_, trace) = gradients(session.decoder()?, &pack, &outputs, sum)?;
        WEIGHTS
            .iter()
            .map(|(_, input, output)| {
                (0..layers)
                    .map(|l| {
                        let norm = |text: usize| {
                            Ok(weight_norm(&activations, &trace, (*input, *output), l, text)?.ln())
                        };
                        (0..ids.len()).map(norm).collect()
                    })
                    .collect()
            })
            .collect()
    };
    let stage = "suite-anatomy: gradients by token, as published";
    session.progress(stage, 0, positions as u64 + 1);
    let whole = logs(session, (0..pack.tokens() as u32).collect())?;
    let mut by_token = Vec::new();
    for t in 0..positions {
        session.progress(stage, t as u64 + 1, positions as u64 + 1);
        let with = pack.segments().iter().filter(|s| s.len() > t);
        by_token.push(logs(session, with.map(|s| (s.start + t) as u32).collect())?);
    }
    session.progress(stage, positions as u64 + 1, positions as u64 + 1);
    for (m, (module, _, _)) in WEIGHTS.iter().enumerate() {
        let (mut log, mut difference) = (Vec::new(), Vec::new());
        for l in 0..layers {
            for (t, token) in by_token.iter().enumerate() {
                let with = pack.segments().iter().enumerate();
                let with: Vec<usize> = with.filter(|(_, s)| s.len() > t).map(|(i, _)| i).collect();
                let mean = |of: &dyn Fn(usize) -> f64| {
                    with.iter().map(|i| of(*i)).sum::<f64>() / with.len() as f64
                };
                log.push(mean(&|i| token[m][l][i]));
                difference.push(mean(&|i| token[m][l][i] - whole[m][l][i]));
            }
        }
        model.series(&format!("published.{module}-weight.log"), log)?;
        model.series(&format!("published.{module}-weight.difference"), difference)?;
    }
    model.scalar("published.positions", positions as f64)?;
    model.scalar("published.texts", ids.len() as f64)?;
    Ok(())
}
