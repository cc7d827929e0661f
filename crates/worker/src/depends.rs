//! Which measures a number of a summary depends on, found by trying: a measure
//! is changed in all samples, the statistics are done again, and it is seen
//! whether the number moved. Nothing is declared, so nothing can be declared
//! wrongly.

use anyhow::{Context, bail};
use assay_experiment::ExperimentError;
use assay_record::wire::{DependsRequest, Event};
use assay_record::{Measure, NotRun, Record, Store};
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
    let mut found = Found::default();
    let mut search = Search {
        trial: &trial,
        behind: 0,
        total: names.len() as u64,
    };
    search.split(&names, &mut found)?;
    emit(&Event::Depends {
        measures: found.moves,
        refused: found.refused,
    })
}

/// What was found of the measures.
#[derive(Default)]
struct Found {
    /// Those that the number moves with.
    moves: Vec<String>,
    /// Those that the statistics refuse when they are changed.
    refused: Vec<String>,
}

/// What became of the number when some measures were changed.
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

    fn with_changed(&self, names: &[String]) -> Outcome {
        let mut records = self.records.clone();
        for record in &mut records {
            if !self.of_number(record) {
                continue;
            }
            for sample in &mut record.samples {
                for (name, measure) in &mut sample.measures {
                    if names.contains(name) {
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

struct Search<'a> {
    trial: &'a Trial<'a>,
    behind: u64,
    total: u64,
}

impl Search<'_> {
    /// Halves the list until single measures are left.
    fn split(&mut self, names: &[String], found: &mut Found) -> anyhow::Result<()> {
        let outcome = match names {
            [] => return Ok(()),
            names => self.trial.with_changed(names),
        };
        if matches!(outcome, Outcome::Same) {
            return self.done(names.len());
        }
        if let [name] = names {
            match outcome {
                Outcome::Refused => found.refused.push(name.clone()),
                _ => found.moves.push(name.clone()),
            }
            return self.done(1);
        }
        let (left, right) = names.split_at(names.len() / 2);
        self.split(left, found)?;
        self.split(right, found)
    }

    fn done(&mut self, count: usize) -> anyhow::Result<()> {
        self.behind += count as u64;
        emit(&Event::Progress {
            stage: "trying measures".to_owned(),
            done: self.behind,
            total: self.total,
        })
    }
}
