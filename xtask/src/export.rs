//! `export`: a finished run for other tools and other people.

use std::path::PathBuf;

use assay_record::{Store, write_atomically};
use assay_report::{samples_csv, samples_parquet};

use crate::archive;
use crate::manifest::Manifest;
use crate::say::say;
use crate::sbom;
use crate::{Ending, Place, workspace};

/// Write every raw value of a finished run as CSV and Parquet, and the run as
/// one archive that report, verify, explain and diff take with --store, with a
/// bill of materials (CycloneDX) of the build beside it and in it.
#[derive(clap::Args)]
#[command(
    after_help = "samples.csv and samples.parquet have a row a value: experiment, model, revision, setting, record, unit, cluster, tags, measure, index, value.\n\nExamples:\n  cargo xtask export --out results\n  cargo xtask report --store results/run.zip\n  python -c 'import pandas; print(pandas.read_parquet(\"results/samples.parquet\"))'"
)]
pub(crate) struct Options {
    /// Folder to write into [default: out].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only the archive.
    #[arg(long)]
    archive_only: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn export(options: &Options) -> anyhow::Result<Ending> {
    let opened = options.place.open()?;
    let folder = opened.place.folder();
    let manifest = Manifest::load(&folder)?;
    let store = Store::open(&folder)?;
    let out = (options.out.clone()).unwrap_or_else(|| workspace::root().join("out"));
    let mut names = Vec::new();
    let mut records = Vec::new();
    for (experiment, outcomes) in &manifest.experiments {
        for measured in &outcomes.measured {
            records.push(store.read(experiment, &measured.record)?);
            names.push((experiment.clone(), measured.record.clone()));
        }
    }
    let mut written = Vec::new();
    if !options.archive_only {
        for (name, bytes) in [
            ("samples.csv", samples_csv(&records)?),
            ("samples.parquet", samples_parquet(&records)?),
        ] {
            let path = out.join(name);
            write_atomically(&path, &bytes)?;
            written.push(path);
        }
    }
    let experiments: Vec<&String> = manifest.experiments.keys().collect();
    let mut packed = archive::files_of(&folder, &experiments, &names);
    let path = out.join("sbom.cdx.json");
    write_atomically(&path, &sbom::sbom()?)?;
    packed.insert("sbom.cdx.json".to_owned(), path.clone());
    written.push(path);
    let path = out.join("run.zip");
    archive::pack(&packed, &path)?;
    written.push(path);
    for path in written {
        say!("written: {}", path.display());
    }
    Ok(Ending::Held)
}
