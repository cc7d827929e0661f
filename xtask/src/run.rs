//! `run`: one experiment, without the report.

use crate::manifest::Manifest;
use crate::reproduce::{Run, print_results};
use crate::{Ending, Holding, Place, golden, stats};

/// Run one experiment.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Its name.
    experiment: String,
    /// Models (registry names, folders or GGUF files), separated by commas,
    /// instead of the registry's default ones.
    #[arg(long, value_delimiter = ',', value_name = "MODELS")]
    models: Vec<String>,
    /// Fetch nothing.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    holding: Holding,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Ending> {
    let experiments = [options.experiment.clone()];
    let run = Run {
        experiments: &experiments,
        models: &options.models,
        offline: options.offline,
        holding: &options.holding,
        place: &options.place,
    };
    let _held = options.place.hold()?;
    let mut measured = run.measure()?;
    let folder = options.place.folder();
    // The other experiments of the last run stay as they are.
    let mut manifest = Manifest::load(&folder).unwrap_or_else(|_| Manifest::new());
    manifest.experiments.append(&mut measured.experiments);
    manifest.save(&folder)?;
    stats::summarise(&options.place, &manifest)?;
    let findings = golden::compare(&options.place, &manifest)?;
    print_results(&manifest, &findings);
    Ok(golden::ending(&findings))
}
