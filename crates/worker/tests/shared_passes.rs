//! Experiments that put the same prompts to a model share one pass.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, Placement, Residency};
use assay_experiment::{Experiment, Session};
use assay_record::{ExperimentSpec, PromptFile, PromptFormat, PromptSet, Sample};
use assay_testkit::{TinyModel, write_hf};
use candle_core::{DType, Device};

/// Every experiment that reads prompts/h25.jsonl.
const READERS: [&dyn Experiment; 4] = [
    &h25_gain::H25Gain,
    &pythia_anomaly::PythiaAnomaly,
    &suite_anatomy::SuiteAnatomy,
    &value_contraction::ValueContraction,
];

/// The experiment's declaration, and the H25 prompts and some of its own.
fn declared(experiment: &dyn Experiment) -> (ExperimentSpec, PromptSet) {
    let path = Path::new("experiments").join(experiment.name());
    let spec = ExperimentSpec::parse(experiment.spec_text(), &path).unwrap();
    let paths: Vec<PathBuf> = spec.prompts.iter().map(|p| path.join(p)).collect();
    let files: Vec<PromptFile> = (paths.iter().zip(experiment.prompt_texts()))
        .map(|(path, text)| PromptFile {
            path,
            text,
            format: &PromptFormat::Prompts,
        })
        .collect();
    (spec, PromptSet::parse(&files).unwrap())
}

/// Samples of some experiments on one loaded model, and the passes it took.
fn run(folder: &Path, experiments: &[&dyn Experiment]) -> (Vec<Vec<Sample>>, usize) {
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
    let mut session = Session::new("tiny", (&checkpoint, placement), decoder, &mut quiet);
    let declared: Vec<_> = experiments.iter().map(|e| declared(*e)).collect();
    for (experiment, (_, prompts)) in experiments.iter().zip(&declared) {
        experiment.plan(&mut session, prompts).unwrap();
    }
    let samples = experiments.iter().zip(&declared);
    let samples = samples
        .map(|(e, (spec, prompts))| e.measure(&mut session, spec, prompts).unwrap())
        .collect();
    (samples, session.passes())
}

#[test]
fn one_pass_serves_all_and_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let model = TinyModel {
        n_layers: 6,
        context: 512,
        ..TinyModel::gpt_neox(1)
    };
    write_hf(folder.path(), &model).unwrap();
    let (together, passes) = run(folder.path(), &READERS);
    let mut alone_passes = 0;
    for (reader, together) in READERS.iter().zip(&together) {
        let (alone, passes) = run(folder.path(), &[*reader]);
        assert_eq!(alone[0], *together, "{}", reader.name());
        alone_passes += passes;
    }
    // Each reads the H25 prompts once; together that is one pass, and what else
    // they plan is theirs alone.
    assert_eq!(passes + READERS.len() - 1, alone_passes);
}
