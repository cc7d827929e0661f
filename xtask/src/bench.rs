//! `bench`: how fast the decoder's parts are, and the whole beside its peers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use assay_record::ComputeDevice;

use crate::say::outln;
use crate::{Ending, workspace};

/// Time the decoder's parts, and the whole against other programs.
#[derive(clap::Args)]
#[command(
    after_help = "The parts take about three minutes. The peers need a Python with torch and transformers (and transformer-lens for its column), and a machine that does nothing else."
)]
pub(crate) struct Options {
    /// Only parts whose name holds this.
    #[arg(conflicts_with = "peers")]
    filter: Option<String>,
    /// Instead of the parts, pair the whole with other programs, run by this
    /// Python.
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// Instead of the parts, time passes on a GPU beside transformers, run by
    /// this Python, over the shapes of Pythia with random weights, and hold what
    /// every site shows, in f16 and in f32, to the CPU's; the tables are
    /// Markdown.
    #[arg(long, value_name = "PYTHON", conflicts_with_all = ["filter", "peers"])]
    gpu: Option<PathBuf>,
    /// The GPU; or cpu, to try it.
    #[arg(long, requires = "gpu", default_value_t = ComputeDevice::Cuda(0))]
    device: ComputeDevice,
    /// Shapes, as 70m,12b [default: 70m to 12b].
    #[arg(long, requires = "gpu", value_name = "SHAPES")]
    shapes: Option<String>,
}

/// Scripts that pair a program of ours with its peers.
const PAIRED: [(&str, &str); 3] = [
    ("paired.py", "gain_pass"),
    ("decode.py", "decode"),
    ("ard.py", "ard_steps"),
];

pub(crate) fn bench(options: &Options) -> anyhow::Result<Ending> {
    if let Some(python) = &options.gpu {
        return gpu(python, options);
    }
    let Some(python) = &options.peers else {
        // One profile for everything: what is timed is what is run.
        let mut cargo = cargo();
        cargo.args(["bench", "--profile", "dev"]);
        for package in ["assay-decoder", "assay-geometry", "assay-record"] {
            cargo.args(["--package", package]);
        }
        cargo.args([
            "--bench", "parts", "--bench", "mask", "--bench", "protocol", "--",
        ]);
        cargo.args(&options.filter);
        return finish(cargo, "the benchmark of the parts");
    };
    let mut build = cargo();
    build.args([
        "build",
        "--quiet",
        "--package",
        "assay-decoder",
        "--package",
        "assay-geometry",
        "--examples",
    ]);
    finish(build, "the build of the timed programs")?;
    for (script, program) in PAIRED {
        let mut command = Command::new(python);
        command.current_dir(workspace::root());
        command.arg(PathBuf::from("benches").join(script));
        command.arg(workspace::target().join("debug/examples").join(program));
        outln!("\n{script}\n");
        finish(command, script)?;
    }
    Ok(Ending::Held)
}

fn gpu(python: &Path, options: &Options) -> anyhow::Result<Ending> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--package", "assay-decoder"]);
    build.args(["--example", "on_device"]);
    let folder = if options.device.is_cpu() {
        workspace::target()
    } else {
        workspace::gpu_compiler()?;
        build.args(["--features", "assay-decoder/cuda", "--target-dir"]);
        build.arg(workspace::gpu_target());
        workspace::gpu_target()
    };
    finish(build, "the build of the timed program")?;
    let mut build = cargo();
    build.args(["build", "--quiet", "--package", "assay-geometry"]);
    build.args(["--example", "ard_steps"]);
    finish(build, "the build of the timed program")?;
    let mut command = Command::new(python);
    command.current_dir(workspace::root());
    command.arg(PathBuf::from("benches").join("gpu.py"));
    command.arg(folder.join("debug/examples/on_device"));
    command.arg("--ard");
    command.arg(workspace::target().join("debug/examples/ard_steps"));
    command.args(["--device", &options.device.to_string()]);
    if let Some(shapes) = &options.shapes {
        command.args(["--shapes", shapes]);
    }
    finish(command, "gpu.py")
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root());
    cargo
}

fn finish(mut command: Command, what: &str) -> anyhow::Result<Ending> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("failed to start {program} for {what}"))?;
    if !status.success() {
        bail!("{what} ended with {status}");
    }
    Ok(Ending::Held)
}
