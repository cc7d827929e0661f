//! A record as a summary reads it, and tests over clusters of its units.

use std::collections::{BTreeMap, BTreeSet};

use assay_record::{Record, RecordError, RecordKey, Sample};
use assay_stats as stats;
use assay_stats::{Interval, PERMUTATION_DRAWS, stream};

use crate::ExperimentError;
use crate::judge::Tested;
use crate::page::{GAIN, Origin, P, Page, Stat, record_id, shown, slug};

/// Revision of a model that lies on this machine as it is.
const LAST: &str = "local";

/// What the models of some records are called.
pub struct Names<'a> {
    /// Records of each model.
    of_model: BTreeMap<&'a str, usize>,
    /// And of each revision of it.
    of_revision: BTreeMap<(&'a str, &'a str), usize>,
    /// Models by what they are in number ids, where "My_model" is "my-model".
    alike: BTreeMap<String, BTreeSet<&'a str>>,
}

impl<'a> Names<'a> {
    /// Of these records.
    #[must_use]
    pub fn of(records: &'a [Record]) -> Self {
        let mut names = Self {
            of_model: BTreeMap::new(),
            of_revision: BTreeMap::new(),
            alike: BTreeMap::new(),
        };
        for RecordKey {
            model, revision, ..
        } in records.iter().map(|r| &r.key)
        {
            *names.of_model.entry(model).or_default() += 1;
            *names.of_revision.entry((model, revision)).or_default() += 1;
            names.alike.entry(slug(model)).or_default().insert(model);
        }
        names
    }

    /// How a record's model is printed, and what it is in number ids. Of a
    /// model with several records the one of its last state goes by its name, a
    /// checkpoint by its revision too, and records of one revision, or of
    /// models whose names are alike in letters and digits, by their ids.
    ///
    /// # Errors
    /// A record whose key cannot be written.
    pub fn call(&self, record: &Record) -> Result<(String, String), ExperimentError> {
        let (model, revision) = (record.key.model.as_str(), record.key.revision.as_str());
        let key = slug(model);
        let alone = self.of_model.get(model).is_none_or(|n| *n == 1);
        let twice = (self.of_revision.get(&(model, revision))).is_some_and(|n| *n > 1);
        let by_id = twice || self.alike.get(&key).is_some_and(|of| of.len() > 1);
        let plain = alone || (revision == LAST && !twice);
        let name = match plain {
            true => model.to_owned(),
            false => format!("{model} ({revision})"),
        };
        let id = record_id(record)?;
        let key = match (by_id, plain) {
            (true, _) => format!("{key}.{}", id.get(..12).unwrap_or(&id)),
            (false, true) => key,
            (false, false) => format!("{key}.{}", slug(revision)),
        };
        Ok((name, key))
    }
}

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 2000;

/// What statistics are done with.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of the experiment.
    pub seed: u64,
    /// Of the experiment.
    pub alpha: f64,
}

/// One record.
pub struct Subject<'a> {
    /// The record.
    pub record: &'a Record,
    /// The model as printed.
    pub name: String,
    /// The model in number ids.
    pub key: String,
    /// The record as an origin of numbers.
    pub origin: Origin,
    prefix: &'static str,
    units: BTreeMap<&'a str, &'a Sample>,
}

impl<'a> Subject<'a> {
    /// All records; where a model has several, their ids tell them apart.
    /// Number ids begin with `prefix`.
    ///
    /// # Errors
    /// A record whose key cannot be written.
    pub fn all(prefix: &'static str, records: &'a [Record]) -> Result<Vec<Self>, ExperimentError> {
        let names = Names::of(records);
        let subject = |record: &'a Record| {
            let (name, key) = names.call(record)?;
            let id = record_id(record)?;
            Ok(Self {
                record,
                name,
                key,
                origin: Origin::record(&id),
                prefix,
                units: (record.samples.iter())
                    .map(|s| (s.unit.as_str(), s))
                    .collect(),
            })
        };
        records.iter().map(subject).collect()
    }

    /// An id of a number about this model.
    #[must_use]
    pub fn id(&self, rest: &str) -> String {
        format!("{}.{}.{rest}", self.prefix, self.key)
    }

    /// The sample of a unit.
    ///
    /// # Errors
    /// There is none.
    pub fn unit(&self, unit: &str) -> Result<&'a Sample, ExperimentError> {
        let found = self.units.get(unit).copied();
        found.ok_or_else(|| {
            ExperimentError::Record(RecordError::Missing {
                kind: "sample",
                name: format!("{unit} in the record of {}", self.name),
            })
        })
    }

    /// The sample of the model as a whole.
    ///
    /// # Errors
    /// There is none.
    pub fn model(&self) -> Result<&'a Sample, ExperimentError> {
        self.unit("model")
    }

    /// Samples whose unit begins with some letters, in the record's order.
    pub fn units(&self, prefix: &'static str) -> impl Iterator<Item = &'a Sample> {
        let all = self.record.samples.iter();
        all.filter(move |s| s.unit.starts_with(prefix))
    }
}

/// A mean over units with its interval and its test.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    /// Mean over units.
    pub mean: f64,
    /// At level 1 - alpha.
    pub interval: Interval,
    /// Two-sided.
    pub p: f64,
    /// Clusters.
    pub clusters: usize,
}

/// The mean over units that lie in clusters: a BCa bootstrap over clusters, and
/// sign flips of whole clusters for p. `values` are (cluster, value); `name`
/// names the random streams.
///
/// # Errors
/// Fewer than two clusters; a statistic without a value.
pub fn over_clusters(values: &[(&str, f64)], name: &str, set: Settings) -> Stat<Estimate> {
    let mut clusters: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (cluster, value) in values {
        let (sum, count) = clusters.entry(cluster).or_default();
        *sum += value;
        *count += 1.0;
    }
    let clusters: Vec<(f64, f64)> = clusters.into_values().collect();
    let mean = |picked: &[usize]| {
        let (sum, count) = picked.iter().fold((0.0, 0.0), |(s, c), i| {
            (s + clusters[*i].0, c + clusters[*i].1)
        });
        Ok(sum / count)
    };
    let everybody: Vec<usize> = (0..clusters.len()).collect();
    let whole = mean(&everybody)?;
    let alike = clusters.iter().all(|(sum, count)| sum / count == whole);
    let draws = |what: &str| stream(set.seed, &format!("{name}/{what}"));
    let interval = if alike && clusters.len() > 1 {
        // Nothing varies, so no resample differs.
        Interval {
            low: whole,
            high: whole,
        }
    } else {
        let level = 1.0 - set.alpha;
        stats::bootstrap_bca(clusters.len(), mean, RESAMPLES, level, draws("bootstrap"))?.interval
    };
    let sums: Vec<f64> = clusters.iter().map(|c| c.0).collect();
    let p = if sums.iter().all(|s| *s == 0.0) {
        1.0
    } else {
        stats::sign_flip(&sums, PERMUTATION_DRAWS, draws("flips"))?.p
    };
    Ok(Estimate {
        mean: whole,
        interval,
        p,
        clusters: clusters.len(),
    })
}

/// Writes an estimate under `id` with `.low`, `.high` and `.p`; gives it as
/// evidence.
///
/// # Errors
/// An id that is taken.
pub fn write_estimate(
    page: &mut Page,
    (id, what): (&str, &str),
    estimate: &Estimate,
    origin: &Origin,
) -> Result<Tested, ExperimentError> {
    let style = GAIN.drawn();
    page.put(id, what, estimate.mean, GAIN, origin)?;
    let ends = [
        ("low", estimate.interval.low),
        ("high", estimate.interval.high),
    ];
    for (end, value) in ends {
        let what = format!("{what}: {end} end of the interval");
        page.put(&format!("{id}.{end}"), &what, value, style, origin)?;
    }
    let p = format!("{id}.p");
    page.put(&p, &format!("{what}: p"), estimate.p, P.drawn(), origin)?;
    Ok(Tested {
        because: format!(
            "{} [{}, {}], p = {}.",
            shown(id),
            shown(&format!("{id}.low")),
            shown(&format!("{id}.high")),
            shown(&p)
        ),
        id: id.to_owned(),
        estimate: estimate.mean,
        interval: estimate.interval,
        p: estimate.p,
        origin: origin.clone(),
    })
}
