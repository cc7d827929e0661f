//! What every experiment is: a declared hypothesis, a measurement on one
//! model, and a summary over all models.

mod error;
pub mod judge;
pub mod page;
mod session;
pub mod subject;

use assay_record::{ExperimentSpec, ModelFacts, NotRun, PromptSet, Record, Sample, Summary};

pub use error::ExperimentError;
pub use session::{Session, Tokenised, blank_samples};

/// One hypothesis. The worker drives it: per model `plan`, then `measure`;
/// once over all models `summarise`.
pub trait Experiment: Sync {
    /// The crate's name.
    fn name(&self) -> &'static str;

    /// The text of experiment.toml, as compiled in.
    fn spec_text(&self) -> &'static str;

    /// The texts of the prompt files that experiment.toml names, in its order.
    fn prompt_texts(&self) -> &'static [&'static str];

    /// About how many whole passes over its prompts `measure` makes on a model
    /// of `n_layers` blocks: for the plan's estimate of time.
    fn passes(&self, n_layers: usize) -> f64;

    /// Bytes of memory that `measure` takes beyond the weights of a resident
    /// model and the activations it keeps: for the plan.
    fn extra_memory(&self, facts: &ModelFacts) -> u64;

    /// Bytes of activations that `measure` keeps at a time, over prompts of
    /// `tokens` tokens in all: for the plan. A streamed model needs them too.
    fn activations(&self, facts: &ModelFacts, tokens: u64) -> u64;

    /// Does `measure` leave something out for its time unless it is asked for
    /// ([`Session::more`])? Then records with it are kept apart.
    fn has_more(&self) -> bool {
        false
    }

    /// Can `measure` do without the model, on a recording of activations? It
    /// then leaves out what intervenes or reads weights
    /// ([`Session::has_model`]).
    fn takes_recordings(&self) -> bool {
        false
    }

    /// Announces the passes that `measure` will ask for, so that experiments
    /// with the same prompts share them.
    ///
    /// # Errors
    /// The model cannot show the phenomenon, or has no tokenizer.
    fn plan(&self, session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError>;

    /// Measures one model.
    ///
    /// # Errors
    /// A measure without a value: the error names model, prompt and layer.
    fn measure(
        &self,
        session: &mut Session,
        spec: &ExperimentSpec,
        prompts: &PromptSet,
    ) -> Result<Vec<Sample>, ExperimentError>;

    /// Statistics over the records of all models.
    ///
    /// # Errors
    /// A record that lacks a measure, a statistic without a value.
    fn summarise(
        &self,
        spec: ExperimentSpec,
        records: &[Record],
        not_run: &[NotRun],
    ) -> Result<Summary, ExperimentError>;
}
