use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use assay_checkpoint::{Checkpoint, hash_file};
use assay_decoder::Decoder;
use assay_experiment::Session;
use assay_record::wire::{Event, RunRequest};
use assay_record::{ModelFacts, Record, RecordError, RecordKey, Store};
use assay_trace::Recording;
use candle_core::Device;

use crate::experiments::{self, Declared};
use crate::{emit, facts, gpu, hold, key};

/// Runs the requested experiments on the requested model, those that the
/// store lacks.
pub(crate) fn run(text: &str) -> anyhow::Result<()> {
    let request: RunRequest = serde_json::from_str(text).context("failed to read the request")?;
    let store = Store::open(&request.store)?;
    let _lock = store.lock(&format!("{}@{}", request.model, request.revision))?;
    let recorded = Recording::is_in(&location(&request)?);
    if !request.hold.device.is_cpu() {
        gpu::prepare();
    }
    let device = hold::device(request.hold)?;
    let mut missing = Vec::new();
    for name in &request.experiments {
        let declared = experiments::find_with(name, request.prompts.as_ref())?;
        let mut key = key::key(&request, &declared, &device)?;
        if recorded {
            key.revision = key::of_recording(&key.revision);
        }
        match present(&store, &key)? {
            Some(record) => emit(&Event::Committed {
                experiment: name.clone(),
                record,
                computed: false,
                seconds: 0.0,
            })?,
            None => missing.push((declared, key)),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    measure(&request, &device, &store, missing)
}

/// Id of the record of a key, if the store has it whole. A damaged record is
/// named and counts as missing: it will be computed again.
fn present(store: &Store, key: &RecordKey) -> anyhow::Result<Option<String>> {
    match store.get(key) {
        Ok(Some(_)) => Ok(Some(key.id()?)),
        Ok(None) => Ok(None),
        Err(error) if is_damage(&error) => {
            emit(&Event::Warning {
                message: format!("{error}; it is computed again"),
            })?;
            Ok(None)
        }
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

fn measure(
    request: &RunRequest,
    device: &Device,
    store: &Store,
    missing: Vec<(Declared, RecordKey)>,
) -> anyhow::Result<()> {
    check_hashes(request)?;
    let location = location(request)?;
    // One event a line; a progress line that cannot be written means that the
    // reader is gone, and the next commit will say so.
    let mut progress = |stage: &str, done: u64, total: u64| {
        let _ = emit(&Event::Progress {
            stage: stage.to_owned(),
            done,
            total,
        });
    };
    if Recording::is_in(&location) {
        let recording = Recording::open(&location)?;
        let facts = facts::of_recording(recording.config())?;
        let session = Session::of_recording(&request.model, &recording, &mut progress);
        return measure_in(session, facts, request, store, missing);
    }
    let checkpoint = Checkpoint::open(&location)?;
    let tell = &mut |done: usize, total: usize| progress("loading", done as u64, total as u64);
    let placement = hold::placement(request.hold, device)?;
    let decoder = Decoder::load_with(&checkpoint, &placement, tell)?;
    let facts = facts::facts(&checkpoint, &decoder)?;
    let held = (&checkpoint, placement);
    let session = Session::new(&request.model, held, decoder, &mut progress);
    measure_in(session, facts, request, store, missing)
}

fn measure_in(
    mut session: Session,
    facts: ModelFacts,
    request: &RunRequest,
    store: &Store,
    missing: Vec<(Declared, RecordKey)>,
) -> anyhow::Result<()> {
    session.measure_more(request.full);
    let mut planned = Vec::new();
    for (declared, key) in missing {
        session.asking(declared.experiment.name());
        if !declared.experiment.takes_recordings()
            && let Err(error) = session.decoder()
        {
            refuse(&declared, &error)?;
            continue;
        }
        match declared.experiment.plan(&mut session, &declared.prompts) {
            Ok(()) => planned.push((declared, key)),
            Err(error) => refuse(&declared, &error)?,
        }
    }
    for (declared, key) in planned {
        let started = Instant::now();
        let experiment = declared.experiment;
        session.asking(experiment.name());
        let samples = match experiment.measure(&mut session, &declared.spec, &declared.prompts) {
            Ok(samples) => samples,
            Err(error) => {
                refuse(&declared, &error)?;
                continue;
            }
        };
        let record = store.commit(&Record {
            key,
            family: request.family.clone(),
            facts: facts.clone(),
            samples,
        })?;
        emit(&Event::Committed {
            experiment: experiment.name().to_owned(),
            record,
            computed: true,
            seconds: started.elapsed().as_secs_f64(),
        })?;
    }
    Ok(())
}

fn refuse(declared: &Declared, error: &dyn std::error::Error) -> anyhow::Result<()> {
    emit(&Event::Refused {
        experiment: declared.experiment.name().to_owned(),
        reason: error.to_string(),
    })
}

/// Every file must have the hash it was asked for with, at every load.
fn check_hashes(request: &RunRequest) -> anyhow::Result<()> {
    let total = request.files.len() as u64;
    for (i, file) in request.files.iter().enumerate() {
        emit(&Event::Progress {
            stage: "checking hashes".to_owned(),
            done: i as u64,
            total,
        })?;
        let found = hash_file(&file.path)?;
        if found != file.sha256 {
            bail!(
                "{} hashes to {found} and should to {}: fetch the model again",
                file.path.display(),
                file.sha256
            );
        }
    }
    Ok(())
}

/// The GGUF file, or the folder that holds the files.
fn location(request: &RunRequest) -> anyhow::Result<PathBuf> {
    let gguf = |p: &Path| p.extension().is_some_and(|e| e == "gguf");
    if let Some(file) = request.files.iter().find(|f| gguf(&f.path)) {
        return Ok(file.path.clone());
    }
    let first = request
        .files
        .first()
        .context("the request names no files")?;
    let folder = first
        .path
        .parent()
        .context("a model's file has no folder")?;
    Ok(folder.to_path_buf())
}
