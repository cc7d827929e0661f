use assay_record::wire::RunRequest;
use assay_record::{RecordKey, sha256_hex, switches_in_force};
use assay_source::FileRole;

use crate::experiments::Declared;

/// The key of one experiment on the requested model.
pub(crate) fn key(request: &RunRequest, declared: &Declared) -> RecordKey {
    RecordKey {
        experiment: declared.experiment.name().to_owned(),
        spec_version: declared.spec.version,
        spec_sha256: sha256_hex(declared.experiment.spec_text().as_bytes()),
        fingerprint: declared.fingerprint.to_owned(),
        model: request.model.clone(),
        revision: request.revision.clone(),
        weights_sha256: digest(request, |role| role != FileRole::Tokenizer),
        tokenizer_sha256: tokenizer(request),
        prompts_sha256: declared.prompts.sha256.clone(),
        dtype: declared.spec.dtype.clone(),
        device_class: device_class().to_owned(),
        setting: setting(request, declared),
        switches: switches_in_force(),
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

/// The tokenizer's files, or all of them where it lies inside the weights.
fn tokenizer(request: &RunRequest) -> String {
    let own = request
        .files
        .iter()
        .any(|f| role(&f.path) == FileRole::Tokenizer);
    digest(request, |role| role == FileRole::Tokenizer || !own)
}

/// SHA-256 over the names and hashes of some files, in name order.
fn digest(request: &RunRequest, take: impl Fn(FileRole) -> bool) -> String {
    let mut lines: Vec<String> = request
        .files
        .iter()
        .filter(|f| take(role(&f.path)))
        .map(|f| format!("{} {}\n", f.sha256, name(&f.path)))
        .collect();
    lines.sort();
    sha256_hex(lines.concat().as_bytes())
}

fn role(path: &std::path::Path) -> FileRole {
    FileRole::of(&name(path))
}

fn name(path: &std::path::Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
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
