//! Where and in what a model computes: a GPU that is not there, and types that
//! need none. PATH holds no program but what a test puts there, so no GPU is
//! seen on any machine.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use assay_record::{Record, Store};
use assay_testkit::TinyModel;

use crate::bench::{Bench, check_same, files, run, three_layers};

/// The records of h25-gain in a store.
fn records(bench: &Bench, store: &str) -> Vec<Record> {
    let folder = bench.path(store);
    let all = std::fs::read_dir(folder.join("records/h25-gain")).unwrap();
    let ids = all.filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".json").map(str::to_owned)
    });
    let store = Store::open(&folder).unwrap();
    ids.map(|id| store.read("h25-gain", &id).unwrap()).collect()
}

#[test]
fn without_a_gpu_models_compute_on_the_cpu_and_a_warning_says_so() {
    let bench = Bench::new();
    let models = [bench.model("tiny", &three_layers(TinyModel::gpt_neox(1)))];
    run(bench.reproduce_to(&models, "plain", "out-plain")).check(0, &[]);
    let mut command = bench.reproduce_to(&models, "asked", "out-asked");
    command.args(["--device", "cuda:1"]);
    run(command).check(
        0,
        &[
            "warning: no NVIDIA GPU is seen here",
            "models compute on the CPU, and their records say so",
        ],
    );
    check_same(
        &files(&bench.path("asked/records")),
        &files(&bench.path("plain/records")),
    );

    // A GPU that the worker is not built for.
    let seen = bench.path("nothing").join("nvidia-smi");
    std::fs::write(&seen, "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&seen, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = bench.reproduce_to(&models, "unbuilt", "out-unbuilt");
    command.args(["--device", "cuda"]);
    run(command).check(
        0,
        &["warning: cuda:0 cannot be used: this worker is built without the cuda feature"],
    );
    check_same(
        &files(&bench.path("unbuilt/records")),
        &files(&bench.path("plain/records")),
    );
}

/// Each type has a record of its own in one store, whose gains are near those
/// in f32: within 24 roundings, eight for each of the three blocks.
#[test]
fn types_are_kept_apart_and_near() {
    let bench = Bench::new();
    let models = [bench.model("tiny", &three_layers(TinyModel::llama(2)))];
    for dtype in ["f32", "f16", "bf16"] {
        let mut command = bench.reproduce_to(&models, "store", "out");
        command.args(["--dtype", dtype]);
        run(command).check(0, &["h25-gain measured"]);
        let report = std::fs::read_to_string(bench.path("out/report.md")).unwrap();
        assert!(report.contains(&format!("Computed in {dtype}.")), "{dtype}");
    }
    // What experiments declare is f32, so asking for it makes no other record.
    let again = bench.reproduce_to(&models, "store", "out");
    run(again).check(0, &["h25-gain is in the store"]);
    let records = records(&bench, "store");
    assert_eq!(records.len(), 3);
    let ids: BTreeSet<String> = records.iter().map(|r| r.key.id().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    let of = |dtype: &str| records.iter().find(|r| r.key.dtype == dtype).unwrap();
    let wide = of("f32");
    for (dtype, rounding) in [("f16", 2f64.powi(-11)), ("bf16", 2f64.powi(-8))] {
        let short = of(dtype);
        // What the blocks are seen to do does not depend on the type.
        assert_eq!(short.facts, wide.facts);
        let mut compared = 0;
        for (a, e) in short.samples.iter().zip(&wide.samples) {
            assert_eq!((&a.unit, &a.token_ids), (&e.unit, &e.token_ids));
            let (Ok(a), Ok(e)) = (a.get("gain.as-published"), e.get("gain.as-published")) else {
                continue;
            };
            compared += 1;
            assert!((a - e).abs() < 24.0 * rounding * e, "{dtype}: {a} and {e}");
            assert_ne!(a, e, "{dtype} is f32");
        }
        assert_eq!(compared, 25);
    }
}

#[test]
fn devices_and_types_that_there_are_not() {
    let bench = Bench::new();
    let model = bench.model("tiny", &three_layers(TinyModel::gpt_neox(1)));
    let asked = |arguments: [&str; 2]| {
        let mut command = bench.xtask(&["trace", &model, "--ids", "1,2", "--out", "out.st"]);
        command.args(arguments);
        run(command)
    };
    asked(["--device", "gpu"]).check(2, &["there are cpu, cuda and cuda:N"]);
    asked(["--dtype", "f8"]).check(2, &["there are f32, f16, bf16"]);
    let mut command = bench.reproduce_to(std::slice::from_ref(&model), "store", "out");
    command.args(["--dtype", "f16", "--as-stored"]);
    run(command).check(0, &["not run: quantised weights are multiplied as stored"]);
}
