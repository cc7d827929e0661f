//! The ways in which the same models are run: numbers of threads, builds for
//! other processors, emulated processors.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::say::say;
use crate::workspace;

/// Class of the machine that this runs on, in words.
pub(super) fn machine() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let words = if std::arch::is_x86_feature_detected!("avx512f") {
            "x86-64 with AVX-512"
        } else if std::arch::is_x86_feature_detected!("fma") {
            "x86-64 with FMA"
        } else {
            "x86-64 without FMA"
        };
        words.to_owned()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH.to_owned()
    }
}

enum How {
    /// The usual build on so many threads.
    Threads(usize),
    /// A build for a processor.
    Build(&'static str),
    /// The usual build on an emulated processor.
    Emulated(&'static str),
}

/// A way of running the worker.
pub(super) struct Variation {
    pub(super) name: String,
    pub(super) what: String,
    how: How,
}

impl Variation {
    pub(super) fn emulated(&self) -> bool {
        matches!(self.how, How::Emulated(_))
    }

    /// Does it differ from others of its kind in the number of threads only?
    pub(super) fn is_of_threads(&self) -> bool {
        matches!(self.how, How::Threads(_))
    }

    /// Is there a worker to be built first?
    pub(super) fn builds(&self) -> bool {
        matches!(self.how, How::Build(_))
    }
}

/// Processors to build for, and what that allows the compiler.
const BUILDS: [(&str, &str); 3] = [
    ("x86-64-v2", "built for SSE4.2"),
    ("x86-64-v3", "built for AVX2 and FMA"),
    ("native", "built for this processor"),
];

/// Names of emulated processors and what QEMU calls them. What QEMU 7.2 does not
/// know of a Haswell, none of it arithmetic, is left out, since it warns of each.
const EMULATED: [(&str, &str, &str); 2] = [
    (
        "emulated-haswell",
        "Haswell-noTSX,pcid=off,x2apic=off,tsc-deadline=off,invpcid=off",
        "emulated processor with AVX2 and FMA, without AVX-512",
    ),
    (
        "emulated-nehalem",
        "Nehalem",
        "emulated processor with SSE4.2, without AVX and FMA",
    ),
];

/// Every variation, in the order in which they are run and printed.
pub(super) fn all() -> Vec<Variation> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut counts = vec![1, 2, 4, cores];
    counts.sort_unstable();
    counts.dedup();
    let threads = counts.into_iter().map(|n| Variation {
        name: format!("threads-{n}"),
        what: format!(
            "the usual build, {n} thread{}",
            if n == 1 { "" } else { "s" }
        ),
        how: How::Threads(n),
    });
    let builds = BUILDS.into_iter().map(|(cpu, what)| Variation {
        name: cpu.to_owned(),
        what: what.to_owned(),
        how: How::Build(cpu),
    });
    let emulated = EMULATED.into_iter().map(|(name, cpu, what)| Variation {
        name: name.to_owned(),
        what: what.to_owned(),
        how: How::Emulated(cpu),
    });
    threads.chain(builds).chain(emulated).collect()
}

/// How a worker is started.
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// What stands before the worker's own arguments.
    pub(super) before: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// The emulator's version.
    pub(super) version: Option<String>,
}

impl Program {
    fn plain(path: PathBuf) -> Self {
        Self {
            path,
            before: Vec::new(),
            environment: Vec::new(),
            version: None,
        }
    }
}

/// The usual build, as everything else runs it.
pub(super) fn usual() -> anyhow::Result<Program> {
    Ok(Program::plain(workspace::program("assay-worker")?))
}

const EMULATOR: &str = "qemu-x86_64";

/// The variation's program, built if need be; or why there is none here.
pub(super) fn program(variation: &Variation) -> anyhow::Result<Result<Program, String>> {
    let elsewhere = !cfg!(target_arch = "x86_64");
    let foreign = || {
        format!(
            "it is for x86-64, and this machine is {}",
            std::env::consts::ARCH
        )
    };
    match &variation.how {
        How::Threads(count) => {
            let mut program = usual()?;
            program.environment = vec![("RAYON_NUM_THREADS", count.to_string())];
            Ok(Ok(program))
        }
        How::Build(cpu) if elsewhere && *cpu != "native" => Ok(Err(foreign())),
        How::Build(cpu) => match unsupported(cpu) {
            Some(lacking) => Ok(Err(format!("this processor has no {lacking}"))),
            None => Ok(Ok(Program::plain(build(cpu)?))),
        },
        How::Emulated(_) if elsewhere => Ok(Err(foreign())),
        How::Emulated(cpu) => {
            let Some(version) = emulator_version() else {
                return Ok(Err(format!("{EMULATOR} is not installed")));
            };
            let worker = workspace::program("assay-worker")?;
            let mut program = Program::plain(PathBuf::from(EMULATOR));
            program.before = vec![
                "-cpu".to_owned(),
                (*cpu).to_owned(),
                worker.display().to_string(),
            ];
            program.version = Some(version);
            Ok(Ok(program))
        }
    }
}

/// What a build needs and this processor lacks.
#[cfg(target_arch = "x86_64")]
fn unsupported(cpu: &str) -> Option<&'static str> {
    match cpu {
        "x86-64-v2" if !std::arch::is_x86_feature_detected!("sse4.2") => Some("SSE4.2"),
        "x86-64-v3" if !std::arch::is_x86_feature_detected!("avx2") => Some("AVX2"),
        "x86-64-v3" if !std::arch::is_x86_feature_detected!("fma") => Some("FMA"),
        _ => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn unsupported(_cpu: &str) -> Option<&'static str> {
    None
}

/// "qemu-x86_64 version 7.2.22 (…)" -> "qemu 7.2.22".
fn emulator_version() -> Option<String> {
    let output = Command::new(EMULATOR).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split("version ").nth(1)?.split_whitespace().next()?;
    Some(format!("qemu {version}"))
}

/// Where the worker for a processor is built: compiler flags void every built
/// library, so each has a folder of its own, which later calls find again.
fn folder(cpu: &str) -> PathBuf {
    workspace::target().join("drift").join(cpu)
}

/// The worker, built for a processor.
fn build(cpu: &str) -> anyhow::Result<PathBuf> {
    let folder = folder(cpu);
    let worker = folder.join("debug").join("assay-worker");
    say!("building assay-worker for {cpu}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace::root())
        .args([
            "build",
            "--quiet",
            "--package",
            "assay-worker",
            "--target-dir",
        ])
        .arg(&folder)
        // It would go before the other.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", format!("-C target-cpu={cpu}"))
        .stdout(Stdio::null())
        .status()
        .context("failed to start cargo")?;
    if !status.success() {
        bail!("assay-worker could not be built for {cpu}");
    }
    Ok(worker)
}

/// Is the worker for this variation still to be built from nothing?
pub(super) fn is_unbuilt(variation: &Variation) -> bool {
    match variation.how {
        How::Build(cpu) => !folder(cpu).join("debug").join("assay-worker").exists(),
        _ => false,
    }
}
