//! What is measured on the hand-built model (`examples/write_model.rs`).
//!
//! Of every prompt, its own id: `patch.subspace`, `.complement`, `.all`,
//! `.itself` the change of the logit of its partner's answer less that of its
//! own, when that part of the last token's residual stream before the block is
//! the partner's; `patch.random` [199] the same of random subspaces of that
//! size; `massive.found` the share of blocks after which the largest
//! activation is the planted one, of the first token, and `massive.medians` how many medians it
//! is, by block; `sink.by-head` mean attention of later queries to the first
//! position in the last block.

use assay_decoder::{NoHooks, Pack};
use assay_experiment::{ExperimentError, Session, blank_samples};
use assay_geometry::{GeometryError, Rows, Subspace, massive};
use assay_hook_site::BlockSite;
use assay_record::{PromptSet, Sample};
use assay_stats::stream;
use assay_train::HeldSubspace;
use candle_core::{DType, Tensor};

use crate::MASSIVE_DIMENSION;

const SITES: [&str; 3] = [
    "blocks.*.hook_resid_pre",
    "blocks.*.hook_resid_post",
    "blocks.1.attn.hook_pattern",
];

/// Random subspaces: with the true one two hundred.
pub(crate) const DRAWS: usize = 199;

pub(crate) fn plan(session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
    held(session)?;
    let tokens = session.tokenise(prompts)?;
    session.plan(&tokens.pack, &SITES)
}

/// The block and the subspace before it that the answer is known to live in.
fn held(session: &Session) -> Result<(usize, Subspace), ExperimentError> {
    let config = session.config();
    let held = HeldSubspace::read(session.folder()?, config.d_model);
    let held = held.map_err(|e| session.unsuitable(e.to_string()))?;
    held.filter(|(block, _)| *block < config.n_layers).ok_or_else(|| {
        session.unsuitable(
            "has no subspace.json of one of its blocks, and this experiment asks whether that is found",
        )
    })
}

pub(crate) fn measure(
    session: &mut Session,
    seed: u64,
    prompts: &PromptSet,
) -> Result<Vec<Sample>, ExperimentError> {
    let (block, subspace) = held(session)?;
    let tokens = session.tokenise(prompts)?;
    let trace = session.trace(&tokens.pack)?;
    let mut samples = blank_samples(prompts, &tokens);
    let segments = tokens.pack.segments().to_vec();
    let layers = session.config().n_layers;

    let mut found = vec![(0.0, Vec::new()); segments.len()];
    for layer in 0..layers {
        let rows = Rows::new(trace.rows(BlockSite::ResidPost.at(layer))?);
        let rows = rows.map_err(|e| failed("a residual stream", &e))?;
        let rows: Vec<&[f64]> = rows.iter().collect();
        for (found, segment) in found.iter_mut().zip(&segments) {
            let largest =
                massive(&rows[segment.clone()]).map_err(|e| failed("massive activations", &e))?;
            let planted = largest.position == 0 && largest.dimension == MASSIVE_DIMENSION;
            found.0 += f64::from(u8::from(planted)) / layers as f64;
            found.1.push(largest.top[0] / largest.median);
        }
    }
    for (i, (sample, (share, medians))) in samples.iter_mut().zip(found).enumerate() {
        sample.scalar("massive.found", share)?;
        sample.series("massive.medians", medians)?;
        // [heads, queries, keys].
        let pattern = trace.prompt(BlockSite::Pattern.at(1), i)?;
        let queries = pattern.dim(1)?;
        let first = pattern.narrow(2, 0, 1)?.narrow(1, 1, queries - 1)?;
        let by_head = first.to_dtype(DType::F64)?.mean((1, 2))?.to_vec1::<f64>()?;
        sample.series("sink.by-head", by_head)?;
    }
    let before = trace.rows(BlockSite::ResidPre.at(block))?;
    let patch = Patch {
        block,
        x: before.clone(),
        pack: tokens.pack.clone(),
        asks: asks(session, prompts, &tokens.pack.last_rows())?,
    };
    patch.measure(session, &subspace, seed, &mut samples)?;
    Ok(samples)
}

/// What is asked of one prompt.
struct Ask {
    /// Row of its last token.
    row: u32,
    /// That of its partner, the next prompt in its category.
    source: u32,
    /// Tokens of both answers.
    own: u32,
    other: u32,
}

fn asks(session: &Session, prompts: &PromptSet, rows: &[u32]) -> Result<Vec<Ask>, ExperimentError> {
    let all = &prompts.prompts;
    let answer = |i: usize| -> Result<u32, ExperimentError> {
        let text = all[i].tag("answer").unwrap_or_default();
        let ids = session.tokenizer()?.encode(text)?.ids;
        match ids[..] {
            [one] => Ok(one),
            _ => Err(session.unsuitable(format!(
                "cuts the answer {text:?} of prompt {} into {} tokens",
                all[i].id,
                ids.len()
            ))),
        }
    };
    let ask = |i: usize| {
        let same = |j: &usize| all[*j].category == all[i].category;
        let after = (i + 1..all.len()).find(same);
        let partner = after.or_else(|| (0..all.len()).find(same)).unwrap_or(i);
        Ok(Ask {
            row: rows[i],
            source: rows[partner],
            own: answer(i)?,
            other: answer(partner)?,
        })
    };
    (0..all.len()).map(ask).collect()
}

/// The last tokens' residual stream is patched by the partners'.
struct Patch {
    block: usize,
    /// Before the block, [tokens, d_model].
    x: Tensor,
    pack: Pack,
    asks: Vec<Ask>,
}

impl Patch {
    fn measure(
        &self,
        session: &mut Session,
        subspace: &Subspace,
        seed: u64,
        samples: &mut [Sample],
    ) -> Result<(), ExperimentError> {
        let d = self.x.dim(1)?;
        let plain = self.preferences(session, &self.x)?;
        let change = self.change()?;
        let inside = self.inside(&change, subspace)?;
        let none = change.zeros_like()?;
        for (name, part) in [
            ("subspace", &inside),
            ("complement", &(&change - &inside)?),
            ("all", &change),
            ("itself", &none),
        ] {
            let effects = self.effects(session, part, &plain)?;
            for (sample, effect) in samples.iter_mut().zip(effects) {
                sample.scalar(&format!("patch.{name}"), effect)?;
            }
        }
        let mut random = vec![Vec::with_capacity(DRAWS); self.asks.len()];
        for draw in 0..DRAWS {
            session.progress("known-answers: random subspaces", draw as u64, DRAWS as u64);
            let mut draws = stream(seed, &format!("known-answers/random/{draw}"));
            let other = Subspace::random(subspace.k(), d, &mut draws);
            let other = other.map_err(|e| failed("a random subspace", &e))?;
            let part = self.inside(&change, &other)?;
            let effects = self.effects(session, &part, &plain)?;
            random.iter_mut().zip(effects).for_each(|(r, e)| r.push(e));
        }
        for (sample, effects) in samples.iter_mut().zip(random) {
            sample.series("patch.random", effects)?;
        }
        Ok(())
    }

    fn rows(&self, of: fn(&Ask) -> u32) -> Result<Tensor, ExperimentError> {
        let rows: Vec<u32> = self.asks.iter().map(of).collect();
        Ok(Tensor::new(rows, self.x.device())?)
    }

    /// What the partners' rows are more than their own, [asks, d_model].
    fn change(&self) -> Result<Tensor, ExperimentError> {
        let (own, source) = (self.rows(|a| a.row)?, self.rows(|a| a.source)?);
        Ok((self.x.index_select(&source, 0)? - self.x.index_select(&own, 0)?)?)
    }

    /// The part of it in a subspace.
    fn inside(&self, change: &Tensor, subspace: &Subspace) -> Result<Tensor, ExperimentError> {
        let basis = subspace.basis();
        let projector = basis.transpose() * basis;
        let values: Vec<f64> = projector.iter().copied().collect();
        let projector = Tensor::from_vec(values, projector.shape(), self.x.device())?;
        Ok(change.matmul(&projector.to_dtype(change.dtype())?)?)
    }

    /// Logit of the partner's answer less that of its own, by ask.
    fn preferences(&self, session: &Session, x: &Tensor) -> Result<Vec<f64>, ExperimentError> {
        let decoder = session.decoder()?;
        let layers = decoder.config().n_layers;
        let x = decoder.run_blocks(&self.pack, self.block..layers, x, &mut NoHooks)?;
        let logits = decoder.logits(&x.index_select(&self.rows(|a| a.row)?, 0)?)?;
        let logits = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let both = self.asks.iter().zip(logits);
        Ok(both
            .map(|(ask, row)| row[ask.other as usize] - row[ask.own as usize])
            .collect())
    }

    fn effects(
        &self,
        session: &Session,
        part: &Tensor,
        plain: &[f64],
    ) -> Result<Vec<f64>, ExperimentError> {
        let x = self.x.index_add(&self.rows(|a| a.row)?, part, 0)?;
        let patched = self.preferences(session, &x)?;
        Ok(patched.iter().zip(plain).map(|(p, q)| p - q).collect())
    }
}

fn failed(what: &str, reason: &GeometryError) -> ExperimentError {
    ExperimentError::Statistic {
        what: what.to_owned(),
        reason: reason.to_string(),
    }
}
