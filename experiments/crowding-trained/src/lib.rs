//! Does a higher head density cause lower gains? The published models differ
//! in depth and width as much as in density (erratum E3); the models of
//! organisms/crowding were trained so that they do not.
//!
//! `measure` takes the gains of METHODS §1 on beginnings of stories, of the
//! model as trained and as it was before the first step; `design` says which
//! models are compared with which; `summarise` fits the slopes.

mod design;
mod measure;
mod summarise;

use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

/// The experiment.
pub struct CrowdingTrained;

impl Experiment for CrowdingTrained {
    fn name(&self) -> &'static str {
        "crowding-trained"
    }

    fn spec_text(&self) -> &'static str {
        include_str!("../experiment.toml")
    }

    fn prompt_texts(&self) -> &'static [&'static str] {
        &[include_str!("../prompts/stories.jsonl")]
    }

    fn passes(&self, _: usize) -> f64 {
        // The model, and the same untrained.
        2.0
    }

    fn extra_memory(&self, facts: &ModelFacts) -> u64 {
        4 * facts.parameters
    }

    fn activations(&self, facts: &ModelFacts, tokens: u64) -> u64 {
        2 * 2 * 4 * facts.d_model as u64 * tokens * facts.n_layers as u64
    }

    fn plan(&self, session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
        measure::plan(session, prompts)
    }

    fn measure(
        &self,
        session: &mut Session,
        _: &ExperimentSpec,
        prompts: &PromptSet,
    ) -> Result<Vec<Sample>, ExperimentError> {
        measure::measure(session, prompts)
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
