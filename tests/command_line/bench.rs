//! A workbench: the built programs, a store, an output folder and models, all
//! in a folder of its own that goes when the test ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use assay_testkit::{TinyModel, write_hf};

/// The programs, built once: xtask and the worker that it starts.
fn programs() -> &'static [PathBuf] {
    static PROGRAMS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--quiet"])
            .args(["--package", "xtask", "--package", "assay-worker"])
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the programs could not be built");
        let text = String::from_utf8(output.stdout).unwrap();
        let messages = text.lines().map(serde_json::from_str::<serde_json::Value>);
        let executable = |m: serde_json::Value| Some(PathBuf::from(m["executable"].as_str()?));
        let programs: Vec<PathBuf> = messages.filter_map(|m| executable(m.unwrap())).collect();
        assert_eq!(programs.len(), 2, "{programs:?}");
        programs
    })
}

/// A program that ended.
pub(crate) struct Ended {
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it said, both streams.
    pub(crate) text: String,
}

impl Ended {
    /// Ended with this status, and said these words.
    #[track_caller]
    pub(crate) fn check(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for words in words {
            assert!(self.text.contains(words), "no {words:?} in:\n{}", self.text);
        }
        self
    }

    /// Could not run: exit 2, and one sentence that says why.
    #[track_caller]
    pub(crate) fn check_refused(&self, words: &[&str]) {
        self.check(2, words);
        let said = |line: &&str| line.starts_with("error: ");
        assert_eq!(self.text.lines().filter(said).count(), 1, "{}", self.text);
        let last = self.text.lines().next_back().unwrap_or_default();
        assert!(last.starts_with("error: "), "{}", self.text);
        for words in words {
            assert!(last.contains(words), "no {words:?} in: {last}");
        }
        assert!(!self.text.contains("panicked"), "{}", self.text);
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let bytes = [output.stdout, output.stderr].concat();
        Self {
            code: output.status.code(),
            text: String::from_utf8(bytes).unwrap(),
        }
    }
}

/// A folder with everything that a run needs.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        // Beside the target folder, so that programs can be linked and not
        // copied; the links keep them as they were, whatever is built next.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let bench = Self { folder };
        for name in ["bin", "models", "nothing"] {
            std::fs::create_dir(bench.path(name)).unwrap();
        }
        for program in programs() {
            let link = bench.path("bin").join(program.file_name().unwrap());
            std::fs::hard_link(program, link).unwrap();
        }
        bench
    }

    /// A place in the bench's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a model and gives its folder.
    pub(crate) fn model(&self, name: &str, spec: &TinyModel) -> String {
        let folder = self.path("models").join(name);
        write_hf(&folder, spec).unwrap();
        folder.to_str().unwrap().to_owned()
    }

    /// Two models of different families.
    pub(crate) fn two_models(&self) -> [String; 2] {
        [
            self.model("tiny-neox", &three_layers(TinyModel::gpt_neox(1))),
            self.model("tiny-llama", &three_layers(TinyModel::llama(2))),
        ]
    }

    /// xtask with no model of the registry here, and no other program to be
    /// found, so that neither LaTeX nor git takes part.
    pub(crate) fn xtask(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin").join("xtask"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("ASSAY_BIN", self.path("bin"))
            .env("ASSAY_MODELS", self.path("nothing"))
            .env("PATH", self.path("nothing"))
            .env_remove("RAYON_NUM_THREADS")
            .stdin(Stdio::null());
        for switch in assay_record::SWITCHES {
            command.env_remove(switch);
        }
        command
    }

    /// `export`, which asks cargo what the build is made of.
    pub(crate) fn export(&self, store: &str, out: &str) -> Command {
        let mut command = self.xtask(&["export", "--store", store, "--out", out]);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// `reproduce` of h25-gain on these models, to the store "store" and the
    /// report "out".
    pub(crate) fn reproduce(&self, models: &[String]) -> Command {
        self.reproduce_to(models, "store", "out")
    }

    pub(crate) fn reproduce_to(&self, models: &[String], store: &str, out: &str) -> Command {
        let mut command = self.xtask(&["reproduce", "--experiments", "h25-gain", "--offline"]);
        command
            .args(["--models", &models.join(",")])
            .args(["--store", store, "--out", out]);
        command
    }

    /// What two equal runs must agree on: the report, the records, the
    /// summaries and the list of the run. Claims tell of processes and notes of
    /// the making of times; what a killed run left half-written has a name of
    /// its own.
    pub(crate) fn results(&self, store: &str, out: &str) -> Files {
        let stored = files(&self.path(store)).into_iter();
        let reported = files(&self.path(out)).into_iter();
        stored
            .filter(|(name, _)| !["claims/", "made/"].iter().any(|f| name.starts_with(f)))
            .map(|(name, bytes)| (format!("store/{name}"), bytes))
            .chain(reported.map(|(name, bytes)| (format!("out/{name}"), bytes)))
            .filter(|(name, _)| !name.contains("/.tmp"))
            .collect()
    }

    /// Paths of the records of a store, in the order of their names.
    pub(crate) fn records(&self, store: &str) -> Vec<PathBuf> {
        let folder = self.path(store).join("records/h25-gain");
        let names = files(&folder).into_keys();
        names.map(|name| folder.join(name)).collect()
    }

    /// The record of the model of this name.
    pub(crate) fn record_of(&self, store: &str, model: &str) -> PathBuf {
        let named = format!("\"model\": \"{model}\"");
        let mut records = self.records(store).into_iter();
        let found = records.find(|p| std::fs::read_to_string(p).unwrap().contains(&named));
        found.unwrap()
    }

    /// Processes that run this bench's worker.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let program = self.path("bin").join("assay-worker");
        let processes = std::fs::read_dir("/proc").unwrap();
        let ids = processes.filter_map(|p| p.unwrap().file_name().to_str()?.parse().ok());
        // A process that is gone, or dead and not yet waited for, has no link.
        let runs = |id: &u32| {
            let link = std::fs::read_link(format!("/proc/{id}/exe"));
            link.is_ok_and(|exe| exe == program)
        };
        ids.filter(runs).collect()
    }
}

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The same files with the same bytes.
#[track_caller]
pub(crate) fn check_same(found: &Files, expected: &Files) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    let differ = found
        .iter()
        .filter(|(name, bytes)| expected[*name] != **bytes);
    let differ: Vec<&String> = differ.map(|(name, _)| name).collect();
    assert!(differ.is_empty(), "{differ:?} differ");
}

/// A family's example with the three blocks that the published gain needs, and
/// room for the longest prompt in tokens of few letters.
pub(crate) fn three_layers(spec: TinyModel) -> TinyModel {
    TinyModel {
        n_layers: 3,
        context: 256,
        ..spec
    }
}

/// Runs to the end.
#[track_caller]
pub(crate) fn run(mut command: Command) -> Ended {
    command.output().unwrap().into()
}

/// Every file of a folder, by its path in it.
pub(crate) fn files(folder: &Path) -> Files {
    let mut files = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}
