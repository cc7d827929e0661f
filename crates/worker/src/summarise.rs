use anyhow::Context;
use assay_record::wire::{Event, SummariseRequest};
use assay_record::{Store, sha256_hex, write_atomically};
use rayon::prelude::*;

use crate::{emit, experiments};

/// Reads the records asked for, does the experiment's statistics and writes
/// the summary.
pub(crate) fn summarise(text: &str) -> anyhow::Result<()> {
    let request: SummariseRequest =
        serde_json::from_str(text).context("failed to read the request")?;
    let declared = experiments::find(&request.experiment)?;
    let store = Store::open(&request.store)?;
    let records = request.records.par_iter();
    let records = records.map(|id| store.read(&request.experiment, id));
    let records = records.collect::<Result<Vec<_>, _>>()?;
    let experiment = declared.experiment;
    let summary = experiment.summarise(declared.spec, &records, &request.not_run)?;
    summary.check()?;
    let path = request.out.join(format!("{}.json", request.experiment));
    let mut text = serde_json::to_string_pretty(&summary)?;
    text.push('\n');
    write_atomically(&path, text.as_bytes())?;
    emit(&Event::Summarised {
        experiment: request.experiment,
        sha256: sha256_hex(text.as_bytes()),
        path,
    })
}
