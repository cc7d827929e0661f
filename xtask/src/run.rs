//! `run`: one experiment, without the report.

use std::path::PathBuf;

use anyhow::Context;
use assay_record::PromptFormat;
use assay_record::wire::OwnPrompts;

use crate::manifest::Manifest;
use crate::plan::Fetching;
use crate::reproduce::{Run, print_results};
use crate::sweep::local::Workers;
use crate::{Ending, Holding, Place, golden, stats};

/// Run one experiment.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask run h25-gain --models parallel-L4-H8-s1\n  cargo xtask run value-contraction --prompts my-bank.jsonl --models smollm2-135m"
)]
pub(crate) struct Options {
    /// Its name.
    experiment: String,
    /// Models (registry names, folders or GGUF files), separated by commas,
    /// instead of the registry's default ones.
    #[arg(long, value_delimiter = ',', value_name = "MODELS")]
    models: Vec<String>,
    /// Prompts in place of the experiment's own: a file of JSON lines as in
    /// prompts/h25.jsonl, or, if it ends in .txt, of one text a line. May be
    /// given several times.
    #[arg(long, value_name = "FILE")]
    prompts: Vec<PathBuf>,
    /// The field that holds the text in the JSON lines of --prompts, where they
    /// have another form.
    #[arg(long, value_name = "NAME", requires = "prompts")]
    field: Option<String>,
    /// Fetch nothing.
    #[arg(long)]
    offline: bool,
    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    workers: Workers,
    #[command(flatten)]
    holding: Holding,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Ending> {
    options.place.check_folder()?;
    let experiments = [options.experiment.clone()];
    let prompts = own_prompts(&options.prompts, options.field.as_deref())?;
    let run = Run {
        experiments: &experiments,
        models: &options.models,
        fetching: match options.offline {
            true => Fetching::Forbidden,
            false => Fetching::Allowed,
        },
        prompts: prompts.as_ref(),
        holding: &options.holding,
        place: &options.place,
    };
    let mut own = run.measure(&options.workers)?;
    let held = options.place.hold(options.workers.patience())?;
    let folder = options.place.folder();
    // The other experiments of the last run stay as they are.
    let mut manifest = Manifest::load_or_new(&folder)?;
    stats::summarise(&options.place, &mut own)?;
    manifest.experiments.extend(own.experiments.clone());
    manifest.summaries.extend(own.summaries.clone());
    stats::save(&options.place, &manifest, &held)?;
    let (_, findings) = golden::compare(&options.place, &own)?;
    print_results(&own, &findings, options.json);
    Ok(golden::ending(&findings))
}

/// The user's prompts, if there are any.
fn own_prompts(files: &[PathBuf], field: Option<&str>) -> anyhow::Result<Option<OwnPrompts>> {
    if files.is_empty() {
        return Ok(None);
    }
    let mut paths = Vec::new();
    for file in files {
        let unreadable = || format!("failed to read the prompt file {}", file.display());
        paths.push(file.canonicalize().with_context(unreadable)?);
    }
    let json = match field {
        Some(field) => PromptFormat::Field(field.to_owned()),
        None => PromptFormat::Prompts,
    };
    let own = OwnPrompts { files: paths, json };
    // A fault of theirs is said before any model is touched.
    own.read()?;
    Ok(Some(own))
}
