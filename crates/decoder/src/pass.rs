use assay_hook_site::{BlockSite, HookSite};
use candle_core::Tensor;

use crate::cache::KvCache;
use crate::parts::rotary::Rotary;
use crate::{DecoderError, Pack};

/// What looks into a pass, and edits it.
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
}

impl<'a> Pass<'a> {
    /// A pass outside the blocks, where no positions are needed.
    pub(crate) fn outside(pack: &'a Pack, hooks: &'a mut dyn Hooks) -> Self {
        Self {
            pack,
            hooks,
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
        let edited = self.hooks.at(site, segment, shown)?;
        if let Some(new) = &edited
            && (new.dims() != shown.dims() || new.dtype() != shown.dtype())
        {
            return Err(DecoderError::Hook {
                site,
                reason: format!(
                    "shape mismatch, site: {:?} {:?}, edit: {:?} {:?}",
                    shown.dims(),
                    shown.dtype(),
                    new.dims(),
                    new.dtype()
                ),
            });
        }
        Ok(edited)
    }
}
