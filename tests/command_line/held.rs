//! How a model is held: whole or block by block, widened or as it is stored.

use assay_testkit::{TinyModel, write_gguf};
use candle_core::quantized::GgmlDType;

use crate::bench::{Bench, check_same, files, run, three_layers};

/// A model of many blocks, which need ten times what two of them need.
fn deep() -> TinyModel {
    TinyModel {
        n_layers: 24,
        ..three_layers(TinyModel::gpt_neox(5))
    }
}

/// Room for the process, the activations that H25 keeps and some of the blocks:
/// a little more than the plan says streaming needs at the least.
fn little(bench: &Bench, models: &[String]) -> String {
    let mut command = bench.reproduce_to(models, "asked", "out-asked");
    command.args(["--memory", "1MiB"]);
    let ended = run(command);
    let (_, rest) = ended
        .text
        .split_once("even block by block it needs ")
        .unwrap();
    let (number, _) = rest.split_once(" MiB").unwrap();
    format!("{}MiB", number.parse::<f64>().unwrap() + 1.0)
}

#[test]
fn a_model_that_does_not_fit_is_streamed_to_the_same_records() {
    let bench = Bench::new();
    let models = [bench.model("deep", &deep())];
    run(bench.reproduce_to(&models, "whole", "out-whole")).check(0, &[]);
    let mut command = bench.reproduce_to(&models, "streamed", "out-streamed");
    command.args(["--memory", &little(&bench, &models)]);
    run(command).check(0, &["streamed"]);
    check_same(
        &files(&bench.path("streamed/records")),
        &files(&bench.path("whole/records")),
    );
    check_same(
        &files(&bench.path("out-streamed")),
        &files(&bench.path("out-whole")),
    );
}

#[test]
fn a_trace_of_a_streamed_model_has_the_same_bytes() {
    let bench = Bench::new();
    let model = bench.model("deep", &deep());
    // A trace needs no room for H25.
    for (out, more) in [("whole.st", None), ("streamed.st", Some("513MiB"))] {
        let mut command = bench.xtask(&["trace", &model, "--ids", "1,2,3", "--out", out]);
        if let Some(size) = more {
            command.args(["--memory", size]);
        }
        run(command).check(0, &["written"]);
    }
    let bytes = |name| std::fs::read(bench.path(name)).unwrap();
    assert!(bytes("whole.st") == bytes("streamed.st"));
}

#[test]
fn a_model_too_large_even_block_by_block_is_not_run_and_says_so() {
    let bench = Bench::new();
    let models = [bench.model("deep", &deep())];
    let mut command = bench.reproduce(&models);
    command.args(["--memory", "1MiB"]);
    run(command).check(0, &["not run: too large: even block by block it needs"]);
}

#[test]
fn a_size_that_is_none_is_refused() {
    let bench = Bench::new();
    let models = [bench.model("deep", &deep())];
    for (size, words) in [
        ("3GB", "use KiB, MiB or GiB"),
        ("much", "no unit"),
        ("1.5.2MiB", "no size"),
    ] {
        let mut command = bench.reproduce(&models);
        command.args(["--memory", size]);
        run(command).check(2, &[words]);
    }
}

/// Records of products with stored blocks are never shown as the exact ones.
#[test]
fn records_of_stored_products_are_kept_apart() {
    let bench = Bench::new();
    let path = bench.path("models").join("quantized.gguf");
    write_gguf(&path, &three_layers(TinyModel::llama(3)), GgmlDType::Q8_0).unwrap();
    let models = [path.to_str().unwrap().to_owned()];
    run(bench.reproduce(&models)).check(0, &["measured in"]);
    let mut stored = bench.reproduce(&models);
    stored.arg("--as-stored");
    run(stored).check(0, &["measured in"]);
    let records = bench.records("store");
    assert_eq!(records.len(), 2);
    let holds = |setting: &str| {
        let text = |path: &std::path::PathBuf| std::fs::read_to_string(path).unwrap();
        let named = format!("\"setting\": \"{setting}\"");
        records
            .iter()
            .filter(|path| text(path).contains(&named))
            .count()
    };
    assert_eq!((holds("default"), holds("products as stored")), (1, 1));
}
