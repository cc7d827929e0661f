//! The Pythia anomaly: do parallel blocks cancel?
//!
//! The note saw Pythia-6.9b shrink its residual in the last block, and laid it
//! to the parallel wiring: attention and MLP read the same input, so what they
//! add would cancel. `measure` takes what either adds, its angles and the exact
//! split of the norm's change, `surgery` rewires one block at a time,
//! `summarise` tries the note's predictions and its decision tree as written,
//! and the audited verdicts beside them (METHODS §3).

mod measure;
mod published;
mod summarise;
mod surgery;

use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

/// The experiment.
pub struct PythiaAnomaly;

impl Experiment for PythiaAnomaly {
    fn name(&self) -> &'static str {
        "pythia-anomaly"
    }

    fn spec_text(&self) -> &'static str {
        include_str!("../experiment.toml")
    }

    fn prompt_texts(&self) -> &'static [&'static str] {
        &[
            include_str!("../prompts/published.jsonl"),
            include_str!("../../../prompts/h25.jsonl"),
        ]
    }

    fn passes(&self, n_layers: usize) -> f64 {
        // One, and from every block to the end with its MLP rewired.
        1.0 + n_layers as f64 / 2.0 + surgery::ALPHAS.len() as f64
    }

    fn extra_memory(&self, _: &ModelFacts) -> u64 {
        0
    }

    fn activations(&self, facts: &ModelFacts, tokens: u64) -> u64 {
        // Four sites of every block, and the logits of all tokens.
        4 * tokens * (4 * facts.n_layers as u64 * facts.d_model as u64 + facts.vocab as u64)
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
