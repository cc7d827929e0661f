//! One variation: the set is measured into a store of its own, compared with
//! the reference record by record, and its summaries with the golden ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail};
use assay_golden::{
    Computed, Difference, Finding, Ran, RecordDrift, compare_record, compare_summary,
    drift_of_summary,
};
use assay_record::wire::{By, Event, Hold, RunRequest, SummariseRequest};
use assay_record::{PATIENCE, Record, Store, Summary};

use super::set::Unit;
use super::variations::Program;
use crate::bars::Bar;
use crate::manifest::Manifest;
use crate::worker::Process;
use crate::{plan, workspace};

/// (experiment, model) -> record.
pub(super) type Records = BTreeMap<(String, String), Record>;

/// What the reruns are compared with.
pub(super) struct Reference {
    pub(super) store: Store,
    pub(super) manifest: Manifest,
}

impl Reference {
    /// The reference's record of a model.
    fn record(&self, experiment: &str, model: &str) -> anyhow::Result<Option<Record>> {
        let outcomes = self.manifest.experiments.get(experiment);
        let mut measured = outcomes.into_iter().flat_map(|o| &o.measured);
        match measured.find(|m| m.model == model) {
            Some(m) => Ok(Some(self.store.read(experiment, &m.record)?)),
            None => Ok(None),
        }
    }

    /// Device class of its first record.
    pub(super) fn device_class(&self) -> anyhow::Result<Option<String>> {
        let mut all = (self.manifest.experiments.iter())
            .flat_map(|(e, o)| o.measured.iter().map(move |m| (e, m)));
        match all.next() {
            Some((experiment, m)) => {
                let record = self.store.read(experiment, &m.record)?;
                Ok(Some(record.key.device_class))
            }
            None => Ok(None),
        }
    }
}

/// Measures the units with a program into a store, and says what could not be.
pub(super) fn measure(
    units: &[Unit],
    program: &Program,
    name: &str,
    folder: &Path,
) -> anyhow::Result<(Records, Vec<String>)> {
    let store = Store::open(folder)?;
    let mut records = Records::new();
    let mut missing = Vec::new();
    let mut bar = Bar::new(name);
    for (done, unit) in (0..).zip(units) {
        let label = &unit.candidate.label;
        bar.steps_of("models", label, done, units.len() as u64);
        let request = request(unit, folder)?;
        let mut reasons = BTreeMap::new();
        talk(program, "run", &request, &mut |event| {
            match event {
                Event::Committed {
                    experiment, record, ..
                } => {
                    let read = store.read(&experiment, &record)?;
                    records.insert((experiment, label.clone()), read);
                }
                Event::Refused { experiment, reason } => {
                    reasons.insert(experiment, reason);
                }
                _ => {}
            }
            Ok(())
        })
        .with_context(|| format!("{label} could not be run"))?;
        for experiment in &unit.experiments {
            if !records.contains_key(&(experiment.clone(), label.clone())) {
                let reason = reasons.get(experiment).map_or("", String::as_str);
                missing.push(format!("{experiment} of {label}: not measured {reason}"));
            }
        }
    }
    Ok((records, missing))
}

fn talk(
    program: &Program,
    command: &str,
    request: &str,
    on_event: &mut dyn FnMut(Event) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let before = program.before.iter().map(String::as_str);
    let arguments: Vec<&str> = before.chain([command]).collect();
    let environment: Vec<(&str, &str)> = (program.environment.iter())
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let process = Process {
        worker: &program.path,
        arguments: &arguments,
        request: Some(request),
        environment: &environment,
        patience: PATIENCE,
    };
    process.talk(on_event)
}

fn request(unit: &Unit, store: &Path) -> anyhow::Result<String> {
    let model = match &unit.candidate.state {
        Ok(model) => model,
        Err(reason) => bail!("{} is not here: {reason}", unit.candidate.label),
    };
    let files = plan::files(model)?;
    Ok(serde_json::to_string(&RunRequest {
        model: model.name.clone(),
        revision: model.resolved.clone(),
        family: model.family.clone(),
        files,
        experiments: unit.experiments.clone(),
        store: store.to_path_buf(),
        hold: Hold::default(),
        full: false,
        prompts: None,
        // The store is gone before anybody could ask.
        by: By {
            commit: String::new(),
            command: Vec::new(),
        },
    })?)
}

/// Compares records with those of the reference, one drift an experiment.
pub(super) fn against(
    records: &Records,
    reference: &Reference,
) -> anyhow::Result<BTreeMap<String, RecordDrift>> {
    let mut drifts: BTreeMap<String, RecordDrift> = BTreeMap::new();
    for ((experiment, model), record) in records {
        let drift = drifts.entry(experiment.clone()).or_default();
        match reference.record(experiment, model)? {
            Some(expected) => drift.add(&expected, record),
            None => {
                let line = format!("{model}: not in the reference");
                drift.unmatched.push(line);
            }
        }
    }
    Ok(drifts)
}

/// Experiments of which the reference was made by other sources than these.
pub(super) fn of_other_sources(
    records: &Records,
    reference: &Reference,
) -> anyhow::Result<BTreeSet<String>> {
    let mut others = BTreeSet::new();
    for ((experiment, model), record) in records {
        if let Some(expected) = reference.record(experiment, model)?
            && expected.key.fingerprint != record.key.fingerprint
        {
            others.insert(experiment.clone());
        }
    }
    Ok(others)
}

/// Does the statistics anew, and compares what comes out with the golden
/// values. Many numbers rest on all models of a run (a correction for several
/// tests, a correlation across models): the reference's records stand in for
/// those that were not run again.
pub(super) fn summaries<'a>(
    records: &Records,
    program_for: &dyn Fn(&str) -> &'a Program,
    folder: &Path,
    reference: &Reference,
    ran: &mut Ran,
) -> anyhow::Result<()> {
    let golden = workspace::golden();
    let experiments: BTreeSet<&String> = records.keys().map(|(e, _)| e).collect();
    for experiment in experiments {
        let Some(outcomes) = reference.manifest.experiments.get(experiment) else {
            continue;
        };
        let mut all = Vec::new();
        let mut again = BTreeSet::new();
        for measured in &outcomes.measured {
            let key = (experiment.clone(), measured.model.clone());
            if let Some(record) = records.get(&key) {
                let id = record.key.id()?;
                again.insert(id.clone());
                all.push(id);
                if let Some(finding) = compare_record(record, &golden)? {
                    ran.off.extend(lines(&finding));
                }
            } else {
                let from = reference.store.record_path(experiment, &measured.record);
                let to = Store::open(folder)?.record_path(experiment, &measured.record);
                std::fs::copy(&from, &to)
                    .with_context(|| format!("failed to copy {}", from.display()))?;
                all.push(measured.record.clone());
            }
        }
        let request = serde_json::to_string(&SummariseRequest {
            experiment: experiment.clone(),
            store: folder.to_path_buf(),
            records: all,
            not_run: outcomes.not_run.clone(),
            out: folder.to_path_buf(),
        })?;
        talk(program_for(experiment), "summarise", &request, &mut |_| {
            Ok(())
        })
        .with_context(|| format!("{experiment} could not be summarised"))?;
        let path = folder.join(format!("{experiment}.json"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let summary: Summary = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a summary", path.display()))?;
        for finding in compare_summary(&summary, &golden, Computed::Cpu)? {
            ran.off.extend(lines(&finding));
        }
        let drift = drift_of_summary(&summary, &again, &golden)?;
        ran.verdicts += drift.verdicts;
        for (class, sizes) in &drift.numbers {
            ran.numbers.entry(*class).or_default().join(sizes);
        }
    }
    Ok(())
}

/// What is off in a finding, a line each.
fn lines(finding: &Finding) -> Vec<String> {
    let line = |d: &Difference| format!("{}: {d}", finding.scope);
    finding.differences.iter().map(line).collect()
}
