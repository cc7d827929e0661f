//! Are the two languages linked by a linear map inside Z?
//!
//! The note fitted 2,500 unknowns to 20 pairs and found a perfect bridge.
//! `features` pools what a model makes of generated pairs, `measure` fits maps
//! in Z and beside it at every size, `planted` asks which bridges such numbers
//! of pairs can show, `summarise` says what follows (METHODS §7).

mod features;
mod measure;
mod planted;
mod published;
mod summarise;

use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

/// The experiment.
pub struct LanguageBridge;

impl Experiment for LanguageBridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn spec_text(&self) -> &'static str {
        include_str!("../experiment.toml")
    }

    fn prompt_texts(&self) -> &'static [&'static str] {
        &[
            include_str!("../../../prompts/zh-en/pairs.jsonl"),
            include_str!("../../../prompts/zh-en/problems.jsonl"),
        ]
    }

    fn passes(&self, _: usize) -> f64 {
        // One; the fits take about as long as half of one on small models.
        1.5
    }

    fn extra_memory(&self, _: &ModelFacts) -> u64 {
        0
    }

    fn activations(&self, facts: &ModelFacts, tokens: u64) -> u64 {
        // A batch of prompts at a time, at two layers.
        4 * facts.d_model as u64 * tokens.min(features::BATCH_TOKENS as u64) * 2
    }

    fn plan(&self, session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
        measure::plan(session, prompts)
    }

    fn measure(
        &self,
        session: &mut Session,
        spec: &ExperimentSpec,
        prompts: &PromptSet,
    ) -> Result<Vec<Sample>, ExperimentError> {
        measure::measure(session, spec.seed, prompts)
    }

    fn summarise(
        &self,
        spec: ExperimentSpec,
        records: &[Record],
        not_run: &[NotRun],
    ) -> Result<Summary, ExperimentError> {
        summarise::summarise(spec, records, not_run)
    }
}
