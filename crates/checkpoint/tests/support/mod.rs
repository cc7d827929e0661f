//! Models to damage, and the error that opening them gives.

// Each test file is a crate of its own and uses a part of this one.
#![allow(dead_code, unreachable_pub)]

pub mod gguf;
pub mod pickle;

use std::path::{Path, PathBuf};

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, DecoderError};
use assay_testkit::{TinyModel, write_hf};
use candle_core::{DType, Device};
use tempfile::TempDir;

/// A folder with a model that opens, to be damaged.
pub struct Folder {
    dir: TempDir,
}

impl Folder {
    pub fn of(spec: &TinyModel) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_hf(dir.path(), spec).unwrap();
        Self { dir }
    }

    pub fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.file(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).unwrap();
    }

    /// Changes config.json.
    pub fn config(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut config = serde_json::from_slice(&self.read("config.json")).unwrap();
        change(&mut config);
        self.write("config.json", config.to_string());
    }
}

/// Opens a model and reads all its weights.
pub fn load(path: &Path) -> Result<Decoder, DecoderError> {
    let checkpoint = Checkpoint::open(path)?;
    Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ())
}

/// The model opens and loads.
#[track_caller]
pub fn check_good(path: &Path) {
    if let Err(error) = load(path) {
        panic!("{error}");
    }
}

/// Loading fails, and the message holds all of `words`.
#[track_caller]
pub fn check_bad(path: &Path, words: &[&str]) {
    let Err(error) = load(path) else {
        panic!("it loads, and {words:?} was expected");
    };
    check_message(&error.to_string(), words);
}

/// One line that holds all of `words`.
#[track_caller]
pub fn check_message(message: &str, words: &[&str]) {
    assert!(!message.contains('\n'), "several lines: {message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}
