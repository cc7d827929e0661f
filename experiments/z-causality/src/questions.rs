//! What is asked teacher-forced: prompts with possible answers behind them, in
//! one pack, and log p of every answer from any residual stream on.

use std::collections::BTreeMap;
use std::ops::Range;

use assay_decoder::{NoHooks, Pack};
use assay_experiment::{ExperimentError, Session};
use assay_hook_site::BlockSite;
use assay_problems::{Language, Pair, answer_text};
use assay_record::PromptSet;
use candle_core::{DType, Tensor};
use rayon::prelude::*;

/// Answers asked of one prompt.
pub(crate) struct Ask {
    /// The pair it belongs to.
    pub(crate) pair: usize,
    /// The first is its own.
    pub(crate) answers: Vec<i64>,
}

/// Prompts of one language with their answers, packed.
pub(crate) struct Questions {
    pub(crate) language: Language,
    pub(crate) asks: Vec<Ask>,
    pub(crate) pack: Pack,
    /// The ask that a row of the pack belongs to.
    pub(crate) ask_of_row: Vec<u32>,
    /// Rows of each ask's prompt, without any answer.
    pub(crate) prompts: Vec<Range<usize>>,
    /// Rows whose logits are looked at.
    rows: Vec<u32>,
    /// Of each ask, the place in `rows` of the prompt's last row.
    next: Vec<usize>,
    /// Of each ask and answer: places in `rows`, and the tokens looked for.
    targets: Vec<Vec<Vec<(usize, u32)>>>,
}

/// What a pass says of each ask.
pub(crate) struct Reading {
    /// log p of each answer, nats, summed over its tokens.
    pub(crate) logp: Vec<Vec<f64>>,
    /// Logits of the next token, [asks, vocab].
    pub(crate) next: Tensor,
}

impl Questions {
    /// Asks, of each of some pairs' prompts in a language, for its answers.
    pub(crate) fn new(
        session: &Session,
        (set, pairs): (&PromptSet, &[Pair]),
        language: Language,
        asks: Vec<Ask>,
    ) -> Result<Self, ExperimentError> {
        let tokenizer = session.tokenizer()?;
        let mut sequences: Vec<Vec<u32>> = Vec::new();
        // Before packing: (sequence, offset) of rows, by ask.
        let mut read = Vec::new();
        let mut ask_of = Vec::new();
        for (number, ask) in asks.iter().enumerate() {
            let prompt = &set.prompts[pairs[ask.pair].side(language)];
            let before = tokenizer.encode(&prompt.text)?.ids;
            let mut answers = Vec::new();
            let first = sequences.len();
            for answer in &ask.answers {
                let text = format!("{}{}", prompt.text, answer_text(language, *answer));
                let whole = tokenizer.encode(&text)?.ids;
                let Some(targets) = whole.strip_prefix(before.as_slice()) else {
                    return Err(session.unsuitable(format!(
                        "joins the end of prompt {} with the answer into one token",
                        prompt.id
                    )));
                };
                // The last token of an answer is looked for and not fed.
                let fed = whole[..whole.len() - 1].to_vec();
                let sequence = match sequences[first..].iter().position(|s| *s == fed) {
                    Some(at) => first + at,
                    None => {
                        sequences.push(fed);
                        ask_of.push(number);
                        sequences.len() - 1
                    }
                };
                let targets = targets.iter().enumerate();
                answers.push(
                    targets
                        .map(|(i, token)| (sequence, before.len() - 1 + i, *token))
                        .collect::<Vec<_>>(),
                );
            }
            read.push((first, before.len(), answers));
        }
        let pack = Pack::new(&sequences)?;
        let mut rows: BTreeMap<u32, usize> = BTreeMap::new();
        let row =
            |sequence: usize, offset: usize| (pack.segments()[sequence].start + offset) as u32;
        for (first, length, answers) in &read {
            rows.insert(row(*first, length - 1), 0);
            for (sequence, offset, _) in answers.iter().flatten() {
                rows.insert(row(*sequence, *offset), 0);
            }
        }
        rows.values_mut()
            .enumerate()
            .for_each(|(i, place)| *place = i);
        let place = |sequence, offset| rows[&row(sequence, offset)];
        let targets = read.iter().map(|(_, _, answers)| {
            let answer = |a: &Vec<(usize, usize, u32)>| {
                let tokens = a.iter().map(|(s, o, token)| (place(*s, *o), *token));
                tokens.collect()
            };
            answers.iter().map(answer).collect()
        });
        let segments = pack.segments().iter().zip(&ask_of);
        let prompts = |(first, length, _): &(usize, usize, _)| {
            let start = pack.segments()[*first].start;
            start..start + length
        };
        Ok(Self {
            language,
            ask_of_row: segments
                .flat_map(|(s, ask)| vec![*ask as u32; s.len()])
                .collect(),
            prompts: read.iter().map(prompts).collect(),
            next: read
                .iter()
                .map(|(first, length, _)| place(*first, length - 1))
                .collect(),
            targets: targets.collect(),
            rows: rows.keys().copied().collect(),
            asks,
            pack,
        })
    }

    /// The residual stream before some blocks, [tokens, d_model] each; the one
    /// after the last block has the number of blocks as its own.
    pub(crate) fn residuals(
        &self,
        session: &mut Session,
        layers: &[usize],
    ) -> Result<BTreeMap<usize, Tensor>, ExperimentError> {
        let n_layers = session.config().n_layers;
        let site = |layer: usize| {
            if layer == n_layers {
                BlockSite::ResidPost.at(n_layers - 1)
            } else {
                BlockSite::ResidPre.at(layer)
            }
        };
        let sites = layers.iter().map(|l| site(*l)).collect();
        let stage = format!("z-causality: {} prompts", self.language.code());
        let trace = session.record(&stage, &self.pack, &sites, Vec::new())?;
        let of = |layer: &usize| Ok((*layer, trace.rows(site(*layer))?.clone()));
        layers.iter().map(of).collect()
    }

    /// Takes a residual stream [tokens, d_model] from before block `layer` to
    /// the answers.
    pub(crate) fn read(
        &self,
        session: &Session,
        layer: usize,
        x: &Tensor,
    ) -> Result<Reading, ExperimentError> {
        let decoder = session.decoder()?;
        let n_layers = decoder.config().n_layers;
        let x = decoder.run_blocks(&self.pack, layer..n_layers, x, &mut NoHooks)?;
        let rows = Tensor::new(self.rows.as_slice(), x.device())?;
        let logits = decoder.logits(&x.index_select(&rows, 0)?)?;
        let values = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let totals: Vec<f64> = values.par_iter().map(|row| log_sum_exp(row)).collect();
        let logp = |answer: &Vec<(usize, u32)>| -> f64 {
            let tokens = answer.iter();
            tokens
                .map(|(row, token)| f64::from(values[*row][*token as usize]) - totals[*row])
                .sum()
        };
        let next: Vec<u32> = self.next.iter().map(|n| *n as u32).collect();
        let next = logits.index_select(&Tensor::new(next, logits.device())?, 0)?;
        Ok(Reading {
            logp: (self.targets.iter())
                .map(|answers| answers.iter().map(logp).collect())
                .collect(),
            next,
        })
    }
}

/// log Σ exp of a row of logits, in f64.
fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|v| f64::from((v - max).exp())).sum();
    f64::from(max) + sum.ln()
}

/// KL(p ‖ q) in nats of each row of logits [asks, vocab].
pub(crate) fn kl_by_row(p: &Tensor, q: &Tensor) -> Result<Vec<f64>, ExperimentError> {
    let rows = |t: &Tensor| -> candle_core::Result<Vec<Vec<f32>>> {
        t.to_dtype(DType::F32)?.to_vec2::<f32>()
    };
    let (p, q) = (rows(p)?, rows(q)?);
    let kl = |(p, q): (&Vec<f32>, &Vec<f32>)| {
        let (p_total, q_total) = (log_sum_exp(p), log_sum_exp(q));
        let terms = p.iter().zip(q).map(|(p, q)| {
            let (p, q) = (f64::from(*p) - p_total, f64::from(*q) - q_total);
            p.exp() * (p - q)
        });
        // Below 0 by rounding only.
        terms.sum::<f64>().max(0.0)
    };
    Ok(p.par_iter().zip(&q).map(kl).collect())
}
