//! Two runs at once on one store: one goes on, the other says why it does not.

use assay_record::Store;

use crate::bench::{Bench, Ended, check_same, files, run};

const HELD: &str = "is held by another run";

#[test]
fn a_held_store_is_an_error_and_nothing_is_touched() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    let before = files(&bench.path("store"));
    let store = Store::open(&bench.path("store")).unwrap();
    // This test stands for the other run, then for its worker.
    let run_lock = store.lock("last-run").unwrap();
    run(bench.reproduce(&models)).check_refused(&["store/locks/last-run.lock", HELD]);
    run(bench.xtask(&["stats", "--store", "store"])).check_refused(&[HELD]);
    drop(run_lock);
    let worker_lock = store.lock("tiny-llama@local").unwrap();
    run(bench.reproduce(&models)).check_refused(&["tiny-llama@local.lock", HELD]);
    drop(worker_lock);
    check_same(&files(&bench.path("store/records")), &{
        let mut records = before.clone();
        records.retain(|name, _| name.starts_with("records/"));
        let inside = |(name, bytes): (String, _)| (name["records/".len()..].to_owned(), bytes);
        records.into_iter().map(inside).collect()
    });
    run(bench.reproduce(&models)).check(0, &["is in the store"]);
}

#[test]
fn of_two_runs_at_once_each_ends_well_or_says_so() {
    let bench = Bench::new();
    let [neox, llama] = bench.two_models().map(|model| [model]);
    run(bench.reproduce_to(&neox, "store-neox", "out-neox")).check(0, &[]);
    run(bench.reproduce_to(&llama, "store-llama", "out-llama")).check(0, &[]);
    let alone = [
        bench.results("store-neox", "out-neox"),
        bench.results("store-llama", "out-llama"),
    ];

    let start = |model: &[String], out: &str| {
        let mut command = bench.reproduce_to(model, "store", out);
        let child = command.stderr(std::process::Stdio::piped()).spawn();
        std::thread::spawn(move || Ended::from(child.unwrap().wait_with_output().unwrap()))
    };
    let both = [start(&neox, "out-0"), start(&llama, "out-1")];
    let mut ended_well = 0;
    for (i, run) in both.into_iter().enumerate() {
        let ended = run.join().unwrap();
        if ended.code == Some(0) {
            ended_well += 1;
            // Its report is about its own model and no other.
            let mut report = alone[i].clone();
            report.retain(|name, _| name.starts_with("out/"));
            let found = files(&bench.path(&format!("out-{i}"))).into_iter();
            let found = found.map(|(name, bytes)| (format!("out/{name}"), bytes));
            check_same(&found.collect(), &report);
        } else {
            ended.check_refused(&[HELD]);
            assert!(!bench.path(&format!("out-{i}")).exists());
        }
    }
    assert!(ended_well > 0, "both runs stood back");
    for (model, out) in [(&neox, "out-2"), (&llama, "out-3")] {
        run(bench.reproduce_to(model, "store", out)).check(0, &[]);
    }
    assert_eq!(bench.records("store").len(), 2);
}
