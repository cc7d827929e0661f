//! A folder with a registry and a cache, a hub on the loopback, and the binary
//! run against them.
// Each test binary uses a part of it.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use assay_source::protocol::{ErrorKind, Event};
use assay_source::{Lock, ModelCache, Registry};
use tempfile::TempDir;

/// Variables of this machine that would change what the binary does.
const CLEARED: [&str; 15] = [
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "XDG_CACHE_HOME",
    "ASSAY_MODELS",
    "ASSAY_PIP",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN",
];

pub struct World {
    folder: TempDir,
    endpoint: String,
}

/// What one run of the binary said.
pub struct Run {
    pub events: Vec<Event>,
    pub code: i32,
    pub text: String,
}

impl World {
    pub fn new(registry: &str, endpoint: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("registry")).unwrap();
        std::fs::write(folder.path().join("registry/models.toml"), registry).unwrap();
        Self {
            folder,
            endpoint: endpoint.to_owned(),
        }
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    pub fn cache(&self) -> ModelCache {
        ModelCache::new(self.path("models"))
    }

    pub fn lock(&self) -> Lock {
        Lock::load(&self.path("registry")).unwrap()
    }

    pub fn set_lock(&self, lock: &Lock) {
        let registry = Registry::load(&self.path("registry")).unwrap();
        lock.save(&self.path("registry"), &registry).unwrap();
    }

    /// Run with the fastest repetitions and no variable of this machine.
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, &[])
    }

    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = self.command(arguments);
        for (name, value) in variables {
            command.env(name, value);
        }
        finish(command.spawn().unwrap())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay-fetch"));
        for name in CLEARED {
            command.env_remove(name);
        }
        command
            .current_dir(self.folder.path())
            .env("HF_ENDPOINT", &self.endpoint)
            .env("HF_HOME", self.path("hf"))
            .args(["--backoff-ms", "1", "--cache", "models"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

pub fn finish(child: std::process::Child) -> Run {
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    Run {
        events: stdout
            .lines()
            .map(|line| Event::from_line(line).unwrap())
            .collect(),
        code: output.status.code().unwrap(),
        text: format!("{stdout}{stderr}"),
    }
}

impl Run {
    /// The run ended well; the bytes that crossed the network.
    #[track_caller]
    pub fn fetched(&self) -> u64 {
        assert_eq!(self.code, 0, "{}", self.text);
        let found = self.events.iter().find_map(|event| match event {
            Event::Fetched { bytes_fetched, .. } => Some(*bytes_fetched),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("nothing fetched: {}", self.text))
    }

    /// The run failed with this kind of error; its message.
    #[track_caller]
    pub fn failed(&self, expected: ErrorKind) -> String {
        assert_eq!(self.code, 1, "{}", self.text);
        let found = self.events.iter().find_map(|event| match event {
            Event::Error { kind, message, .. } => Some((*kind, message.clone())),
            _ => None,
        });
        let (kind, message) = found.unwrap_or_else(|| panic!("no error: {}", self.text));
        assert_eq!(kind, expected, "{message}");
        message
    }

    /// Kinds of the attempts that failed and were repeated.
    pub fn retries(&self) -> Vec<ErrorKind> {
        let kind = |event: &Event| match event {
            Event::Retry { kind, .. } => Some(*kind),
            _ => None,
        };
        self.events.iter().filter_map(kind).collect()
    }
}

/// Names of the files under a folder, sorted, with their folders.
pub fn files_under(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}
