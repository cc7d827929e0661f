//! One record, read.

use std::collections::BTreeMap;

use assay_experiment::ExperimentError;
use assay_experiment::page::{Origin, must, record_id};
use assay_experiment::subject::Names;
use assay_record::{Record, RecordError, Sample};
use assay_stats as stats;

/// Fewest clusters for which a cluster is one observation.
const MIN_CLUSTERS: usize = 5;

/// A record and what it is called.
#[derive(Clone)]
pub(crate) struct Measured<'a> {
    pub(crate) record: &'a Record,
    /// As printed.
    pub(crate) name: String,
    /// In number ids.
    pub(crate) key: String,
    pub(crate) origin: Origin,
    pub(crate) layers: usize,
    model: &'a Sample,
}

impl<'a> Measured<'a> {
    /// All records; where a model has several, their ids tell them apart.
    pub(crate) fn all(records: &'a [Record]) -> Result<Vec<Self>, ExperimentError> {
        let names = Names::of(records);
        let one = |record: &'a Record| {
            let id = record_id(record)?;
            let (name, key) = names.call(record)?;
            Ok(Self {
                record,
                name,
                key,
                origin: Origin::record(&id),
                layers: record.facts.n_layers,
                model: record.sample(Record::MODEL)?,
            })
        };
        records.iter().map(one).collect()
    }

    /// Steps of training behind a checkpoint.
    pub(crate) fn step(&self) -> Option<f64> {
        self.record.key.revision.strip_prefix("step")?.parse().ok()
    }

    pub(crate) fn id(&self, rest: &str) -> String {
        format!("anatomy.{}.{rest}", self.key)
    }

    /// Texts that were mapped: no pairs.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &'a Sample> {
        self.record.prompts().filter(|s| s.tag("role").is_none())
    }

    /// The sets, in the order of the record.
    pub(crate) fn sets(&self) -> Vec<&'a str> {
        let mut sets = Vec::new();
        for sample in self.texts() {
            let set = set_of(sample);
            if !sets.contains(&set) {
                sets.push(set);
            }
        }
        sets
    }

    /// Texts of one set that have a measure, or of all sets.
    pub(crate) fn having(&self, set: Option<&str>, measure: &str) -> Vec<&'a Sample> {
        let fits = |s: &&Sample| {
            set.is_none_or(|set| set_of(s) == set) && s.measures.contains_key(measure)
        };
        self.record.prompts().filter(fits).collect()
    }

    /// A series of the model as a whole; None if it was not measured.
    pub(crate) fn map(&self, measure: &str) -> Result<Option<&'a [f64]>, ExperimentError> {
        if !self.model.measures.contains_key(measure) {
            return Ok(None);
        }
        Ok(Some(self.model.get_series(measure)?))
    }

    /// A number of the model as a whole; None if it was not measured.
    pub(crate) fn of_model(&self, measure: &str) -> Result<Option<f64>, ExperimentError> {
        if !self.model.measures.contains_key(measure) {
            return Ok(None);
        }
        Ok(Some(self.model.get(measure)?))
    }

    /// Mean over texts of a series by layer; None if no text has it.
    pub(crate) fn mean_series(
        &self,
        set: Option<&str>,
        measure: &str,
    ) -> Result<Option<Vec<f64>>, ExperimentError> {
        let texts = self.having(set, measure);
        let mut mean: Vec<f64> = Vec::new();
        for sample in &texts {
            let series = sample.get_series(measure)?;
            if mean.is_empty() {
                mean = vec![0.0; series.len()];
            }
            if series.len() != mean.len() {
                return Err(ExperimentError::Record(RecordError::Missing {
                    kind: "series as long as the others",
                    name: format!("{measure} in sample {} of {}", sample.unit, self.name),
                }));
            }
            for (sum, v) in mean.iter_mut().zip(series) {
                *sum += v / texts.len() as f64;
            }
        }
        Ok((!texts.is_empty()).then_some(mean))
    }

    /// A series by layer of one text, checked for its length.
    pub(crate) fn by_layer<'s>(
        &self,
        sample: &'s Sample,
        measure: &str,
    ) -> Result<&'s [f64], ExperimentError> {
        let series = sample.get_series(measure)?;
        if series.len() == self.layers {
            return Ok(series);
        }
        Err(ExperimentError::Record(RecordError::Missing {
            kind: "series over all layers",
            name: format!("{measure} in sample {} of {}", sample.unit, self.name),
        }))
    }

    /// A value of every text that has `measure`, one a unit: the mean of a
    /// category of a set, whose texts are not independent, or the text itself
    /// where there are fewer than five categories in all.
    pub(crate) fn units(
        &self,
        measure: &str,
        value: impl Fn(&Sample) -> Result<f64, ExperimentError>,
    ) -> Result<Vec<f64>, ExperimentError> {
        let mut clusters: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
        for sample in self.having(None, measure) {
            let cluster = (set_of(sample), sample.cluster.as_str());
            clusters.entry(cluster).or_default().push(value(sample)?);
        }
        if clusters.len() < MIN_CLUSTERS {
            return Ok(clusters.into_values().flatten().collect());
        }
        let mean =
            |values: Vec<f64>| must(&format!("{measure} of {}", self.name), stats::mean(&values));
        clusters.into_values().map(mean).collect()
    }
}

/// The set of a text.
pub(crate) fn set_of(sample: &Sample) -> &str {
    sample.tag("set").unwrap_or("texts")
}

/// Mean of some layers, 0 of none.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / values.len() as f64
}

/// Number of the largest value, the first of equals; 0 of none.
pub(crate) fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if values.get(best).is_none_or(|b| v > b) {
            best = i;
        }
    }
    best
}
