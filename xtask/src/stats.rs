//! `stats`: from records to summaries.

use std::path::Path;

use anyhow::Context;
use assay_record::wire::SummariseRequest;
use assay_record::{PATIENCE, sha256_hex};

use crate::bars::Bar;
use crate::manifest::Manifest;
use crate::say::say;
use crate::{Ending, Place, worker, workspace};

pub(crate) fn stats(place: &Place) -> anyhow::Result<Ending> {
    // Loaded first, so that a mistyped folder is not made.
    Manifest::load(&place.folder())?;
    let _held = place.hold(PATIENCE)?;
    let mut manifest = Manifest::load(&place.folder())?;
    summarise(place, &mut manifest)?;
    manifest.save(&place.folder())?;
    say!("summaries: {}", place.summaries().display());
    Ok(Ending::Held)
}

/// Summarises every experiment of a run anew, and notes what was written.
pub(crate) fn summarise(place: &Place, manifest: &mut Manifest) -> anyhow::Result<()> {
    summarise_into(place, manifest, &place.summaries())?;
    manifest.summaries.clear();
    for experiment in manifest.experiments.keys() {
        let path = place.summaries().join(format!("{experiment}.json"));
        let bytes =
            std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let hash = sha256_hex(&bytes);
        manifest.summaries.insert(experiment.clone(), hash);
    }
    Ok(())
}

/// Summarises every experiment of a run into another folder.
pub(crate) fn summarise_into(place: &Place, manifest: &Manifest, out: &Path) -> anyhow::Result<()> {
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
        worker::talk(&worker, &["summarise"], Some(&request), &mut |_| Ok(()))?;
    }
    Ok(())
}
