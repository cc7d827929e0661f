//! `stats`: from records to summaries.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use assay_record::wire::{Event, SummariseRequest};
use assay_record::{PATIENCE, UnitClaim};

use crate::bars::Bar;
use crate::manifest::Manifest;
use crate::say::say;
use crate::{Ending, Place, worker, workspace};

pub(crate) fn stats(place: &Place) -> anyhow::Result<Ending> {
    place.check_folder()?;
    // Loaded first, so that a mistyped folder is not made.
    Manifest::load(&place.folder())?;
    let held = place.hold(PATIENCE)?;
    let mut manifest = Manifest::load(&place.folder())?;
    summarise(place, &mut manifest)?;
    save(place, &manifest, &held)?;
    say!("summaries: {}", place.summaries().display());
    Ok(Ending::Held)
}

/// Summarises every experiment of a run anew, and notes what was written.
pub(crate) fn summarise(place: &Place, manifest: &mut Manifest) -> anyhow::Result<()> {
    manifest.summaries = summarise_into(place, manifest, &place.summaries())?;
    Ok(())
}

/// Writes the list of a run, whose summaries are those that `held` was held
/// for.
///
/// # Errors
/// The store cannot be written, or another run has taken it over meanwhile.
pub(crate) fn save(place: &Place, manifest: &Manifest, held: &UnitClaim) -> anyhow::Result<()> {
    if !held.is_ours() {
        bail!(
            "another run took over {} while this one showed no sign of life: run again",
            place.folder().display()
        );
    }
    manifest.save(&place.folder())
}

/// Summarises every experiment of a run into a folder: experiment -> SHA-256
/// of its summary, as it was written.
pub(crate) fn summarise_into(
    place: &Place,
    manifest: &Manifest,
    out: &Path,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut summaries = BTreeMap::new();
    let worker = workspace::program("assay-worker")?;
    let mut bar = Bar::new("statistics");
    let all = manifest.experiments.len() as u64;
    for (done, (experiment, outcomes)) in (0..).zip(&manifest.experiments) {
        bar.steps_of("experiments", experiment, done, all);
        let request = serde_json::to_string(&SummariseRequest {
            experiment: experiment.clone(),
            store: place.folder(),
            records: outcomes.measured.iter().map(|m| m.record.clone()).collect(),
            not_run: outcomes.not_run.clone(),
            out: out.to_path_buf(),
        })?;
        let done = worker::talk(&worker, &["summarise"], Some(&request), &mut |event| {
            if let Event::Summarised {
                experiment, sha256, ..
            } = event
            {
                summaries.insert(experiment, sha256);
            }
            Ok(())
        });
        done.with_context(|| format!("the statistics of {experiment} failed; where a record is gone or damaged, cargo xtask run {experiment} computes it again"))?;
    }
    Ok(summaries)
}
