//! `reproduce`: the whole way from models to the report.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use assay_record::NotRun;
use assay_record::wire::{Event, Hold, ModelFile, OwnPrompts, RunRequest, in_one_line};

use crate::bars::{Bar, human_seconds, table};
use crate::claims::Claims;
use crate::manifest::{self, Manifest, Measured, Outcomes};
use crate::plan::{self, Candidate, Ready};
use crate::say::{is_quiet, say};
use crate::{Ending, Holding, Place, golden, report, stats, verify, worker, workspace};

/// Fetch, run, do the statistics, compare, and write the report.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask reproduce --all                           everything, on the default models\n  cargo xtask reproduce --all --offline                 the project's own models only\n  cargo xtask reproduce --claim rv.recursion-contracts  one claim and what it rests on\n  cargo xtask reproduce --experiments h25-gain --models pythia-70m,./my-model"
)]
pub(crate) struct Options {
    /// All experiments.
    #[arg(long, required_unless_present_any = ["experiments", "claim"])]
    all: bool,
    /// What judges one claim: its experiment, and known-answers for the
    /// instruments that it rests on.
    #[arg(long, value_name = "CLAIM", conflicts_with_all = ["all", "experiments"])]
    claim: Option<String>,
    /// Experiments, separated by commas, instead of all.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    experiments: Vec<String>,
    /// Models (registry names, folders or GGUF files), separated by commas,
    /// instead of the registry's default ones.
    #[arg(long, value_delimiter = ',', value_name = "MODELS")]
    models: Vec<String>,
    /// Fetch nothing.
    #[arg(long)]
    offline: bool,
    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    holding: Holding,
    #[command(flatten)]
    place: Place,
    /// Folder of the report [default: out].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn reproduce(options: &Options) -> anyhow::Result<Ending> {
    let asked = match &options.claim {
        Some(claim) => experiments_for(claim)?,
        None if options.all => Vec::new(),
        None => options.experiments.clone(),
    };
    let run = Run {
        experiments: &asked,
        models: &options.models,
        offline: options.offline,
        prompts: None,
        holding: &options.holding,
        place: &options.place,
    };
    let _held = options.place.hold()?;
    let manifest = run.measure()?;
    manifest.save(&options.place.folder())?;
    stats::summarise(&options.place, &manifest)?;
    let findings = golden::compare(&options.place, &manifest)?;
    let written = report::write(&options.place, options.out.as_deref(), &manifest, &findings)?;
    print_results(&manifest, &findings, options.json);
    say!("report: {}", written.display());
    if let Some(claim) = &options.claim {
        verify::print_claim(&options.place, claim)?;
    }
    Ok(golden::ending(&findings))
}

/// The experiments that a claim's verdict needs.
fn experiments_for(claim: &str) -> anyhow::Result<Vec<String>> {
    let claims = Claims::load()?;
    let declared = claims.all();
    let of = |id: &str| declared.iter().find(|d| d.claim.id == id);
    let Some(d) = of(claim) else {
        bail!("there is no claim {claim}; cargo xtask claims lists them");
    };
    let others = d.entry.instruments.iter().chain(&d.entry.controls);
    let mut names = vec![d.experiment.clone()];
    names.extend(others.filter_map(|id| Some(of(id)?.experiment.clone())));
    Ok(plan::once(&names))
}

/// What is asked of a run.
pub(crate) struct Run<'a> {
    /// All if empty.
    pub(crate) experiments: &'a [String],
    /// The default ones if empty.
    pub(crate) models: &'a [String],
    pub(crate) offline: bool,
    /// In place of the experiments' own.
    pub(crate) prompts: Option<&'a OwnPrompts>,
    pub(crate) holding: &'a Holding,
    pub(crate) place: &'a Place,
}

impl Run<'_> {
    /// Measures every model that can be measured here.
    pub(crate) fn measure(&self) -> anyhow::Result<Manifest> {
        let folder = self.place.folder();
        let worker = workspace::program("assay-worker")?;
        let known = worker::experiments(&worker)?;
        let names: Vec<String> = known.iter().map(|k| k.name.clone()).collect();
        let experiments = if self.experiments.is_empty() {
            names
        } else {
            if let Some(name) = self.experiments.iter().find(|e| !names.contains(e)) {
                bail!(
                    "there is no experiment {name}; there are {}",
                    names.join(", ")
                );
            }
            plan::once(self.experiments)
        };
        // Some experiments bring their models, unless others are asked for.
        let brings = |experiment: &String| {
            let known = known.iter().find(|k| k.name == *experiment)?;
            known.own_models.as_ref().filter(|_| self.models.is_empty())
        };
        let (registry, _, _) = workspace::models()?;
        let shared: Vec<String> = experiments
            .iter()
            .filter(|e| brings(e).is_none())
            .cloned()
            .collect();
        // What is known comes before what is asked.
        let mut units = Vec::new();
        for experiment in &experiments {
            if let Some(folder) = brings(experiment) {
                let follows = known
                    .iter()
                    .any(|k| k.name == *experiment && k.follows_training);
                let candidates = plan::own(&workspace::root().join(folder), follows)?;
                say!(
                    "plan: {experiment} over {} models of {folder}",
                    candidates.len()
                );
                let of = vec![experiment.clone()];
                let say = candidates.len() <= MANY;
                units.extend(candidates.into_iter().map(|c| (c, of.clone(), say)));
            }
        }
        if !shared.is_empty() {
            let names = plan::select(self.models, &registry);
            let memory = self.holding.memory;
            let candidates = plan::prepare(&names, &shared, self.offline, memory, &worker)?;
            plan::print(&candidates, &shared)?;
            units.extend(candidates.into_iter().map(|c| (c, shared.clone(), true)));
            let follows = |e: &&String| known.iter().any(|k| k.name == **e && k.follows_training);
            let following: Vec<String> = shared.iter().filter(follows).cloned().collect();
            let checkpoints = plan::checkpoints(self.models, &registry);
            if !following.is_empty() && !checkpoints.is_empty() {
                say!(
                    "plan: {} over {} checkpoints of the project's own models",
                    following.join(", "),
                    checkpoints.len()
                );
                let candidates = plan::local(&checkpoints)?;
                units.extend(
                    candidates
                        .into_iter()
                        .map(|c| (c, following.clone(), false)),
                );
            }
        }
        let mut manifest = Manifest::new();
        for experiment in &experiments {
            manifest
                .experiments
                .insert(experiment.clone(), Outcomes::default());
        }
        for (candidate, experiments, say) in units {
            let started = Instant::now();
            let name = candidate.name.clone();
            let to = (folder.as_path(), worker.as_path(), self);
            let made = measure_one(candidate, &experiments, to, &mut manifest, say)?;
            if !made.is_empty() {
                let entry = serde_json::json!({
                    "at": unix_seconds(),
                    "host": hostname(),
                    "commit": commit(),
                    "command": command(std::env::args().skip(1)),
                    "threads": std::thread::available_parallelism().map_or(0, usize::from),
                    "model": name,
                    "records": made,
                    "seconds": started.elapsed().as_secs_f64(),
                });
                manifest::log(&folder, &entry)?;
            }
        }
        Ok(manifest)
    }
}

/// Measures one model and gives the ids of the records that it computed.
fn measure_one(
    candidate: Candidate,
    experiments: &[String],
    (store, worker, run): (&Path, &Path, &Run),
    manifest: &mut Manifest,
    say: bool,
) -> anyhow::Result<Vec<String>> {
    let (name, label) = (candidate.name, candidate.label);
    let not_run = |manifest: &mut Manifest, experiment: &str, reason: &str| {
        if let Some(outcomes) = manifest.experiments.get_mut(experiment) {
            outcomes.not_run.push(NotRun {
                model: label.clone(),
                reason: reason.to_owned(),
            });
        }
    };
    let ready = match candidate.state {
        Ok(ready) => ready,
        Err(reason) => {
            for experiment in experiments {
                not_run(manifest, experiment, &reason);
            }
            return Ok(Vec::new());
        }
    };
    let mut made = Vec::new();
    let request = request(&ready, experiments, store, run)?;
    let mut bar = Bar::new(&name);
    let mut open: Vec<String> = experiments.to_vec();
    let ended = worker::talk(worker, &["run"], Some(&request), &mut |event| {
        match event {
            Event::Progress { stage, done, total } => bar.steps(&stage, done, total),
            Event::Warning { message } => bar.say(&message),
            Event::Committed {
                experiment,
                record,
                computed,
                seconds,
            } => {
                open.retain(|e| *e != experiment);
                if say {
                    bar.say(&if computed {
                        format!(
                            "{name}: {experiment} measured in {}",
                            human_seconds(seconds)
                        )
                    } else {
                        format!("{name}: {experiment} is in the store")
                    });
                }
                if computed {
                    made.push(record.clone());
                }
                if let Some(outcomes) = manifest.experiments.get_mut(&experiment) {
                    // Two ways to one model lead to one record.
                    if outcomes.measured.iter().all(|m| m.record != record) {
                        outcomes.measured.push(Measured {
                            model: label.clone(),
                            record,
                        });
                    }
                }
            }
            Event::Refused { experiment, reason } => {
                open.retain(|e| *e != experiment);
                not_run(manifest, &experiment, &reason);
            }
            Event::Described { .. }
            | Event::Summarised { .. }
            | Event::Trained { .. }
            | Event::Depends { .. }
            | Event::Failed { .. } => {}
        }
        Ok(())
    });
    drop(bar);
    if let Err(error) = ended {
        let reason = in_one_line(error.as_ref());
        // A store that is held or cannot be written stops the run; a model
        // that cannot be read is that model's row.
        if open.is_empty() || is_about_the_store(&reason) {
            return Err(error);
        }
        for experiment in open {
            not_run(manifest, &experiment, &reason);
        }
    }
    Ok(made)
}

/// Failures that no other model would escape.
fn is_about_the_store(reason: &str) -> bool {
    [
        "is held by another run",
        "cannot write",
        "cannot create",
        "cannot lock",
        "cannot sync",
    ]
    .iter()
    .any(|words| reason.contains(words))
}

fn request(
    ready: &Ready,
    experiments: &[String],
    store: &Path,
    run: &Run,
) -> anyhow::Result<String> {
    let model = &ready.model;
    let mut files = Vec::new();
    for file in &model.files {
        let Some(sha256) = file.sha256.clone() else {
            bail!("{} has no hash", file.path.display());
        };
        files.push(ModelFile {
            path: file.path.clone(),
            sha256,
        });
    }
    Ok(serde_json::to_string(&RunRequest {
        model: model.name.clone(),
        revision: model.resolved.clone(),
        family: model.family.clone(),
        files,
        experiments: experiments.to_vec(),
        store: store.to_path_buf(),
        full: run.holding.full,
        hold: Hold {
            streamed: ready.streamed,
            as_stored: run.holding.as_stored,
        },
        prompts: run.prompts.cloned(),
    })?)
}

/// Models of one experiment beyond which their lines become one.
pub(crate) const MANY: usize = 12;

/// The closing table: what ran, what did not and why, and the checks.
pub(crate) fn print_results(manifest: &Manifest, findings: &[assay_golden::Finding], json: bool) {
    if json {
        println!("{:#}", results(manifest, findings));
        return;
    }
    let mut rows = vec![
        ["experiment", "model", "outcome"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (experiment, outcomes) in &manifest.experiments {
        if outcomes.measured.len() > MANY {
            rows.push(vec![
                experiment.clone(),
                format!("{} models", outcomes.measured.len()),
                "measured".to_owned(),
            ]);
        }
        let few = outcomes.measured.len() <= MANY;
        for m in outcomes.measured.iter().filter(|_| few) {
            let record = m.record.get(..12).unwrap_or(&m.record);
            rows.push(vec![
                experiment.clone(),
                m.model.clone(),
                format!("measured, record {record}"),
            ]);
        }
        for n in &outcomes.not_run {
            rows.push(vec![
                experiment.clone(),
                n.model.clone(),
                format!("not run: {}", n.reason),
            ]);
        }
    }
    if !is_quiet() {
        eprint!("\n{}", table(&rows));
    }
    golden::print(findings);
}

/// The same for scripts.
fn results(manifest: &Manifest, findings: &[assay_golden::Finding]) -> serde_json::Value {
    let golden = findings.iter().map(|f| {
        let off: Vec<String> = f.differences.iter().map(ToString::to_string).collect();
        serde_json::json!({"scope": f.scope, "compared": f.compared, "off": off})
    });
    serde_json::json!({
        "experiments": manifest.experiments,
        "golden": golden.collect::<Vec<_>>(),
    })
}

/// The command as it was given, without where its results lie on this machine.
fn command(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--store" | "--out" => {
                arguments.next();
            }
            other if other.starts_with("--store=") || other.starts_with("--out=") => {}
            _ => kept.push(argument),
        }
    }
    kept
}

fn unix_seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs())
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The checked-out commit, with "+" if the tree differs from it.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .current_dir(workspace::root())
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    match (git(&["rev-parse", "HEAD"]), git(&["status", "--porcelain"])) {
        (Some(head), Some(changes)) if changes.is_empty() => head,
        (Some(head), _) => format!("{head}+"),
        _ => "not a git checkout".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn the_log_says_what_was_asked_and_not_where_it_lies() {
        let given = [
            "reproduce",
            "--all",
            "--store",
            "/a/b",
            "--out=/c",
            "--offline",
        ];
        let kept = command(given.into_iter().map(str::to_owned));
        assert_eq!(kept, ["reproduce", "--all", "--offline"]);
    }
}
