//! `cargo xtask`: the command line of assay. One module per command over a few
//! shared pieces; no tensor library and no network in this process.

mod archive;
mod bars;
mod bench;
mod checklist;
mod claims;
mod completions;
mod computing;
mod diff;
mod doctor;
mod drift;
mod explain;
mod export;
mod fetch;
mod golden;
mod manifest;
mod models;
mod new;
mod plan;
mod report;
mod reproduce;
mod run;
mod say;
mod sbom;
mod stats;
mod sweep;
mod tidy;
mod trace;
mod train;
mod verify;
mod worker;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use assay_record::wire::in_one_line;
use clap::{Args, Parser, Subcommand};

use crate::sweep::task;

/// How a command ended.
pub(crate) enum Ending {
    /// All checks held. Exit 0.
    Held,
    /// A golden value, a contract or a rule did not hold. Exit 1.
    Failed,
}

/// Hypotheses about transformer internals, reproduced and checked.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    after_help = "Exit status: 0 all checks held (whatever the verdicts), 1 a golden value, contract or rule failed, 2 it could not run.\n\nExample: cargo xtask reproduce --all"
)]
struct Cli {
    /// Say nothing but errors, and what was asked for.
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch, run, do the statistics, compare, and write the report.
    Reproduce(reproduce::Options),
    /// List the models of the registry and which of them are here.
    Models,
    /// Fetch models and lock their hashes.
    Fetch(fetch::Options),
    /// Run one experiment.
    Run(run::Options),
    /// Do the statistics again over the records of the last run.
    Stats(Place),
    /// Compare the last run with the golden values, or accept it with --update.
    Golden(golden::Options),
    /// Write the report of the last run.
    Report(report::Options),
    /// List every claim with all that is declared of it.
    Claims(claims::Options),
    /// Check a finished run and say what came of each claim.
    Verify(verify::Options),
    /// Say where a number comes from, back to the raw values.
    Explain(explain::Options),
    /// Compare two finished runs.
    Diff(diff::Options),
    /// Run the project's own models on other builds and compare.
    Drift(drift::Options),
    /// Write a finished run for other tools: CSV, Parquet, one archive.
    Export(export::Options),
    /// Answer the NeurIPS paper checklist from a finished run.
    Checklist(checklist::Options),
    /// Make an experiment crate for a hypothesis of your own.
    New(new::Options),
    /// Print the completions of a shell for these commands.
    Completions(completions::Options),
    /// Check the repository's own rules.
    Tidy,
    /// Time the decoder's parts, and the whole against other programs.
    Bench(bench::Options),
    /// Say what this machine can do.
    Doctor,
    /// Train the models of a suite that are not there yet.
    Train(train::Options),
    /// Write the activations of one prompt as safetensors.
    Trace(trace::Options),
    /// Compute one task of a sweep that was submitted to a cluster.
    #[command(hide = true)]
    Unit(task::UnitOptions),
    /// Write the report of a sweep that was submitted to a cluster.
    #[command(hide = true)]
    Collect(task::CollectOptions),
}

/// Where records lie.
#[derive(Args, Clone)]
pub(crate) struct Place {
    /// Folder of the records, or the archive of a finished run [default:
    /// .assay/store].
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
}

/// How models are held.
#[derive(Args, Clone)]
pub(crate) struct Holding {
    /// Memory that a model may take, as 3GiB or 800MiB; one that needs more is
    /// streamed from its files [default: what is free].
    #[arg(long, value_name = "SIZE", value_parser = bars::parse_bytes)]
    pub(crate) memory: Option<u64>,
    /// Multiply with quantised weights as they are stored. Less exact; records
    /// are kept apart from the exact ones.
    #[arg(long)]
    pub(crate) as_stored: bool,
    /// Measure what experiments leave out for its time: z-causality decodes
    /// texts in every cell, and random subspaces in every cell too. Records are
    /// kept apart.
    #[arg(long)]
    pub(crate) full: bool,
    #[command(flatten)]
    pub(crate) computing: computing::Computing,
}

impl Holding {
    /// Is an accelerator asked for?
    pub(crate) fn needs_gpu(&self) -> bool {
        !self.computing.device.is_cpu()
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.quiet {
        say::be_quiet();
    }
    let result = match cli.command {
        Command::Reproduce(options) => reproduce::reproduce(&options),
        Command::Models => models::models(),
        Command::Fetch(options) => fetch::fetch(&options),
        Command::Run(options) => run::run(&options),
        Command::Stats(place) => stats::stats(&place),
        Command::Golden(options) => golden::golden(&options),
        Command::Report(options) => report::report(&options),
        Command::Claims(options) => claims::claims(&options),
        Command::Verify(options) => verify::verify(&options),
        Command::Explain(options) => explain::explain(&options),
        Command::Diff(options) => diff::diff(&options),
        Command::Drift(options) => drift::drift(&options),
        Command::Export(options) => export::export(&options),
        Command::New(options) => new::new(&options),
        Command::Completions(options) => completions::completions(&options),
        Command::Checklist(options) => checklist::checklist(&options),
        Command::Tidy => tidy::tidy(),
        Command::Bench(options) => bench::bench(&options),
        Command::Doctor => doctor::doctor(),
        Command::Train(options) => train::train(&options),
        Command::Trace(options) => trace::trace(&options),
        Command::Unit(options) => task::unit(&options),
        Command::Collect(options) => task::collect(&options),
    };
    let written = say::end_output().context("failed to write the output");
    let result = result.and_then(|ending| written.map(|()| ending));
    match result {
        Ok(Ending::Held) => ExitCode::SUCCESS,
        Ok(Ending::Failed) => ExitCode::from(1),
        Err(error) => {
            say::to_people(format_args!("error: {}\n", in_one_line(error.as_ref())));
            ExitCode::from(2)
        }
    }
}
