//! Weights that are trained: variables in place of tensors from files.

use assay_checkpoint::{Architecture, DecoderConfig};
use candle_core::{Tensor, Var};

use crate::{DecoderError, TensorSpec, tensors};

/// A variable for every tensor that a config calls for, in the order of
/// [`tensors`], so that whatever goes over them does so in one order.
pub struct Variables {
    all: Vec<(TensorSpec, Var)>,
}

impl Variables {
    /// Variables with the values that `init` gives, each in the shape in which
    /// it is stored.
    ///
    /// # Errors
    /// An architecture whose parts compute with weights as they are loaded, so
    /// that a changed variable would not be seen; a value of another shape.
    pub fn new(
        config: &DecoderConfig,
        init: &mut dyn FnMut(&TensorSpec) -> Result<Tensor, DecoderError>,
    ) -> Result<Self, DecoderError> {
        if config.gain_from_one || config.architecture == Architecture::StableLm {
            return Err(DecoderError::Variables {
                reason: format!("are not for {} models", config.model_type),
            });
        }
        let mut all = Vec::new();
        for spec in tensors(config)? {
            let value = init(&spec)?;
            if value.dims() != spec.shape {
                return Err(DecoderError::Variables {
                    reason: format!(
                        "hold {} as {:?}, which the config wants as {:?}",
                        spec.name,
                        value.dims(),
                        spec.shape
                    ),
                });
            }
            all.push((spec, Var::from_tensor(&value)?));
        }
        Ok(Self { all })
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = (&TensorSpec, &Var)> {
        self.all.iter().map(|(spec, var)| (spec, var))
    }

    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, DecoderError> {
        let found = self.iter().find(|(spec, _)| spec.name == name);
        match found {
            Some((spec, var)) if spec.shape == shape => Ok(var.as_tensor().clone()),
            _ => Err(DecoderError::Variables {
                reason: format!("hold no {name} of shape {shape:?}"),
            }),
        }
    }
}
