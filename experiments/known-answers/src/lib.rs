//! Do the instruments find what was put there?
//!
//! `by_hand` puts the patch, the massive activation and the sink to a
//! hand-built model of which all is known (`examples/write_model.rs`);
//! `planted` puts the other instruments to drawn data with a known truth, over
//! noise and sample size; `summarise` holds both against the pass marks that
//! experiment.toml declares.

mod by_hand;
mod planted;
mod summarise;

use std::collections::BTreeMap;

use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

/// Dimension of the hand-built model's massive activation, at the first token.
pub const MASSIVE_DIMENSION: usize = 17;

/// The experiment.
pub struct KnownAnswers;

impl Experiment for KnownAnswers {
    fn name(&self) -> &'static str {
        "known-answers"
    }

    fn spec_text(&self) -> &'static str {
        include_str!("../experiment.toml")
    }

    fn prompt_texts(&self) -> &'static [&'static str] {
        &[include_str!("../prompts/letters.jsonl")]
    }

    fn passes(&self, _: usize) -> f64 {
        2.0
    }

    fn extra_memory(&self, _: &ModelFacts) -> u64 {
        0
    }

    fn activations(&self, facts: &ModelFacts, tokens: u64) -> u64 {
        4 * facts.d_model as u64 * tokens * 2 * facts.n_layers as u64
    }

    fn plan(&self, session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
        by_hand::plan(session, prompts)
    }

    fn measure(
        &self,
        session: &mut Session,
        spec: &ExperimentSpec,
        prompts: &PromptSet,
    ) -> Result<Vec<Sample>, ExperimentError> {
        let mut samples = by_hand::measure(session, spec.seed, prompts)?;
        samples.extend(planted::measure(session, spec.seed)?);
        Ok(samples)
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

/// A sample that is no prompt.
fn blank(unit: &str) -> Sample {
    Sample {
        unit: unit.to_owned(),
        cluster: unit.split('.').next().unwrap_or(unit).to_owned(),
        text: String::new(),
        token_ids: Vec::new(),
        special_tokens: 0,
        tags: BTreeMap::new(),
        measures: BTreeMap::new(),
    }
}
