//! What is measured on one model. Layers are 0-based; L is their number; every
//! series over blocks has L entries, entry l for block l.
//!
//! Per prompt, at the last token unless said otherwise:
//! - `gain.as-published` |resid_post[L-2]| / |resid_post[L-3]|
//! - `gain.last-block` |resid_post[L-1]| / |resid_post[L-2]|
//! - `gain.with-final-norm` |final_norm(resid_post[L-1])| / |resid_post[L-2]|
//! - `gain.by-layer` |resid_post[l]| / |resid_pre[l]|, and the same pooled over
//!   tokens: `.mean-tokens` (mean of ratios), `.norms-tokens` (ratio of mean
//!   norms), each also `-without-0` (first position left out)
//! - `gain-f64.by-layer` the same from an f64 pass, models up to [`F64_LIMIT`]
//! - `growth.published-range` |resid_post[L-2]| / |resid_post[0]| and
//!   `growth.measured-range` |resid_post[L-1]| / |resid_post[0]|; the same over
//!   tokens (geometric mean), with and without position 0
//! - `clamp.kl-by-block` KL in nats of the next-token distribution when the
//!   block's output is rescaled to gain 1 at every token
//! - `ledger.*-by-layer` the split of |x + A + M|² in units of |x|², and the
//!   share of 2x·(A+M) that falls on the 1 and 3 largest dimensions of x
//! - `ledger.heads.*`, `ledger.neurons.*` for the penultimate and last block:
//!   2x·(the head's share of A) / |x|², and of the neurons' shares of M the sum
//!   of the negative and of the positive ones and that of the ten most negative
//!
//! Of recorded activations there are no readings with the final norm, no f64
//! pass, no clamps, no heads and no neurons.

use std::collections::BTreeSet;
use std::rc::Rc;

use assay_experiment::{ExperimentError, Session, Tokenised, blank_samples};
use assay_geometry::{Rows, dot, geometric_mean, kl_divergence, ratio, share_of_top, split};
use assay_hook_site::{BlockSite, HookSite};
use assay_record::{PromptSet, Sample};
use assay_trace::{Edit, Stage, Trace, record, record_blocks};
use candle_core::{D, Tensor};

/// Largest model, in parameters of its blocks, that is run a second time in
/// f64. A rule by the model and not by the machine, so that records agree.
const F64_LIMIT: u64 = 500_000_000;

/// Fewest blocks for which the published gain exists.
const MIN_LAYERS: usize = 3;

/// Is a model of this shape run a second time in f64?
pub(crate) fn runs_in_f64(n_layers: usize, d_model: usize, d_mlp: usize) -> bool {
    let per_block = 4 * d_model * d_model + 3 * d_model * d_mlp;
    (n_layers * per_block) as u64 <= F64_LIMIT
}

pub(crate) fn plan(session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
    let layers = session.config().n_layers;
    if layers < MIN_LAYERS {
        return Err(session.unsuitable(format!(
            "has {layers} layers, and the published gain needs {MIN_LAYERS}"
        )));
    }
    let tokens = session.tokenise(prompts)?;
    if let Some(i) = tokens.ids.iter().position(|t| t.ids.len() < 2) {
        let prompt = &prompts.prompts[i].id;
        return Err(session.unsuitable(format!(
            "cuts prompt {prompt} into one token, and means without position 0 need two"
        )));
    }
    let late = [layers - 2, layers - 1];
    let heads = late.map(|l| BlockSite::Result.at(l).to_string());
    let neurons = late.map(|l| BlockSite::MlpPost.at(l).to_string());
    let mut sites = vec![
        "blocks.*.hook_resid_pre",
        "blocks.*.hook_resid_post",
        "blocks.*.hook_attn_out",
        "blocks.*.hook_mlp_out",
    ];
    if session.has_model() {
        sites.extend(heads.iter().chain(&neurons).map(String::as_str));
    }
    session.plan(&tokens.pack, &sites)
}

pub(crate) fn measure(
    session: &mut Session,
    prompts: &PromptSet,
) -> Result<Vec<Sample>, ExperimentError> {
    let tokens = session.tokenise(prompts)?;
    let trace = session.trace(&tokens.pack)?;
    let mut samples = blank_samples(prompts, &tokens);
    let cx = Measuring {
        model: session.model().to_owned(),
        layers: session.config().n_layers,
        trace: Rc::clone(&trace),
        prompts,
    };
    cx.gains(session, &mut samples)?;
    cx.ledger(&mut samples)?;
    if !session.has_model() {
        return Ok(samples);
    }
    for (name, layer) in [("penultimate", cx.layers - 2), ("last", cx.layers - 1)] {
        cx.heads_and_neurons(session, name, layer, &mut samples)?;
    }
    cx.rerun_in_f64(session, &tokens, &mut samples)?;
    cx.clamp(session, &tokens, &mut samples)?;
    Ok(samples)
}

/// Norms by layer and token.
type Norms = Vec<Vec<f64>>;

struct Measuring<'a> {
    model: String,
    layers: usize,
    trace: Rc<Trace>,
    prompts: &'a PromptSet,
}

impl Measuring<'_> {
    fn failed(&self, prompt: usize, layer: usize, reason: impl ToString) -> ExperimentError {
        let prompt = self.prompts.prompts.get(prompt);
        ExperimentError::Measure {
            model: self.model.clone(),
            prompt: prompt.map_or_else(String::new, |p| p.id.clone()),
            layer,
            reason: reason.to_string(),
        }
    }

    /// Norms of every token before and after every block: [layer][token].
    fn norms(&self, trace: &Trace) -> Result<(Norms, Norms), ExperimentError> {
        let at = |site: BlockSite| -> Result<Norms, ExperimentError> {
            (0..self.layers)
                .map(|l| {
                    let rows = Rows::new(trace.rows(site.at(l))?);
                    Ok(rows.map_err(|e| self.failed(0, l, e))?.norms())
                })
                .collect()
        };
        Ok((at(BlockSite::ResidPre)?, at(BlockSite::ResidPost)?))
    }

    /// Norms of the final residual behind the final norm, by prompt.
    fn final_norms(&self, session: &Session) -> Result<Vec<f64>, ExperimentError> {
        let last = self.layers - 1;
        let last_rows = Tensor::new(self.trace.pack().last_rows(), &candle_core::Device::Cpu)?;
        let final_resid = self.trace.rows(BlockSite::ResidPost.at(last))?;
        let normed = session
            .decoder()?
            .final_norm(&final_resid.index_select(&last_rows, 0)?)?;
        let normed = Rows::new(&normed).map_err(|e| self.failed(0, last, e))?;
        Ok(normed.norms())
    }

    fn gains(&self, session: &Session, samples: &mut [Sample]) -> Result<(), ExperimentError> {
        let (pre, post) = self.norms(&self.trace)?;
        let last = self.layers - 1;
        let normed = if session.has_model() {
            Some(self.final_norms(session)?)
        } else {
            None
        };
        for (i, segment) in self.trace.pack().segments().iter().enumerate() {
            let sample = &mut samples[i];
            let end = segment.end - 1;
            let gain = |later: f64, earlier: f64, layer: usize| {
                ratio(later, earlier, || "the residual's norm".to_owned())
                    .map_err(|e| self.failed(i, layer, e))
            };
            let published = gain(post[last - 1][end], post[last - 2][end], last - 1)?;
            sample.scalar("gain.as-published", published)?;
            let last_block = gain(post[last][end], post[last - 1][end], last)?;
            sample.scalar("gain.last-block", last_block)?;
            if let Some(normed) = &normed {
                let with_norm = gain(normed[i], post[last - 1][end], last)?;
                sample.scalar("gain.with-final-norm", with_norm)?;
            }

            let mut by_layer = Pooled::default();
            for l in 0..self.layers {
                let (pre, post) = (&pre[l][segment.clone()], &post[l][segment.clone()]);
                by_layer.push(pre, post).map_err(|e| self.failed(i, l, e))?;
            }
            by_layer.write("gain.by-layer", sample)?;
            sample.series("norm.resid-post", post.iter().map(|row| row[end]).collect())?;

            for (name, to) in [("published-range", last - 1), ("measured-range", last)] {
                let growth: Vec<f64> = segment
                    .clone()
                    .map(|t| gain(post[to][t], post[0][t], to))
                    .collect::<Result<_, _>>()?;
                let mean = |g: &[f64]| geometric_mean(g).map_err(|e| self.failed(i, to, e));
                sample.scalar(&format!("growth.{name}"), growth[growth.len() - 1])?;
                sample.scalar(&format!("growth.{name}.tokens"), mean(&growth)?)?;
                let rest = mean(&growth[1..])?;
                sample.scalar(&format!("growth.{name}.tokens-without-0"), rest)?;
            }
        }
        Ok(())
    }

    fn ledger(&self, samples: &mut [Sample]) -> Result<(), ExperimentError> {
        let rows = |site: BlockSite, l: usize| -> Result<Rows, ExperimentError> {
            Rows::new(self.trace.rows(site.at(l))?).map_err(|e| self.failed(0, l, e))
        };
        let names = [
            "attn", "mlp", "x-attn", "x-mlp", "attn-mlp", "top-1", "top-3",
        ];
        let mut series = vec![vec![Vec::new(); names.len()]; samples.len()];
        let last_rows = self.trace.pack().last_rows();
        for l in 0..self.layers {
            let (x, a, m) = (
                rows(BlockSite::ResidPre, l)?,
                rows(BlockSite::AttnOut, l)?,
                rows(BlockSite::MlpOut, l)?,
            );
            // A sequential block's MLP reads x + A, and the split is the same.
            for (i, row) in last_rows.iter().enumerate() {
                let get = |rows: &'_ Rows| rows.get(*row as usize).map(<[f64]>::to_vec);
                let (Some(x), Some(a), Some(m)) = (get(&x), get(&a), get(&m)) else {
                    return Err(self.failed(i, l, "the trace ends before the prompt"));
                };
                let s = split(&x, &a, &m).map_err(|e| self.failed(i, l, e))?;
                let change: Vec<f64> = a.iter().zip(&m).map(|(a, m)| a + m).collect();
                let top = |n| share_of_top(&x, &change, n).map_err(|e| self.failed(i, l, e));
                let values = [
                    s.attn,
                    s.mlp,
                    s.x_attn,
                    s.x_mlp,
                    s.attn_mlp,
                    top(1)?,
                    top(3)?,
                ];
                for (series, value) in series[i].iter_mut().zip(values) {
                    series.push(value);
                }
            }
        }
        for (sample, series) in samples.iter_mut().zip(series) {
            for (name, values) in names.iter().zip(series) {
                sample.series(&format!("ledger.{name}-by-layer"), values)?;
            }
        }
        Ok(())
    }

    /// Who makes 2x·A and 2x·M of one block.
    fn heads_and_neurons(
        &self,
        session: &Session,
        name: &str,
        layer: usize,
        samples: &mut [Sample],
    ) -> Result<(), ExperimentError> {
        let Some(w_out) = session.decoder()?.mlp_out_weight(layer)? else {
            return Err(session.unsuitable(format!("has no block {layer}")));
        };
        for (i, row) in self.trace.pack().last_rows().into_iter().enumerate() {
            let at = |site: BlockSite| -> Result<Tensor, ExperimentError> {
                Ok(self.trace.rows(site.at(layer))?.get(row as usize)?)
            };
            let failed = |e: assay_geometry::GeometryError| self.failed(i, layer, e);
            let x_tensor = at(BlockSite::ResidPre)?.contiguous()?;
            let x = Rows::new(&x_tensor.unsqueeze(0)?).map_err(failed)?;
            let x = x.get(0).unwrap_or_default().to_vec();
            let xx = dot(&x, &x).map_err(failed)?;
            let heads = Rows::new(&at(BlockSite::Result)?).map_err(failed)?;
            let by_head = heads
                .iter()
                .map(|head| Ok(2.0 * dot(&x, head)? / xx))
                .collect::<Result<Vec<f64>, _>>()
                .map_err(failed)?;
            samples[i].series(&format!("ledger.heads.{name}"), by_head)?;

            // x · (post_n W_out[n]) = post_n (W_out x)_n.
            let along_x = w_out
                .broadcast_mul(&x_tensor)?
                .sum(D::Minus1)?
                .mul(&at(BlockSite::MlpPost)?)?;
            let shares = Rows::new(&along_x.unsqueeze(0)?).map_err(failed)?;
            let mut shares: Vec<f64> = shares
                .get(0)
                .unwrap_or_default()
                .iter()
                .map(|s| 2.0 * s / xx)
                .collect();
            shares.sort_by(f64::total_cmp);
            let negative: f64 = shares.iter().filter(|s| **s < 0.0).sum();
            let positive: f64 = shares.iter().filter(|s| **s > 0.0).sum();
            let ten: f64 = shares.iter().take(10).filter(|s| **s < 0.0).sum();
            let sample = &mut samples[i];
            sample.scalar(&format!("ledger.neurons.{name}.negative"), negative)?;
            sample.scalar(&format!("ledger.neurons.{name}.positive"), positive)?;
            sample.scalar(&format!("ledger.neurons.{name}.ten-most-negative"), ten)?;
        }
        Ok(())
    }

    fn rerun_in_f64(
        &self,
        session: &mut Session,
        tokens: &Tokenised,
        samples: &mut [Sample],
    ) -> Result<(), ExperimentError> {
        let config = session.config();
        if !runs_in_f64(config.n_layers, config.d_model, config.d_mlp) {
            return Ok(());
        }
        let decoder = session.decoder_f64()?;
        session.progress("h25-gain: pass in f64", 0, 1);
        let sites = |site: BlockSite| (0..self.layers).map(move |l| site.at(l));
        let sites: BTreeSet<HookSite> = sites(BlockSite::ResidPre)
            .chain(sites(BlockSite::ResidPost))
            .collect();
        let trace = record(&decoder, &tokens.pack, &sites, Vec::new())?;
        let (pre, post) = self.norms(&trace)?;
        for (i, row) in tokens.pack.last_rows().into_iter().enumerate() {
            let row = row as usize;
            let gains = (0..self.layers).map(|l| {
                ratio(post[l][row], pre[l][row], || {
                    "the residual's norm".to_owned()
                })
                .map_err(|e| self.failed(i, l, e))
            });
            let gains = gains.collect::<Result<Vec<_>, _>>()?;
            samples[i].series("gain-f64.by-layer", gains)?;
        }
        Ok(())
    }

    /// Rescales one block's output to gain 1 at every token and runs on.
    fn clamp(
        &self,
        session: &mut Session,
        tokens: &Tokenised,
        samples: &mut [Sample],
    ) -> Result<(), ExperimentError> {
        let last_rows = Tensor::new(tokens.pack.last_rows(), &candle_core::Device::Cpu)?;
        let next_token = |session: &Session, resid: &Tensor| -> Result<Rows, ExperimentError> {
            let logits = session
                .decoder()?
                .logits(&resid.index_select(&last_rows, 0)?)?;
            Rows::new(&logits).map_err(|e| self.failed(0, self.layers - 1, e))
        };
        let resid_post = |l: usize| self.trace.rows(BlockSite::ResidPost.at(l));
        let plain = next_token(session, resid_post(self.layers - 1)?)?;
        let mut kl = vec![Vec::new(); samples.len()];
        let runs = self.layers as u64 + 1;
        for l in 0..=self.layers {
            session.progress("h25-gain: gain clamp", l as u64, runs);
            let resid = if l < self.layers {
                let clamped =
                    to_gain_one(self.trace.rows(BlockSite::ResidPre.at(l))?, resid_post(l)?)?;
                let stage = Stage::From(l + 1..self.layers, &clamped);
                record_blocks(
                    session.decoder()?,
                    &tokens.pack,
                    stage,
                    &BTreeSet::new(),
                    Vec::new(),
                )?
                .1
            } else {
                self.all_clamped(session, tokens)?
            };
            let clamped = next_token(session, &resid)?;
            for (i, (p, q)) in plain.iter().zip(clamped.iter()).enumerate() {
                kl[i].push(kl_divergence(p, q).map_err(|e| self.failed(i, l, e))?);
            }
        }
        session.progress("h25-gain: gain clamp", runs, runs);
        for (sample, mut kl) in samples.iter_mut().zip(kl) {
            if let Some(all) = kl.pop() {
                sample.scalar("clamp.kl-all-blocks", all)?;
            }
            sample.series("clamp.kl-by-block", kl)?;
        }
        Ok(())
    }

    /// The final residual when every block but the first is held at gain 1.
    fn all_clamped(
        &self,
        session: &Session,
        tokens: &Tokenised,
    ) -> Result<Tensor, ExperimentError> {
        let mut x = self.trace.rows(BlockSite::ResidPost.at(0))?.clone();
        for l in 1..self.layers {
            let keep = x.clone();
            let edit = Edit::new(BlockSite::ResidPost.at(l), move |_, post| {
                to_gain_one(&keep, post)
            });
            let stage = Stage::From(l..l + 1, &x);
            let none = BTreeSet::new();
            let decoder = session.decoder()?;
            x = record_blocks(decoder, &tokens.pack, stage, &none, vec![edit])?.1;
        }
        Ok(x)
    }
}

/// `post` [tokens, d_model] with each row rescaled to the norm of `pre`'s.
fn to_gain_one(pre: &Tensor, post: &Tensor) -> candle_core::Result<Tensor> {
    let norms = |x: &Tensor| x.sqr()?.sum_keepdim(D::Minus1)?.sqrt();
    post.broadcast_mul(&(norms(pre)? / norms(post)?)?)
}

/// Gains of one prompt by layer, pooled over its tokens in five ways.
#[derive(Default)]
struct Pooled {
    last: Vec<f64>,
    mean: Vec<f64>,
    mean_without_0: Vec<f64>,
    norms: Vec<f64>,
    norms_without_0: Vec<f64>,
}

impl Pooled {
    fn push(&mut self, pre: &[f64], post: &[f64]) -> Result<(), assay_geometry::GeometryError> {
        let what = || "the residual's norm".to_owned();
        let pairs = pre.iter().zip(post);
        let gains: Vec<f64> = pairs
            .map(|(pre, post)| ratio(*post, *pre, what))
            .collect::<Result<_, _>>()?;
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        self.last.push(gains[gains.len() - 1]);
        self.mean.push(mean(&gains));
        self.mean_without_0.push(mean(&gains[1..]));
        self.norms.push(ratio(mean(post), mean(pre), what)?);
        self.norms_without_0
            .push(ratio(mean(&post[1..]), mean(&pre[1..]), what)?);
        Ok(())
    }

    fn write(self, name: &str, sample: &mut Sample) -> Result<(), ExperimentError> {
        sample.series(name, self.last)?;
        sample.series(&format!("{name}.mean-tokens"), self.mean)?;
        sample.series(
            &format!("{name}.mean-tokens-without-0"),
            self.mean_without_0,
        )?;
        sample.series(&format!("{name}.norms-tokens"), self.norms)?;
        sample.series(
            &format!("{name}.norms-tokens-without-0"),
            self.norms_without_0,
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::to_gain_one;
    use assay_geometry::{Rows, norm};
    use candle_core::{Device, Tensor};

    #[test]
    fn clamped_rows_have_the_earlier_norm_and_their_own_direction() {
        let pre = Tensor::new(&[[3f32, 4.0], [0.0, 2.0]], &Device::Cpu).unwrap();
        let post = Tensor::new(&[[0f32, 8.0], [6.0, 8.0]], &Device::Cpu).unwrap();
        let clamped = Rows::new(&to_gain_one(&pre, &post).unwrap()).unwrap();
        assert_eq!(clamped.get(0), Some(&[0.0, 5.0][..]));
        assert!((norm(clamped.get(1).unwrap()) - 2.0).abs() < 1e-6);
    }
}
