//! Measured on a tiny random model with the committed pairs.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, Placement, Residency};
use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{
    ExperimentSpec, ModelFacts, PromptFile, PromptFormat, PromptSet, Record, RecordKey, Sample,
    Verdict,
};
use assay_testkit::{TinyModel, write_hf};
use bridge::LanguageBridge;
use candle_core::{DType, Device};

fn spec() -> ExperimentSpec {
    ExperimentSpec::parse(LanguageBridge.spec_text(), Path::new("experiment.toml")).unwrap()
}

fn bank() -> PromptSet {
    let files: Vec<PromptFile> = LanguageBridge
        .prompt_texts()
        .iter()
        .map(|text| PromptFile {
            path: Path::new("bank.jsonl"),
            text,
            format: &PromptFormat::Prompts,
        })
        .collect();
    PromptSet::parse(&files).unwrap()
}

/// Keys of 4 heads of 8 read 32 dimensions: more than the note's 20 pairs.
fn tiny() -> TinyModel {
    TinyModel {
        n_layers: 4,
        d_model: 64,
        n_heads: 8,
        n_kv_heads: 4,
        context: 512,
        ..TinyModel::llama(3)
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
    LanguageBridge.plan(&mut session, prompts)?;
    LanguageBridge.measure(&mut session, &spec(), prompts)
}

fn record(samples: Vec<Sample>) -> Record {
    let word = || "x".to_owned();
    Record {
        key: RecordKey {
            experiment: "bridge".to_owned(),
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
            n_heads: 8,
            n_kv_heads: 4,
            d_model: 64,
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
fn bridges_of_all_sizes_and_their_nulls() {
    let samples = measured(&tiny(), &bank()).unwrap();
    let model = samples.iter().find(|s| s.unit == "model").unwrap();
    let pairs = samples
        .iter()
        .filter(|s| s.unit.starts_with("pair."))
        .count();
    assert_eq!(pairs, 300);
    // E19: more dimensions than pairs fit anything, in any subspace too.
    let note = model.get_series("note").unwrap();
    assert!((note[0] - 1.0).abs() < 1e-9, "{note:?}");
    assert!(note[1] < note[0]);
    // One of twenty is lost to the intercept.
    assert_eq!(note[2], 19.0);
    let ks = model.get_series("ks").unwrap();
    assert_eq!(ks, [5.0, 10.0, 20.0]);
    // More is explained in-sample than left out, and more by least squares
    // in-sample than by a rotation.
    for k in ks {
        let of = |fit: &str| {
            model
                .get_series(&format!("r2.z.mean.{fit}.n300.k{k}"))
                .unwrap()
        };
        let (ols, rotation) = (of("ols"), of("procrustes"));
        assert!(
            ols[0] > ols[1] && ols[0] >= rotation[0],
            "{ols:?} {rotation:?}"
        );
    }
    assert_eq!(model.get_series("null.shuffled").unwrap().len(), 199);
    assert!(
        model
            .get_series("null.shuffled")
            .unwrap()
            .iter()
            .all(|v| *v < 0.2)
    );
    // The pass mark: planted bridges with N of 5 k and R² of .5 are found.
    for name in ["n50.k5.r0.5", "n100.k20.r0.5", "n200.k20.r0.8"] {
        let found = model.get_series(&format!("planted.{name}")).unwrap();
        assert!(found[0] >= 0.95, "{name}: {found:?}");
    }

    let summary = LanguageBridge
        .summarise(spec(), &[record(samples)], &[])
        .unwrap();
    for claim in spec().claims {
        let found =
            |v: &&assay_record::ClaimVerdict| v.claim == claim.id && v.data.starts_with("measured");
        assert!(summary.verdicts.iter().any(|v| found(&v)), "{}", claim.id);
    }
    let published = summary
        .verdicts
        .iter()
        .filter(|v| v.data.starts_with("published"));
    assert!(published.clone().count() > 0);
    assert!(
        published
            .into_iter()
            .all(|v| v.audited == Verdict::Inconclusive)
    );
    assert_eq!(summary.errata.len(), 1);
}

#[track_caller]
fn check_refused(model: &TinyModel, prompts: &PromptSet, words: &str) {
    let error = measured(model, prompts).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn what_cannot_answer_is_refused() {
    let mut few = bank();
    few.prompts
        .retain(|p| p.category == "buying" && p.tag("set") == Some("pairs"));
    check_refused(&tiny(), &few, "30 pairs: a bridge needs 200");
    let short = TinyModel {
        n_layers: 2,
        ..tiny()
    };
    check_refused(&short, &bank(), "has 2 layers");
    let fused = TinyModel {
        n_layers: 4,
        context: 512,
        ..TinyModel::gpt_neox(1)
    };
    check_refused(&fused, &bank(), "no query and key matrices");
}
