//! The JSON lines that xtask and the worker exchange. A request is one file;
//! events are lines on the worker's standard output.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ComputeDevice, ComputeType, PromptFile, PromptFormat, PromptSet, RecordError};

/// An error and its causes in one line, for [`Event::Failed`] and the user's
/// terminal. Words of a cause that stand in the line already are not said
/// again: most errors of assay quote the system's word themselves.
#[must_use]
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut line = words(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = words(error);
        if !line.contains(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        cause = error.source();
    }
    line
}

/// What an error says, without the frames of a backtrace that a library may
/// have put behind it (RUST_BACKTRACE).
fn words(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let is_frame = |line: &&str| line.trim_start().starts_with("0: ");
    let lines = text.lines().take_while(|line| !is_frame(line));
    let lines: Vec<&str> = lines.map(str::trim).filter(|l| !l.is_empty()).collect();
    lines.join(" ")
}

/// What one worker process is asked to do with one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Registry name, or the name of a folder or file.
    pub model: String,
    /// Revision of the weights.
    pub revision: String,
    /// Family of models, the cluster in tests across models.
    pub family: String,
    /// The model's files.
    pub files: Vec<ModelFile>,
    /// Experiments to run, in order.
    pub experiments: Vec<String>,
    /// Folder of the store.
    pub store: PathBuf,
    /// How the model is held.
    pub hold: Hold,
    /// Measure what an experiment leaves out for its time. Part of the key of
    /// records of experiments that leave something out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// Prompts in place of the experiments' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<OwnPrompts>,
    /// For whom the records are made.
    pub by: By,
}

/// Who asks for records: goes into [`crate::Made`], and changes no number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// The commit that is checked out.
    pub commit: String,
    /// Arguments of cargo xtask.
    pub command: Vec<String>,
}

/// What is asked about some units before they are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurveyRequest {
    /// The units.
    pub units: Vec<RunRequest>,
    /// Bytes of memory that a model may take.
    pub memory: Option<u64>,
}

/// What is known of a unit before it is run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survey {
    /// Experiment -> id of its record, where the store has it whole.
    pub present: std::collections::BTreeMap<String, String>,
    /// What computing the rest takes; None if there is no rest.
    pub work: Option<Work>,
}

/// What computing a unit takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Bytes of memory that a worker needs.
    pub memory: u64,
    /// The model does not fit the limit as a whole, and is to be streamed.
    pub streamed: bool,
    /// Of the missing experiments, from their operations and this machine's
    /// measured matmul rate.
    pub seconds: f64,
}

/// Prompts that a user brings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnPrompts {
    /// The files, in order. One that ends in .txt holds one text a line.
    pub files: Vec<PathBuf>,
    /// How the other files hold them: whole prompts, or texts in a field.
    pub json: PromptFormat,
}

impl OwnPrompts {
    /// The prompts of the files.
    ///
    /// # Errors
    /// A file that cannot be read; as [`PromptSet::parse`].
    pub fn read(&self) -> Result<PromptSet, RecordError> {
        let mut texts = Vec::new();
        for path in &self.files {
            let text = std::fs::read_to_string(path).map_err(|source| RecordError::Io {
                action: "read",
                path: path.clone(),
                source,
            })?;
            texts.push(text);
        }
        let files: Vec<PromptFile> = (self.files.iter().zip(&texts))
            .map(|(path, text)| PromptFile {
                path,
                text,
                format: match path.extension() {
                    Some(e) if e == "txt" => &PromptFormat::Lines,
                    _ => &self.json,
                },
            })
            .collect();
        PromptSet::parse(&files)
    }
}

/// How a worker holds a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Blocks stay in their files and are read as a pass comes to them. No
    /// number depends on it.
    pub streamed: bool,
    /// Products are done with the quantised blocks of the file. Numbers do
    /// depend on it, so it is part of a record's key.
    pub as_stored: bool,
    /// Where it computes. Part of a record's key.
    #[serde(default, skip_serializing_if = "ComputeDevice::is_cpu")]
    pub device: ComputeDevice,
    /// What it computes in, where that is not what an experiment declares. Part
    /// of a record's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<ComputeType>,
}

/// A file of a model with the hash it must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 that the lock file or the resolver states.
    pub sha256: String,
}

/// What a worker is asked to summarise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SummariseRequest {
    /// Experiment name.
    pub experiment: String,
    /// Folder of the store.
    pub store: PathBuf,
    /// Ids of the records to take, in the order of the models.
    pub records: Vec<String>,
    /// Models that were asked for and could not be measured, with the reason.
    pub not_run: Vec<crate::NotRun>,
    /// Folder that receives `<experiment>.json`.
    pub out: PathBuf,
}

/// What a worker is asked to find out about a number of a summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DependsRequest {
    /// Experiment name.
    pub experiment: String,
    /// Folder of the store.
    pub store: PathBuf,
    /// Ids of the run's records of the experiment, in the order of the models.
    pub records: Vec<String>,
    /// Models that could not be measured.
    pub not_run: Vec<crate::NotRun>,
    /// Id of the number.
    pub number: String,
    /// Ids of the records that it names.
    pub of_number: Vec<String>,
}

/// A model of a suite that is trained here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteModel {
    /// Its folder in the suite's.
    pub name: String,
    /// Steps of its training.
    pub steps: u64,
    /// Is it there, made by the recipe that the suite has now?
    pub there: bool,
}

/// A line from a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// Work in progress; `total` units of which `done` are behind.
    Progress {
        /// What is being done: "loading", "pass of 402 tokens"….
        stage: String,
        /// Steps behind.
        done: u64,
        /// Steps in all.
        total: u64,
    },
    /// A record is in the store.
    Committed {
        /// Experiment name.
        experiment: String,
        /// Record id.
        record: String,
        /// False if it was there already.
        computed: bool,
        /// Seconds of this experiment, model loading excluded.
        seconds: f64,
    },
    /// What is known of a unit.
    Surveyed {
        /// Its place in the request.
        unit: usize,
        /// Or why nothing can be known, in one sentence.
        survey: Result<Survey, String>,
    },
    /// Somebody else is at work on the unit.
    Held,
    /// The worker lives.
    Alive,
    /// Something that the user should know and that does not stop the work.
    Warning {
        /// In one sentence.
        message: String,
    },
    /// An experiment could not be run on this model.
    Refused {
        /// Experiment name.
        experiment: String,
        /// Why, in one sentence.
        reason: String,
    },
    /// A summary was written.
    Summarised {
        /// Experiment name.
        experiment: String,
        /// The file.
        path: PathBuf,
        /// Of the bytes that were written there.
        sha256: String,
    },
    /// What a number depends on.
    Depends {
        /// Measures that it moves with.
        measures: Vec<String>,
        /// Measures that the statistics refuse when they are changed.
        refused: Vec<String>,
        /// Units whose values of those measures it moves with, where it was
        /// tried which.
        units: Option<Vec<String>>,
    },
    /// A model was trained and written.
    Trained {
        /// Its name.
        model: String,
        /// Loss on held-out text, nats a token.
        valid_loss: f64,
        /// That of a trigram model.
        trigram_loss: f64,
        /// SHA-256 of its weights.
        weights_sha256: String,
    },
    /// A GPU that the worker can compute on.
    Gpu {
        /// Its kind, as records' keys have it: "cuda-sm90".
        class: String,
        /// As its maker calls it.
        name: String,
        /// Bytes of its memory that are free.
        free: u64,
    },
    /// The request as a whole failed.
    Failed {
        /// Why, in one sentence.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::in_one_line;

    #[track_caller]
    fn check(says: &str, expected: &str) {
        assert_eq!(
            in_one_line(&std::io::Error::other(says.to_owned())),
            expected
        );
    }

    #[test]
    fn an_error_is_one_line() {
        check("no such file", "no such file");
        check(
            "shape mismatch\n   0: candle::bt\n         at x.rs:1\n   1: main",
            "shape mismatch",
        );
        check("line 3\n  |  bad\n", "line 3 |  bad");
    }
}
