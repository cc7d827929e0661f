//! Rewiring one block: its MLP reads x + alpha A, alpha 0 as in a parallel
//! block, 1 as in a sequential one; the rest of the model runs on.
//!
//! - `surgery.alphas`, `surgery.gain.last`, `surgery.loss.last` log gain of the
//!   last block at the last token, and the change of the prompt's mean
//!   next-token loss in nats, for each alpha
//! - `surgery.gain.by-layer`, `surgery.loss.by-layer` the same for every block
//!   with the opposite wiring
//!
//! Rewired weights are off what they were trained for: a gain says nothing
//! beyond a stated change of loss.

use std::collections::BTreeSet;

use assay_checkpoint::NormPlace;
use assay_experiment::{ExperimentError, Session, Tokenised};
use assay_geometry::{Rows, norm, ratio};
use assay_hook_site::BlockSite;
use assay_record::Sample;
use assay_trace::{Edit, MlpReads, Stage, Trace, observe, record_blocks};
use candle_core::{D, DType, Tensor};

/// Shares of A that the last block's MLP is given.
pub(crate) const ALPHAS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// Does a change of wiring mean what it says? Where the norms stand after the
/// sums, the MLP's input is the normed sum itself.
pub(crate) fn applies(session: &Session) -> bool {
    session.config().norm_place != NormPlace::Post
}

pub(crate) fn measure(
    session: &mut Session,
    tokens: &Tokenised,
    trace: &Trace,
    samples: &mut [Sample],
) -> Result<(), ExperimentError> {
    if !applies(session) {
        return Ok(());
    }
    let n_layers = session.config().n_layers;
    let native = match observe(session.decoder()?, n_layers - 1)?.mlp_reads {
        MlpReads::AfterAttention => 1.0,
        MlpReads::SameThroughOwnNorm | MlpReads::SameThroughAttentionsNorm => 0.0,
    };
    let last = BlockSite::ResidPost.at(n_layers - 1);
    let plain = losses(session, tokens, trace.rows(last)?)?;
    let mut by_layer = (
        vec![Vec::new(); samples.len()],
        vec![Vec::new(); samples.len()],
    );
    let mut of_last = by_layer.clone();
    let mut runs: Vec<(usize, f64)> = (0..n_layers).map(|l| (l, 1.0 - native)).collect();
    runs.extend(ALPHAS.map(|alpha| (n_layers - 1, alpha)));
    for (done, (layer, alpha)) in runs.iter().enumerate() {
        session.progress("pythia-anomaly: surgery", done as u64, runs.len() as u64);
        let wired = rewired(session, tokens, trace, *layer, *alpha)?;
        let (gains, losses) = match done < n_layers {
            true => (&mut by_layer.0, &mut by_layer.1),
            false => (&mut of_last.0, &mut of_last.1),
        };
        for i in 0..samples.len() {
            gains[i].push(wired.gains[i]);
            losses[i].push(wired.losses[i] - plain[i]);
        }
    }
    session.progress(
        "pythia-anomaly: surgery",
        runs.len() as u64,
        runs.len() as u64,
    );
    for (i, sample) in samples.iter_mut().enumerate() {
        sample.series("surgery.alphas", ALPHAS.to_vec())?;
        sample.series("surgery.gain.by-layer", std::mem::take(&mut by_layer.0[i]))?;
        sample.series("surgery.loss.by-layer", std::mem::take(&mut by_layer.1[i]))?;
        sample.series("surgery.gain.last", std::mem::take(&mut of_last.0[i]))?;
        sample.series("surgery.loss.last", std::mem::take(&mut of_last.1[i]))?;
    }
    Ok(())
}

struct Wired {
    /// Log gain of the block at the last token.
    gains: Vec<f64>,
    /// Mean next-token loss.
    losses: Vec<f64>,
}

/// Runs on from a block whose MLP reads x + alpha A.
fn rewired(
    session: &Session,
    tokens: &Tokenised,
    trace: &Trace,
    layer: usize,
    alpha: f64,
) -> Result<Wired, ExperimentError> {
    let n_layers = session.config().n_layers;
    let x = trace.rows(BlockSite::ResidPre.at(layer))?;
    let a = trace.rows(BlockSite::AttnOut.at(layer))?;
    let fed = (x + (a * alpha)?)?;
    let edit = Edit::new(BlockSite::MlpIn.at(layer), |_, _| Ok(fed.clone()));
    let post = BlockSite::ResidPost.at(layer);
    let stage = Stage::From(layer..n_layers, x);
    let (seen, resid) = record_blocks(
        session.decoder()?,
        &tokens.pack,
        stage,
        &BTreeSet::from([post]),
        vec![edit],
    )?;
    let failed = |prompt: usize, reason: String| ExperimentError::Measure {
        model: session.model().to_owned(),
        prompt: format!("number {prompt}"),
        layer,
        reason,
    };
    let (before, after) = (Rows::new(x), Rows::new(seen.rows(post)?));
    let before = before.map_err(|e| failed(0, e.to_string()))?;
    let after = after.map_err(|e| failed(0, e.to_string()))?;
    let mut gains = Vec::new();
    for (i, row) in tokens.pack.last_rows().into_iter().enumerate() {
        let of = |rows: &Rows| rows.get(row as usize).map(norm).unwrap_or_default();
        let gain = ratio(of(&after), of(&before), || "the residual's norm".to_owned());
        gains.push(gain.map_err(|e| failed(i, e.to_string()))?.ln());
    }
    Ok(Wired {
        gains,
        losses: losses(session, tokens, &resid)?,
    })
}

/// Mean next-token loss of each prompt in nats, from the residual stream that
/// leaves the last block.
fn losses(
    session: &Session,
    tokens: &Tokenised,
    resid: &Tensor,
) -> Result<Vec<f64>, ExperimentError> {
    let pack = &tokens.pack;
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for segment in pack.segments() {
        for row in segment.start..segment.end - 1 {
            rows.push(row as u32);
            targets.push(pack.ids()[row + 1]);
        }
    }
    let rows = Tensor::new(rows, resid.device())?;
    let logits = session.decoder()?.logits(&resid.index_select(&rows, 0)?)?;
    let n = targets.len();
    let targets = Tensor::from_vec(targets, (n, 1), logits.device())?;
    let max = logits.max_keepdim(D::Minus1)?;
    let shifted = logits.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let losses: Vec<f64> = (log_sum - shifted.gather(&targets, 1)?)?
        .flatten_all()?
        .to_dtype(DType::F64)?
        .to_vec1()?;
    let mut left = losses.as_slice();
    let mut means = Vec::new();
    for segment in pack.segments() {
        let (own, rest) = left.split_at(segment.len() - 1);
        means.push(own.iter().sum::<f64>() / own.len() as f64);
        left = rest;
    }
    Ok(means)
}
