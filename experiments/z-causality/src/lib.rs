//! Is Z causal?
//!
//! The claim: a few dozen dimensions of the residual stream, those that the
//! keys of a late layer read, carry what a model reasons about, and the rest
//! carries the language it speaks. `masks` takes Z from the weights, `patch`
//! replaces what is in a subspace, `cells` does so teacher-forced in every
//! cell beside its placebos, `texts` while decoding, `held`
//! does it where the truth is known, `update` splits what each
//! block adds, `summarise` says what follows (METHODS §5).

mod cells;
mod held;
mod masks;
mod measure;
mod patch;
mod published;
mod questions;
mod streams;
mod summarise;
mod texts;
mod update;

use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

/// The experiment.
pub struct ZCausality;

impl Experiment for ZCausality {
    fn name(&self) -> &'static str {
        "z-causality"
    }

    fn spec_text(&self) -> &'static str {
        include_str!("../experiment.toml")
    }

    fn prompt_texts(&self) -> &'static [&'static str] {
        &[include_str!("../../../prompts/zh-en/problems.jsonl")]
    }

    fn passes(&self, n_layers: usize) -> f64 {
        // Beside a few whole passes: about 900 patched ones of half the
        // prompts through the blocks behind l1, and texts, some forty patches
        // and forty random ones on every problem.
        3.0 + 450.0 * 3.0 / n_layers as f64 + 80.0
    }

    fn extra_memory(&self, facts: &ModelFacts) -> u64 {
        // Logits of the rows that are looked at, twice, and a batch of texts'.
        4 * 640 * facts.vocab as u64
    }

    fn activations(&self, facts: &ModelFacts, tokens: u64) -> u64 {
        // The residual stream before every block and after the last, and as
        // much again as keys and values of a batch of texts.
        2 * 4 * tokens * facts.d_model as u64 * (facts.n_layers as u64 + 1)
    }

    fn has_more(&self) -> bool {
        // Texts at every size and random subspaces in every cell.
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
