//! The worker as xtask starts it, on a tiny model.
// Each test binary uses a part of it.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assay_record::wire::{By, Event, Hold, ModelFile, RunRequest, SurveyRequest};
use assay_record::{Record, Store};
use assay_testkit::{TinyModel, write_hf};

/// What the tests run: it takes a second.
pub(crate) const EXPERIMENT: &str = "h25-gain";

/// A model and a store in a folder of their own.
pub(crate) struct Work {
    folder: tempfile::TempDir,
}

impl Work {
    pub(crate) fn new() -> Self {
        Self::with(&model(1))
    }

    pub(crate) fn with(model: &TinyModel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_hf(&folder.path().join("tiny"), model).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }

    /// A request for the files that are there now.
    pub(crate) fn request(&self) -> RunRequest {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(self.path("tiny"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let files = paths.into_iter().map(|path| ModelFile {
            sha256: assay_checkpoint::hash_file(&path).unwrap(),
            path,
        });
        RunRequest {
            model: "tiny".to_owned(),
            revision: "local".to_owned(),
            family: "tiny".to_owned(),
            files: files.collect(),
            experiments: vec![EXPERIMENT.to_owned()],
            store: self.path("store"),
            hold: Hold::default(),
            full: false,
            prompts: None,
            by: By {
                commit: String::new(),
                command: Vec::new(),
            },
        }
    }

    /// The record of a request, which must come about: (it, computed now?).
    #[track_caller]
    pub(crate) fn record(&self, request: &RunRequest) -> (Record, bool) {
        let events = run(request, &[]);
        let (id, computed) = committed(&events);
        (self.store().read(EXPERIMENT, &id).unwrap(), computed)
    }
}

pub(crate) fn model(seed: u64) -> TinyModel {
    TinyModel {
        n_layers: 3,
        context: 512,
        ..TinyModel::gpt_neox(seed)
    }
}

/// Id of the one record, and whether it was computed.
#[track_caller]
pub(crate) fn committed(events: &[Event]) -> (String, bool) {
    let found = events.iter().find_map(|event| match event {
        Event::Committed {
            record, computed, ..
        } => Some((record.clone(), *computed)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no record: {events:?}"))
}

/// Why the worker ended without one.
#[track_caller]
pub(crate) fn failed(events: &[Event]) -> String {
    let found = events.iter().find_map(|event| match event {
        Event::Failed { reason } => Some(reason.clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("it did not fail: {events:?}"))
}

/// Runs a request in this environment.
pub(crate) fn run(request: &RunRequest, variables: &[(&str, &str)]) -> Vec<Event> {
    tell("run", serde_json::to_string(request).unwrap(), variables)
}

/// Asks what there is.
pub(crate) fn survey(request: &RunRequest) -> Vec<Event> {
    let request = SurveyRequest {
        units: vec![request.clone()],
        memory: None,
    };
    tell("survey", serde_json::to_string(&request).unwrap(), &[])
}

/// What a request's worker has said after some seconds, in which it did not
/// end.
#[track_caller]
pub(crate) fn said_within(request: &RunRequest, seconds: u64) -> Vec<Event> {
    let request = serde_json::to_string(request).unwrap();
    let mut worker = begin(&["run", "--wait"], &request, &[]);
    std::thread::sleep(Duration::from_secs(seconds));
    assert!(worker.try_wait().unwrap().is_none(), "it has ended");
    worker.kill().unwrap();
    events(worker)
}

fn tell(command: &str, request: String, variables: &[(&str, &str)]) -> Vec<Event> {
    events(begin(&[command], &request, variables))
}

fn begin(arguments: &[&str], request: &str, variables: &[(&str, &str)]) -> Child {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_assay-worker"));
    for name in assay_record::SWITCHES {
        worker.env_remove(name);
    }
    worker
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut worker = worker.spawn().unwrap();
    let mut stdin = worker.stdin.take().unwrap();
    stdin.write_all(request.as_bytes()).unwrap();
    drop(stdin);
    worker
}

fn events(worker: Child) -> Vec<Event> {
    let output = worker.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
