use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use assay_checkpoint::{Checkpoint, DecoderConfig, TextTokenizer, TokenIds};
use assay_decoder::{Decoder, Pack, Placement};
use assay_hook_site::{HookSite, SitePattern};
use assay_record::{PromptSet, Sample};
use assay_trace::{Edit, Recording, Trace, record_telling, select_sites};
use candle_core::DType;

use crate::ExperimentError;

/// One loaded model, or recorded activations in its place, and the passes that
/// experiments share on it.
pub struct Session<'a> {
    model: String,
    body: Body<'a>,
    /// The experiment at work, for messages.
    asking: String,
    planned: Vec<Planned>,
    passes: usize,
    more: bool,
    progress: &'a mut dyn FnMut(&str, u64, u64),
}

/// What activations come from.
enum Body<'a> {
    Model {
        checkpoint: &'a Checkpoint,
        placement: Placement<'a>,
        decoder: Box<Decoder>,
    },
    Recording(&'a Recording),
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
        let decoder = Box::new(decoder);
        let body = Body::Model {
            checkpoint,
            placement,
            decoder,
        };
        Self::on(model, body, progress)
    }

    /// A session on recorded activations.
    pub fn of_recording(
        model: &str,
        recording: &'a Recording,
        progress: &'a mut dyn FnMut(&str, u64, u64),
    ) -> Self {
        Self::on(model, Body::Recording(recording), progress)
    }

    fn on(model: &str, body: Body<'a>, progress: &'a mut dyn FnMut(&str, u64, u64)) -> Self {
        Self {
            model: model.to_owned(),
            body,
            asking: "the experiment".to_owned(),
            planned: Vec::new(),
            passes: 0,
            more: false,
            progress,
        }
    }

    /// Names the experiment that is at work from now on.
    pub fn asking(&mut self, experiment: &str) {
        experiment.clone_into(&mut self.asking);
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

    /// The model's config.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        match &self.body {
            Body::Model { decoder, .. } => decoder.config(),
            Body::Recording(recording) => recording.config(),
        }
    }

    /// Is there a model, and not only activations that it once had?
    #[must_use]
    pub fn has_model(&self) -> bool {
        matches!(self.body, Body::Model { .. })
    }

    /// The model.
    ///
    /// # Errors
    /// There are only recorded activations.
    pub fn decoder(&self) -> Result<&Decoder, ExperimentError> {
        match &self.body {
            Body::Model { decoder, .. } => Ok(decoder),
            Body::Recording(_) => Err(self.only_recorded()),
        }
    }

    fn checkpoint(&self) -> Result<&'a Checkpoint, ExperimentError> {
        match &self.body {
            Body::Model { checkpoint, .. } => Ok(checkpoint),
            Body::Recording(_) => Err(self.only_recorded()),
        }
    }

    fn only_recorded(&self) -> ExperimentError {
        self.unsuitable(format!(
            "is a recording of activations, and {} needs the model itself",
            self.asking
        ))
    }

    /// The model's tokenizer.
    ///
    /// # Errors
    /// It has none, or there are only recorded activations.
    pub fn tokenizer(&self) -> Result<&TextTokenizer, ExperimentError> {
        let tokenizer = self.checkpoint()?.tokenizer.as_ref();
        tokenizer.ok_or_else(|| {
            self.unsuitable("has no tokenizer, and this experiment's prompts are text")
        })
    }

    /// The folder that the model's files lie in.
    ///
    /// # Errors
    /// There are only recorded activations.
    pub fn folder(&self) -> Result<&Path, ExperimentError> {
        let path = self.checkpoint()?.weights.path();
        Ok(if path.is_dir() {
            path
        } else {
            path.parent().unwrap_or(path)
        })
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

    /// Can any prompt of a set be measured? A recording may lack all of them;
    /// one that has some must have the others too.
    #[must_use]
    pub fn holds(&self, prompts: &PromptSet) -> bool {
        match &self.body {
            Body::Model { .. } => true,
            Body::Recording(r) => prompts.prompts.iter().any(|p| r.has(&p.id)),
        }
    }

    /// The ids of a prompt set: those of the recording, where there is one.
    ///
    /// # Errors
    /// The model has no tokenizer; a prompt gives no tokens, or was not
    /// recorded.
    pub fn tokenise(&self, prompts: &PromptSet) -> Result<Tokenised, ExperimentError> {
        let mut ids = Vec::new();
        for prompt in &prompts.prompts {
            ids.push(match &self.body {
                Body::Model { .. } => self.tokenizer()?.encode(&prompt.text)?,
                Body::Recording(recording) => recording.tokens(&prompt.id)?.clone(),
            });
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
    /// A pattern that matches no site of the model; a site that a recording
    /// lacks.
    pub fn plan(&mut self, pack: &Pack, sites: &[&str]) -> Result<(), ExperimentError> {
        let patterns: Vec<_> = sites.iter().map(|s| SitePattern::new(s)).collect();
        let sites = match &self.body {
            Body::Model { decoder, .. } => select_sites(decoder, &patterns)?,
            Body::Recording(recording) => {
                let selected = recording.select(pack, &patterns);
                selected.map_err(|error| ExperimentError::Recording {
                    error: Box::new(error),
                    experiment: self.asking.clone(),
                })?
            }
        };
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
        let trace = match (planned.trace.take(), &self.body) {
            (Some(trace), _) => trace,
            (None, Body::Recording(recording)) => Rc::new(recording.trace(pack, &planned.sites)?),
            (None, Body::Model { decoder, .. }) => {
                self.passes += 1;
                let progress = &mut *self.progress;
                let stage = format!("pass of {} tokens", pack.tokens());
                let tell = &mut |done: usize, total: usize| {
                    progress(&stage, done as u64, total as u64);
                };
                let sites = &planned.sites;
                Rc::new(record_telling(decoder, pack, sites, Vec::new(), tell)?)
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
    /// As [`assay_trace::record`]; there are only recorded activations.
    pub fn record(
        &mut self,
        stage: &str,
        pack: &Pack,
        sites: &BTreeSet<HookSite>,
        edits: Vec<Edit>,
    ) -> Result<Trace, ExperimentError> {
        let Body::Model { decoder, .. } = &self.body else {
            return Err(self.only_recorded());
        };
        let progress = &mut *self.progress;
        let tell = &mut |done: usize, total: usize| progress(stage, done as u64, total as u64);
        Ok(record_telling(decoder, pack, sites, edits, tell)?)
    }

    /// The model a second time in f64, held as the first is, to tell rounding
    /// from error.
    ///
    /// # Errors
    /// As loading.
    pub fn decoder_f64(&mut self) -> Result<Decoder, ExperimentError> {
        let Body::Model {
            checkpoint,
            placement,
            ..
        } = &self.body
        else {
            return Err(self.only_recorded());
        };
        let progress = &mut *self.progress;
        let tell = &mut |done: usize, total: usize| {
            progress("loading in f64", done as u64, total as u64);
        };
        let placement = Placement {
            dtype: DType::F64,
            ..*placement
        };
        Ok(Decoder::load_with(checkpoint, &placement, tell)?)
    }
}
