//! `bench`: how fast the decoder's parts are, and the whole beside its peers.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

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
}

/// Scripts that pair a program of ours with its peers.
const PAIRED: [(&str, &str); 3] = [
    ("paired.py", "gain_pass"),
    ("decode.py", "decode"),
    ("ard.py", "ard_steps"),
];

pub(crate) fn bench(options: &Options) -> anyhow::Result<Ending> {
    let Some(python) = &options.peers else {
        // One profile for everything: what is timed is what is run.
        let mut cargo = cargo();
        cargo.args(["bench", "--profile", "dev"]);
        cargo.args(["--package", "assay-decoder", "--package", "assay-geometry"]);
        cargo.args(["--bench", "parts", "--bench", "mask", "--"]);
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
        println!("\n{script}\n");
        finish(command, script)?;
    }
    Ok(Ending::Held)
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
