//! A sweep on a Slurm cluster: one job array whose tasks take the units, and a
//! job after it that writes the report. Slurm schedules; nothing stays behind
//! on the machine that submits.
//!
//! All that a task needs lies in a folder of the store, which every node must
//! see, as it must see the models and the checkout:
//! `sweeps/<n>/{sweep.json, bin/, task.sh, report.sh, logs/, outcomes/}`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use assay_record::{ComputeDevice, sha256_hex};
use serde::{Deserialize, Serialize};

use super::Sweep;
use super::task::{self, Submission};
use crate::bars::{human_bytes, human_seconds, table};
use crate::computing::Chosen;
use crate::reproduce::{Finish, Run};
use crate::say::{is_quiet, outln, say, to_people};
use crate::{Ending, Holding, worker, workspace};

/// Where a sweep is computed.
#[derive(clap::Args, Clone)]
pub(crate) struct Cluster {
    /// Submit the work to a cluster instead of doing it here: one job array and
    /// a report job after it. The same command later says how far it is, and
    /// submits again what was not computed.
    #[arg(long, value_name = "SCHEDULER")]
    pub(crate) on: Option<Scheduler>,
    /// Slurm's partition.
    #[arg(long, value_name = "P", requires = "on")]
    partition: Option<String>,
    /// Most tasks of the array that run at a time.
    #[arg(long, value_name = "N", requires = "on", value_parser = clap::value_parser!(u32).range(1..))]
    array_limit: Option<u32>,
    /// An option of sbatch for all jobs, as --sbatch=--account=mine. May be
    /// given several times.
    #[arg(
        long,
        value_name = "OPTION",
        requires = "on",
        allow_hyphen_values = true
    )]
    sbatch: Vec<String>,
}

/// A program that shares out a cluster.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Scheduler {
    Slurm,
}

/// Some units that one task of the array takes, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    /// Their places in the sweep.
    pub(crate) units: Vec<usize>,
    mebibytes: u64,
    minutes: u64,
}

/// Minutes that a task may ask for.
const MINUTES: [u64; 9] = [10, 30, 60, 120, 240, 480, 1440, 2880, 10080];

/// Memory beside a worker's own: the process that holds it, and the beginning
/// of both.
const BESIDE: u64 = 256;

/// What statistics and report ask for. They read every record of the run.
const REPORT: (u64, u64) = (8192, 240);

impl Task {
    /// One unit. The estimate is this machine's with all its threads; a node
    /// may be slower and give one.
    fn of(sweep: &Sweep, unit: usize, threads: f64) -> Self {
        let work = sweep.units[unit].work.as_ref();
        let memory = work.map_or(0, |w| w.memory).div_ceil(1 << 20) + BESIDE;
        let minutes = 5.0 + 4.0 * threads * work.map_or(0.0, |w| w.seconds) / 60.0;
        Self {
            units: vec![unit],
            mebibytes: memory,
            minutes: minutes.ceil() as u64,
        }
    }

    /// Takes another's units too, one after the other.
    fn and(mut self, other: &Self) -> Self {
        self.units.extend(&other.units);
        self.mebibytes = self.mebibytes.max(other.mebibytes);
        self.minutes += other.minutes;
        self
    }

    /// MiB and minutes, in steps, so that many tasks ask for the same.
    fn asks(&self) -> (u64, u64) {
        (self.mebibytes.next_power_of_two(), up(self.minutes))
    }
}

fn up(minutes: u64) -> u64 {
    let enough = MINUTES.iter().find(|m| **m >= minutes);
    enough.copied().unwrap_or(minutes)
}

/// The tasks of the open units, those that ask for the same side by side; at
/// most `most` of them. Units of one model are in one task: in two, one would
/// wait for the other while its own time runs.
fn tasks(sweep: &Sweep, most: usize, threads: f64) -> Vec<Task> {
    let mut of_models: BTreeMap<_, Task> = BTreeMap::new();
    for i in sweep.open() {
        let model = sweep.units[i].request().map(|r| (&r.model, &r.revision));
        let task = Task::of(sweep, i, threads);
        let task = match of_models.remove(&model) {
            Some(first) => first.and(&task),
            None => task,
        };
        of_models.insert(model, task);
    }
    let mut tasks: Vec<Task> = of_models.into_values().collect();
    tasks.sort_by_key(|task| (task.asks(), task.units.clone()));
    let each = tasks.len().div_ceil(most.max(1)).max(1);
    let chunk = |tasks: &[Task]| {
        let (first, rest) = tasks.split_first()?;
        Some(rest.iter().fold(first.clone(), Task::and))
    };
    tasks.chunks(each).filter_map(chunk).collect()
}

/// Ranges of tasks that ask for the same.
fn classes(tasks: &[Task]) -> Vec<(Range<usize>, &Task)> {
    let mut classes: Vec<(Range<usize>, &Task)> = Vec::new();
    for (i, task) in tasks.iter().enumerate() {
        match classes.last_mut() {
            Some((range, first)) if first.asks() == task.asks() => range.end = i + 1,
            _ => classes.push((i..i + 1, task)),
        }
    }
    classes
}

/// Submits what is not computed yet, or says how far it is.
pub(crate) fn submit(
    run: &Run,
    cluster: &Cluster,
    finish: &Finish,
    dry: bool,
) -> anyhow::Result<Ending> {
    let store = std::path::absolute(run.place.folder())?;
    if !dry && is_under_way(&store)? {
        return Ok(Ending::Held);
    }
    let on = run.holding.computing.elsewhere()?;
    let planner = Chosen {
        worker: planner(&on.worker)?,
        device: on.device,
        free: None,
    };
    // A node's memory is not this machine's.
    let mut sweep = run.plan(&planner, run.holding.memory)?;
    for unit in &mut sweep.units {
        if let Ok(request) = &mut unit.request {
            // The tasks start elsewhere.
            request.store.clone_from(&store);
            // Whichever GPU a task is given is its first.
            if let ComputeDevice::Cuda(number) = &mut request.hold.device {
                *number = 0;
            }
            for file in &mut request.files {
                file.path = std::path::absolute(&file.path)?;
            }
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let most = if dry {
        most_tasks().unwrap_or(1000)
    } else {
        most_tasks()?
    };
    let submission = Submission {
        tasks: tasks(&sweep, most, threads as f64),
        sweep,
        store: store.clone(),
        out: match finish.out {
            Some(out) => std::path::absolute(out)?,
            None => workspace::root().join("out"),
        },
        claim: finish.claim.map(str::to_owned),
        patience: finish.patience.as_secs(),
        id: String::new(),
    };
    print_tasks(&submission.tasks);
    let folder = next_folder(&store);
    if !dry {
        // What the store's name in the queue is made of.
        let sweeps = store.join("sweeps");
        std::fs::create_dir_all(&sweeps).with_context(|| unwritable(&sweeps))?;
    }
    let jobs = Jobs {
        name: name(&folder),
        folder,
        cluster,
        holding: run.holding,
    };
    if dry {
        jobs.print(&submission.tasks);
        return Ok(Ending::Held);
    }
    jobs.prepare(&submission, &on.worker)?;
    jobs.submit(&submission.tasks)?;
    Ok(Ending::Held)
}

/// The worker that looks into the store: the tasks' own, which knows their
/// GPU's records, if it starts here. One for GPUs does where a driver is.
fn planner(own: &Path) -> anyhow::Result<PathBuf> {
    match worker::experiments(own) {
        Ok(_) => Ok(own.to_path_buf()),
        Err(_) => workspace::program("assay-worker"),
    }
}

fn print_tasks(tasks: &[Task]) {
    let mut rows = vec![
        ["tasks", "units", "memory", "time"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (range, task) in classes(tasks) {
        let (mebibytes, minutes) = task.asks();
        let units: usize = tasks[range.clone()].iter().map(|t| t.units.len()).sum();
        rows.push(vec![
            span(&range),
            units.to_string(),
            human_bytes(mebibytes << 20),
            human_seconds(60.0 * minutes as f64),
        ]);
    }
    say!("slurm: a job array of {} tasks", tasks.len());
    if !is_quiet() && !tasks.is_empty() {
        to_people(format_args!("{}", table(&rows)));
    }
}

/// 0..3 -> "0-2".
fn span(range: &Range<usize>) -> String {
    match range.len() {
        1 => range.start.to_string(),
        _ => format!("{}-{}", range.start, range.end - 1),
    }
}

/// Folders of the submissions of a store, the last one first.
fn folders(store: &Path) -> Vec<PathBuf> {
    let numbers = std::fs::read_dir(store.join("sweeps"));
    let names = numbers.into_iter().flatten().flatten();
    let mut numbers: Vec<u64> = names
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let folder = |n: u64| store.join("sweeps").join(n.to_string());
    numbers.into_iter().map(folder).collect()
}

fn next_folder(store: &Path) -> PathBuf {
    let number = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u64>().ok();
    let last = folders(store).first().and_then(number).unwrap_or(0);
    store.join("sweeps").join((last + 1).to_string())
}

/// The array's name in the queue: which store's, by whatever way it is reached,
/// and which submission.
fn name(folder: &Path) -> String {
    let sweeps = folder.parent().unwrap_or(folder);
    let sweeps = sweeps.canonicalize().unwrap_or(sweeps.to_path_buf());
    let hash = sha256_hex(sweeps.as_os_str().as_encoded_bytes());
    let number = folder.file_name().unwrap_or_default().to_string_lossy();
    format!("assay-{}-{number}", hash.get(..8).unwrap_or(&hash))
}

fn report_name(name: &str) -> String {
    format!("{name}-report")
}

/// Is the last submission of the store still in the queue? Then says how far
/// it is. Of one that has ended it says what failed.
fn is_under_way(store: &Path) -> anyhow::Result<bool> {
    let Some(folder) = folders(store).into_iter().next() else {
        return Ok(false);
    };
    let name = name(&folder);
    let names = format!("{name},{}", report_name(&name));
    let queue = slurm(
        "squeue",
        &[
            "--noheader",
            "--me",
            "--array",
            "--name",
            &names,
            "--format=%T %r",
        ],
    )?;
    let jobs = queue.lines().filter_map(|line| line.trim().split_once(' '));
    let (mut states, reasons): (Vec<&str>, Vec<&str>) = jobs.unzip();
    states.sort_unstable();
    let counts: Vec<String> = states
        .chunk_by(|a, b| a == b)
        .map(|same| format!("{} {}", same.len(), same[0].to_lowercase()))
        .collect();
    match Submission::load(&folder) {
        Ok(submission) => {
            let (ended, failed) = submission.ended(&folder, counts.is_empty());
            say!(
                "sweep {}: {ended} of {} units have ended, {} of them failed",
                folder.display(),
                submission.sweep.open().len(),
                failed.len()
            );
            failed.iter().for_each(task::print_failure);
        }
        Err(e) => say!("sweep {}: {e:#}", folder.display()),
    }
    if counts.is_empty() {
        return Ok(false);
    }
    say!("in the queue: {} jobs", counts.join(", "));
    // But for the report's, which waits for the others.
    let held = |reason: &&str| ["JobHeldUser", "Dependency"].contains(reason);
    if reasons.iter().all(held) && reasons.contains(&"JobHeldUser") {
        say!(
            "every task is held, by scontrol hold or since the submission was cut off: release them, or stop them and give this command again"
        );
    }
    print_how_to_watch(&name, &folder);
    Ok(true)
}

fn print_how_to_watch(name: &str, folder: &Path) {
    say!(
        "watch:  squeue --me --array --name {name},{}",
        report_name(name)
    );
    say!("logs:   {}", folder.join("logs").display());
    say!("stop:   scancel --me --name {name}");
    say!(
        "the same command again says how far it is; when the queue is empty, it submits what is not computed"
    );
}

/// Most tasks of one array. Its largest index is one less than Slurm's word
/// for it.
fn most_tasks() -> anyhow::Result<usize> {
    let config = slurm("scontrol", &["show", "config"])?;
    let line = config.lines().find(|l| l.starts_with("MaxArraySize"));
    let value = line.and_then(|l| l.split('=').nth(1)?.trim().parse().ok());
    value.context("scontrol show config names no MaxArraySize")
}

/// The jobs of one submission.
struct Jobs<'a> {
    name: String,
    folder: PathBuf,
    cluster: &'a Cluster,
    holding: &'a Holding,
}

impl Jobs<'_> {
    /// Writes all that the tasks need. The programs are copied, so that a
    /// build in the meantime changes nothing.
    fn prepare(&self, submission: &Submission, worker: &Path) -> anyhow::Result<()> {
        let folder = &self.folder;
        // Of two that submit at once, one makes the folder.
        std::fs::create_dir(folder).with_context(|| unwritable(folder))?;
        for name in ["bin", "logs", "outcomes"] {
            let path = folder.join(name);
            std::fs::create_dir(&path).with_context(|| unwritable(&path))?;
        }
        let bin = folder.join("bin");
        for program in [worker, std::env::current_exe()?.as_path()] {
            let copy = bin.join(program.file_name().context("a program has no name")?);
            std::fs::copy(program, &copy).with_context(|| unwritable(&copy))?;
        }
        for (script, command) in [
            ("task.sh", "unit . \"$SLURM_ARRAY_TASK_ID\""),
            ("report.sh", "collect ."),
        ] {
            let path = folder.join(script);
            let text = format!(
                "#!/bin/sh\n\
                 cd {folder} || exit 2\n\
                 export ASSAY_BIN={bin}\n\
                 export RAYON_NUM_THREADS=\"${{RAYON_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-1}}}}\"\n\
                 exec bin/xtask {command}\n",
                folder = quoted(folder),
                bin = quoted(&bin),
            );
            std::fs::write(&path, text).with_context(|| unwritable(&path))?;
        }
        submission.save(folder)
    }

    /// Options of both jobs.
    fn common(&self, name: &str, log: &str) -> Vec<String> {
        // Slurm replaces what follows a percent sign.
        let logs = self.folder.join("logs").display().to_string();
        let logs = logs.replace('%', "%%");
        let mut options = vec![
            "--parsable".to_owned(),
            format!("--job-name={name}"),
            format!("--output={logs}/{log}"),
            // A task that runs again goes on in its log.
            "--open-mode=append".to_owned(),
        ];
        if let Some(partition) = &self.cluster.partition {
            options.push(format!("--partition={partition}"));
        }
        // The report's job too: its worker is the same, and what the keys of
        // records name is the GPU.
        if self.holding.needs_gpu() {
            options.push("--gres=gpu:1".to_owned());
        }
        options
    }

    /// The user's options after ours, so that they count, and the script.
    fn and_script(&self, mut options: Vec<String>, script: &str) -> Vec<String> {
        options.extend(self.cluster.sbatch.iter().cloned());
        options.push(self.folder.join(script).display().to_string());
        options
    }

    /// The array, held until each task asks for what it needs.
    fn array(&self, tasks: &[Task]) -> Vec<String> {
        let mut range = format!("0-{}", tasks.len() - 1);
        if let Some(limit) = self.cluster.array_limit {
            range.push_str(&format!("%{limit}"));
        }
        let mebibytes = tasks.iter().map(|t| t.asks().0).max().unwrap_or(0);
        let minutes = tasks.iter().map(|t| t.asks().1).max().unwrap_or(0);
        let mut options = self.common(&self.name, "%a.log");
        options.extend([
            "--hold".to_owned(),
            "--requeue".to_owned(),
            format!("--array={range}"),
        ]);
        options.extend(self.asking((mebibytes, minutes)));
        self.and_script(options, "task.sh")
    }

    /// What tasks ask for, but for what the user says of it with sbatch's own
    /// options: MiB and minutes.
    fn asked(&self, (mebibytes, minutes): (u64, u64)) -> (Option<u64>, Option<u64>) {
        let said = |is: fn(&str) -> bool| self.cluster.sbatch.iter().any(|option| is(option));
        // --mem-per-cpu too, which goes with no --mem.
        let memory = said(|option| option.starts_with("--mem"));
        let time = said(|option| {
            let (name, _) = option.split_once('=').unwrap_or((option, ""));
            name == "--time" || name.starts_with("-t")
        });
        ((!memory).then_some(mebibytes), (!time).then_some(minutes))
    }

    fn asking(&self, asks: (u64, u64)) -> impl Iterator<Item = String> + use<> {
        let (memory, time) = self.asked(asks);
        let memory = memory.map(|mebibytes| format!("--mem={mebibytes}M"));
        memory
            .into_iter()
            .chain(time.map(|minutes| format!("--time={minutes}")))
    }

    /// What the tasks of each class ask for, where the array as a whole asks
    /// for the most.
    fn updates(&self, array: &str, tasks: &[Task]) -> Vec<Vec<String>> {
        let update = |(range, task): (Range<usize>, &Task)| {
            let (memory, time) = self.asked(task.asks());
            let fields = [
                memory.map(|mebibytes| format!("MinMemoryNode={mebibytes}")),
                time.map(|minutes| format!("TimeLimit={minutes}")),
            ];
            let fields: Vec<String> = fields.into_iter().flatten().collect();
            let job = format!("JobId={array}_[{}]", span(&range));
            let update = [vec!["update".to_owned(), job], fields.clone()].concat();
            (!fields.is_empty()).then_some(update)
        };
        classes(tasks).into_iter().filter_map(update).collect()
    }

    fn report(&self, array: Option<&str>) -> Vec<String> {
        let mut options = self.common(&report_name(&self.name), "report.log");
        if let Some(array) = array {
            // After all tasks, whatever came of them.
            options.push(format!("--dependency=afterany:{array}"));
            options.push("--kill-on-invalid-dep=yes".to_owned());
        }
        options.extend(self.asking(REPORT));
        self.and_script(options, "report.sh")
    }

    /// What would be said to Slurm.
    fn print(&self, tasks: &[Task]) {
        if !tasks.is_empty() {
            outln!("{}", line("sbatch", &self.array(tasks)));
            for update in self.updates("ARRAY", tasks) {
                outln!("{}", line("scontrol", &update));
            }
            outln!("scontrol release ARRAY");
        }
        let array = (!tasks.is_empty()).then_some("ARRAY");
        outln!("{}", line("sbatch", &self.report(array)));
    }

    fn submit(&self, tasks: &[Task]) -> anyhow::Result<()> {
        let mut array = None;
        if !tasks.is_empty() {
            let id = sbatch(&self.array(tasks))?;
            let set = || {
                for update in self.updates(&id, tasks) {
                    slurm("scontrol", &update)?;
                }
                let report = sbatch(&self.report(Some(&id)))?;
                slurm("scontrol", &["release", id.as_str()])?;
                anyhow::Ok(report)
            };
            let report = set().inspect_err(|_| {
                // What is held would be held for ever.
                let _ = slurm("scancel", &[id.as_str()]);
            })?;
            say!(
                "submitted: array {id} of {} tasks, report {report}",
                tasks.len()
            );
            array = Some(id);
        }
        if array.is_none() {
            let report = sbatch(&self.report(None))?;
            say!("submitted: report {report}; every record is in the store");
        }
        print_how_to_watch(&self.name, &self.folder);
        Ok(())
    }
}

/// The job's number, of which a federation of clusters says more.
fn sbatch(options: &[String]) -> anyhow::Result<String> {
    let said = slurm("sbatch", options)?;
    let id = said.trim().split(';').next().unwrap_or_default();
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_digit()) {
        bail!("sbatch answered {said:?}, which is no job's number");
    }
    Ok(id.to_owned())
}

/// What a program of Slurm's says.
fn slurm<S: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[S]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| {
        format!("failed to start {program}: is this a machine of a Slurm cluster?")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.trim().lines().last().unwrap_or("it said nothing");
        bail!("{program} refused: {line}");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn unwritable(path: &Path) -> String {
    format!("failed to write {}", path.display())
}

/// A path as one word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// A command as the shell takes it: words of plain characters as they are.
fn line(program: &str, arguments: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+.,/:%@".contains(c);
    let words = arguments.iter().map(|word| match word.chars().all(plain) {
        true if !word.is_empty() => word.clone(),
        _ => quoted(Path::new(word)),
    });
    let words: Vec<String> = words.collect();
    format!("{program} {}", words.join(" "))
}

#[cfg(test)]
mod tests;
