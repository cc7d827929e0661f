//! Killed at any point and started again, a run ends as if nothing had been.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assay_record::Store;

use crate::bench::{Bench, Files, check_same, run};

/// Starts the command, kills it with SIGKILL some milliseconds after it has
/// said `words` for the `n`-th time, and waits until its worker is gone too.
#[track_caller]
fn kill(bench: &Bench, mut command: Command, (words, n, delay): (&str, usize, u64)) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = lines.by_ref().map_while(Result::ok);
    let said = said.filter(|l| l.contains(words));
    assert_eq!(said.take(n).count(), n, "the run ended before {words:?}");
    // It is heard until it is killed.
    std::thread::sleep(Duration::from_millis(delay));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(lines);
    check_no_worker(bench);
}

/// The kernel ends a worker whose parent dies.
#[track_caller]
fn check_no_worker(bench: &Bench) {
    let patience = Instant::now() + Duration::from_secs(20);
    while let [worker, ..] = bench.workers()[..] {
        assert!(Instant::now() < patience, "worker {worker} lives on");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What is in the store is whole, and the next run ends with the same bytes.
#[track_caller]
fn check_goes_on(bench: &Bench, models: &[String], number: usize, undisturbed: &Files) {
    let (store, out) = (format!("store-{number}"), format!("out-{number}"));
    let (_, damaged) = Store::open(&bench.path(&store))
        .unwrap()
        .list("h25-gain")
        .unwrap();
    assert!(damaged.is_empty(), "{damaged:?}");
    run(bench.reproduce_to(models, &store, &out)).check(0, &[]);
    check_same(&bench.results(&store, &out), undisturbed);
}

#[track_caller]
fn check_kills(moments: &[(&str, usize, u64)]) {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    let undisturbed = bench.results("store", "out");
    for (i, moment) in moments.iter().enumerate() {
        let command = bench.reproduce_to(&models, &format!("store-{i}"), &format!("out-{i}"));
        kill(&bench, command, *moment);
        check_goes_on(&bench, &models, i, &undisturbed);
    }
}

#[test]
fn while_the_first_model_is_measured() {
    check_kills(&[
        ("plan:", 1, 0),
        ("checking hashes", 1, 0),
        ("pass of", 1, 0),
        ("gain clamp", 1, 0),
        ("gain clamp", 1, 10),
    ]);
}

#[test]
fn between_and_after_the_records() {
    check_kills(&[
        ("measured in", 1, 0),
        ("checking hashes", 2, 5),
        ("gain clamp", 2, 5),
        ("measured in", 2, 0),
        ("measured in", 2, 60),
    ]);
}

#[test]
fn while_the_report_is_written() {
    check_kills(&[
        ("report: drawing figures", 1, 0),
        ("report: drawing figures", 1, 50),
        ("report: drawing figures", 1, 150),
        ("report.pdf is not written", 1, 0),
    ]);
}

/// Killed while a record is on its way to its name: between the making of the
/// temporary file and the renaming, as near as looking can bring it.
#[test]
fn while_a_record_is_committed() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    let undisturbed = bench.results("store", "out");
    for i in 0..2 {
        let mut command = bench.reproduce_to(&models, &format!("store-{i}"), &format!("out-{i}"));
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let records = bench.path(&format!("store-{i}/records/h25-gain"));
        let begun = || std::fs::read_dir(&records).is_ok_and(|mut names| names.next().is_some());
        while !begun() {
            assert!(child.try_wait().unwrap().is_none(), "nothing was committed");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        check_no_worker(&bench);
        check_goes_on(&bench, &models, i, &undisturbed);
    }
    // The same for certain: half a record under a temporary name.
    let record = bench.record_of("store-0", "tiny-llama");
    let bytes = std::fs::read(&record).unwrap();
    std::fs::write(
        record.with_file_name(".tmpA1b2C3"),
        &bytes[..bytes.len() / 2],
    )
    .unwrap();
    std::fs::remove_file(record).unwrap();
    check_goes_on(&bench, &models, 0, &undisturbed);
}
