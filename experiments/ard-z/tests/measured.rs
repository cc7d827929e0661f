//! Measured on a tiny random model with a small bank.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use ard_z::ArdZ;
use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, Placement, Residency};
use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, Prompt, PromptSet, Record, RecordKey, Sample};
use assay_testkit::{TinyModel, write_hf};
use candle_core::{DType, Device};

fn spec() -> ExperimentSpec {
    ExperimentSpec::parse(ArdZ.spec_text(), Path::new("experiment.toml")).unwrap()
}

/// Ten short problems in five categories.
fn bank() -> PromptSet {
    let mut set = PromptSet::none();
    for category in ["add", "take", "copy", "next", "last"] {
        for i in 1..=2 {
            for (language, text) in [
                ("zh", format!("{category}中{i}答")),
                ("en", format!("the {category} of {i}:")),
            ] {
                let pair = format!("{category}-{i}");
                let answer = i.to_string();
                let tags = [
                    ("set", "problems"),
                    ("pair", pair.as_str()),
                    ("language", language),
                    ("answer", answer.as_str()),
                    ("difficulty", "1"),
                ];
                set.prompts.push(Prompt {
                    id: format!("{pair}.{language}"),
                    category: category.to_owned(),
                    text,
                    tags: tags.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
                });
            }
        }
    }
    set
}

fn tiny() -> TinyModel {
    TinyModel {
        n_layers: 4,
        ..TinyModel::llama(4)
    }
}

fn measured(model: &TinyModel, prompts: &PromptSet) -> Result<Vec<Sample>, ExperimentError> {
    let folder = tempfile::tempdir().unwrap();
    write_hf(folder.path(), model).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let devices = [Device::Cpu];
    let placement = Placement {
        dtype: DType::F32,
        devices: &devices,
        residency: Residency::Resident,
        arithmetic: Arithmetic::Exact,
    };
    let decoder = Decoder::load_with(&checkpoint, &placement, &mut |_, _| ()).unwrap();
    let mut quiet = |_: &str, _, _| ();
    let mut session = Session::new("tiny", (&checkpoint, placement), decoder, &mut quiet);
    ArdZ.plan(&mut session, prompts)?;
    ArdZ.measure(&mut session, &spec(), prompts)
}

fn record(samples: Vec<Sample>) -> Record {
    let word = || "x".to_owned();
    Record {
        key: RecordKey {
            experiment: "ard-z".to_owned(),
            spec_version: 1,
            spec_sha256: word(),
            fingerprint: word(),
            model: "tiny".to_owned(),
            family: "llama".to_owned(),
            revision: word(),
            weights_sha256: word(),
            tokenizer_sha256: word(),
            prompts_sha256: word(),
            dtype: "f32".to_owned(),
            device_class: word(),
            setting: "default".to_owned(),
            switches: BTreeMap::new(),
        },
        facts: ModelFacts {
            model_type: word(),
            n_layers: 4,
            n_heads: 4,
            n_kv_heads: 2,
            d_model: 32,
            d_head: 8,
            d_mlp: 64,
            vocab: 512,
            rho: 1.0,
            block: "sequential".to_owned(),
            norm: "RMSNorm, pre".to_owned(),
            position: "rotary".to_owned(),
            parameters: 1,
            stored: "f32".to_owned(),
        },
        samples,
    }
}

#[test]
fn fits_of_every_layer_and_what_they_say() {
    let samples = measured(&tiny(), &bank()).unwrap();
    let model = samples.iter().find(|s| s.unit == "model").unwrap();
    let layers = model.get_series("layers").unwrap();
    assert_eq!(layers, [1.0, 2.0, 3.0]);
    let k = model.get("k").unwrap();
    assert_eq!(k, 16.0);
    for layer in layers {
        for start in ["zeros", "svd"] {
            for lambda in ["0.001", "0.01", "0.1"] {
                let fit = model
                    .get_series(&format!("fit.{layer}.{start}.{lambda}"))
                    .unwrap();
                assert!((500.0..=1000.0).contains(&fit[0]), "{fit:?}");
                assert!(fit[2] < fit[1], "{fit:?}");
            }
        }
        let contrast = model.get_series(&format!("contrast.{layer}")).unwrap();
        // The cap lets no fewer than k dimensions do the work, but for those
        // that are cut at the rounding of the last.
        assert!(contrast[1] <= contrast[0]);
        assert!(contrast[4] > k - 1.0, "{contrast:?}");
    }
    let halves: Vec<&str> = samples.iter().filter_map(|s| s.tag("half")).collect();
    assert_eq!(halves.iter().filter(|h| **h == "fitted").count(), 5);
    assert_eq!(halves.len(), 10);

    let summary = ArdZ.summarise(spec(), &[record(samples)], &[]).unwrap();
    let claims: Vec<&str> = summary.verdicts.iter().map(|v| v.claim.as_str()).collect();
    let declared: Vec<String> = spec().claims.into_iter().map(|c| c.id).collect();
    assert_eq!(claims, declared);
    let errata: Vec<&str> = summary.errata.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(errata, ["E18", "E21"]);
    // Below its own median lies half of the dimensions, whatever was fitted.
    let half = &summary.numbers["ard.tiny.lengths.1.zeros.size-published"];
    assert_eq!(half.value, 16.0);
}

#[track_caller]
fn check_refused(model: &TinyModel, prompts: &PromptSet, words: &str) {
    let error = measured(model, prompts).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn what_cannot_answer_is_refused() {
    check_refused(
        &tiny(),
        &PromptSet::none(),
        "no prompt has the tag set = problems",
    );
    let mut few = bank();
    few.prompts.truncate(8);
    check_refused(&tiny(), &few, "4 pairs: halves need four each");
    let short = TinyModel {
        n_layers: 2,
        ..tiny()
    };
    check_refused(&short, &bank(), "has 2 layers");
    let fused = TinyModel {
        n_layers: 4,
        ..TinyModel::gpt_neox(1)
    };
    check_refused(&fused, &bank(), "no query and key matrices");
}
