use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use assay_checkpoint::{Checkpoint, hash_file};
use assay_decoder::Decoder;
use assay_experiment::Session;
use assay_record::wire::{Event, RunRequest};
use assay_record::{Attempt, Made, ModelFacts, Record, RecordKey, Store, UnitClaim, hostname};
use assay_trace::Recording;

use crate::alive::Waiting;
use crate::experiments::{self, Declared};
use crate::key::Computes;
use crate::survey::{Present, present};
use crate::{emit, facts, hold, key, unasked};

/// Runs the requested experiments on the requested model, those that the
/// store lacks. A unit that another process holds is waited for if `wait` says
/// so, and left to it otherwise.
pub(crate) fn run(text: &str, wait: bool, patience: Duration) -> anyhow::Result<()> {
    let request: RunRequest = serde_json::from_str(text).context("failed to read the request")?;
    let store = Store::open(&request.store)?.with_patience(patience);
    let unit = format!("{}@{}", request.model, request.revision);
    let claim = if wait {
        let _waiting = Waiting::begin();
        store.wait_for(&unit, &mut |holder| {
            let _ = emit(&Event::Warning {
                message: format!("{unit} is waited for: {holder} is at work on it"),
            });
        })?
    } else {
        match store.claim(&unit)? {
            Attempt::Claimed(claim) => claim,
            Attempt::Held(_) => return emit(&Event::Held),
        }
    };
    let recorded = Recording::is_in(&location(&request)?);
    let computes = Computes::on(request.hold)?;
    let mut missing = Vec::new();
    for name in &request.experiments {
        let declared = experiments::find_with(name, request.prompts.as_ref())?;
        let key = key::key(&request, &declared, recorded, &computes);
        match present(&store, &key)? {
            Present::Whole(record) => emit(&Event::Committed {
                experiment: name.clone(),
                record,
                computed: false,
                seconds: 0.0,
            })?,
            // The survey has named what is damaged.
            Present::Absent | Present::Damaged(_) => missing.push((declared, key)),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    measure(&request, (&store, &claim), missing)
}

fn measure(
    request: &RunRequest,
    held: (&Store, &UnitClaim),
    missing: Vec<(Declared, RecordKey)>,
) -> anyhow::Result<()> {
    check_hashes(request)?;
    let location = location(request)?;
    unasked::check(request, &location)?;
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
        return measure_in(session, facts, request, held, missing);
    }
    let checkpoint = Checkpoint::open(&location)?;
    let tell = &mut |done: usize, total: usize| progress("loading", done as u64, total as u64);
    let device = hold::device(request.hold)?;
    let placement = hold::placement(request.hold, &device)?;
    let decoder = Decoder::load_with(&checkpoint, &placement, tell)?;
    let facts = facts::facts(&checkpoint, &decoder)?;
    let model = (&checkpoint, placement);
    let session = Session::new(&request.model, model, decoder, &mut progress);
    measure_in(session, facts, request, held, missing)
}

fn measure_in(
    mut session: Session,
    facts: ModelFacts,
    request: &RunRequest,
    held: (&Store, &UnitClaim),
    missing: Vec<(Declared, RecordKey)>,
) -> anyhow::Result<()> {
    session.measure_more(request.full);
    let (store, claim) = held;
    let begun = SystemTime::now().duration_since(UNIX_EPOCH);
    let begun = begun.map_or(0, |d| d.as_secs());
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
        // One that was given up for dead while it hung leaves the rest to
        // whoever took it over.
        if !claim.is_ours() {
            return emit(&Event::Held);
        }
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
        let record = Record {
            key,
            facts: facts.clone(),
            samples,
        };
        let made = Made {
            at: begun,
            host: hostname(),
            commit: request.by.commit.clone(),
            command: request.by.command.clone(),
            threads: candle_core::utils::get_num_threads(),
            milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let record = store.commit(&record, &made)?;
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
pub(crate) fn location(request: &RunRequest) -> anyhow::Result<PathBuf> {
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
