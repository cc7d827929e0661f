//! A record, and tests over its prompts.

use assay_experiment::ExperimentError;
use assay_experiment::judge::Tested;
use assay_experiment::page::{GAIN, Origin, P, Page, Stat, must, record_id};
use assay_experiment::subject::Names;
use assay_record::{Record, Sample};
use assay_stats as stats;
use assay_stats::{Interval, stream};

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;

/// What the statistics are done with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) alpha: f64,
}

/// The set of the published sublayer gains.
const PUBLISHED_SET: &str = "published-four";

/// One record.
pub(crate) struct Measured<'a> {
    pub(crate) record: &'a Record,
    /// As printed.
    pub(crate) name: String,
    /// In number ids.
    pub(crate) key: String,
    pub(crate) origin: Origin,
    /// Prompts of the set that everything is tested on: the last of the record.
    pub(crate) prompts: Vec<&'a Sample>,
    /// Prompts of the published sublayer gains.
    pub(crate) four: Vec<&'a Sample>,
    /// Null of cos(A, M) by block, on the tested set.
    pub(crate) null: &'a [f64],
}

impl<'a> Measured<'a> {
    /// All records; where a model has several, their ids tell them apart.
    pub(crate) fn all(records: &'a [Record]) -> Result<Vec<Self>, ExperimentError> {
        let names = Names::of(records);
        records
            .iter()
            .map(|record| {
                let model = &record.key.model;
                let (name, key) = names.call(record)?;
                let id = record_id(record)?;
                let set = |name: &str| -> Vec<&'a Sample> {
                    let all = record.samples.iter();
                    all.filter(|s| s.tag("set") == Some(name)).collect()
                };
                let all = record.samples.iter().rfind(|s| s.unit.ends_with(".all"));
                let all = all.ok_or_else(|| ExperimentError::Statistic {
                    what: format!("the record of {model}"),
                    reason: "it has no sample of a whole set".to_owned(),
                })?;
                let main = all.unit.trim_end_matches(".all");
                Ok(Self {
                    record,
                    name,
                    key,
                    origin: Origin::record(&id),
                    prompts: set(main),
                    four: set(PUBLISHED_SET),
                    null: all.get_series("null-sd.by-layer")?,
                })
            })
            .collect()
    }

    /// An id of a number about this model.
    pub(crate) fn id(&self, rest: &str) -> String {
        format!("anomaly.{}.{rest}", self.key)
    }

    pub(crate) fn parallel(&self) -> bool {
        self.record.facts.block == "parallel"
    }

    /// Do the norms stand after the sums, so that x + A + M is not what leaves
    /// the block?
    pub(crate) fn norm_forced(&self) -> bool {
        self.record.facts.norm.ends_with("post")
    }

    pub(crate) fn last(&self) -> usize {
        self.record.facts.n_layers.saturating_sub(1)
    }

    /// Entry `layer` of a series, by prompt.
    pub(crate) fn at(&self, series: &str, layer: usize) -> Result<Vec<f64>, ExperimentError> {
        entries(&self.prompts, series, layer)
    }

    /// Mean over prompts of a series, by entry.
    pub(crate) fn mean(&self, series: &str) -> Result<Vec<f64>, ExperimentError> {
        let first = self
            .prompts
            .first()
            .map(|s| s.get_series(series))
            .transpose()?;
        let length = first.map_or(0, <[f64]>::len);
        (0..length)
            .map(|i| must(series, stats::mean(&self.at(series, i)?)))
            .collect()
    }

    /// Were only activations there?
    pub(crate) fn recorded(&self) -> bool {
        self.record.key.is_recording()
    }

    /// Was the block rewired on this model?
    pub(crate) fn rewired(&self) -> bool {
        let mut all = self.prompts.iter();
        all.all(|s| s.get_series("surgery.gain.by-layer").is_ok())
    }

    /// Category of each prompt as a label.
    pub(crate) fn strata(&self) -> Vec<usize> {
        let mut seen: Vec<&str> = Vec::new();
        let label = |s: &&'a Sample| match seen.iter().position(|c| *c == s.cluster) {
            Some(label) => label,
            None => {
                seen.push(&s.cluster);
                seen.len() - 1
            }
        };
        self.prompts.iter().map(label).collect()
    }
}

/// Entry `index` of a series of some samples.
pub(crate) fn entries(
    samples: &[&Sample],
    series: &str,
    index: usize,
) -> Result<Vec<f64>, ExperimentError> {
    samples
        .iter()
        .map(|s| {
            let found = s.get_series(series)?.get(index).copied();
            found.ok_or_else(|| ExperimentError::Statistic {
                what: format!("{series} of {}", s.unit),
                reason: format!("it has no entry {index}"),
            })
        })
        .collect()
}

/// A test of values, one a prompt, against 0.
pub(crate) struct Test {
    pub(crate) mean: f64,
    pub(crate) interval: Interval,
    pub(crate) p: f64,
}

/// Mean over prompts with a BCa interval of resamples within categories, and a
/// t-test against 0.
pub(crate) fn over_prompts(
    values: &[f64],
    strata: &[usize],
    name: &str,
    set: Settings,
) -> Stat<Test> {
    let of = |units: &[usize]| {
        let drawn: Vec<f64> = units.iter().map(|u| values[*u]).collect();
        stats::mean(&drawn)
    };
    let level = 1.0 - set.alpha;
    let draws = stream(set.seed, &format!("pythia-anomaly/bootstrap/{name}"));
    let bca = stats::bootstrap_bca_stratified(strata, of, RESAMPLES, level, draws)?;
    let t = stats::one_sample_t(values, 0.0, level)?;
    Ok(Test {
        mean: t.estimate,
        interval: bca.interval,
        p: t.p,
    })
}

/// Writes a test under `id` and gives what a claim needs of it.
pub(crate) fn write_test(
    page: &mut Page,
    id: &str,
    what: &str,
    test: &Test,
    origin: &Origin,
) -> Result<Tested, ExperimentError> {
    page.put(&format!("{id}.mean"), what, test.mean, GAIN, origin)?;
    let bound = |which: &str| format!("{which} bound of {what}");
    let (low, high) = (test.interval.low, test.interval.high);
    page.put(
        &format!("{id}.low"),
        &bound("lower"),
        low,
        GAIN.drawn(),
        origin,
    )?;
    page.put(
        &format!("{id}.high"),
        &bound("upper"),
        high,
        GAIN.drawn(),
        origin,
    )?;
    page.put(
        &format!("{id}.p"),
        &format!("p of {what}"),
        test.p,
        P,
        origin,
    )?;
    Ok(Tested {
        id: id.to_owned(),
        estimate: test.mean,
        interval: test.interval,
        p: test.p,
        because: format!("{{{id}.mean}} ({{{id}.low}} to {{{id}.high}}), p = {{{id}.p}}."),
        origin: origin.clone(),
    })
}
