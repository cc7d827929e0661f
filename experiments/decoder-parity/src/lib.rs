//! Does the decoder compute what Hugging Face transformers computes?
//!
//! Its models are the reference cases of golden/parity: tiny random models of
//! every family, each beside the activations of transformers at every hook
//! site. The summary is the table of worst errors by family and site.

mod measure;
mod summarise;

use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

/// The experiment.
pub struct DecoderParity;

impl Experiment for DecoderParity {
    fn name(&self) -> &'static str {
        "decoder-parity"
    }

    fn spec_text(&self) -> &'static str {
        include_str!("../experiment.toml")
    }

    fn prompt_texts(&self) -> &'static [&'static str] {
        &[]
    }

    fn passes(&self, _: usize) -> f64 {
        // One in f32, one in f64 at half the speed.
        3.0
    }

    fn extra_memory(&self, facts: &ModelFacts) -> u64 {
        facts.parameters * 8
    }

    fn activations(&self, _: &ModelFacts, tokens: u64) -> u64 {
        // Its cases bring their own few tokens, and there are no prompts.
        tokens
    }

    fn plan(&self, session: &mut Session, _: &PromptSet) -> Result<(), ExperimentError> {
        let reference = measure::Reference::read(session)?;
        session.plan(&reference.pack, &["*"])
    }

    fn measure(
        &self,
        session: &mut Session,
        _: &ExperimentSpec,
        _: &PromptSet,
    ) -> Result<Vec<Sample>, ExperimentError> {
        measure::measure(session)
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
