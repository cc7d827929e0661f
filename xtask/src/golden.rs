//! `golden`: the last run against what is expected of it.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use assay_golden::{Computed, Finding, compare_record, compare_summary, update_summary};
use assay_record::{Store, Summary, sha256_hex};

use crate::manifest::Manifest;
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
        let ways = read(place, &manifest)?.0;
        if let Some(how) = ways.into_values().max()
            && how != Computed::Cpu
        {
            bail!("golden values are the CPU's in f32, and this run was computed{how}");
        }
        for summary in summaries(place, &manifest)? {
            for path in update_summary(&summary, &workspace::golden())? {
                say!("written: {}", path.display());
            }
        }
    }
    let findings = compare(place, &manifest)?;
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

/// Compares summaries with golden numbers, and records with the values of
/// independent implementations.
pub(crate) fn compare(place: &Place, manifest: &Manifest) -> anyhow::Result<Vec<Finding>> {
    let golden = workspace::golden();
    let (ways, of_records) = read(place, manifest)?;
    let mut findings = Vec::new();
    for summary in summaries(place, manifest)? {
        let how = ways.get(&summary.experiment).copied();
        let how = how.unwrap_or(Computed::Cpu);
        findings.extend(compare_summary(&summary, &golden, how)?);
    }
    findings.extend(of_records);
    Ok(findings)
}

/// Of the records: how those of each experiment were computed, of several ways
/// the one that allows most; and what the values of independent implementations
/// say of them.
fn read(
    place: &Place,
    manifest: &Manifest,
) -> anyhow::Result<(BTreeMap<String, Computed>, Vec<Finding>)> {
    let golden = workspace::golden();
    let store = Store::open(&place.folder())?;
    let mut ways = BTreeMap::new();
    let mut findings = Vec::new();
    for (experiment, outcomes) in &manifest.experiments {
        for measured in &outcomes.measured {
            let record = store.read(experiment, &measured.record)?;
            let way = ways.entry(experiment.clone()).or_insert(Computed::Cpu);
            *way = Computed::of(&record.key).max(*way);
            findings.extend(compare_record(&record, &golden)?);
        }
    }
    Ok((ways, findings))
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
