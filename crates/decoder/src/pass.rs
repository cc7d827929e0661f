use assay_hook_site::{BlockSite, HookSite};
use candle_core::{DType, Device, Tensor};

use crate::cache::KvCache;
use crate::parts::rotary::Rotary;
use crate::{DecoderError, Pack};

/// What looks into a pass, and edits it.
///
/// Whatever a model computes in and wherever it lies, hooks see f32 on the CPU
/// (f64 of a model that computes in f64), and what they give back is brought to
/// the model's type and device. Only a decoder of variables shows its own
/// tensors, which training goes on with.
///
/// `value` holds the pack's tokens without padding: [tokens, …] as
/// [`HookSite`] describes, or [head, query, key] of one prompt for the square
/// sites, with `segment` the prompt's number.
pub trait Hooks {
    /// Is this site looked at? What nobody wants is not computed where that
    /// saves work.
    fn wants(&self, site: HookSite) -> bool;

    /// Reads a value; `Some` replaces it.
    ///
    /// # Errors
    /// Whatever the hook has to say; it ends the pass.
    fn at(
        &mut self,
        site: HookSite,
        segment: Option<usize>,
        value: &Tensor,
    ) -> Result<Option<Tensor>, DecoderError>;
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn wants(&self, _: HookSite) -> bool {
        false
    }

    fn at(
        &mut self,
        _: HookSite,
        _: Option<usize>,
        _: &Tensor,
    ) -> Result<Option<Tensor>, DecoderError> {
        Ok(None)
    }
}

/// One pass under way: its prompts, its hooks, and what attention needs
/// beside the residual stream.
pub(crate) struct Pass<'a> {
    pub(crate) pack: &'a Pack,
    pub(crate) hooks: &'a mut dyn Hooks,
    /// RoPE of the pack's positions, in models that have it.
    pub(crate) rotary: Option<Rotary>,
    /// RoPE of the blocks with a window, where it is another one.
    pub(crate) local_rotary: Option<Rotary>,
    /// Keys and values of what went before, in a decoding step.
    pub(crate) cache: Option<&'a mut KvCache>,
    /// Hooks see the model's own tensors.
    pub(crate) as_they_are: bool,
}

impl<'a> Pass<'a> {
    /// A pass outside the blocks, where no positions are needed.
    pub(crate) fn outside(pack: &'a Pack, hooks: &'a mut dyn Hooks, as_they_are: bool) -> Self {
        Self {
            pack,
            hooks,
            as_they_are,
            rotary: None,
            local_rotary: None,
            cache: None,
        }
    }

    pub(crate) fn wants(&self, layer: usize, site: BlockSite) -> bool {
        self.hooks.wants(site.at(layer))
    }

    /// Shows a value [rows, …] of a site in a block; gives back the value to
    /// go on with.
    pub(crate) fn block(
        &mut self,
        layer: usize,
        site: BlockSite,
        value: Tensor,
    ) -> Result<Tensor, DecoderError> {
        self.at(site.at(layer), value)
    }

    /// Shows a value [rows, …]; gives back the value to go on with.
    pub(crate) fn at(&mut self, site: HookSite, value: Tensor) -> Result<Tensor, DecoderError> {
        if !self.hooks.wants(site) {
            return Ok(value);
        }
        let shown = value.narrow(0, 0, self.pack.tokens())?;
        match self.call(site, None, &shown)? {
            Some(edited) => self.pack.pad(&edited),
            None => Ok(value),
        }
    }

    /// Shows a square [head, query, key] of one prompt.
    pub(crate) fn square(
        &mut self,
        layer: usize,
        site: BlockSite,
        segment: usize,
        value: Tensor,
    ) -> Result<Tensor, DecoderError> {
        if !self.wants(layer, site) {
            return Ok(value);
        }
        Ok(self
            .call(site.at(layer), Some(segment), &value)?
            .unwrap_or(value))
    }

    fn call(
        &mut self,
        site: HookSite,
        segment: Option<usize>,
        shown: &Tensor,
    ) -> Result<Option<Tensor>, DecoderError> {
        let value = match self.as_they_are {
            true => shown.clone(),
            false => brought_out(shown)?,
        };
        let Some(new) = self.hooks.at(site, segment, &value)? else {
            return Ok(None);
        };
        if new.dims() != value.dims() || new.dtype() != value.dtype() {
            return Err(DecoderError::Hook {
                site,
                reason: format!(
                    "shape mismatch, site: {:?} {:?}, edit: {:?} {:?}",
                    value.dims(),
                    value.dtype(),
                    new.dims(),
                    new.dtype()
                ),
            });
        }
        let new = new.to_dtype(shown.dtype())?.to_device(shown.device())?;
        Ok(Some(new))
    }
}

/// `x` on the CPU in f32 or f64, moved before it is widened.
pub(crate) fn brought_out(x: &Tensor) -> Result<Tensor, DecoderError> {
    let here = match x.device().is_cpu() {
        true => x.clone(),
        // Without what lies between the rows of a view.
        false => x.contiguous()?.to_device(&Device::Cpu)?,
    };
    Ok(match here.dtype() {
        DType::F16 | DType::BF16 => here.to_dtype(DType::F32)?,
        _ => here,
    })
}
