use assay_record::wire::RunRequest;
use assay_record::{RECORDING, RecordKey, sha256_hex, switches_in_force};
use assay_source::Digests;

use crate::experiments::Declared;

/// The key of one experiment on the requested model, or on a recording of its
/// activations.
pub(crate) fn key(request: &RunRequest, declared: &Declared, recorded: bool) -> RecordKey {
    let digests = digests(request);
    let revision = if recorded {
        of_recording(&request.revision)
    } else {
        request.revision.clone()
    };
    RecordKey {
        experiment: declared.experiment.name().to_owned(),
        spec_version: declared.spec.version,
        spec_sha256: sha256_hex(declared.experiment.spec_text().as_bytes()),
        fingerprint: declared.fingerprint.to_owned(),
        model: request.model.clone(),
        revision,
        weights_sha256: digests.weights,
        tokenizer_sha256: digests.tokenizer,
        prompts_sha256: declared.prompts.sha256.clone(),
        dtype: declared.spec.dtype.clone(),
        device_class: device_class().to_owned(),
        setting: setting(request, declared),
        switches: switches_in_force(),
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

/// Device and widest instruction set that candle's matmul picks by itself.
fn device_class() -> &'static str {
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
