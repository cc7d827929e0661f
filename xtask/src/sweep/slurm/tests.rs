//! What is said to Slurm, and what is read of its tasks.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_record::ComputeDevice;
use assay_record::wire::{By, Hold, RunRequest, Work};

use super::{Cluster, Jobs, Submission, Sweep, classes, line, quoted, span, tasks};
use crate::Holding;
use crate::computing::Computing;
use crate::sweep::Unit;

/// A sweep of units that need (GiB, seconds).
fn sweep(needs: &[(u64, f64)]) -> Sweep {
    let unit = |(i, (gib, seconds)): (usize, &(u64, f64))| Unit {
        name: format!("m{i}"),
        label: format!("m{i}"),
        experiments: vec!["e".to_owned()],
        said: true,
        request: Ok(RunRequest {
            model: format!("m{i}"),
            revision: "local".to_owned(),
            family: "f".to_owned(),
            files: Vec::new(),
            experiments: vec!["e".to_owned()],
            store: "store".into(),
            hold: Hold::default(),
            full: false,
            prompts: None,
            by: By {
                commit: String::new(),
                command: Vec::new(),
            },
        }),
        present: BTreeMap::new(),
        work: Some(Work {
            memory: gib << 30,
            streamed: false,
            seconds: *seconds,
        }),
    };
    Sweep {
        experiments: vec!["e".to_owned()],
        units: needs.iter().enumerate().map(unit).collect(),
    }
}

#[test]
fn units_that_need_the_same_are_one_range() {
    let sweep = sweep(&[(1, 1.0), (30, 600.0), (1, 2.0), (30, 1.0), (1, 1.0)]);
    let tasks = tasks(&sweep, 1000, 2.0);
    let ranges: Vec<_> = (classes(&tasks).iter())
        .map(|(range, task)| (span(range), task.asks()))
        .collect();
    // 5 minutes and four times the estimate on one of two threads, and the
    // next power of two above the memory and what stands beside it.
    let expected = [("0-2", (2048, 10)), ("3", (32768, 10)), ("4", (32768, 120))];
    assert_eq!(ranges, expected.map(|(s, asks)| (s.to_owned(), asks)));
    let order: Vec<usize> = tasks.iter().flat_map(|t| t.units.clone()).collect();
    assert_eq!(order, [0, 2, 4, 3, 1]);
}

/// More units than an array may have tasks: each is in one task.
#[test]
fn an_array_holds_any_number_of_units() {
    let sweep = sweep(&[(1, 60.0); 25]);
    let tasks = tasks(&sweep, 10, 1.0);
    assert_eq!(tasks.len(), 9);
    let mut units: Vec<usize> = tasks.iter().flat_map(|t| t.units.clone()).collect();
    units.sort_unstable();
    assert_eq!(units, (0..25).collect::<Vec<_>>());
    // Three units of nine minutes.
    assert_eq!(tasks[0].asks(), (2048, 30));
}

fn submission(sweep: Sweep) -> Submission {
    Submission {
        tasks: tasks(&sweep, 1000, 1.0),
        sweep,
        store: "store".into(),
        out: "out".into(),
        claim: None,
        patience: 60,
        id: String::new(),
    }
}

/// Tasks of two classes, submitted with these options of sbatch.
fn jobs(sbatch: &[&str], device: ComputeDevice) -> (Vec<String>, Vec<Vec<String>>) {
    let tasks = tasks(&sweep(&[(1, 1.0), (30, 600.0)]), 1000, 1.0);
    let jobs = Jobs {
        name: "name".to_owned(),
        folder: "folder".into(),
        cluster: &Cluster {
            on: None,
            partition: Some("fast".to_owned()),
            array_limit: Some(3),
            sbatch: sbatch.iter().map(|option| (*option).to_owned()).collect(),
        },
        holding: &Holding {
            memory: None,
            as_stored: false,
            full: false,
            computing: Computing {
                device,
                dtype: None,
            },
        },
    };
    (jobs.array(&tasks), jobs.updates("7", &tasks))
}

#[test]
fn each_task_asks_for_what_it_needs() {
    let (array, updates) = jobs(&[], ComputeDevice::Cuda(1));
    for option in [
        "--gres=gpu:1",
        "--partition=fast",
        "--array=0-1%3",
        "--mem=32768M",
        "--time=60",
    ] {
        assert!(array.iter().any(|o| o == option), "{option}: {array:?}");
    }
    let of = |task, mebibytes, minutes| {
        let fields = ["MinMemoryNode", "TimeLimit"];
        vec![
            "update".to_owned(),
            format!("JobId=7_[{task}]"),
            format!("{}={mebibytes}", fields[0]),
            format!("{}={minutes}", fields[1]),
        ]
    };
    assert_eq!(updates, [of(0, 2048, 10), of(1, 32768, 60)]);
    let (array, _) = jobs(&[], ComputeDevice::Cpu);
    assert!(!array.iter().any(|o| o.contains("gpu")), "{array:?}");
}

/// And no update takes it back.
#[test]
fn what_the_user_asks_for_counts() {
    let (array, updates) = jobs(&["--mem-per-cpu=9G"], ComputeDevice::Cpu);
    assert!(!array.iter().any(|o| o.starts_with("--mem=")), "{array:?}");
    assert!(updates.iter().all(|u| !u.concat().contains("MinMemory")));
    assert!(updates.iter().all(|u| u.concat().contains("TimeLimit")));
    for time in ["--time=5", "-t5"] {
        let (array, updates) = jobs(&["--mem=9G", time], ComputeDevice::Cpu);
        let of_time = |o: &&String| o.starts_with("--time") || o.starts_with("-t");
        assert_eq!(array.iter().filter(of_time).collect::<Vec<_>>(), [time]);
        assert_eq!(updates, Vec::<Vec<String>>::new());
    }
    let (array, _) = jobs(&["--time-min=1"], ComputeDevice::Cpu);
    assert!(array.iter().any(|o| o == "--time=60"), "{array:?}");
}

/// Two units of one model would wait for each other.
#[test]
fn units_of_one_model_are_in_one_task() {
    let mut sweep = sweep(&[(1, 1.0); 3]);
    if let Ok(request) = &mut sweep.units[2].request {
        request.model = "m0".to_owned();
    }
    let tasks = tasks(&sweep, 1000, 1.0);
    let units: Vec<_> = tasks.iter().map(|task| task.units.clone()).collect();
    // The shorter one first.
    assert_eq!(units, [vec![1], vec![0, 2]]);
}

#[test]
fn a_task_that_died_is_a_failure_when_none_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let submission = submission(sweep(&[(1, 1.0); 2]));
    assert_eq!(submission.ended(folder.path(), false).0, 0);
    let (ended, failures) = submission.ended(folder.path(), true);
    assert_eq!((ended, failures.len()), (2, 2));
    let reason = &failures[1].reason;
    assert!(reason.starts_with("task 1 of the job array ended without a word"));
}

#[test]
fn a_task_of_a_unit_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut submission = submission(sweep(&[(1, 1.0); 2]));
    submission.save(folder.path()).unwrap();
    Submission::load(folder.path()).unwrap();
    submission.tasks[1].units.push(2);
    submission.save(folder.path()).unwrap();
    let error = Submission::load(folder.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("gives a task unit 2 of 2: submit the sweep again"),
        "{error}"
    );
}

/// Not one that is still to come.
#[test]
fn a_damaged_outcome_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let submission = submission(sweep(&[(1, 1.0); 2]));
    assert_eq!(submission.ended(folder.path(), false).0, 0);
    std::fs::create_dir(folder.path().join("outcomes")).unwrap();
    std::fs::write(folder.path().join("outcomes/1.json"), "{").unwrap();
    let (ended, failures) = submission.ended(folder.path(), false);
    assert_eq!((ended, failures.len()), (1, 1));
    let reason = &failures[0].reason;
    assert!(
        reason.contains("outcomes/1.json is not a readable outcome of a unit"),
        "{reason}"
    );
}

#[test]
fn a_path_is_one_word_of_the_shell() {
    assert_eq!(quoted(Path::new("/a b/c'd")), "'/a b/c'\\''d'");
    let options = ["--output=/a b/%a.log", "--mem=2M", ""].map(str::to_owned);
    assert_eq!(
        line("sbatch", &options),
        "sbatch '--output=/a b/%a.log' --mem=2M ''"
    );
}
