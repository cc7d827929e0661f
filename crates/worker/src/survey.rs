use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use assay_record::wire::{
    Event, Hold, ModelFile, OwnPrompts, RunRequest, Survey, SurveyRequest, Work, in_one_line,
};
use assay_record::{ComputeDevice, ComputeType, RecordError, RecordKey, Store};
use assay_trace::Recording;
use rayon::prelude::*;

use crate::describe::{describe, matmul_rate};
use crate::experiments::{self, Declared};
use crate::key::Computes;
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
    let mut computes = HashMap::new();
    for unit in &request.units {
        if let Entry::Vacant(place) = computes.entry(unit.hold.device) {
            place.insert(known(unit.hold)?);
        }
    }
    let all = Knowledge {
        all,
        computes,
        limit: request.memory,
        rate: matmul_rate()?,
        described: Mutex::new(HashMap::new()),
    };
    let surveys = request.units.par_iter().enumerate().map(|(i, unit)| {
        // A fault of ours that one model brings to light is that model's row.
        let survey = catch_unwind(AssertUnwindSafe(|| all.survey(unit)));
        let survey = match survey {
            Ok(survey) => survey.map_err(|e| in_one_line(e.as_ref())),
            Err(_) => Err("planning for it failed, as said above".to_owned()),
        };
        emit(&Event::Surveyed { unit: i, survey })
    });
    surveys.collect()
}

/// Experiments of several units, each read once.
#[derive(Default)]
struct Experiments {
    by_name: HashMap<(String, Option<OwnPrompts>), Declared>,
}

impl Experiments {
    fn id(name: &str, prompts: Option<&OwnPrompts>) -> (String, Option<OwnPrompts>) {
        (name.to_owned(), prompts.cloned())
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

/// What a device adds to keys. A cluster's sweep is planned on a machine that
/// may lack it; what the store has is then seen where the units are computed.
fn known(hold: Hold) -> anyhow::Result<Option<Computes>> {
    match Computes::on(hold) {
        Ok(computes) => Ok(Some(computes)),
        Err(error) => {
            let why = in_one_line(error.as_ref());
            emit(&Event::Warning {
                message: format!(
                    "{why}: what the store has from {} is not known",
                    hold.device
                ),
            })?;
            Ok(None)
        }
    }
}

/// What serves all units of a survey.
struct Knowledge {
    all: Experiments,
    /// None of a device that this machine lacks.
    computes: HashMap<ComputeDevice, Option<Computes>>,
    limit: Option<u64>,
    /// This machine's.
    rate: f64,
    /// Revisions of one model are described once.
    described: Mutex<HashMap<Shape, Work>>,
}

/// What the work on a model follows from.
#[derive(PartialEq, Eq, Hash)]
struct Shape {
    /// Hashes of its files but for the weights.
    files: Vec<String>,
    experiments: Vec<String>,
    dtype: Option<ComputeType>,
    /// Is it a recording? A folder of activations has the model's other files.
    recorded: bool,
}

impl Knowledge {
    fn survey(&self, unit: &RunRequest) -> anyhow::Result<Survey> {
        let store = Store::at(&unit.store);
        let location = location(unit)?;
        let recorded = Recording::is_in(&location);
        let mut survey = Survey::default();
        let mut missing = Vec::new();
        for name in &unit.experiments {
            let declared = self.all.get(name, unit.prompts.as_ref())?;
            let Some(computes) = &self.computes[&unit.hold.device] else {
                missing.push(declared);
                continue;
            };
            let key = key::key(unit, declared, recorded, computes);
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
            survey.work = Some(self.work(unit, &location, &missing)?);
        }
        Ok(survey)
    }

    fn work(
        &self,
        unit: &RunRequest,
        location: &Path,
        missing: &[&Declared],
    ) -> anyhow::Result<Work> {
        let shape = shape(unit, missing, Recording::is_in(location));
        let known = || {
            self.described
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(work) = known().get(&shape) {
            return Ok(work.clone());
        }
        let work = describe(location, (unit.hold.dtype, self.limit), missing, self.rate)?;
        known().insert(shape, work.clone());
        Ok(work)
    }
}

fn shape(unit: &RunRequest, missing: &[&Declared], recorded: bool) -> Shape {
    let beside = |file: &&ModelFile| {
        let kind = file.path.extension().and_then(|e| e.to_str());
        !matches!(kind, Some("safetensors" | "bin"))
    };
    let hashes = unit.files.iter().filter(beside);
    let names = missing.iter().map(|d| d.experiment.name().to_owned());
    Shape {
        files: hashes.map(|f| f.sha256.clone()).collect(),
        experiments: names.collect(),
        dtype: unit.hold.dtype,
        recorded,
    }
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
    let id = key.id()?;
    let found = store.get(key).and_then(|record| match record {
        // One without a word on its making may come from anywhere.
        Some(_) => store.made(&key.experiment, &id),
        None => Ok(None),
    });
    match found {
        Ok(Some(_)) => Ok(Present::Whole(id)),
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
