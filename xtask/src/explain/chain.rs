//! The links of a number's chain, one line each.

use std::path::Path;

use assay_golden::bounds;
use assay_record::{Cell, Number, RecordKey, Summary, Tolerance, numeric_fingerprint, sha256_hex};
use chrono::DateTime;

use super::Run;
use crate::say::outln;
use crate::workspace;

/// Enough digits to recognise a number by.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-3..1e6).contains(&size) {
        let text = format!("{value:.4}");
        match text.split_once('.') {
            Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            None => text,
        }
    } else {
        format!("{value:.3e}")
    }
}

/// Everything that is known of a number.
pub(super) fn number(
    run: &Run,
    summary: Option<&Summary>,
    id: &str,
    number: &Number,
) -> anyhow::Result<()> {
    outln!("{id} = {}", number.value);
    outln!("what       {}", number.what);
    for place in summary.map(|s| places(s, id)).unwrap_or_default() {
        outln!("printed    in {place}");
    }
    let (abs, rel) = bounds(number.tolerance);
    outln!(
        "tolerance  {}",
        match number.tolerance {
            Tolerance::Exact => "exact: any difference is a failure".to_owned(),
            Tolerance::Rounding => format!("rounding: {abs} + {rel} of its size"),
            Tolerance::Statistical => format!("statistical: {abs} + {rel} of its size"),
        }
    );
    if let Some(source) = &number.source {
        outln!("source     {source}");
    }
    match summary {
        Some(summary) => {
            let path = (run.place.summaries()).join(format!("{}.json", summary.experiment));
            outln!("summary    {}, sha256 {}", path.display(), hash_of(&path));
        }
        None => outln!("summary    none: the report states it of the run itself"),
    }
    let many = number.records.len();
    if many > MANY {
        outln!("records    {many}, of which the first {MANY} follow");
    }
    for record in number.records.iter().take(MANY) {
        outln!();
        self::record(run, record)?;
    }
    Ok(())
}

/// Records of one number that are printed.
const MANY: usize = 6;

/// Tables, verdicts and faults that show a number.
fn places(summary: &Summary, id: &str) -> Vec<String> {
    let mut places = Vec::new();
    let placeholder = format!("{{{id}}}");
    for table in &summary.tables {
        for (i, row) in table.rows.iter().enumerate() {
            let here = |c: &Cell| matches!(c, Cell::Number(n) if n == id);
            if row.iter().any(here) {
                let name = match row.first() {
                    Some(Cell::Text(text)) => text.clone(),
                    _ => format!("{}", i + 1),
                };
                places.push(format!("table {}, row {name}", table.id));
            }
        }
        if table.caption.contains(&placeholder) {
            places.push(format!("the caption of table {}", table.id));
        }
    }
    for v in &summary.verdicts {
        if v.because.contains(&placeholder) {
            places.push(format!("the verdict on {}, {}", v.claim, v.data));
        }
    }
    for e in &summary.errata {
        if e.evidence.contains(&placeholder) {
            places.push(format!("the evidence of {}", e.id));
        }
    }
    places
}

/// A record by its id or the start of it.
pub(super) fn record(run: &Run, id: &str) -> anyhow::Result<bool> {
    for (experiment, outcomes) in &run.manifest.experiments {
        for measured in &outcomes.measured {
            if id.len() >= 6 && measured.record.starts_with(id) {
                record_lines(run, experiment, &measured.record)?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn record_lines(run: &Run, experiment: &str, id: &str) -> anyhow::Result<()> {
    let record = run.store.read(experiment, id)?;
    let key = &record.key;
    let path = run.store.record_path(experiment, id);
    outln!("record     {id}");
    outln!("  file         {}", path.display());
    outln!("  model        {} revision {}", key.model, key.revision);
    outln!("  weights      sha256 {}", key.weights_sha256);
    outln!("  tokenizer    sha256 {}", key.tokenizer_sha256);
    outln!(
        "  prompts      sha256 {}{}",
        key.prompts_sha256,
        prompt_files(run, key)
    );
    outln!("  declaration  {}", declaration(key));
    outln!("  code         fingerprint {}", code(key));
    outln!(
        "  computed     in {} on {}, setting {}, switches {}",
        key.dtype,
        key.device_class,
        key.setting,
        switches(key)
    );
    match run.store.made(experiment, id)? {
        Some(made) => outln!(
            "  made         {}, by cargo xtask {}, commit {}, host {}, {} threads",
            when(made.at),
            made.command.join(" "),
            made.commit,
            made.host,
            made.threads
        ),
        None => outln!("  made         nothing is known of how"),
    }
    let measures: usize = record.samples.iter().map(|s| s.measures.len()).sum();
    outln!(
        "  samples      {}, with {measures} measures in all",
        record.samples.len()
    );
    Ok(())
}

/// Seconds of the epoch as a date and time, UTC.
fn when(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok();
    match time.and_then(|t| DateTime::from_timestamp(t, 0)) {
        Some(time) => time.to_rfc3339(),
        None => format!("{seconds} s after the epoch"),
    }
}

fn prompt_files(run: &Run, key: &RecordKey) -> String {
    let summary = run
        .report
        .summaries
        .iter()
        .find(|s| s.experiment == key.experiment);
    match summary {
        Some(s) if !s.spec.prompts.is_empty() => {
            // Shared ones lie two folders up, in the workspace.
            let of = |file: &String| match file.strip_prefix("../../") {
                Some(shared) => shared.to_owned(),
                None => format!("experiments/{}/{file}", key.experiment),
            };
            let files: Vec<String> = s.spec.prompts.iter().map(of).collect();
            format!(" of {}", files.join(", "))
        }
        _ => String::new(),
    }
}

fn declaration(key: &RecordKey) -> String {
    let file = format!("experiments/{}/experiment.toml", key.experiment);
    let now = std::fs::read(workspace::root().join(&file)).map(|b| sha256_hex(&b));
    let state = if now.is_ok_and(|sha| sha == key.spec_sha256) {
        "as it is now"
    } else {
        "which has changed since"
    };
    format!(
        "{file} version {}, sha256 {}, {state}",
        key.spec_version, key.spec_sha256
    )
}

fn code(key: &RecordKey) -> String {
    let now = numeric_fingerprint(&workspace::root(), &key.experiment);
    let state = if now.is_ok_and(|f| f == key.fingerprint) {
        "as it is now"
    } else {
        "which has changed since"
    };
    format!("{}, {state}", key.fingerprint)
}

fn switches(key: &RecordKey) -> String {
    if key.switches.is_empty() {
        return "none".to_owned();
    }
    let set = key
        .switches
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    set.collect::<Vec<_>>().join(", ")
}

fn hash_of(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => sha256_hex(&bytes),
        Err(error) => format!("unknown: {error}"),
    }
}
