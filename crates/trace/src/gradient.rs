//! Gradients of a function of the logits with respect to activations.
//!
//! The tensor library's backward keeps the gradients of variables only, so a
//! variable of zeros is added at every site that is asked for. A block at a
//! time: the residual stream before each block is kept from a plain pass, and
//! going back from the end every block runs once more from its own, with the
//! gradient at its output in hand. Never more than one block's graph is in
//! memory, and blocks may be streamed.

use std::collections::{BTreeMap, BTreeSet};

use assay_decoder::{Decoder, DecoderError, Hooks, NoHooks, Pack};
use assay_hook_site::HookSite;
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};

use crate::record::no_such_site;
use crate::trace::Value;
use crate::{Trace, TraceError};

/// The value of `objective`, a scalar function of the logits [tokens, vocab] of
/// all prompts, and its gradient at every site of `sites`, in a trace of the
/// activations' shapes.
///
/// The function must be made of operations that the tensor library can go back
/// through.
///
/// # Errors
/// A model that computes in f16, in which gradients of activations, often below
/// its smallest number, would vanish; a site that the model does not have; an objective that is no scalar or does
/// not depend on the logits; anything that a pass can say.
pub fn gradients(
    decoder: &Decoder,
    pack: &Pack,
    sites: &BTreeSet<HookSite>,
    objective: &mut dyn FnMut(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<(f64, Trace), TraceError> {
    let known: BTreeSet<HookSite> = decoder.sites().into_iter().collect();
    if let Some(site) = sites.iter().find(|s| !known.contains(s)) {
        return Err(no_such_site(decoder, &site.to_string()));
    }
    if decoder.dtype() == DType::F16 {
        return Err(TraceError::ShortGradients);
    }
    let n_layers = decoder.config().n_layers;
    let mut before = Vec::with_capacity(n_layers);
    let mut x = decoder.embed(pack, &mut NoHooks)?;
    for layer in 0..n_layers {
        before.push(x.clone());
        x = decoder.run_blocks(pack, layer..layer + 1, &x, &mut NoHooks)?;
    }

    let mut found = BTreeMap::new();
    // After the last block.
    let resid = Var::from_tensor(&x)?;
    let mut watch = Watch::new(sites);
    decoder.finish(pack, &resid, &mut watch)?;
    let logits = watch.logits.take().ok_or(TraceError::NotReached {
        site: HookSite::Logits,
    })?;
    let value = objective(&logits)?;
    if value.elem_count() != 1 {
        let reason = format!("has the shape {:?} and is no scalar", value.dims());
        return Err(TraceError::Objective { reason });
    }
    let number = value.detach().flatten_all()?.to_dtype(DType::F64)?;
    let number = number.get(0)?.to_scalar::<f64>()?;
    let grads = value.backward()?;
    let mut gradient = of(&grads, &resid)?.ok_or_else(|| TraceError::Objective {
        reason: "does not depend on the residual stream".to_owned(),
    })?;
    watch.collect(&grads, &mut found)?;

    for (layer, x) in before.iter().enumerate().rev() {
        let resid = Var::from_tensor(x)?;
        let mut watch = Watch::new(sites);
        let post = decoder.run_blocks(pack, layer..layer + 1, &resid, &mut watch)?;
        // The gradient of this sum is that of the objective.
        let grads = (post * &gradient)?.sum_all()?.backward()?;
        gradient = of(&grads, &resid)?.ok_or(TraceError::NoGradient {
            site: assay_hook_site::BlockSite::ResidPre.at(layer),
        })?;
        watch.collect(&grads, &mut found)?;
    }
    // Both embeddings enter the residual stream as they are.
    for site in [HookSite::Embed, HookSite::PosEmbed] {
        if sites.contains(&site) {
            found.insert(site, Value::Rows(gradient.clone()));
        }
    }
    if let Some(site) = sites.iter().find(|s| !found.contains_key(s)) {
        return Err(TraceError::NotReached { site: *site });
    }
    Ok((number, Trace::new(pack.clone(), found)))
}

fn of(grads: &GradStore, var: &Var) -> candle_core::Result<Option<Tensor>> {
    grads.get(var).map(|g| g.detach().contiguous()).transpose()
}

/// Adds a variable of zeros at every site of interest.
struct Watch<'a> {
    sites: &'a BTreeSet<HookSite>,
    vars: Vec<(HookSite, bool, Var)>,
    logits: Option<Tensor>,
}

impl<'a> Watch<'a> {
    fn new(sites: &'a BTreeSet<HookSite>) -> Self {
        Self {
            sites,
            vars: Vec::new(),
            logits: None,
        }
    }

    /// Moves the gradients of the variables to their sites. A value that the
    /// objective does not depend on has none, which is an error: a gradient
    /// that was cut must not pass for zero.
    fn collect(
        self,
        grads: &GradStore,
        found: &mut BTreeMap<HookSite, Value>,
    ) -> Result<(), TraceError> {
        for (site, square, var) in self.vars {
            let gradient = of(grads, &var)?.ok_or(TraceError::NoGradient { site })?;
            match (square, found.get_mut(&site)) {
                (false, _) => {
                    found.insert(site, Value::Rows(gradient));
                }
                (true, Some(Value::Squares(squares))) => squares.push(gradient),
                (true, _) => {
                    found.insert(site, Value::Squares(vec![gradient]));
                }
            }
        }
        Ok(())
    }
}

impl Hooks for Watch<'_> {
    fn wants(&self, site: HookSite) -> bool {
        site == HookSite::Logits || self.sites.contains(&site)
    }

    fn at(
        &mut self,
        site: HookSite,
        segment: Option<usize>,
        value: &Tensor,
    ) -> Result<Option<Tensor>, DecoderError> {
        let shown = if self.sites.contains(&site) {
            let var = Var::from_tensor(&value.zeros_like()?)?;
            let shown = (value + var.as_tensor())?;
            self.vars.push((site, segment.is_some(), var));
            shown
        } else {
            value.clone()
        };
        if site == HookSite::Logits {
            self.logits = Some(shown.clone());
        }
        Ok(Some(shown))
    }
}
