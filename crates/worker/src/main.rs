//! The process that holds one model.
//!
//! It is started by xtask, reads a request on standard input and answers with
//! one JSON line per event. A model is loaded once, the passes that all
//! requested experiments need are run once, and records are committed by
//! rename; killed at any point, it leaves nothing half-written.

mod alive;
mod depends;
mod describe;
mod experiments;
mod facts;
mod gpu;
mod hold;
mod key;
mod run;
mod summarise;
mod survey;
mod trace;
mod train;
mod unasked;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use assay_record::PATIENCE;
use assay_record::wire::{Event, in_one_line};
use assay_record::{ComputeDevice, ComputeType};
use clap::{Parser, Subcommand};

use crate::trace::Asked;

/// Holds one model and runs experiments on it; started by cargo xtask.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the experiments and their declarations as JSON.
    Experiments,
    /// Say what a GPU is and how much of its memory is free.
    Gpu {
        /// Its number.
        number: usize,
    },
    /// Say of units what the store has of them and what work the rest would
    /// be; the request is read from standard input.
    Survey,
    /// Run experiments on one model; the request is read from standard input.
    Run {
        /// Wait while another process is at work on it.
        #[arg(long)]
        wait: bool,
        /// Seconds without a sign of life after which its work is taken over.
        #[arg(long, default_value_t = PATIENCE.as_secs())]
        patience: u64,
    },
    /// Print the models of a suite as JSON, and which are there.
    Suite {
        /// Its folder.
        suite: PathBuf,
    },
    /// Train one model of a suite.
    Train {
        /// The suite's folder.
        suite: PathBuf,
        /// The model.
        name: String,
        /// Folder of states that a run goes on from.
        work: PathBuf,
    },
    /// Summarise records; the request is read from standard input.
    Summarise,
    /// Find out which measures a number depends on; the request is read from
    /// standard input.
    Depends,
    /// Write the activations of one prompt as safetensors.
    Trace {
        /// A model's folder, or a GGUF file.
        model: PathBuf,
        /// Token ids, separated by commas.
        #[arg(long, value_delimiter = ',', conflicts_with = "prompt")]
        ids: Vec<u32>,
        /// A text.
        #[arg(long, required_unless_present_any = ["ids", "prompts"])]
        prompt: Option<String>,
        /// A file of prompts; `out` is a folder then.
        #[arg(long, conflicts_with_all = ["ids", "prompt"])]
        prompts: Option<PathBuf>,
        /// Patterns of site names; every site but hook_result if left out.
        #[arg(long)]
        sites: Vec<String>,
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
        /// Bytes of memory that the model may take; as many as there are if
        /// left out.
        #[arg(long)]
        memory: Option<u64>,
        /// Where it computes.
        #[arg(long, default_value_t = ComputeDevice::Cpu)]
        device: ComputeDevice,
        /// What it computes in; f32 if left out.
        #[arg(long)]
        dtype: Option<ComputeType>,
    },
}

fn main() -> ExitCode {
    die_with_parent();
    gpu::prepare();
    let command = Cli::parse().command;
    // These two print one JSON value and no events.
    if !matches!(command, Command::Experiments | Command::Suite { .. }) {
        alive::say();
    }
    let result = match command {
        Command::Experiments => experiments::list(),
        Command::Gpu { number } => gpu::tell(number),
        Command::Survey => request().and_then(|text| survey::survey(&text)),
        Command::Run { wait, patience } => {
            let patience = Duration::from_secs(patience);
            request().and_then(|text| run::run(&text, wait, patience))
        }
        Command::Suite { suite } => train::list(&suite),
        Command::Train { suite, name, work } => train::train(&suite, &name, &work),
        Command::Summarise => request().and_then(|text| summarise::summarise(&text)),
        Command::Depends => request().and_then(|text| depends::depends(&text)),
        Command::Trace {
            model,
            ids,
            prompt,
            prompts,
            sites,
            out,
            memory,
            device,
            dtype,
        } => {
            let asked = match (&prompts, &prompt) {
                (Some(file), _) => Asked::File(file),
                (None, Some(text)) => Asked::Text(text),
                (None, None) => Asked::Ids(ids),
            };
            trace::trace(&model, asked, &sites, &out, memory, (device, dtype))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = emit(&Event::Failed {
                reason: in_one_line(error.as_ref()),
            });
            ExitCode::from(2)
        }
    }
}

fn request() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("failed to read the request")?;
    Ok(text)
}

/// Writes one event as a line. A reader that is gone ends the process.
pub(crate) fn emit(event: &Event) -> anyhow::Result<()> {
    if !matches!(event, Event::Alive) {
        alive::sign();
    }
    let mut line = serde_json::to_string(event)?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .context("failed to write an event: the reader is gone")
}

/// Asks the kernel to end this process when xtask dies, so that a killed run
/// leaves no worker behind.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    // SAFETY: prctl with PR_SET_PDEATHSIG takes one integer and touches no memory.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}
