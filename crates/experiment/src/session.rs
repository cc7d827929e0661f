use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use assay_checkpoint::{Checkpoint, TextTokenizer, TokenIds};
use assay_decoder::{Decoder, Pack, Placement};
use assay_hook_site::{HookSite, SitePattern};
use assay_record::{PromptSet, Sample};
use assay_trace::{Edit, Trace, record_telling, select_sites};
use candle_core::DType;

use crate::ExperimentError;

/// One loaded model, and the passes that experiments share on it.
pub struct Session<'a> {
    model: String,
    checkpoint: &'a Checkpoint,
    placement: Placement<'a>,
    decoder: Decoder,
    planned: Vec<Planned>,
    passes: usize,
    more: bool,
    progress: &'a mut dyn FnMut(&str, u64, u64),
}

/// A pass that somebody will ask for.
struct Planned {
    pack: Pack,
    sites: BTreeSet<HookSite>,
    /// How many that announced it have not asked for it yet.
    waiting: usize,
    /// Kept while somebody waits for it.
    trace: Option<Rc<Trace>>,
}

/// A prompt set as one model's tokenizer cuts it.
#[derive(Debug, Clone)]
pub struct Tokenised {
    /// Ids of each prompt, in the order of the set.
    pub ids: Vec<TokenIds>,
    /// All of them packed.
    pub pack: Pack,
}

/// A sample without measures for each prompt, in order.
#[must_use]
pub fn blank_samples(prompts: &PromptSet, tokens: &Tokenised) -> Vec<Sample> {
    let pairs = prompts.prompts.iter().zip(&tokens.ids);
    pairs
        .map(|(prompt, ids)| Sample {
            unit: prompt.id.clone(),
            cluster: prompt.category.clone(),
            text: prompt.text.clone(),
            token_ids: ids.ids.clone(),
            special_tokens: ids.special,
            tags: prompt.tags.clone(),
            measures: BTreeMap::new(),
        })
        .collect()
}

impl<'a> Session<'a> {
    /// A session on a loaded model, beside its files and how it is held;
    /// `progress` is told (stage, done, total).
    pub fn new(
        model: &str,
        (checkpoint, placement): (&'a Checkpoint, Placement<'a>),
        decoder: Decoder,
        progress: &'a mut dyn FnMut(&str, u64, u64),
    ) -> Self {
        Self {
            model: model.to_owned(),
            checkpoint,
            placement,
            decoder,
            planned: Vec::new(),
            passes: 0,
            more: false,
            progress,
        }
    }

    /// Asks experiments for what they leave out for its time.
    pub fn measure_more(&mut self, more: bool) {
        self.more = more;
    }

    /// Is what an experiment leaves out for its time asked for?
    #[must_use]
    pub fn more(&self) -> bool {
        self.more
    }

    /// The model's name, for messages.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The model.
    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The model's tokenizer.
    ///
    /// # Errors
    /// It has none.
    pub fn tokenizer(&self) -> Result<&TextTokenizer, ExperimentError> {
        let tokenizer = self.checkpoint.tokenizer.as_ref();
        tokenizer.ok_or_else(|| {
            self.unsuitable("has no tokenizer, and this experiment's prompts are text")
        })
    }

    /// The folder that the model's files lie in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        let path = self.checkpoint.weights.path();
        if path.is_dir() {
            path
        } else {
            path.parent().unwrap_or(path)
        }
    }

    /// Number of whole passes run so far by [`Session::trace`].
    #[must_use]
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// Tells how far a stage is.
    pub fn progress(&mut self, stage: &str, done: u64, total: u64) {
        (self.progress)(stage, done, total);
    }

    /// An error that names this model.
    #[must_use]
    pub fn unsuitable(&self, reason: impl Into<String>) -> ExperimentError {
        ExperimentError::Unsuitable {
            model: self.model.clone(),
            reason: reason.into(),
        }
    }

    /// The ids of a prompt set.
    ///
    /// # Errors
    /// The model has no tokenizer; a prompt gives no tokens.
    pub fn tokenise(&self, prompts: &PromptSet) -> Result<Tokenised, ExperimentError> {
        let tokenizer = self.tokenizer()?;
        let mut ids = Vec::new();
        for prompt in &prompts.prompts {
            ids.push(tokenizer.encode(&prompt.text)?);
        }
        let rows: Vec<Vec<u32>> = ids.iter().map(|i| i.ids.clone()).collect();
        Ok(Tokenised {
            ids,
            pack: Pack::new(&rows)?,
        })
    }

    /// Announces a pass over `pack` that will be asked for some sites, once.
    /// Plans over equal packs become one pass.
    ///
    /// # Errors
    /// A pattern that matches no site of the model.
    pub fn plan(&mut self, pack: &Pack, sites: &[&str]) -> Result<(), ExperimentError> {
        let patterns: Vec<_> = sites.iter().map(|s| SitePattern::new(s)).collect();
        let sites = select_sites(&self.decoder, &patterns)?;
        match self.planned.iter_mut().find(|p| p.pack == *pack) {
            Some(planned) => {
                planned.sites.extend(sites);
                planned.waiting += 1;
            }
            None => self.planned.push(Planned {
                pack: pack.clone(),
                sites,
                waiting: 1,
                trace: None,
            }),
        }
        Ok(())
    }

    /// The trace of a planned pass. It is run when first asked for and kept
    /// until all that announced it have asked.
    ///
    /// # Errors
    /// The pass was not planned, or fails.
    pub fn trace(&mut self, pack: &Pack) -> Result<Rc<Trace>, ExperimentError> {
        let found = self.planned.iter_mut().find(|p| p.pack == *pack);
        let Some(planned) = found else {
            return Err(self.unsuitable("was asked for a pass that was not planned"));
        };
        planned.waiting = planned.waiting.saturating_sub(1);
        let trace = match planned.trace.take() {
            Some(trace) => trace,
            None => {
                self.passes += 1;
                let progress = &mut *self.progress;
                let stage = format!("pass of {} tokens", pack.tokens());
                let tell = &mut |done: usize, total: usize| {
                    progress(&stage, done as u64, total as u64);
                };
                let sites = &planned.sites;
                Rc::new(record_telling(
                    &self.decoder,
                    pack,
                    sites,
                    Vec::new(),
                    tell,
                )?)
            }
        };
        if planned.waiting > 0 {
            planned.trace = Some(Rc::clone(&trace));
        }
        Ok(trace)
    }

    /// Runs a pass of an experiment's own, as [`assay_trace::record`] does, and
    /// tells under `stage` how far it is.
    ///
    /// # Errors
    /// As [`assay_trace::record`].
    pub fn record(
        &mut self,
        stage: &str,
        pack: &Pack,
        sites: &BTreeSet<HookSite>,
        edits: Vec<Edit>,
    ) -> Result<Trace, ExperimentError> {
        let progress = &mut *self.progress;
        let tell = &mut |done: usize, total: usize| progress(stage, done as u64, total as u64);
        Ok(record_telling(&self.decoder, pack, sites, edits, tell)?)
    }

    /// The model a second time in f64, held as the first is, to tell rounding
    /// from error.
    ///
    /// # Errors
    /// As loading.
    pub fn decoder_f64(&mut self) -> Result<Decoder, ExperimentError> {
        let progress = &mut *self.progress;
        let tell = &mut |done: usize, total: usize| {
            progress("loading in f64", done as u64, total as u64);
        };
        let placement = Placement {
            dtype: DType::F64,
            ..self.placement
        };
        Ok(Decoder::load_with(self.checkpoint, &placement, tell)?)
    }
}
