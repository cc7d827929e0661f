use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use assay_decoder::{Decoder, DecoderError, Hooks, Pack};
use assay_hook_site::{HookSite, SitePattern};
use candle_core::Tensor;

use crate::trace::Value;
use crate::{Trace, TraceError};

/// A change of an activation on its way: the site, and a function from the
/// value (and, at square sites, the prompt's number) to the value to go on
/// with. The value has the shape that [`HookSite`] gives, all prompts packed.
pub struct Edit<'a> {
    site: HookSite,
    f: EditFn<'a>,
}

type EditFn<'a> = Box<dyn FnMut(Option<usize>, &Tensor) -> candle_core::Result<Tensor> + 'a>;

impl<'a> Edit<'a> {
    /// An edit at `site`.
    pub fn new(
        site: HookSite,
        f: impl FnMut(Option<usize>, &Tensor) -> candle_core::Result<Tensor> + 'a,
    ) -> Self {
        Self {
            site,
            f: Box::new(f),
        }
    }
}

/// Which part of the model a pass runs.
pub enum Stage<'a> {
    /// Embedding, all blocks, final norm and logits.
    Whole,
    /// Blocks `range` from a residual stream [tokens, d_model]; the sites
    /// after the last block only if the range ends there.
    From(Range<usize>, &'a Tensor),
}

/// The sites of a model that some patterns cover, in order.
///
/// # Errors
/// A pattern that covers none.
pub fn select_sites(
    decoder: &Decoder,
    patterns: &[SitePattern],
) -> Result<BTreeSet<HookSite>, TraceError> {
    let sites = decoder.sites();
    let mut selected = BTreeSet::new();
    for pattern in patterns {
        let before = selected.len();
        let matching = sites.iter().copied().filter(|s| pattern.matches(*s));
        let mut any = false;
        for site in matching {
            selected.insert(site);
            any = true;
        }
        if !any && selected.len() == before {
            return Err(no_such_site(decoder, pattern.text()));
        }
    }
    Ok(selected)
}

/// Runs the whole model over the pack, applying `edits` and recording `sites`.
/// What is recorded is the value that the model went on with.
///
/// # Errors
/// A site that the model does not have or that was not reached; anything that
/// a pass can say.
pub fn record(
    decoder: &Decoder,
    pack: &Pack,
    sites: &BTreeSet<HookSite>,
    edits: Vec<Edit>,
) -> Result<Trace, TraceError> {
    record_telling(decoder, pack, sites, edits, &mut |_, _| ())
}

/// As [`record`]; `progress` is told (blocks behind, blocks) whenever a site of
/// the next block is reached.
///
/// # Errors
/// As [`record`].
pub fn record_telling(
    decoder: &Decoder,
    pack: &Pack,
    sites: &BTreeSet<HookSite>,
    edits: Vec<Edit>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Trace, TraceError> {
    Ok(run(decoder, pack, Stage::Whole, (sites, edits), progress)?.0)
}

/// As [`record`], for a part of the model; also gives the residual stream
/// [tokens, d_model] that left the last block run.
///
/// # Errors
/// As [`record`].
pub fn record_blocks(
    decoder: &Decoder,
    pack: &Pack,
    stage: Stage,
    sites: &BTreeSet<HookSite>,
    edits: Vec<Edit>,
) -> Result<(Trace, Tensor), TraceError> {
    run(decoder, pack, stage, (sites, edits), &mut |_, _| ())
}

fn run(
    decoder: &Decoder,
    pack: &Pack,
    stage: Stage,
    (sites, edits): (&BTreeSet<HookSite>, Vec<Edit>),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Trace, Tensor), TraceError> {
    let known: BTreeSet<HookSite> = decoder.sites().into_iter().collect();
    let mut by_site: BTreeMap<HookSite, Vec<EditFn>> = BTreeMap::new();
    for edit in edits {
        by_site.entry(edit.site).or_default().push(edit.f);
    }
    let asked = sites.iter().chain(by_site.keys());
    if let Some(site) = asked.into_iter().find(|s| !known.contains(s)) {
        return Err(no_such_site(decoder, &site.to_string()));
    }
    let n_layers = decoder.config().n_layers;
    let mut recorder = Recorder {
        block: None,
        n_layers,
        progress,
        sites,
        edits: by_site,
        reached: BTreeSet::new(),
        values: BTreeMap::new(),
    };
    let resid = match stage {
        Stage::Whole => {
            let x = decoder.embed(pack, &mut recorder)?;
            let x = decoder.run_blocks(pack, 0..n_layers, &x, &mut recorder)?;
            decoder.finish(pack, &x, &mut recorder)?;
            x
        }
        Stage::From(range, x) => {
            let end = range.end;
            let x = decoder.run_blocks(pack, range, x, &mut recorder)?;
            if end == n_layers {
                decoder.finish(pack, &x, &mut recorder)?;
            }
            x
        }
    };
    let asked = sites.iter().chain(recorder.edits.keys());
    if let Some(site) = asked.into_iter().find(|s| !recorder.reached.contains(s)) {
        return Err(TraceError::NotReached { site: *site });
    }
    Ok((Trace::new(pack.clone(), recorder.values), resid))
}

pub(crate) fn no_such_site(decoder: &Decoder, pattern: &str) -> TraceError {
    TraceError::NoSuchSite {
        pattern: pattern.to_owned(),
        model_type: decoder.config().model_type.clone(),
    }
}

struct Recorder<'a, 'e> {
    /// The last block of which a site was reached.
    block: Option<usize>,
    n_layers: usize,
    progress: &'a mut dyn FnMut(usize, usize),
    sites: &'a BTreeSet<HookSite>,
    edits: BTreeMap<HookSite, Vec<EditFn<'e>>>,
    reached: BTreeSet<HookSite>,
    values: BTreeMap<HookSite, Value>,
}

impl Hooks for Recorder<'_, '_> {
    fn wants(&self, site: HookSite) -> bool {
        self.sites.contains(&site) || self.edits.contains_key(&site)
    }

    fn at(
        &mut self,
        site: HookSite,
        segment: Option<usize>,
        value: &Tensor,
    ) -> Result<Option<Tensor>, DecoderError> {
        self.reached.insert(site);
        if let Some(layer) = site.layer()
            && self.block != Some(layer)
        {
            self.block = Some(layer);
            (self.progress)(layer, self.n_layers);
        }
        let mut edited = None;
        for f in self.edits.get_mut(&site).into_iter().flatten() {
            let current = edited.as_ref().unwrap_or(value);
            edited = Some(f(segment, current)?);
        }
        if self.sites.contains(&site) {
            // A copy: kernels may work over the original in place.
            let kept = edited.as_ref().unwrap_or(value);
            let kept = if kept.is_contiguous() {
                kept.copy()?
            } else {
                kept.contiguous()?
            };
            match segment {
                None => {
                    self.values.insert(site, Value::Rows(kept));
                }
                Some(_) => match self.values.get_mut(&site) {
                    Some(Value::Squares(squares)) => squares.push(kept),
                    _ => {
                        self.values.insert(site, Value::Squares(vec![kept]));
                    }
                },
            }
        }
        Ok(edited)
    }
}
