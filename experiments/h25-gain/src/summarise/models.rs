//! Models with their gains, from the published table or from records.

use assay_experiment::ExperimentError;
use assay_record::{Record, RecordError, Sample};

use crate::published::{PythiaSweep, SweepModel};
use assay_experiment::judge::is_small;
use assay_experiment::page::{Origin, must, record_id, slug};
use assay_experiment::subject::Names;

/// The gains of one model under the published definition.
#[derive(Debug, Clone)]
pub(crate) struct ModelGains {
    /// As printed.
    pub(crate) name: String,
    /// What stands for the model in number ids: "published.pythia-70m".
    pub(crate) key: String,
    /// Whether the numbers were published and not measured.
    pub(crate) published: bool,
    /// Whether activations were recorded and there is no model.
    pub(crate) recorded: bool,
    /// Whether it is one of those small models that are a body of their own.
    pub(crate) small: bool,
    pub(crate) family: String,
    /// Post-LN models are reported and left out of tests: their norm is forced.
    pub(crate) post_norm: bool,
    pub(crate) layers: usize,
    pub(crate) d_model: usize,
    pub(crate) rho: f64,
    /// Of the gain over prompts; published ones as printed.
    pub(crate) mean: f64,
    /// Population SD of the gain over prompts; published ones as printed.
    pub(crate) sd_population: f64,
    /// [prompt]
    pub(crate) gains: Vec<f64>,
    /// [prompt] labels of the category, from 0.
    pub(crate) strata: Vec<usize>,
    pub(crate) origin: Origin,
}

impl ModelGains {
    /// Id of a number about this model.
    pub(crate) fn id(&self, what: &str) -> String {
        format!("h25.{}.{what}", self.key)
    }

    /// log gain by prompt.
    pub(crate) fn logs(&self) -> Vec<f64> {
        self.gains.iter().map(|g| g.ln()).collect()
    }

    /// A model of the sweep; `categories` are those of the prompts.
    pub(crate) fn of_sweep(
        sweep: &PythiaSweep,
        model: &SweepModel,
        categories: &[String],
    ) -> Result<Self, ExperimentError> {
        if model.gain_by_prompt.len() != categories.len() {
            return Err(ExperimentError::Unsuitable {
                model: model.model.clone(),
                reason: format!(
                    "has {} published gains for {} prompts",
                    model.gain_by_prompt.len(),
                    categories.len()
                ),
            });
        }
        Ok(Self {
            name: model.model.clone(),
            key: format!("published.{}", slug(&model.model)),
            published: true,
            recorded: false,
            small: false,
            family: "pythia".to_owned(),
            post_norm: false,
            layers: model.n_layers,
            d_model: model.d_model,
            rho: model.rho(),
            mean: model.gain_mean,
            sd_population: model.gain_population_sd,
            gains: model.gain_by_prompt.clone(),
            strata: labels(categories.iter().map(String::as_str)),
            origin: Origin::published(&sweep.source),
        })
    }
}

/// One record, read as gains.
#[derive(Debug, Clone)]
pub(crate) struct Measured<'a> {
    pub(crate) gains: ModelGains,
    pub(crate) record: &'a Record,
}

impl<'a> Measured<'a> {
    /// All records; where a model has several, their ids tell them apart.
    pub(crate) fn all(records: &'a [Record]) -> Result<Vec<Self>, ExperimentError> {
        let names = Names::of(records);
        records.iter().map(|r| Self::new(r, &names)).collect()
    }

    fn new(record: &'a Record, names: &Names) -> Result<Self, ExperimentError> {
        let model = &record.key.model;
        let unsuitable = |reason: String| ExperimentError::Unsuitable {
            model: model.clone(),
            reason,
        };
        if record.facts.n_layers < 3 {
            return Err(unsuitable(format!(
                "has a record with {} layers, and the published gain needs 3",
                record.facts.n_layers
            )));
        }
        let id = record_id(record)?;
        let (name, key) = names.call(record)?;
        let mut measured = Self {
            gains: ModelGains {
                name,
                key,
                published: false,
                recorded: record.key.is_recording(),
                small: is_small(record),
                family: record.key.family.clone(),
                // The facts say where the norm stands: "LayerNorm, post".
                post_norm: record.facts.norm.ends_with("post"),
                layers: record.facts.n_layers,
                d_model: record.facts.d_model,
                rho: record.facts.rho,
                mean: 0.0,
                sd_population: 0.0,
                gains: Vec::new(),
                strata: labels(record.prompts().map(|s| s.cluster.as_str())),
                origin: Origin::record(&id),
            },
            record,
        };
        measured.gains.gains = measured.scalars("gain.as-published")?;
        if measured.gains.gains.iter().any(|g| *g <= 0.0) {
            return Err(unsuitable("has a gain that is not positive".to_owned()));
        }
        let gains = &measured.gains.gains;
        let mean = must(&format!("mean gain of {model}"), assay_stats::mean(gains))?;
        let sd = must(
            &format!("SD of the gain of {model}"),
            assay_stats::sd_population(gains),
        )?;
        measured.gains.mean = mean;
        measured.gains.sd_population = sd;
        Ok(measured)
    }

    /// Were only activations there?
    pub(crate) fn recorded(&self) -> bool {
        self.gains.recorded
    }

    /// Block L-2.
    pub(crate) fn penultimate(&self) -> usize {
        self.gains.layers - 2
    }

    /// Block L-1.
    pub(crate) fn last(&self) -> usize {
        self.gains.layers - 1
    }

    pub(crate) fn prompts(&self) -> impl Iterator<Item = &'a Sample> {
        self.record.prompts()
    }

    /// Whether every prompt has the measure.
    pub(crate) fn has(&self, measure: &str) -> bool {
        self.prompts().all(|s| s.measures.contains_key(measure))
    }

    /// [prompt] of a number.
    pub(crate) fn scalars(&self, measure: &str) -> Result<Vec<f64>, ExperimentError> {
        Ok(self
            .prompts()
            .map(|s| s.get(measure))
            .collect::<Result<_, _>>()?)
    }

    /// [prompt][layer] of a series over blocks.
    pub(crate) fn series(&self, measure: &str) -> Result<Vec<&'a [f64]>, ExperimentError> {
        self.prompts()
            .map(|s| {
                let series = s.get_series(measure)?;
                if series.len() == self.gains.layers {
                    return Ok(series);
                }
                Err(ExperimentError::Record(RecordError::Missing {
                    kind: "series over all blocks",
                    name: format!("{measure} in sample {} of {}", s.unit, self.gains.name),
                }))
            })
            .collect()
    }

    /// [prompt] of a series at one block.
    pub(crate) fn at(&self, measure: &str, layer: usize) -> Result<Vec<f64>, ExperimentError> {
        let series = self.series(measure)?;
        Ok(series
            .into_iter()
            .filter_map(|s| s.get(layer).copied())
            .collect())
    }

    /// [layer] means over prompts of a series over blocks.
    pub(crate) fn mean_by_layer(&self, measure: &str) -> Result<Vec<f64>, ExperimentError> {
        (0..self.gains.layers)
            .map(|l| {
                let what = format!("mean {measure} of {} at block {l}", self.gains.name);
                must(&what, assay_stats::mean(&self.at(measure, l)?))
            })
            .collect()
    }
}

/// Labels from 0 in order of first appearance.
pub(crate) fn labels<'n>(names: impl Iterator<Item = &'n str>) -> Vec<usize> {
    let mut seen: Vec<&str> = Vec::new();
    names
        .map(|name| match seen.iter().position(|s| *s == name) {
            Some(label) => label,
            None => {
                seen.push(name);
                seen.len() - 1
            }
        })
        .collect()
}
