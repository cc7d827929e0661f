//! `doctor`: what this machine can do.

use std::path::Path;
use std::process::Command;

use assay_record::wire::in_one_line;

use crate::bars::{human_bytes, table};
use crate::say::out;
use crate::{Ending, fetch, plan, workspace};

pub(crate) fn doctor() -> anyhow::Result<Ending> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = plan::available_memory().map_or_else(|| "not known".to_owned(), human_bytes);
    let cache = workspace::models()?.2;
    let rows = vec![
        row("cores", cores.to_string()),
        row("memory free", memory),
        row("disk free", disk(&workspace::root())),
        row("models", cache.root().display().to_string()),
        row("hub", hub()),
        row(
            "pip",
            version(
                "pip",
                &["--version"],
                "models from Python packages cannot be fetched",
            ),
        ),
        row(
            "latexmk",
            version("latexmk", &["--version"], "report.pdf will not be written"),
        ),
        row(
            "gpu",
            version(
                "nvidia-smi",
                &[
                    "--query-gpu=name,compute_cap,memory.total,driver_version",
                    "--format=csv,noheader",
                ],
                "everything runs on the CPU",
            ),
        ),
        row("nvcc", compiler()),
    ];
    out!("{}", table(&rows));
    Ok(Ending::Held)
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

/// The release of NVIDIA's compiler, or what its absence means.
fn compiler() -> String {
    let output = Command::new("nvcc").arg("--version").output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let text = text.unwrap_or_default();
    let release = text.lines().find_map(|l| l.split_once("release "));
    match release {
        Some((_, release)) => format!("release {release}"),
        None => {
            "not here: a worker for --device cuda cannot be built (.ci/cuda-toolkit)".to_owned()
        }
    }
}

/// First line that a program prints, or what its absence means.
fn version(program: &str, arguments: &[&str], absent: &str) -> String {
    let output = Command::new(program).args(arguments).output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            let line = text.lines().find(|l| !l.trim().is_empty());
            line.unwrap_or("present").trim().to_owned()
        }
        _ => format!("not here: {absent}"),
    }
}

/// Free bytes where the workspace lies, as df says.
fn disk(path: &Path) -> String {
    let output = Command::new("df")
        .args(["--output=avail", "-B1"])
        .arg(path)
        .output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let bytes = text
        .ok()
        .and_then(|t| t.lines().nth(1)?.trim().parse().ok());
    bytes.map_or_else(|| "not known".to_owned(), human_bytes)
}

/// Asks the fetch program whether the hub answers.
fn hub() -> String {
    match fetch::reachable() {
        Ok(None) => "reachable".to_owned(),
        Ok(Some(reason)) => format!("not reachable: {reason}"),
        Err(error) => format!("not known: {}", in_one_line(error.as_ref())),
    }
}
