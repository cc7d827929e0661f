//! `assay-fetch`: the only program of the project that opens a socket.
//!
//! It writes JSON lines ([`assay_source::protocol::Event`]) on its standard
//! output and leaves their display to its caller. Exit status 0: everything
//! asked for is here. 1: a model could not be had, and an error line says why.
//! 2: the arguments or the registry are wrong, said on standard error.

mod failure;
mod get;
mod git;
mod hub;
mod pip;
mod plan;
mod report;
mod repository;
mod secrets;
mod share;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use assay_source::{Lock, ModelCache, Registry};
use clap::{Parser, Subcommand};

use crate::hub::{Hub, Limits, MAX_PIECE};
use crate::report::Reporter;

#[derive(Parser)]
#[command(
    version,
    about = "Fetch models of the registry; JSON lines on standard output"
)]
struct Arguments {
    /// Folder of models.toml and models.lock.toml.
    #[arg(long, global = true, default_value = "registry")]
    registry: PathBuf,
    /// Folder of the fetched models [default: $ASSAY_MODELS, else .assay/models].
    #[arg(long, global = true)]
    cache: Option<PathBuf>,
    /// Use only what is on this machine.
    #[arg(long, global = true)]
    offline: bool,
    /// Bytes asked for in one request.
    #[arg(long, global = true, default_value_t = MAX_PIECE,
          value_parser = clap::value_parser!(u64).range(1..=MAX_PIECE))]
    piece_bytes: u64,
    /// Milliseconds before the first repetition; each later one waits twice as long.
    #[arg(long, global = true, default_value_t = 500,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    backoff_ms: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what each model needs: bytes, here and to fetch, licence, lock.
    Plan {
        /// Registry names, each alone or as name@revision.
        #[arg(required = true)]
        models: Vec<String>,
    },
    /// Fetch models, check every file, and lock what was never locked.
    Get {
        /// Registry names, each alone or as name@revision.
        #[arg(required = true)]
        models: Vec<String>,
        /// Accept a licence by the name the registry gives it.
        #[arg(long = "accept", value_name = "LICENCE")]
        accepted: Vec<String>,
        /// Take branches at their newest commit and rewrite the lock entries.
        #[arg(long)]
        update_lock: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("assay-fetch: {}", secrets::hide(&format!("{error:#}")));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let registry = Registry::load(&arguments.registry)?;
    let lock = Lock::load(&arguments.registry)?;
    let cache = match arguments.cache {
        Some(root) => ModelCache::new(root),
        None => {
            let here = std::env::current_dir().context("failed to find the current folder")?;
            ModelCache::from_env(&here)
        }
    };
    let report = Reporter::new();
    let limits = Limits {
        piece_bytes: arguments.piece_bytes,
        backoff: Duration::from_millis(arguments.backoff_ms),
    };
    let hub = Hub::new(limits, arguments.offline)?;
    let all_here = match arguments.command {
        Command::Plan { models } => {
            plan::plan_all(&registry, &lock, &cache, &hub, &report, &models)?
        }
        Command::Get {
            models,
            accepted,
            update_lock,
        } => {
            let options = get::Options {
                accepted,
                update_lock,
                registry_folder: arguments.registry,
            };
            get::get_all(&registry, lock, &cache, &hub, &report, &models, &options)?
        }
    };
    Ok(if all_here {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
