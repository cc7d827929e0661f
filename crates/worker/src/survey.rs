use std::collections::HashMap;
use std::collections::hash_map::Entry;

use anyhow::Context;
use assay_record::wire::{Event, OwnPrompts, RunRequest, Survey, SurveyRequest, in_one_line};
use assay_record::{RecordError, RecordKey, Store};
use assay_trace::Recording;
use rayon::prelude::*;

use crate::describe::{describe, matmul_rate};
use crate::experiments::{self, Declared};
use crate::run::location;
use crate::{emit, key};

/// Says of each unit which of its records the store has, and what computing
/// the others takes.
pub(crate) fn survey(text: &str) -> anyhow::Result<()> {
    let request: SurveyRequest =
        serde_json::from_str(text).context("failed to read the request")?;
    let mut all = Experiments::default();
    for unit in &request.units {
        for name in &unit.experiments {
            all.read(name, unit.prompts.as_ref())?;
        }
    }
    let rate = matmul_rate()?;
    let surveys = request.units.par_iter().enumerate().map(|(i, unit)| {
        let survey = survey_one(unit, &all, (request.memory, rate));
        emit(&Event::Surveyed {
            unit: i,
            survey: survey.map_err(|e| in_one_line(e.as_ref())),
        })
    });
    surveys.collect()
}

/// Experiments of several units, each read once.
#[derive(Default)]
struct Experiments {
    by_name: HashMap<(String, Option<String>), Declared>,
}

impl Experiments {
    fn id(name: &str, prompts: Option<&OwnPrompts>) -> (String, Option<String>) {
        let prompts = prompts.map(|p| format!("{p:?}"));
        (name.to_owned(), prompts)
    }

    fn read(&mut self, name: &str, prompts: Option<&OwnPrompts>) -> anyhow::Result<()> {
        let id = Self::id(name, prompts);
        if let Entry::Vacant(place) = self.by_name.entry(id) {
            place.insert(experiments::find_with(name, prompts)?);
        }
        Ok(())
    }

    fn get(&self, name: &str, prompts: Option<&OwnPrompts>) -> anyhow::Result<&Declared> {
        let found = self.by_name.get(&Self::id(name, prompts));
        found.with_context(|| format!("experiment {name} was not read"))
    }
}

fn survey_one(
    unit: &RunRequest,
    all: &Experiments,
    (memory, rate): (Option<u64>, f64),
) -> anyhow::Result<Survey> {
    let store = Store::open(&unit.store)?;
    let location = location(unit)?;
    let recorded = Recording::is_in(&location);
    let mut survey = Survey::default();
    let mut missing = Vec::new();
    for name in &unit.experiments {
        let declared = all.get(name, unit.prompts.as_ref())?;
        let key = key::key(unit, declared, recorded);
        match present(&store, &key)? {
            Present::Whole(record) => {
                survey.present.insert(name.clone(), record);
            }
            Present::Absent => missing.push(declared),
            Present::Damaged(error) => {
                emit(&Event::Warning {
                    message: format!("{error}; it is computed again"),
                })?;
                missing.push(declared);
            }
        }
    }
    if !missing.is_empty() {
        survey.work = Some(describe(&location, memory, &missing, rate)?);
    }
    Ok(survey)
}

/// What the store has of a key.
pub(crate) enum Present {
    /// The record of this id.
    Whole(String),
    Absent,
    /// Something that counts as absent: it will be computed again.
    Damaged(RecordError),
}

pub(crate) fn present(store: &Store, key: &RecordKey) -> anyhow::Result<Present> {
    match store.get(key) {
        Ok(Some(_)) => Ok(Present::Whole(key.id()?)),
        Ok(None) => Ok(Present::Absent),
        Err(error) if is_damage(&error) => Ok(Present::Damaged(error)),
        Err(error) => Err(error.into()),
    }
}

/// Is it the file's content that is wrong? A folder that cannot be read is not
/// mended by computing again.
fn is_damage(error: &RecordError) -> bool {
    match error {
        RecordError::Damaged { .. }
        | RecordError::Malformed { .. }
        | RecordError::Version { .. } => true,
        // Bytes that are no text at all.
        RecordError::Io { source, .. } => source.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}
