//! The anatomy of a suite: where norms are large over layers and tokens, where
//! gradients fall, what single activations and heads stand out, and what the
//! model loses when an activation is replaced (METHODS §4).
//!
//! `measure` takes the maps of one model, `summarise` turns the note's words
//! about its heat maps into statistics over texts, for every model and, where
//! several revisions of one were measured, over its training.

mod measure;
mod published;
mod summarise;

use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

/// The experiment.
pub struct SuiteAnatomy;

impl Experiment for SuiteAnatomy {
    fn name(&self) -> &'static str {
        "suite-anatomy"
    }

    fn spec_text(&self) -> &'static str {
        include_str!("../experiment.toml")
    }

    fn prompt_texts(&self) -> &'static [&'static str] {
        &[
            include_str!("../prompts/texts.jsonl"),
            include_str!("../../../prompts/h25.jsonl"),
        ]
    }

    fn passes(&self, _: usize) -> f64 {
        // One over all texts; lens, gradients, replacements and patches run
        // over parts of them, and together cost about as much as this many.
        45.0
    }

    fn extra_memory(&self, facts: &ModelFacts) -> u64 {
        // Logits of a gradient's part of a set, and what going back through
        // their logarithms keeps.
        (measure::PART_TOKENS * facts.vocab * 4 * 8) as u64
    }

    fn activations(&self, facts: &ModelFacts, tokens: u64) -> u64 {
        let [layers, heads, d_model, d_head, kv] = [
            facts.n_layers,
            facts.n_heads,
            facts.d_model,
            facts.d_head,
            facts.n_kv_heads,
        ]
        .map(|n| n as u64);
        // Three sites of the residual's width, queries, keys and values, and
        // patterns of texts of up to about a hundred tokens.
        4 * tokens * layers * (3 * d_model + (heads + 2 * kv) * d_head + heads * 100)
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
