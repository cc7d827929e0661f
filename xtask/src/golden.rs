//! `golden`: the last run against what is expected of it.

use anyhow::{Context, bail};
use assay_golden::{Computed, Finding, compare_record, compare_summary, update_summary};
use assay_record::{RecordKey, Store, Summary, sha256_hex};
use rayon::prelude::*;

use crate::bars::Bar;
use crate::manifest::{Manifest, Measured};
use crate::say::say;
use crate::{Ending, Place, workspace};

/// Compare the last run with the golden values, or accept it with --update.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write what the last run found as the golden values.
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn golden(options: &Options) -> anyhow::Result<Ending> {
    let opened = options.place.open()?;
    let place = &opened.place;
    let manifest = Manifest::load(&place.folder())?;
    if options.update {
        let (records, _) = read(place, &manifest)?;
        let how = records.iter().map(Computed::of).max();
        if let Some(how) = how.filter(|how| *how != Computed::Cpu) {
            bail!("golden values are the CPU's in f32, and this run was computed{how}");
        }
        for summary in summaries(place, &manifest)? {
            for path in update_summary(&summary, &workspace::golden())? {
                say!("written: {}", path.display());
            }
        }
    }
    let (_, findings) = compare(place, &manifest)?;
    print(&findings);
    Ok(ending(&findings))
}

/// The summaries of a run, in the order of their experiments, as the statistics
/// wrote them.
pub(crate) fn summaries(place: &Place, manifest: &Manifest) -> anyhow::Result<Vec<Summary>> {
    let mut summaries = Vec::new();
    for experiment in manifest.experiments.keys() {
        let path = place.summaries().join(format!("{experiment}.json"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}: run cargo xtask stats", path.display()))?;
        if manifest.summaries.get(experiment) != Some(&sha256_hex(text.as_bytes())) {
            bail!(
                "{} is not what the statistics of the last run wrote: run cargo xtask stats",
                path.display()
            );
        }
        let summary: Summary = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a summary", path.display()))?;
        if summary.experiment != *experiment {
            bail!(
                "{} is a summary of {:?}",
                path.display(),
                summary.experiment
            );
        }
        summaries.push(summary);
    }
    Ok(summaries)
}

/// What a run found.
pub(crate) struct Found {
    /// In the order of their experiments.
    pub(crate) summaries: Vec<Summary>,
    /// Keys of the records, in the order of the list.
    pub(crate) records: Vec<RecordKey>,
}

/// Compares summaries with golden numbers, and records with the values of
/// independent implementations. Every record is read once, and not kept.
pub(crate) fn compare(place: &Place, manifest: &Manifest) -> anyhow::Result<(Found, Vec<Finding>)> {
    let golden = workspace::golden();
    let (records, of_records) = read(place, manifest)?;
    let summaries = summaries(place, manifest)?;
    let mut findings = Vec::new();
    for summary in &summaries {
        let how = way(&records, &summary.experiment);
        findings.extend(compare_summary(summary, &golden, how)?);
    }
    findings.extend(of_records);
    Ok((Found { summaries, records }, findings))
}

/// How the records of an experiment were computed: of several ways the one that
/// allows most.
fn way(records: &[RecordKey], experiment: &str) -> Computed {
    let own = records.iter().filter(|key| key.experiment == experiment);
    own.map(Computed::of).max().unwrap_or(Computed::Cpu)
}

/// What mends a record.
fn again(experiment: &str, measured: &Measured) -> String {
    let model = &measured.model;
    format!(
        "a record of the run is gone or damaged; cargo xtask run {experiment} --models {model} computes it again"
    )
}

/// Records between two signs of progress: some tenths of a second.
const AT_ONCE: usize = 500;

/// The keys of the records, and what the values of independent implementations
/// say of them.
fn read(place: &Place, manifest: &Manifest) -> anyhow::Result<(Vec<RecordKey>, Vec<Finding>)> {
    let golden = workspace::golden();
    let store = Store::open(&place.folder())?;
    let all: Vec<(&String, &Measured)> = (manifest.experiments.iter())
        .flat_map(|(name, o)| o.measured.iter().map(move |m| (name, m)))
        .collect();
    let read = |(experiment, measured): &(&String, &Measured)| {
        let record = store.read(experiment, &measured.record);
        let record = record.with_context(|| again(experiment, measured))?;
        let finding = compare_record(&record, &golden)?;
        Ok((record.key, finding))
    };
    let mut bar = Bar::new("golden");
    let (mut keys, mut findings) = (Vec::new(), Vec::new());
    for some in all.chunks(AT_ONCE) {
        if all.len() > AT_ONCE {
            bar.steps("reading records", keys.len() as u64, all.len() as u64);
        }
        let some = some.par_iter().map(read);
        for (key, finding) in some.collect::<anyhow::Result<Vec<_>>>()? {
            keys.push(key);
            findings.extend(finding);
        }
    }
    Ok((keys, findings))
}

pub(crate) fn ending(findings: &[Finding]) -> Ending {
    if findings.iter().all(|f| f.differences.is_empty()) {
        Ending::Held
    } else {
        Ending::Failed
    }
}

/// Says what was compared and what is off.
pub(crate) fn print(findings: &[Finding]) {
    if findings.is_empty() {
        say!("golden: there are no golden values for what ran");
    }
    for finding in findings {
        let off = finding.differences.len();
        let verdict = if off == 0 {
            "all as expected".to_owned()
        } else {
            format!("{off} OFF")
        };
        say!(
            "golden {}: {} compared, {verdict}",
            finding.scope,
            finding.compared
        );
        for difference in &finding.differences {
            say!("  {difference}");
        }
    }
}
