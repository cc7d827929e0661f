//! `stats`: from records to summaries.

use std::path::Path;

use assay_record::wire::{Event, SummariseRequest};

use crate::manifest::Manifest;
use crate::say::say;
use crate::{Ending, Place, worker, workspace};

pub(crate) fn stats(place: &Place) -> anyhow::Result<Ending> {
    // Loaded first, so that a mistyped folder is not made.
    Manifest::load(&place.folder())?;
    let _held = place.hold()?;
    let manifest = Manifest::load(&place.folder())?;
    summarise(place, &manifest)?;
    Ok(Ending::Held)
}

/// Summarises every experiment of a run anew.
pub(crate) fn summarise(place: &Place, manifest: &Manifest) -> anyhow::Result<()> {
    summarise_into(place, manifest, &place.summaries())
}

/// As [`summarise`], into another folder.
pub(crate) fn summarise_into(place: &Place, manifest: &Manifest, out: &Path) -> anyhow::Result<()> {
    let worker = workspace::program("assay-worker")?;
    for (experiment, outcomes) in &manifest.experiments {
        let request = serde_json::to_string(&SummariseRequest {
            experiment: experiment.clone(),
            store: place.folder(),
            records: outcomes.measured.iter().map(|m| m.record.clone()).collect(),
            not_run: outcomes.not_run.clone(),
            out: out.to_path_buf(),
        })?;
        worker::talk(&worker, &["summarise"], Some(&request), &mut |event| {
            if let Event::Summarised { path, .. } = event {
                say!("{experiment}: summary {}", path.display());
            }
            Ok(())
        })?;
    }
    Ok(())
}
