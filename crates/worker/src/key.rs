use std::collections::BTreeMap;

use assay_record::wire::{Hold, RunRequest};
use assay_record::{RECORDING, RecordKey, sha256_hex, switches_in_force};
use assay_source::Digests;

use crate::experiments::Declared;
use crate::{gpu, hold};

/// What a model computes on, as a record's key has it.
pub(crate) struct Computes {
    class: String,
    switches: BTreeMap<String, String>,
}

impl Computes {
    /// On the device that a request names.
    pub(crate) fn on(hold: Hold) -> anyhow::Result<Self> {
        let mut switches = switches_in_force();
        if hold.device.is_cpu() {
            // What this program set for a GPU says nothing of the CPU.
            switches.retain(|name, _| !gpu::SWITCHES.iter().any(|(ours, _)| ours == name));
            let class = with_c_library(cpu_class());
            return Ok(Self { class, switches });
        }
        let mut facts = gpu::facts(&hold::device(hold)?)?;
        switches.append(&mut facts.switches);
        // Geometry is the CPU's.
        let class = with_c_library(&facts.class);
        Ok(Self { class, switches })
    }
}

/// The key of one experiment on the requested model, or on a recording of its
/// activations.
pub(crate) fn key(
    request: &RunRequest,
    declared: &Declared,
    recorded: bool,
    computes: &Computes,
) -> RecordKey {
    let digests = digests(request);
    let revision = if recorded {
        of_recording(&request.revision)
    } else {
        request.revision.clone()
    };
    let dtype = request.hold.dtype.map(|t| t.name().to_owned());
    RecordKey {
        experiment: declared.experiment.name().to_owned(),
        spec_version: declared.spec.version,
        spec_sha256: sha256_hex(declared.experiment.spec_text().as_bytes()),
        fingerprint: declared.fingerprint.to_owned(),
        model: request.model.clone(),
        family: request.family.clone(),
        revision,
        weights_sha256: digests.weights,
        tokenizer_sha256: digests.tokenizer,
        prompts_sha256: declared.prompts.sha256.clone(),
        dtype: dtype.unwrap_or_else(|| declared.spec.dtype.clone()),
        device_class: computes.class.clone(),
        setting: setting(request, declared),
        switches: computes.switches.clone(),
    }
}

/// The revision of a recording of a model's activations.
fn of_recording(revision: &str) -> String {
    match revision {
        "local" => RECORDING.to_owned(),
        // The folder names a checkpoint.
        step => format!("{step}-{RECORDING}"),
    }
}

fn setting(request: &RunRequest, declared: &Declared) -> String {
    let full = request.full && declared.experiment.has_more();
    let parts = [
        (request.hold.as_stored, "products as stored"),
        (full, "full"),
    ];
    let named: Vec<&str> = parts.iter().filter(|(is, _)| *is).map(|p| p.1).collect();
    if named.is_empty() {
        "default".to_owned()
    } else {
        named.join(", ")
    }
}

/// Hashes of the files by what they are for.
fn digests(request: &RunRequest) -> Digests {
    let name = |path: &std::path::Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let files: Vec<_> = (request.files.iter())
        .map(|f| (name(&f.path), f.sha256.clone()))
        .collect();
    Digests::of(&files)
}

/// exp, log and tanh of single numbers are the C library's, whose versions
/// differ in last bits.
fn with_c_library(class: &str) -> String {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: the function takes nothing and gives a string that stays.
        let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
        format!("{class} glibc-{}", version.to_string_lossy())
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        // The system's, whose version it does not say.
        format!("{class} {}", std::env::consts::OS)
    }
}

/// The processor and the widest instruction set that candle's matmul picks by
/// itself.
fn cpu_class() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "cpu-x86_64-avx512f";
        }
        if std::arch::is_x86_feature_detected!("fma") {
            return "cpu-x86_64-fma";
        }
        "cpu-x86_64"
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH
    }
}
