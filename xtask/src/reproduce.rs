//! `reproduce`: the whole way from models to the report.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::slice;
use std::time::Duration;

use anyhow::bail;
use assay_record::wire::{By, Hold, OwnPrompts, RunRequest};
use assay_source::ResolvedModel;

use crate::bars::table;
use crate::claims::Claims;
use crate::computing::Chosen;
use crate::manifest::Manifest;
use crate::plan::{self, Candidate, Fetching};
use crate::say::{is_quiet, outln, say, to_people};
use crate::sweep::local::{self, Workers};
use crate::sweep::slurm::{self, Cluster, Scheduler};
use crate::sweep::{Sweep, Unit};
use crate::worker::Known;
use crate::{Ending, Holding, Place, golden, report, stats, verify, worker, workspace};

/// Fetch, run, do the statistics, compare, and write the report.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask reproduce --all                           everything, on the default models\n  cargo xtask reproduce --all --offline                 the project's own models only\n  cargo xtask reproduce --claim rv.recursion-contracts  one claim and what it rests on\n  cargo xtask reproduce --experiments h25-gain --models pythia-70m,./my-model\n  cargo xtask reproduce --all --workers 4                four models side by side\n  cargo xtask reproduce --all --on slurm --array-limit 50"
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
    /// Print the plan, and what would be submitted, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    workers: Workers,
    #[command(flatten)]
    holding: Holding,
    #[command(flatten)]
    place: Place,
    /// Folder of the report [default: out].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn reproduce(options: &Options) -> anyhow::Result<Ending> {
    options.place.check_folder()?;
    let asked = match &options.claim {
        Some(claim) => experiments_for(claim)?,
        // All, if none is named.
        None => options.experiments.clone(),
    };
    let fetching = match (options.dry_run, options.offline) {
        (_, true) => Fetching::Forbidden,
        (true, false) => Fetching::Said,
        (false, false) => Fetching::Allowed,
    };
    let run = Run {
        experiments: &asked,
        models: &options.models,
        fetching,
        prompts: None,
        holding: &options.holding,
        place: &options.place,
    };
    let finish = Finish {
        out: options.out.as_deref(),
        claim: options.claim.as_deref(),
        json: options.json,
        patience: options.workers.patience(),
    };
    match options.cluster.on {
        Some(Scheduler::Slurm) => slurm::submit(&run, &options.cluster, &finish, options.dry_run),
        None if options.dry_run => {
            let on = run.holding.computing.choose()?;
            run.plan(&on, run.memory(&on))?;
            Ok(Ending::Held)
        }
        None => finish.write(&options.place, run.measure(&options.workers)?),
    }
}

/// What follows the measuring: statistics, comparison, report.
pub(crate) struct Finish<'a> {
    /// Folder of the report.
    pub(crate) out: Option<&'a Path>,
    /// The claim that was asked about.
    pub(crate) claim: Option<&'a str>,
    pub(crate) json: bool,
    pub(crate) patience: Duration,
}

impl Finish<'_> {
    pub(crate) fn write(&self, place: &Place, mut manifest: Manifest) -> anyhow::Result<Ending> {
        let held = place.hold(self.patience)?;
        stats::summarise(place, &mut manifest)?;
        stats::save(place, &manifest, &held)?;
        let (found, findings) = golden::compare(place, &manifest)?;
        let written = report::write(place, self.out, &manifest, (found, &findings))?;
        print_results(&manifest, &findings, self.json);
        say!("report: {}", written.display());
        if let Some(claim) = self.claim {
            verify::print_claim(place, claim)?;
        }
        Ok(golden::ending(&findings))
    }
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
    pub(crate) fetching: Fetching,
    /// In place of the experiments' own.
    pub(crate) prompts: Option<&'a OwnPrompts>,
    pub(crate) holding: &'a Holding,
    pub(crate) place: &'a Place,
}

impl Run<'_> {
    /// Plans, prints the plan, and measures every model that can be measured
    /// here.
    pub(crate) fn measure(&self, workers: &Workers) -> anyhow::Result<Manifest> {
        let on = self.holding.computing.choose()?;
        let limit = self.memory(&on);
        let sweep = self.plan(&on, limit)?;
        let mut outcomes = local::run(&sweep, &on.worker, workers, limit)?;
        Ok(sweep.manifest(|i| outcomes.remove(&i).unwrap_or_default()))
    }

    /// Bytes of memory that models may take together on this machine: of the
    /// GPU's, if they compute there, and of the machine's, through which weights
    /// and activations go.
    fn memory(&self, on: &Chosen) -> Option<u64> {
        let bounds = [self.holding.memory, plan::available_memory(), on.free];
        bounds.into_iter().flatten().min()
    }

    /// What is to be done, said before it is done. A model may take `limit`
    /// bytes of memory.
    pub(crate) fn plan(&self, on: &Chosen, limit: Option<u64>) -> anyhow::Result<Sweep> {
        let worker = &on.worker;
        let known = worker::experiments(worker)?;
        let experiments = self.chosen(&known)?;
        let (registry, _, _) = workspace::models()?;
        let mut sweep = Sweep {
            experiments: experiments.clone(),
            units: Vec::new(),
        };
        let mut shared = Vec::new();
        for experiment in &experiments {
            let known = known.iter().find(|k| k.name == *experiment);
            // Some experiments bring their models, unless others are asked for.
            let brings = known.filter(|_| self.models.is_empty());
            let Some(folder) = brings.and_then(|k| k.own_models.as_ref()) else {
                shared.push(experiment.clone());
                continue;
            };
            let follows = known.is_some_and(|k| k.follows_training);
            let candidates = plan::own(&workspace::root().join(folder), follows)?;
            say!(
                "plan: {experiment} over {} models of {folder}",
                candidates.len()
            );
            let said = candidates.len() <= MANY;
            let asked = (slice::from_ref(experiment), said);
            self.add((&mut sweep, on), candidates, asked)?;
        }
        if !shared.is_empty() {
            let names = plan::select(self.models, &registry);
            if names.is_empty() {
                bail!("no model is asked for, and the registry has no default one");
            }
            let candidates = plan::prepare(&names, self.fetching)?;
            say!("plan: {} over {} models", shared.join(", "), names.len());
            let asked = (&*shared, names.len() <= MANY);
            self.add((&mut sweep, on), candidates, asked)?;
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
                self.add((&mut sweep, on), candidates, (&following, false))?;
            }
        }
        sweep.survey(worker, limit)?;
        plan::print(&sweep.units);
        for unit in sweep.units.iter().filter(|u| u.said) {
            for experiment in unit.present.keys() {
                say!("{}: {experiment} is in the store", unit.name);
            }
        }
        Ok(sweep)
    }

    /// The experiments asked for, each once, or all.
    fn chosen(&self, known: &[Known]) -> anyhow::Result<Vec<String>> {
        let names: Vec<String> = known.iter().map(|k| k.name.clone()).collect();
        if self.experiments.is_empty() {
            return Ok(names);
        }
        if let Some(name) = self.experiments.iter().find(|e| !names.contains(e)) {
            bail!(
                "there is no experiment {name:?}; there are {}",
                names.join(", ")
            );
        }
        Ok(plan::once(self.experiments))
    }

    /// Adds a unit for each model.
    fn add(
        &self,
        (sweep, on): (&mut Sweep, &Chosen),
        candidates: Vec<Candidate>,
        (experiments, said): (&[String], bool),
    ) -> anyhow::Result<()> {
        let by = By {
            commit: commit(),
            command: command(std::env::args_os().skip(1).map(lossy)),
        };
        for Candidate { name, label, state } in candidates {
            if assay_golden::SCOPES.contains(&label.as_str()) {
                bail!(
                    "a model cannot be called {label}, which golden values call those of no model: rename {name}"
                );
            }
            let request = match state {
                Ok(model) => Ok(self.request(model, experiments, (by.clone(), on))?),
                Err(reason) => Err(reason),
            };
            sweep.units.push(Unit {
                name,
                label,
                experiments: experiments.to_vec(),
                said,
                request,
                present: BTreeMap::new(),
                work: None,
            });
        }
        Ok(())
    }

    fn request(
        &self,
        model: ResolvedModel,
        experiments: &[String],
        (by, on): (By, &Chosen),
    ) -> anyhow::Result<RunRequest> {
        let files = plan::files(&model)?;
        Ok(RunRequest {
            model: model.name,
            revision: model.resolved,
            family: model.family,
            files,
            experiments: experiments.to_vec(),
            store: self.place.folder(),
            full: self.holding.full,
            hold: Hold {
                // Decided when it is known how much memory it takes.
                streamed: false,
                as_stored: self.holding.as_stored,
                device: on.device,
                dtype: self.holding.computing.dtype,
            },
            prompts: self.prompts.cloned(),
            by,
        })
    }
}

/// Models of one experiment beyond which their lines become one.
pub(crate) const MANY: usize = 12;

/// The closing table: what ran, what did not and why, and the checks.
pub(crate) fn print_results(manifest: &Manifest, findings: &[assay_golden::Finding], json: bool) {
    if json {
        outln!("{:#}", results(manifest, findings));
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
        to_people(format_args!("\n{}", table(&rows)));
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

fn lossy(argument: OsString) -> String {
    argument.to_string_lossy().into_owned()
}

/// Where results lie on this machine, and what is said to a cluster, which may
/// be a secret (--sbatch=--export=...).
const LEFT_OUT: [&str; 3] = ["--store=", "--out=", "--sbatch="];

/// The command as it was given, without what is nobody's business elsewhere.
fn command(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--store" | "--out" | "--sbatch" => {
                arguments.next();
            }
            other if LEFT_OUT.iter().any(|option| other.starts_with(option)) => {}
            _ => kept.push(argument),
        }
    }
    // Thousands of models' names would stand in thousands of notes.
    let mut room = LONGEST;
    let fits = kept.iter().take_while(|argument| {
        let length = argument.chars().count();
        let fits = length <= room;
        room = room.saturating_sub(length);
        fits
    });
    let fits = fits.count();
    if fits < kept.len() {
        let more = kept.len() - fits;
        kept.truncate(fits);
        kept.push(format!("… ({more} more)"));
    }
    kept
}

/// Characters of a command that are noted.
const LONGEST: usize = 1000;

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
            "--sbatch=--export=HF_TOKEN=secret",
            "--sbatch",
            "--export=HF_TOKEN=secret",
            "--offline",
        ];
        let kept = command(given.into_iter().map(str::to_owned));
        assert_eq!(kept, ["reproduce", "--all", "--offline"]);
    }

    #[test]
    fn a_command_of_thousands_of_models_is_noted_shortly() {
        let names = (0..5000).map(|i| format!("model-{i}"));
        let kept = command(std::iter::once("reproduce".to_owned()).chain(names));
        let length: usize = kept.iter().map(|a| a.chars().count()).sum();
        assert!(length < 1020, "{length}");
        assert_eq!(
            kept[kept.len() - 1],
            format!("… ({} more)", 5001 - (kept.len() - 1))
        );
    }
}
