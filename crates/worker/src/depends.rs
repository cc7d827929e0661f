//! Which measures a number of a summary depends on, found by trying: a measure
//! is changed in all samples, the statistics are done again, and it is seen
//! whether the number moved. Nothing is declared, so nothing can be declared
//! wrongly.

use anyhow::{Context, bail};
use assay_experiment::ExperimentError;
use assay_record::wire::{DependsRequest, Event};
use assay_record::{Measure, NotRun, Record, Sample, Store};
use assay_stats::stream;
use rand_chacha::rand_core::RngCore;

use crate::experiments::Declared;
use crate::{emit, experiments};

/// A value v becomes v (1 + u), u uniform between minus this and this: enough
/// to change ranks and signs of differences, and too little to leave the range
/// of most measures.
const SHARE: f64 = 0.3;

pub(crate) fn depends(text: &str) -> anyhow::Result<()> {
    let request: DependsRequest =
        serde_json::from_str(text).context("failed to read the request")?;
    let declared = experiments::find(&request.experiment)?;
    let store = Store::open(&request.store)?;
    let read = |ids: &[String]| -> anyhow::Result<Vec<Record>> {
        let all = ids.iter().map(|id| store.read(&request.experiment, id));
        Ok(all.collect::<Result<_, _>>()?)
    };
    let trial = Trial::new(&declared, &request, read)?;
    let mut names: Vec<String> = (trial.records.iter())
        .filter(|r| trial.of_number(r))
        .flat_map(|r| &r.samples)
        .flat_map(|s| s.measures.keys().cloned())
        .collect();
    names.sort();
    names.dedup();
    let found = search("trying measures", &names, &|changed| {
        trial.with_changed(&|_, measure| changed.iter().any(|c| c == measure))
    })?;
    let mut kinds: Vec<String> = (trial.records.iter())
        .filter(|r| trial.of_number(r))
        .flat_map(|r| &r.samples)
        .filter(|s| s.measures.keys().any(|m| found.moves.contains(m)))
        .map(kind)
        .collect();
    kinds.sort();
    kinds.dedup();
    let mut units = None;
    if (2..=MOST_KINDS).contains(&kinds.len()) {
        let of = search("trying units", &kinds, &|changed| {
            trial.with_changed(&|sample, measure| {
                found.moves.iter().any(|m| m == measure) && changed.contains(&kind(sample))
            })
        })?;
        let samples = trial.records.iter().flat_map(|r| &r.samples);
        let taken = samples.filter(|s| !of.same.contains(&kind(s)));
        units = Some(taken.map(|s| s.unit.clone()).collect());
    }
    emit(&Event::Depends {
        measures: found.moves,
        refused: found.refused,
        units,
    })
}

/// Kinds of units beyond which it is not tried which of them matter.
const MOST_KINDS: usize = 64;

/// What kind of unit a sample is of: its unit without the topic or category.
fn kind(sample: &Sample) -> String {
    match sample.cluster.as_str() {
        "" => sample.unit.clone(),
        cluster => sample.unit.replace(cluster, "*"),
    }
}

/// What was found of some names.
#[derive(Default)]
struct Found {
    /// Those that the number moves with.
    moves: Vec<String>,
    /// Those that the statistics refuse when they are changed.
    refused: Vec<String>,
    /// Those that it does not move with.
    same: Vec<String>,
}

/// What became of the number when something was changed.
enum Outcome {
    Same,
    Moved,
    Refused,
}

struct Trial<'a> {
    declared: &'a Declared,
    records: Vec<Record>,
    not_run: Vec<NotRun>,
    number: &'a str,
    /// Records that the number names.
    named: Vec<String>,
    value: f64,
}

impl<'a> Trial<'a> {
    /// With the number's own records where they alone give its value, which is
    /// quicker; else with all of the run.
    fn new(
        declared: &'a Declared,
        request: &'a DependsRequest,
        read: impl Fn(&[String]) -> anyhow::Result<Vec<Record>>,
    ) -> anyhow::Result<Self> {
        let all = read(&request.records)?;
        let mut trial = Self {
            declared,
            records: all,
            not_run: request.not_run.clone(),
            number: &request.number,
            named: request.of_number.clone(),
            value: f64::NAN,
        };
        let Some(value) = trial.look(&trial.records)? else {
            bail!("there is no number {} in this summary", request.number);
        };
        trial.value = value;
        let own: Vec<Record> = (trial.records.iter())
            .filter(|r| trial.of_number(r))
            .cloned()
            .collect();
        if let Ok(Some(alone)) = trial.look(&own)
            && alone == value
        {
            trial.records = own;
        }
        Ok(trial)
    }

    fn of_number(&self, record: &Record) -> bool {
        let id = record.key.id();
        id.is_ok_and(|id| self.named.contains(&id))
    }

    fn look(&self, records: &[Record]) -> Result<Option<f64>, ExperimentError> {
        let spec = self.declared.spec.clone();
        let summary = self
            .declared
            .experiment
            .summarise(spec, records, &self.not_run)?;
        Ok(summary.numbers.get(self.number).map(|n| n.value))
    }

    /// Changes what is picked of the number's records, by sample and measure.
    fn with_changed(&self, picked: &dyn Fn(&Sample, &str) -> bool) -> Outcome {
        let mut records = self.records.clone();
        for record in &mut records {
            if !self.of_number(record) {
                continue;
            }
            for sample in &mut record.samples {
                let names = sample.measures.keys().filter(|name| picked(sample, name));
                let names: Vec<String> = names.cloned().collect();
                for name in names {
                    if let Some(measure) = sample.measures.get_mut(&name) {
                        change(measure, &format!("{}/{name}", sample.unit));
                    }
                }
            }
        }
        match self.look(&records) {
            Ok(Some(value)) if value == self.value => Outcome::Same,
            Ok(_) => Outcome::Moved,
            Err(_) => Outcome::Refused,
        }
    }
}

fn change(measure: &mut Measure, name: &str) {
    let mut random = stream(0, name);
    let mut move_it = |value: &mut f64| {
        let u = f64::from(random.next_u32()) / f64::from(u32::MAX);
        *value *= 1.0 + SHARE * (2.0 * u - 1.0);
    };
    match measure {
        Measure::Scalar(value) => move_it(value),
        Measure::Series(values) => values.iter_mut().for_each(move_it),
    }
}

/// Which of some names, changed, move the number. The list is halved until
/// single ones are left.
fn search(
    stage: &str,
    names: &[String],
    outcome: &dyn Fn(&[String]) -> Outcome,
) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let mut open = vec![names];
    let mut behind = 0;
    while let Some(part) = open.pop() {
        if part.is_empty() {
            continue;
        }
        let settled = match (outcome(part), part) {
            (Outcome::Same, part) => {
                found.same.extend_from_slice(part);
                true
            }
            (Outcome::Moved, [name]) => {
                found.moves.push(name.clone());
                true
            }
            (Outcome::Refused, [name]) => {
                found.refused.push(name.clone());
                true
            }
            _ => false,
        };
        if settled {
            behind += part.len() as u64;
            emit(&Event::Progress {
                stage: stage.to_owned(),
                done: behind,
                total: names.len() as u64,
            })?;
        } else {
            let (left, right) = part.split_at(part.len() / 2);
            open.extend([right, left]);
        }
    }
    Ok(found)
}
