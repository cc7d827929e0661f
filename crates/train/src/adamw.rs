use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};

use assay_decoder::{TensorKind, Variables};

use crate::TrainError;

/// Constants of AdamW (Loshchilov & Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of that.
    pub eps: f64,
    /// Decay of matrices and embeddings, times the learning rate; gains and
    /// biases are not decayed.
    pub weight_decay: f64,
    /// Gradients longer than this, all parameters together, are shortened to
    /// it.
    pub clip: f64,
}

/// AdamW with its moments in the open, so that a run can be saved and taken up
/// again: the tensor library's keeps them to itself.
pub struct AdamW {
    settings: Settings,
    pub(crate) moments: Vec<(Tensor, Tensor)>,
    pub(crate) steps: u64,
}

impl AdamW {
    /// Moments of zero for every variable.
    ///
    /// # Errors
    /// The tensor library refuses.
    pub fn new(variables: &Variables, settings: Settings) -> Result<Self, TrainError> {
        let moments = variables
            .iter()
            .map(|(_, var)| Ok((var.zeros_like()?, var.zeros_like()?)))
            .collect::<Result<_, TrainError>>()?;
        Ok(Self {
            settings,
            moments,
            steps: 0,
        })
    }

    /// Steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every variable against its gradient; gives the length of the
    /// gradient before clipping.
    ///
    /// # Errors
    /// A variable without a gradient, or one that is no number.
    pub fn step(
        &mut self,
        variables: &Variables,
        gradients: &GradStore,
        rate: f64,
    ) -> Result<f64, TrainError> {
        let mut all = Vec::with_capacity(self.moments.len());
        let mut squared = 0.0;
        for (spec, var) in variables.iter() {
            let missing = || TrainError::NoGradient {
                name: spec.name.clone(),
            };
            let gradient = gradients.get(var).ok_or_else(missing)?.detach();
            let sum = gradient.sqr()?.sum_all()?.to_dtype(DType::F64)?;
            squared += sum.to_scalar::<f64>()?;
            all.push(gradient);
        }
        let length = squared.sqrt();
        if !length.is_finite() {
            return Err(TrainError::Diverged {
                step: self.steps,
                loss: length,
            });
        }
        let shorten = (self.settings.clip / length).min(1.0);
        self.steps += 1;
        let Settings {
            beta1,
            beta2,
            eps,
            weight_decay,
            ..
        } = self.settings;
        let unbias = |beta: f64| 1.0 / (1.0 - beta.powf(self.steps as f64));
        let (unbias1, unbias2) = (unbias(beta1), unbias(beta2));
        let slots = variables.iter().zip(&mut self.moments).zip(all);
        for (((spec, var), (mean, square)), gradient) in slots {
            let gradient = (gradient * shorten)?;
            *mean = ((&*mean * beta1)? + (&gradient * (1.0 - beta1))?)?;
            *square = ((&*square * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
            let spread = ((&*square * unbias2)?.sqrt()? + eps)?;
            let towards = ((&*mean * (unbias1 * rate))? / spread)?;
            let decayed = match spec.kind {
                TensorKind::Embedding | TensorKind::OutIn | TensorKind::InOut => {
                    (var.as_tensor().detach() * (1.0 - rate * weight_decay))?
                }
                TensorKind::Gain | TensorKind::Bias => var.as_tensor().detach(),
            };
            var.set(&(decayed - towards)?)?;
        }
        Ok(length)
    }
}
