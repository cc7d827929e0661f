//! Several runs at once on one store share the work, and a worker that hangs
//! costs time and nothing else.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assay_record::{Attempt, Holder, Store, UnitClaim};

use crate::bench::{Bench, Ended, check_same, files, run, three_layers};
use assay_testkit::TinyModel;

/// Several models of which none is measured at once.
fn models(bench: &Bench) -> Vec<String> {
    let model = |seed| {
        bench.model(
            &format!("tiny-{seed}"),
            &three_layers(TinyModel::llama(seed)),
        )
    };
    (1..=4).map(model).collect()
}

fn claim(bench: &Bench, unit: &str) -> UnitClaim {
    let store = Store::open(&bench.path("store")).unwrap();
    match store.claim(unit).unwrap() {
        Attempt::Claimed(claim) => claim,
        Attempt::Held(holder) => panic!("{unit} is held by {holder}"),
    }
}

/// Starts a command, and calls `then` when it has said some words.
fn when_it_says(mut command: Command, words: &str, then: impl FnOnce()) -> Ended {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut text = String::new();
    let mut then = Some(then);
    while let Some(Ok(line)) = lines.next() {
        if line.contains(words)
            && let Some(then) = then.take()
        {
            then();
        }
        text.push_str(&line);
        text.push('\n');
    }
    assert!(then.is_none(), "no {words:?} in:\n{text}");
    let code = child.wait().unwrap().code();
    Ended { code, text }
}

#[test]
fn a_run_waits_for_what_another_is_at_work_on() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce_to(&models, "usual", "usual-out")).check(0, &[]);
    let usual = bench.results("usual", "usual-out");
    // This test stands for another run's worker, then for the run.
    let unit = claim(&bench, "tiny-neox@local");
    let waited = "tiny-neox@local is waited for: process";
    when_it_says(bench.reproduce(&models), waited, || drop(unit)).check(0, &[]);
    check_same(&bench.results("store", "out"), &usual);
    for command in [
        bench.reproduce(&models),
        bench.xtask(&["stats", "--store", "store"]),
        bench.xtask(&["golden", "--store", "store"]),
        bench.xtask(&["report", "--store", "store", "--out", "out"]),
    ] {
        let list = claim(&bench, "last-run");
        when_it_says(command, "waiting: process", || drop(list)).check(0, &[]);
    }
    check_same(&bench.results("store", "out"), &usual);
}

fn start(mut command: Command) -> std::thread::JoinHandle<Ended> {
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    std::thread::spawn(move || Ended::from(child.wait_with_output().unwrap()))
}

#[test]
fn runs_at_once_share_the_work() {
    let bench = Bench::new();
    let models = models(&bench);
    run(bench.reproduce_to(&models, "usual", "usual-out")).check(0, &[]);
    let usual = bench.results("usual", "usual-out");
    let runs = [0, 1, 2].map(|i| start(bench.reproduce_to(&models, "store", &format!("out-{i}"))));
    let ended = runs.map(|run| run.join().unwrap());
    let mut measured = 0;
    for (i, ended) in ended.iter().enumerate() {
        ended.check(0, &[]);
        measured += ended.text.matches("measured in").count();
        check_same(&bench.results("store", &format!("out-{i}")), &usual);
    }
    assert_eq!(measured, models.len(), "a unit was computed twice");
}

/// Each run's report is about its own models.
#[test]
fn runs_of_different_models_at_once_do_not_mix() {
    let bench = Bench::new();
    let [neox, llama] = bench.two_models().map(|model| [model]);
    run(bench.reproduce_to(&neox, "store-neox", "out-neox")).check(0, &[]);
    run(bench.reproduce_to(&llama, "store-llama", "out-llama")).check(0, &[]);
    let both = [(&neox, "out-0"), (&llama, "out-1")];
    let both = both.map(|(model, out)| start(bench.reproduce_to(model, "store", out)));
    for run in both {
        run.join().unwrap().check(0, &[]);
    }
    for (found, expected) in [("out-0", "out-neox"), ("out-1", "out-llama")] {
        check_same(&files(&bench.path(found)), &files(&bench.path(expected)));
    }
    assert_eq!(bench.records("store").len(), 2);
}

#[test]
fn workers_side_by_side_write_the_same_bytes() {
    let bench = Bench::new();
    let models = models(&bench);
    run(bench.reproduce_to(&models, "usual", "usual-out")).check(0, &[]);
    let mut command = bench.reproduce(&models);
    command.args(["--workers", "3"]);
    let ended = run(command);
    ended.check(0, &[]);
    assert_eq!(ended.text.matches("measured in").count(), models.len());
    check_same(
        &bench.results("store", "out"),
        &bench.results("usual", "usual-out"),
    );
    let mut command = bench.reproduce(&models);
    command.args(["--workers", "0"]);
    run(command).check(2, &["give 1 or more"]);
}

fn signal(pid: u32, signal: libc::c_int) -> bool {
    // SAFETY: kill takes two integers and touches no memory.
    unsafe { libc::kill(pid.cast_signed(), signal) == 0 }
}

/// Stops the worker of a run while it holds a unit whose record is not there
/// yet. One that was met at another moment goes on, and the next look is taken.
fn stop_a_worker(bench: &Bench, child: &mut Child) -> u32 {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        if let [worker] = bench.workers()[..]
            && signal(worker, libc::SIGSTOP)
        {
            if stands(worker) && is_at_work(bench, worker) {
                return worker;
            }
            signal(worker, libc::SIGCONT);
        }
        assert!(child.try_wait().unwrap().is_none(), "the run has ended");
        assert!(Instant::now() < patience, "no worker was met at work");
    }
}

/// Waits until a process to which a stop was sent has stopped; false if it
/// ended instead.
fn stands(pid: u32) -> bool {
    while let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
        match state {
            Some("T") => return true,
            Some("Z" | "X") => return false,
            _ => {}
        }
    }
    false
}

/// Does this process hold a unit without a record?
fn is_at_work(bench: &Bench, worker: u32) -> bool {
    let claims = std::fs::read_dir(bench.path("store/claims"));
    let claims = claims.into_iter().flatten().map(|c| c.unwrap().path());
    let held = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let model = name.strip_suffix("@local.claim")?.to_owned();
        let text = std::fs::read_to_string(path).ok()?;
        let holder: Holder = serde_json::from_str(text.lines().next()?).ok()?;
        (holder.pid == worker).then_some(model)
    };
    let mut held = claims.filter_map(held);
    // Nothing changes while the worker stands.
    held.any(|model| {
        let named = format!("\"model\": \"{model}\"");
        let records = bench.path("store/records");
        let texts = records.exists().then(|| files(&records).into_values());
        !texts
            .into_iter()
            .flatten()
            .any(|t| String::from_utf8_lossy(&t).contains(&named))
    })
}

#[test]
fn a_worker_that_hangs_is_ended_and_its_unit_done_again() {
    let bench = Bench::new();
    let models = models(&bench);
    run(bench.reproduce_to(&models, "usual", "usual-out")).check(0, &[]);
    let mut command = bench.reproduce(&models);
    command.args(["--patience", "6"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let stopped = stop_a_worker(&bench, &mut child);
    let ended = Ended::from(child.wait_with_output().unwrap());
    ended.check(0, &["no sign of life for 6 s", "trying again"]);
    assert!(!bench.workers().contains(&stopped));
    check_same(
        &bench.results("store", "out"),
        &bench.results("usual", "usual-out"),
    );
}

#[test]
fn a_hung_run_is_taken_over_by_another() {
    let bench = Bench::new();
    let models = models(&bench);
    run(bench.reproduce_to(&models, "usual", "usual-out")).check(0, &[]);
    let usual = bench.results("usual", "usual-out");
    let mut hung = bench.reproduce_to(&models, "store", "hung-out");
    let mut hung = hung.stderr(Stdio::piped()).spawn().unwrap();
    let stopped = stop_a_worker(&bench, &mut hung);
    assert!(signal(hung.id(), libc::SIGSTOP));
    let mut other = bench.reproduce(&models);
    other.args(["--patience", "6"]);
    run(other).check(0, &["is waited for"]);
    check_same(&bench.results("store", "out"), &usual);
    // Woken, the first one finds its work done, and reports the same.
    assert!(signal(stopped, libc::SIGCONT));
    assert!(signal(hung.id(), libc::SIGCONT));
    Ended::from(hung.wait_with_output().unwrap()).check(0, &[]);
    check_same(&bench.results("store", "hung-out"), &usual);
}

/// A worker says each second that it lives.
#[test]
fn patience_is_longer_than_a_few_signs_of_life() {
    let bench = Bench::new();
    let models = models(&bench);
    for patience in ["0", "2", "-1", "soon"] {
        let mut command = bench.reproduce(&models);
        command.arg(format!("--patience={patience}"));
        run(command).check(2, &[patience, "give 3 seconds or more"]);
    }
}
