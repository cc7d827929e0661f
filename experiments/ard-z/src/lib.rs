//! Does data find the Z that the weights give?
//!
//! The note fitted a length to every dimension so that a problem's clouds of
//! activations in two languages look alike. `clouds` takes the activations,
//! `measure` fits as published and as audited, `planted` asks what either
//! objective recovers, `summarise` says what follows (METHODS §6).

mod clouds;
mod measure;
mod planted;
mod summarise;

use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

/// The experiment.
pub struct ArdZ;

impl Experiment for ArdZ {
    fn name(&self) -> &'static str {
        "ard-z"
    }

    fn spec_text(&self) -> &'static str {
        include_str!("../experiment.toml")
    }

    fn prompt_texts(&self) -> &'static [&'static str] {
        &[include_str!("../../../prompts/zh-en/problems.jsonl")]
    }

    fn passes(&self, _: usize) -> f64 {
        // One, and sixty fits of some six hundred steps, each of two products
        // of a prompt's rows with themselves.
        40.0
    }

    fn extra_memory(&self, _: &ModelFacts) -> u64 {
        0
    }

    fn activations(&self, facts: &ModelFacts, tokens: u64) -> u64 {
        // The residual stream before every block, and in f64 twice at one.
        4 * tokens * facts.d_model as u64 * (facts.n_layers as u64 + 5)
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
