//! The number of threads changes no bit.

use crate::bench::{Bench, run};

#[test]
fn one_thread_and_two_give_equal_bits() {
    let bench = Bench::new();
    // The reference: what this machine makes of the models that are compared.
    run(bench.xtask(&["run", "decoder-parity", "--offline", "--store", "store"])).check(0, &[]);
    let drift = |more: &[&str]| {
        let common = [
            "drift",
            "--store",
            "store",
            "--experiments",
            "decoder-parity",
        ];
        bench.xtask(&[&common[..], more].concat())
    };
    let threads = [
        "--build",
        "threads-1,threads-2",
        "--models",
        "neox-parallel,gemma3",
    ];
    let mut command = drift(&[&threads[..], &["--json", "--quiet"]].concat());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let drift_found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let variations = drift_found["variations"].as_array().unwrap();
    let names: Vec<&str> = (variations.iter())
        .map(|v| v["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["threads-1", "threads-2"]);
    for variation in variations {
        let of = &variation["outcome"]["ran"]["records"]["decoder-parity"];
        assert_eq!(of["records"], 2);
        assert_eq!(of["unmatched"].as_array().unwrap().len(), 0);
        for (kind, spread) in of["kinds"].as_object().unwrap() {
            assert!(spread["values"].as_u64().unwrap() > 100, "{kind}");
            assert_eq!(spread["values"], spread["equal"], "{kind}");
        }
    }

    let refused = drift(&["--build", "threads-0"]);
    run(refused).check_refused(&["there is no variation threads-0", "threads-1"]);
    let refused = drift(&["--models", "gemma3", "--experiments", "made-up"]);
    run(refused).check_refused(&["drift.toml", "does not declare made-up"]);
}
