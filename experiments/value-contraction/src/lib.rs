//! R_V: do recursive prompts contract value space?
//!
//! The claim, as published, is one number per prompt: the participation ratio
//! of the last values of a late layer over that of an early one, smaller for
//! recursive prompts than for factual ones. `values` takes values as published
//! and as they are, `measure` does so on a bank in which every topic is written
//! in every group, at published and at equal lengths, `patch` asks what the
//! values carry, `summarise` says what follows (METHODS §2).

mod bank;
mod measure;
mod patch;
mod published;
mod summarise;
mod values;

use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

/// The experiment.
pub struct ValueContraction;

impl Experiment for ValueContraction {
    fn name(&self) -> &'static str {
        "value-contraction"
    }

    fn spec_text(&self) -> &'static str {
        include_str!("../experiment.toml")
    }

    fn prompt_texts(&self) -> &'static [&'static str] {
        &[
            include_str!("../prompts/bank.jsonl"),
            include_str!("../../../prompts/h25.jsonl"),
        ]
    }

    fn passes(&self, _: usize) -> f64 {
        // One over all prompts; controls and patched runs are a sixth of them.
        1.5
    }

    fn extra_memory(&self, _: &ModelFacts) -> u64 {
        0
    }

    fn activations(&self, facts: &ModelFacts, tokens: u64) -> u64 {
        // Values are measured as they pass; residuals before three blocks and
        // after the last are kept, and queries, keys and values of two blocks.
        let d_kv = (facts.n_kv_heads * facts.d_head) as u64;
        4 * tokens * (4 * facts.d_model as u64 + 6 * d_kv)
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
