//! H25: does head density predict that the residual stream dampens?
//!
//! The claim, as published, is one number per model: the norm of the residual
//! at the last token after the penultimate block over the norm before it,
//! averaged over 25 prompts. `measure` takes that number and every other
//! defensible reading of it (METHODS §1), `published` holds what was printed,
//! `summarise` says what follows, as published and audited.

mod measure;
mod published;
mod summarise;

use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

/// The experiment.
pub struct H25Gain;

impl Experiment for H25Gain {
    fn name(&self) -> &'static str {
        "h25-gain"
    }

    fn spec_text(&self) -> &'static str {
        include_str!("../experiment.toml")
    }

    fn prompt_texts(&self) -> &'static [&'static str] {
        &[include_str!("../../../prompts/h25.jsonl")]
    }

    fn passes(&self, n_layers: usize) -> f64 {
        // One in f32, one in f64 at half the speed, and the clamp: one more
        // for all blocks, and from every block to the end.
        1.0 + 2.0 + 1.0 + n_layers as f64 / 2.0
    }

    fn extra_memory(&self, facts: &ModelFacts) -> u64 {
        if measure::runs_in_f64(facts.n_layers, facts.d_model, facts.d_mlp) {
            facts.parameters * 8
        } else {
            0
        }
    }

    fn activations(&self, facts: &ModelFacts, tokens: u64) -> u64 {
        let [layers, heads, d_model, d_mlp] =
            [facts.n_layers, facts.n_heads, facts.d_model, facts.d_mlp].map(|n| n as u64);
        // Four sites of every block; heads and neurons of the last two.
        4 * tokens * (4 * layers * d_model + 2 * heads * d_model + 2 * d_mlp)
    }

    fn takes_recordings(&self) -> bool {
        true
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
