//! What must hold of a finished run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use assay_record::{
    PromptFile, PromptFormat, PromptSet, Record, Verdict, numeric_fingerprint, sha256_hex,
};
use assay_source::{Digests, resolve};

use super::{Check, Run};
use crate::{Place, golden, reproduce, stats, workspace};

/// Faults of the published work that the report must have a row of: E1 to this.
const ERRATA: usize = 24;

pub(super) fn all(run: &Run, allow_dirty: bool) -> anyhow::Result<Vec<Check>> {
    let mut checks = Vec::new();
    let mut records = Vec::new();
    let mut damaged = Vec::new();
    for (experiment, outcomes) in &run.manifest.experiments {
        for measured in &outcomes.measured {
            match run.store.read(experiment, &measured.record) {
                Ok(record) => records.push((measured.record.clone(), record)),
                Err(error) => damaged.push(error.to_string()),
            }
        }
    }
    checks.push(Check::new(
        format!(
            "{} records are there, and each hashes to what it says",
            records.len()
        ),
        damaged,
    ));
    checks.push(origins(run, &records));
    checks.push(summaries_follow(run)?);
    checks.push(declarations(run, &records)?);
    checks.push(prompts(run, &records)?);
    checks.push(code(&records)?);
    checks.push(weights(run, &records)?);
    checks.push(switches(&records));
    checks.push(tree(allow_dirty));
    checks.push(declared_before(run, &records)?);
    checks.push(claims(run));
    checks.push(instruments(run));
    checks.push(errata(run));
    checks.push(goldens(run)?);
    Ok(checks)
}

/// Every number names records of this run, or where it was published or
/// declared.
fn origins(run: &Run, records: &[(String, Record)]) -> Check {
    let known: BTreeSet<&str> = records.iter().map(|(id, _)| id.as_str()).collect();
    let mut faults = Vec::new();
    let mut count = 0;
    for (id, number) in run.summaries.iter().flat_map(|s| &s.numbers) {
        count += 1;
        if number.records.is_empty() && number.source.is_none() {
            faults.push(format!("{id} comes from nowhere"));
        }
        for record in number
            .records
            .iter()
            .filter(|r| !known.contains(r.as_str()))
        {
            faults.push(format!(
                "{id} comes from record {record}, which is not in this run"
            ));
        }
    }
    Check::new(
        format!("{count} numbers each name their records, or where they were published"),
        faults,
    )
}

/// The statistics done again give the same bytes.
fn summaries_follow(run: &Run) -> anyhow::Result<Check> {
    let again = tempfile::tempdir().context("failed to make a folder")?;
    stats::summarise_into(&run.place, &run.manifest, again.path())?;
    let mut faults = Vec::new();
    for experiment in run.manifest.experiments.keys() {
        let name = format!("{experiment}.json");
        let read = |folder: &Path| {
            let path = folder.join(&name);
            std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
        };
        if read(&run.place.summaries())? != read(again.path())? {
            faults.push(format!(
                "the summary of {experiment} is not what its records give: run cargo xtask stats"
            ));
        }
    }
    Ok(Check::new(
        "every summary is, byte for byte, what the statistics give on its records",
        faults,
    ))
}

/// Declarations, with their seeds, are those of the records.
fn declarations(run: &Run, records: &[(String, Record)]) -> anyhow::Result<Check> {
    let mut faults = Vec::new();
    for (name, of) in by_experiment(records) {
        let path = workspace::root()
            .join("experiments")
            .join(name)
            .join("experiment.toml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let now = sha256_hex(text.as_bytes());
        let others = of.iter().filter(|r| r.key.spec_sha256 != now).count();
        if others > 0 {
            faults.push(format!(
                "{others} records of {name} were made under another experiment.toml"
            ));
        }
    }
    for summary in &run.summaries {
        if run.claims.specs.get(&summary.experiment) != Some(&summary.spec) {
            faults.push(format!(
                "the summary of {} was made under another declaration",
                summary.experiment
            ));
        }
    }
    Ok(Check::new(
        "declarations and seeds are those of experiment.toml",
        faults,
    ))
}

/// Prompts are those of the files.
fn prompts(run: &Run, records: &[(String, Record)]) -> anyhow::Result<Check> {
    let mut faults = Vec::new();
    for (name, of) in by_experiment(records) {
        let Some(spec) = run.claims.specs.get(name) else {
            continue;
        };
        let folder = workspace::root().join("experiments").join(name);
        let mut texts = Vec::new();
        for file in &spec.prompts {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            texts.push((path, text));
        }
        let files: Vec<PromptFile> = (texts.iter())
            .map(|(path, text)| PromptFile {
                path,
                text,
                format: &PromptFormat::Prompts,
            })
            .collect();
        let set = match files.as_slice() {
            [] => PromptSet::none(),
            files => PromptSet::parse(files)?,
        };
        let others = of.iter().filter(|r| r.key.prompts_sha256 != set.sha256);
        let others = others.count();
        if others > 0 {
            faults.push(format!(
                "{others} records of {name} were made on prompts other than the project's"
            ));
        }
    }
    Ok(Check::new("prompts are those of the files", faults))
}

/// The code that measures is the code that is here.
fn code(records: &[(String, Record)]) -> anyhow::Result<Check> {
    let mut faults = Vec::new();
    for (name, of) in by_experiment(records) {
        let now = numeric_fingerprint(&workspace::root(), name)?;
        let others = of.iter().filter(|r| r.key.fingerprint != now).count();
        if others > 0 {
            faults.push(format!(
                "{others} records of {name} were made by other code: run cargo xtask reproduce"
            ));
        }
    }
    Ok(Check::new(
        "records were made by the measuring code that is checked out",
        faults,
    ))
}

/// The models' files hash to what the records name.
fn weights(run: &Run, records: &[(String, Record)]) -> anyhow::Result<Check> {
    let (registry, lock, cache) = workspace::models()?;
    let mut faults = Vec::new();
    let (mut held, mut absent) = (0, BTreeSet::new());
    let mut known: BTreeMap<(String, String), Option<Digests>> = BTreeMap::new();
    for (_, record) in records {
        let key = &record.key;
        let spec = run.claims.specs.get(&key.experiment);
        let own = spec.and_then(|s| s.own_models.clone());
        let model = (key.model.clone(), key.revision.clone());
        let found = known.entry(model).or_insert_with(|| {
            let mut names = vec![key.model.clone(), format!("{}@{}", key.model, key.revision)];
            if let Some(own) = own {
                let folder = workspace::root().join(own);
                let folders = names.clone().into_iter().map(|n| folder.join(n));
                names.extend(folders.map(|f| f.display().to_string()));
            }
            // The name with its revision comes first: a model's name alone is
            // its last state.
            names.iter().rev().find_map(|name| {
                let model = resolve(&registry, &lock, &cache, name).ok()?;
                (model.resolved == key.revision).then_some(())?;
                model.verify().ok()?.digests()
            })
        });
        match found {
            None => {
                absent.insert(key.model.clone());
            }
            Some(d) if d.weights == key.weights_sha256 && d.tokenizer == key.tokenizer_sha256 => {
                held += 1;
            }
            Some(_) => faults.push(format!(
                "{} of {} was measured with other files than those that are here",
                key.model, key.experiment
            )),
        }
    }
    let not = if absent.is_empty() {
        String::new()
    } else {
        let names: Vec<&str> = absent.iter().map(String::as_str).collect();
        format!(" (not checked, not here: {})", names.join(", "))
    };
    Ok(Check::new(
        format!("files of {held} records' models hash to what the records name{not}"),
        faults,
    ))
}

/// No switch was set that changes numbers.
fn switches(records: &[(String, Record)]) -> Check {
    let faults = records.iter().filter(|(_, r)| !r.key.switches.is_empty());
    let faults = faults.map(|(id, r)| {
        let set: Vec<&str> = r.key.switches.keys().map(String::as_str).collect();
        format!("record {id} was made with {} set", set.join(", "))
    });
    Check::new(
        "no switch was set that may change numbers",
        faults.collect(),
    )
}

fn tree(allow_dirty: bool) -> Check {
    let commit = reproduce::commit();
    let mut faults = Vec::new();
    if commit.ends_with('+') && !allow_dirty {
        faults.push("files differ from the commit; --allow-dirty does not mind".to_owned());
    }
    Check::new(format!("the tree is commit {commit}"), faults)
}

/// Each experiment.toml was committed, as it is, before its records were made.
fn declared_before(run: &Run, records: &[(String, Record)]) -> anyhow::Result<Check> {
    let mut faults = Vec::new();
    for name in by_experiment(records).keys() {
        let mut first = None;
        for (id, _) in records.iter().filter(|(_, r)| r.key.experiment == *name) {
            match run.store.made(name, id) {
                Ok(Some(made)) => first = Some(first.unwrap_or(made.at).min(made.at)),
                Ok(None) => faults.push(format!("nothing is known of how record {id} was made")),
                Err(error) => faults.push(error.to_string()),
            }
        }
        let file = format!("experiments/{name}/experiment.toml");
        match (first, committed(&file)) {
            (_, None) => faults.push(format!("{file} is not committed as it is")),
            (Some(made), Some(committed)) if made < committed => faults.push(format!(
                "{file} was committed after its first record was made"
            )),
            _ => {}
        }
    }
    Ok(Check::new(
        "it is known how each record was made, and every experiment.toml was committed before its records were made",
        faults,
    ))
}

/// When a file was last committed, in seconds of the epoch; none if it is not,
/// or not as it is.
fn committed(file: &str) -> Option<u64> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(workspace::root())
            .args(arguments)
            .output()
            .ok()?;
        output.status.success().then_some(())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--", file])?;
    changed.is_empty().then_some(())?;
    git(&["log", "-1", "--format=%ct", "--", file])?
        .parse()
        .ok()
}

/// claims.toml fits the declarations, and the numbers and tables that it names
/// are there.
fn claims(run: &Run) -> Check {
    let mut faults = run.claims.file.differences(&run.claims.specs);
    for declared in run.claims.all() {
        let summary = run
            .summaries
            .iter()
            .find(|s| s.experiment == declared.experiment);
        let Some(summary) = summary else {
            continue;
        };
        let id = &declared.claim.id;
        for number in &declared.entry.published {
            if !summary.numbers.contains_key(number) {
                faults.push(format!(
                    "claim {id} names published number {number}, which is not there"
                ));
            }
        }
        let all = || run.summaries.iter().flat_map(|s| &s.errata);
        for fault in &declared.entry.errata {
            if whole(run) && all().all(|e| e.id != *fault) {
                faults.push(format!("claim {id} names {fault}, which has no row"));
            }
        }
        for pattern in &declared.entry.tables {
            let fits = |table: &str| match pattern.strip_suffix('*') {
                Some(prefix) => table.starts_with(prefix),
                None => table == pattern,
            };
            let judged = summary.verdicts.iter().any(|v| v.claim == *id);
            if judged && !summary.tables.iter().any(|t| fits(&t.id)) {
                faults.push(format!(
                    "claim {id} names table {pattern}, which is not there"
                ));
            }
        }
    }
    Check::new(
        "claims.toml and the declarations agree, and what it names is there",
        faults,
    )
}

/// Every instrument that a judged claim rests on passed its planted cases.
fn instruments(run: &Run) -> Check {
    let all = || run.summaries.iter().flat_map(|s| &s.verdicts);
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for declared in run.claims.all() {
        if all().all(|v| v.claim != declared.claim.id) {
            continue;
        }
        for id in &declared.entry.instruments {
            if !seen.insert(id.clone()) {
                continue;
            }
            match all().find(|v| v.claim == *id) {
                None => faults.push(format!(
                    "instrument {id}, which {} needs, was not run",
                    declared.claim.id
                )),
                Some(v) if v.audited == Verdict::Supported => {}
                Some(v) => faults.push(format!("instrument {id} is {}", v.audited)),
            }
        }
    }
    Check::new(
        format!("{} instruments found what was planted", seen.len()),
        faults,
    )
}

/// Were all experiments part of the run?
fn whole(run: &Run) -> bool {
    run.claims.specs.len() == run.summaries.len()
}

/// Every fault of the published work has its row, with evidence or a reason.
fn errata(run: &Run) -> Check {
    let errata = || run.summaries.iter().flat_map(|s| &s.errata);
    let whole = whole(run);
    let mut faults = Vec::new();
    for number in 1..=ERRATA {
        let id = format!("E{number}");
        match errata().filter(|e| e.id == id).count() {
            1 => {}
            0 if !whole => {}
            n => faults.push(format!("{id} has {n} rows")),
        }
    }
    let computed = errata().filter(|e| e.computed).count();
    Check::new(
        format!(
            "{} faults of the published work have a row each, {computed} with evidence from this run",
            errata().count()
        ),
        faults,
    )
}

fn goldens(run: &Run) -> anyhow::Result<Check> {
    let place: &Place = &run.place;
    let (_, findings) = golden::compare(place, &run.manifest)?;
    let compared: usize = findings.iter().map(|f| f.compared).sum();
    let faults = findings.iter().flat_map(|f| {
        f.differences
            .iter()
            .map(move |d| format!("{}: {d}", f.scope))
    });
    Ok(Check::new(
        format!("{compared} values are as expected (golden/)"),
        faults.collect(),
    ))
}

fn by_experiment(records: &[(String, Record)]) -> BTreeMap<&str, Vec<&Record>> {
    let mut all: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for (_, record) in records {
        all.entry(&record.key.experiment).or_default().push(record);
    }
    all
}
