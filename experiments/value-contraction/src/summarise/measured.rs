//! A record, and tests over its topics.

use std::collections::{BTreeMap, BTreeSet};

use assay_experiment::ExperimentError;
use assay_experiment::judge::Tested;
use assay_experiment::page::{GAIN, NOISE, Origin, P, Page, Stat, must, record_id};
use assay_experiment::subject::Names;
use assay_record::{Record, Sample};
use assay_stats as stats;
use assay_stats::{Interval, PERMUTATION_DRAWS, stream};

use crate::bank::{MATCHED, PLAIN, is_recursive};

/// Resamples of a bootstrap.
pub(crate) const RESAMPLES: usize = 2000;

/// What the statistics are done with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) alpha: f64,
}

/// One record, its samples by topic and group.
pub(crate) struct Measured<'a> {
    pub(crate) record: &'a Record,
    /// As printed.
    pub(crate) name: String,
    /// In number ids.
    pub(crate) key: String,
    pub(crate) origin: Origin,
    /// Groups of the matched set in the order of the bank.
    pub(crate) groups: Vec<String>,
    /// Topics of the matched set.
    pub(crate) topics: Vec<String>,
    /// (set, group, topic) -> sample.
    samples: BTreeMap<(&'a str, &'a str, &'a str), &'a Sample>,
}

impl<'a> Measured<'a> {
    /// All records; where a model has several, their ids tell them apart.
    pub(crate) fn all(records: &'a [Record]) -> Result<Vec<Self>, ExperimentError> {
        let names = Names::of(records);
        let mut all = Vec::new();
        for record in records {
            let (name, key) = names.call(record)?;
            let id = record_id(record)?;
            let (mut groups, mut topics) = (Vec::new(), BTreeSet::new());
            let mut samples = BTreeMap::new();
            for sample in &record.samples {
                let (Some(set), Some(group)) = (sample.tag("set"), sample.tag("group")) else {
                    continue;
                };
                if set == MATCHED {
                    if !groups.iter().any(|g| g == group) {
                        groups.push(group.to_owned());
                    }
                    topics.insert(sample.cluster.clone());
                }
                samples.insert((set, group, sample.cluster.as_str()), sample);
            }
            all.push(Self {
                record,
                name,
                key,
                origin: Origin::record(&id),
                groups,
                topics: topics.into_iter().collect(),
                samples,
            });
        }
        Ok(all)
    }

    /// An id of a number about this model.
    pub(crate) fn id(&self, rest: &str) -> String {
        format!("rv.{}.{rest}", self.key)
    }

    /// Were only activations there?
    pub(crate) fn recorded(&self) -> bool {
        self.record.key.is_recording()
    }

    /// The strongest grade of recursion.
    pub(crate) fn strongest(&self) -> &str {
        let found = self.groups.iter().rfind(|g| is_recursive(g));
        found.map_or("", String::as_str)
    }

    /// The grades of recursion, mildest first.
    pub(crate) fn grades(&self) -> Vec<&str> {
        let all = self.groups.iter().map(String::as_str);
        all.filter(|g| is_recursive(g)).collect()
    }

    /// The plain controls that the bank has.
    pub(crate) fn plain(&self) -> Vec<&str> {
        let all = self.groups.iter().map(String::as_str);
        all.filter(|g| PLAIN.contains(g)).collect()
    }

    /// The sample of a set, group and topic.
    pub(crate) fn sample(
        &self,
        set: &str,
        group: &str,
        topic: &str,
    ) -> Result<&'a Sample, ExperimentError> {
        let found = self.samples.get(&(set, group, topic)).copied();
        found.ok_or_else(|| ExperimentError::Statistic {
            what: format!("{} of {}", group, self.name),
            reason: format!("its record has no sample of set {set} on {topic}"),
        })
    }

    /// The samples of a set and group, by topic.
    pub(crate) fn of_group(&self, set: &str, group: &str) -> Vec<&'a Sample> {
        let all = self.samples.iter();
        all.filter(|((s, g, _), _)| *s == set && *g == group)
            .map(|(_, sample)| *sample)
            .collect()
    }

    /// Logarithm of a measure by topic.
    pub(crate) fn logs(
        &self,
        set: &str,
        group: &str,
        measure: &str,
    ) -> Result<Vec<f64>, ExperimentError> {
        let topics = self.topics.iter();
        topics
            .map(|t| Ok(self.sample(set, group, t)?.get(measure)?.ln()))
            .collect()
    }

    /// Does every sample of the matched set have this measure?
    pub(crate) fn has(&self, measure: &str) -> bool {
        let matched = self.samples.iter().filter(|((set, ..), _)| *set == MATCHED);
        let mut all = matched.map(|(_, s)| s.get(measure).is_ok());
        all.all(|has| has)
    }
}

/// A test of values, one a topic, against 0.
pub(crate) struct Test {
    pub(crate) mean: f64,
    pub(crate) interval: Interval,
    pub(crate) p: f64,
}

/// Mean over topics with a BCa interval, and a sign-flip test of symmetry about
/// 0. `name` names the random streams.
pub(crate) fn over_topics(values: &[f64], name: &str, set: Settings) -> Stat<Test> {
    let resampled = |units: &[usize]| {
        let drawn: Vec<f64> = units.iter().map(|u| values[*u]).collect();
        stats::mean(&drawn)
    };
    let level = 1.0 - set.alpha;
    let draws = stream(set.seed, &format!("value-contraction/bootstrap/{name}"));
    let bca = stats::bootstrap_bca(values.len(), resampled, RESAMPLES, level, draws)?;
    let draws = stream(set.seed, &format!("value-contraction/flips/{name}"));
    let flips = stats::sign_flip(values, PERMUTATION_DRAWS, draws)?;
    Ok(Test {
        mean: bca.estimate,
        interval: bca.interval,
        p: flips.p,
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
    page.put(
        &format!("{id}.low"),
        &bound("lower"),
        test.interval.low,
        GAIN.drawn(),
        origin,
    )?;
    page.put(
        &format!("{id}.high"),
        &bound("upper"),
        test.interval.high,
        GAIN.drawn(),
        origin,
    )?;
    page.put(
        &format!("{id}.p"),
        &format!("sign-flip p of {what}"),
        test.p,
        P.drawn(),
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

/// Mean and standard error, or the reason why there is none.
pub(crate) fn mean_and_error(what: &str, values: &[f64]) -> Result<(f64, f64), ExperimentError> {
    let mean = must(what, stats::mean(values))?;
    let error = match values.len() {
        0 | 1 => 0.0,
        n => must(what, stats::sd_sample(values))? / (n as f64).sqrt(),
    };
    Ok((mean, error))
}

/// Errors of rebuilt activations are of the size of rounding.
pub(crate) const REBUILT: assay_experiment::page::Style = NOISE;
