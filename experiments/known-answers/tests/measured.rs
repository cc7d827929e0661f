//! The controls on the hand-built model that the project brings: they hold, by
//! the declared marks, and they fail where the truth is another.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, Placement, Residency};
use assay_experiment::{Experiment, Session};
use assay_geometry::Subspace;
use assay_record::{
    Direction, ExperimentSpec, ModelFacts, PromptFile, PromptFormat, PromptSet, Record, RecordKey,
    Sample, Summary, Verdict,
};
use assay_train::HeldSubspace;
use candle_core::{DType, Device};
use known_answers::KnownAnswers;

fn spec() -> ExperimentSpec {
    ExperimentSpec::parse(KnownAnswers.spec_text(), Path::new("experiment.toml")).unwrap()
}

fn by_hand() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../organisms/known-answers/by-hand")
}

fn measured(folder: &Path) -> Vec<Sample> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let devices = [Device::Cpu];
    let placement = Placement {
        dtype: DType::F32,
        devices: &devices,
        residency: Residency::Resident,
        arithmetic: Arithmetic::Exact,
    };
    let decoder = Decoder::load_with(&checkpoint, &placement, &mut |_, _| ()).unwrap();
    let mut quiet = |_: &str, _, _| ();
    let mut session = Session::new("by-hand", (&checkpoint, placement), decoder, &mut quiet);
    let prompts = PromptSet::parse(&[PromptFile {
        path: Path::new("letters.jsonl"),
        text: KnownAnswers.prompt_texts()[0],
        format: &PromptFormat::Prompts,
    }])
    .unwrap();
    KnownAnswers.plan(&mut session, &prompts).unwrap();
    KnownAnswers
        .measure(&mut session, &spec(), &prompts)
        .unwrap()
}

fn summary(samples: Vec<Sample>) -> Summary {
    let word = || "x".to_owned();
    let record = Record {
        key: RecordKey {
            experiment: "known-answers".to_owned(),
            spec_version: 1,
            spec_sha256: word(),
            fingerprint: word(),
            model: "by-hand".to_owned(),
            family: word(),
            revision: word(),
            weights_sha256: word(),
            tokenizer_sha256: word(),
            prompts_sha256: word(),
            dtype: "f32".to_owned(),
            device_class: word(),
            setting: "default".to_owned(),
            switches: Default::default(),
        },
        facts: ModelFacts {
            model_type: word(),
            n_layers: 2,
            n_heads: 8,
            n_kv_heads: 2,
            d_model: 64,
            d_head: 8,
            d_mlp: 64,
            vocab: 512,
            rho: 1.0,
            block: word(),
            norm: word(),
            position: word(),
            parameters: 1,
            stored: word(),
        },
        samples,
    };
    KnownAnswers.summarise(spec(), &[record], &[]).unwrap()
}

fn verdict(summary: &Summary, claim: &str) -> Verdict {
    let found = summary.verdicts.iter().find(|v| v.claim == claim);
    found.unwrap().audited
}

#[test]
fn every_instrument_finds_what_was_planted() {
    let samples = measured(&by_hand());
    // A draw passes by the mark that is declared for the mean.
    for claim in spec().claims {
        let prefix = format!("{}.n", claim.id.trim_start_matches("known."));
        for case in samples.iter().filter(|s| s.unit.starts_with(&prefix)) {
            let values = case.get_series("value").unwrap();
            let passes = |v: &&f64| match claim.direction {
                Direction::Positive => **v >= claim.smallest_effect,
                Direction::Negative => **v <= claim.smallest_effect,
            };
            let share = values.iter().filter(passes).count() as f64 / values.len() as f64;
            assert_eq!(case.get("passed").unwrap(), share, "{}", case.unit);
        }
    }
    for prompt in samples.iter().filter(|s| !s.text.is_empty()) {
        // A prompt's own rows put back change no bit.
        assert_eq!(prompt.get("patch.itself").unwrap(), 0.0, "{}", prompt.unit);
    }
    let summary = summary(samples);
    assert_eq!(summary.verdicts.len(), spec().claims.len());
    for found in &summary.verdicts {
        assert_eq!(found.audited, Verdict::Supported, "{}", found.claim);
    }
}

/// The same model beside another subspace than its own.
#[test]
fn a_wrong_subspace_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(by_hand().join(file), folder.path().join(file)).unwrap();
    }
    let mut draws = assay_stats::stream(1, "wrong");
    let other = Subspace::random(2, 64, &mut draws).unwrap();
    let rows = other.basis().row_iter();
    let wrong = HeldSubspace {
        block: 1,
        basis: rows.map(|r| r.iter().copied().collect()).collect(),
    };
    let text = serde_json::to_string(&wrong).unwrap();
    std::fs::write(folder.path().join("subspace.json"), text).unwrap();
    let summary = summary(measured(folder.path()));
    assert_eq!(verdict(&summary, "known.patch"), Verdict::Refuted);
    assert_eq!(
        verdict(&summary, "known.patch-complement"),
        Verdict::Refuted
    );
    assert_eq!(verdict(&summary, "known.massive"), Verdict::Supported);
}

#[test]
fn without_the_model_nothing_is_said() {
    let none = KnownAnswers.summarise(spec(), &[], &[]).unwrap();
    assert_eq!(none.verdicts.len(), spec().claims.len());
    assert!(none.verdicts.iter().all(|v| v.audited == Verdict::NotRun));
}
