use std::sync::Arc;
use std::time::Instant;

use assay_checkpoint::DecoderConfig;
use assay_decoder::{Decoder, NoHooks, Pack, Variables};
use candle_core::{D, DType, Tensor};

use crate::interchange::bases;
use crate::{AdamW, Interchange, Schedule, Settings, Swap, TrainError};

/// Sequences of token ids, and of each position whether its prediction counts.
pub struct Batch {
    /// Each of at least two tokens.
    pub ids: Vec<Vec<u32>>,
    /// As long as `ids` less one token each: entry t says whether the
    /// prediction of token t + 1 is part of the loss. Empty: all of them.
    pub counts: Vec<Vec<bool>>,
    /// What an [`Interchange`] puts from one sequence into another; of a run
    /// without one, nothing is asked.
    pub swaps: Vec<Swap>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Steps behind, this one included.
    pub steps: u64,
    /// Mean loss of the batch in nats, before the step.
    pub loss: f64,
    /// Learning rate.
    pub rate: f64,
    /// Length of the gradient before clipping.
    pub gradient: f64,
}

/// A model in training.
pub struct Run {
    /// What it is.
    pub config: DecoderConfig,
    /// Its weights.
    pub variables: Arc<Variables>,
    pub(crate) optimiser: AdamW,
    pub(crate) losses: Vec<f32>,
    /// Seconds that its steps took, on whatever machine.
    pub(crate) seconds: f64,
    decoder: Decoder,
    schedule: Schedule,
    interchange: Option<Interchange>,
}

impl Run {
    /// A run that begins.
    ///
    /// # Errors
    /// Variables of another config.
    pub fn new(
        config: &DecoderConfig,
        variables: Variables,
        settings: Settings,
        schedule: Schedule,
    ) -> Result<Self, TrainError> {
        let variables = Arc::new(variables);
        Ok(Self {
            config: config.clone(),
            decoder: Decoder::of_variables(config, &variables)?,
            optimiser: AdamW::new(&variables, settings)?,
            variables,
            losses: Vec::new(),
            seconds: 0.0,
            schedule,
            interchange: None,
        })
    }

    /// The same with a subspace that is to hold the answers.
    #[must_use]
    pub fn with_interchange(mut self, interchange: Option<Interchange>) -> Self {
        self.interchange = interchange;
        self
    }

    /// Steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.optimiser.steps()
    }

    /// The loss of every step.
    #[must_use]
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// Takes a step on a batch.
    ///
    /// # Errors
    /// A batch that is none; a loss or gradient that is no number.
    pub fn step(&mut self, batch: &Batch) -> Result<Step, TrainError> {
        let started = Instant::now();
        let loss = self.loss(batch)?;
        let value = scalar(&loss)?;
        if !value.is_finite() {
            return Err(TrainError::Diverged {
                step: self.steps(),
                loss: value,
            });
        }
        let rate = self.schedule.at(self.steps());
        let gradients = loss.backward()?;
        let gradient = self.optimiser.step(&self.variables, &gradients, rate)?;
        self.losses.push(value as f32);
        self.seconds += started.elapsed().as_secs_f64();
        Ok(Step {
            steps: self.steps(),
            loss: value,
            rate,
            gradient,
        })
    }

    /// Mean loss of a batch in nats a token, and that of its swaps: a scalar
    /// with its graph.
    ///
    /// # Errors
    /// A batch that is none.
    pub fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        let Some(interchange) = &self.interchange else {
            return next_token_loss(&self.decoder, batch);
        };
        let read = Read::new(batch)?;
        let layers = self.config.n_layers;
        let hooks = &mut NoHooks;
        let x = self.decoder.embed(&read.pack, hooks)?;
        let block = interchange.block;
        let x = self.decoder.run_blocks(&read.pack, 0..block, &x, hooks)?;
        let patched = interchange.put(&x, &read.pack, &batch.swaps)?;
        let ends = |x: &Tensor| {
            self.decoder
                .run_blocks(&read.pack, block..layers, x, &mut NoHooks)
        };
        let loss = read.loss(&self.decoder, &ends(&x)?)?;
        let Some(patched) = patched else {
            return Ok(loss);
        };
        let (rows, targets) = bases(&read.pack, &batch.swaps);
        let rows = Tensor::new(rows, loss.device())?;
        let swapped = ends(&patched)?.index_select(&rows, 0)?;
        let swapped = cross_entropy(&self.decoder, &swapped, targets)?;
        Ok((loss + (swapped * interchange.weight)?)?)
    }
}

/// A batch as a pass reads it.
struct Read {
    pack: Pack,
    targets: Vec<u32>,
    /// Rows whose predictions count, if not all do.
    kept: Option<Vec<u32>>,
}

impl Read {
    fn new(batch: &Batch) -> Result<Self, TrainError> {
        let wrong = |reason: String| TrainError::Batch { reason };
        let inputs: Vec<Vec<u32>> = (batch.ids.iter())
            .map(|ids| {
                ids.split_last()
                    .map_or_else(Vec::new, |(_, all)| all.to_vec())
            })
            .collect();
        if let Some(i) = inputs.iter().position(Vec::is_empty) {
            return Err(wrong(format!(
                "holds sequence {i} of fewer than two tokens"
            )));
        }
        let targets: Vec<u32> = (batch.ids.iter())
            .flat_map(|ids| ids.iter().skip(1).copied())
            .collect();
        let marked = batch.counts.iter().map(Vec::len).sum::<usize>();
        if marked != 0 && marked != targets.len() {
            return Err(wrong(format!(
                "has {} predictions and {marked} marks of what counts",
                targets.len()
            )));
        }
        let kept = (marked != 0).then(|| {
            let marks = batch.counts.iter().flatten().zip(0u32..);
            marks.filter(|(m, _)| **m).map(|(_, i)| i).collect()
        });
        let none = |kept: &Vec<u32>| kept.is_empty();
        if targets.is_empty() || kept.as_ref().is_some_and(none) {
            return Err(wrong("has no prediction that counts".to_owned()));
        }
        Ok(Self {
            pack: Pack::new(&inputs)?,
            targets,
            kept,
        })
    }

    /// The loss from what leaves the last block, [tokens, d_model].
    fn loss(&self, decoder: &Decoder, x: &Tensor) -> Result<Tensor, TrainError> {
        let Some(kept) = &self.kept else {
            return cross_entropy(decoder, x, self.targets.clone());
        };
        let rows = Tensor::new(kept.as_slice(), x.device())?;
        let targets = kept.iter().map(|i| self.targets[*i as usize]).collect();
        cross_entropy(decoder, &x.index_select(&rows, 0)?, targets)
    }
}

/// Mean of -log p(next token) over the positions of a batch that count, in
/// nats: a scalar with its graph.
///
/// # Errors
/// A sequence of fewer than two tokens, marks of another length than the ids,
/// no position that counts; whatever a pass can say.
pub fn next_token_loss(decoder: &Decoder, batch: &Batch) -> Result<Tensor, TrainError> {
    let read = Read::new(batch)?;
    let x = decoder.embed(&read.pack, &mut NoHooks)?;
    let x = decoder.run_blocks(&read.pack, 0..decoder.config().n_layers, &x, &mut NoHooks)?;
    read.loss(decoder, &x)
}

/// Mean of -log p(target) over rows of the residual stream, [n, d_model].
fn cross_entropy(decoder: &Decoder, x: &Tensor, targets: Vec<u32>) -> Result<Tensor, TrainError> {
    let logits = decoder.logits(x)?;
    let n = targets.len();
    let targets = Tensor::from_vec(targets, (n, 1), logits.device())?;
    let max = logits.detach().max_keepdim(D::Minus1)?;
    let shifted = logits.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    Ok((log_sum - shifted.gather(&targets, 1)?)?.mean_all()?)
}

pub(crate) fn scalar(x: &Tensor) -> Result<f64, TrainError> {
    Ok(x.detach().to_dtype(DType::F64)?.to_scalar()?)
}
