//! `report`: from the summaries and records of the last run to files for
//! people.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_golden::Finding;
use assay_record::{RecordKey, Store};
use assay_report::{GoldenLine, Outcome, OutcomeLine, PdfOutcome, ReportInput, write_report};

use crate::bars::Bar;
use crate::claims::Claims;
use crate::golden::Found;
use crate::manifest::Manifest;
use crate::say::say;
use crate::{Ending, Place, golden, reproduce, workspace};

/// Write the report of the last run.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Folder of the report [default: out].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn report(options: &Options) -> anyhow::Result<Ending> {
    let opened = options.place.open()?;
    let place = &opened.place;
    let manifest = Manifest::load(&place.folder())?;
    let (found, findings) = golden::compare(place, &manifest)?;
    let out = write(place, options.out.as_deref(), &manifest, (found, &findings))?;
    say!("report: {}", out.display());
    Ok(golden::ending(&findings))
}

/// Writes the report and gives its folder.
pub(crate) fn write(
    place: &Place,
    out: Option<&Path>,
    manifest: &Manifest,
    compared: (Found, &[Finding]),
) -> anyhow::Result<PathBuf> {
    let input = Arc::new(input(manifest, compared)?);
    let out = out.map_or_else(|| workspace::root().join("out"), Path::to_path_buf);
    let store = Store::open(&place.folder())?;
    let read = |key: &RecordKey| store.canonical(key);
    let mut bar = Bar::new("report");
    let written = write_report(&input, &read, &out, &mut |stage, done, total| {
        bar.steps(stage, done, total);
    })?;
    drop(bar);
    if written.pdf == PdfOutcome::NoLatexmk {
        say!("report.pdf is not written: latexmk is not installed");
    }
    Ok(out)
}

/// What the report of a run is made from.
pub(crate) fn input(
    manifest: &Manifest,
    (found, findings): (Found, &[Finding]),
) -> anyhow::Result<ReportInput> {
    let mut outcomes = Vec::new();
    for (experiment, o) in &manifest.experiments {
        let measured = |model: String| OutcomeLine {
            experiment: experiment.clone(),
            model,
            outcome: Outcome::Measured,
        };
        if o.measured.len() > reproduce::MANY {
            outcomes.push(measured(format!("{} models", o.measured.len())));
        } else {
            outcomes.extend(o.measured.iter().map(|m| measured(m.model.clone())));
        }
        for not_run in &o.not_run {
            outcomes.push(OutcomeLine {
                experiment: experiment.clone(),
                model: not_run.model.clone(),
                outcome: Outcome::NotRun(not_run.reason.clone()),
            });
        }
    }
    let golden = findings.iter().map(|finding| {
        let (experiment, model) = finding
            .scope
            .split_once('/')
            .unwrap_or((finding.scope.as_str(), ""));
        GoldenLine {
            experiment: experiment.to_owned(),
            model: model.to_owned(),
            compared: finding.compared,
            failures: finding
                .differences
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    });
    Ok(ReportInput {
        summaries: found.summaries,
        records: found.records,
        golden: golden.collect(),
        provenance: vec![
            ("assay".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("commit".to_owned(), reproduce::commit()),
        ],
        command: "cargo xtask reproduce --all".to_owned(),
        headlines: Claims::load()?.headlines(),
        outcomes,
    })
}
