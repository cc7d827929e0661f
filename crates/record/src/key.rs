use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical::{canonical_json, sha256_hex};

/// Environment variables that change numbers or may: recorded in every key.
pub const SWITCHES: [&str; 4] = [
    "CANDLE_DEQUANTIZE_ALL",
    "CANDLE_DEQUANTIZE_ALL_F16",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
];

/// The switches of [`SWITCHES`] that are set in this process.
#[must_use]
pub fn switches_in_force() -> BTreeMap<String, String> {
    SWITCHES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect()
}

/// Everything that can change a number in a record. Two runs with equal keys
/// produce equal bytes; a difference in any field is another record.
///
/// The commit, the host, the thread count and the time are not here: they do
/// not change numbers, and live in the run log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordKey {
    /// Experiment name, as its crate is called.
    pub experiment: String,
    /// `version` of experiment.toml.
    pub spec_version: u32,
    /// SHA-256 of experiment.toml.
    pub spec_sha256: String,
    /// Hash of the sources and locked libraries that compute
    /// ([`crate::numeric_fingerprint`]).
    pub fingerprint: String,
    /// Registry name, or the name of a folder or file.
    pub model: String,
    /// Family of models: the cluster of a model in tests across models. A local
    /// model is a family of its own.
    pub family: String,
    /// Revision of the weights: a commit, a package version, or "local"; of
    /// recorded activations it ends in [`RECORDING`].
    pub revision: String,
    /// SHA-256 over the hashes of all weight and config files, in name order.
    pub weights_sha256: String,
    /// SHA-256 of the tokenizer, or of the weights file that holds it.
    pub tokenizer_sha256: String,
    /// SHA-256 of the prompt set.
    pub prompts_sha256: String,
    /// The type computed in: "f32", "f16" or "bf16".
    pub dtype: String,
    /// Kind of device, instruction set and C library, for example
    /// "cpu-x86_64-avx512f glibc-2.36"; of a GPU its architecture, "cuda-sm90
    /// glibc-2.36".
    pub device_class: String,
    /// Named variation of the experiment; "default" unless asked otherwise.
    pub setting: String,
    /// Environment switches in force; of a GPU also which one it is, and the
    /// versions of its driver and of cuBLAS.
    pub switches: BTreeMap<String, String>,
}

/// What the revision of a recording of activations ends in.
pub const RECORDING: &str = "recording";

impl RecordKey {
    /// Was it measured on recorded activations, and not on a model?
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.revision.ends_with(RECORDING)
    }

    /// The record's id: SHA-256 of the key's canonical JSON.
    ///
    /// # Errors
    /// None in practice: every field is a string or a number.
    pub fn id(&self) -> Result<String, serde_json::Error> {
        Ok(sha256_hex(canonical_json(self)?.as_bytes()))
    }
}
