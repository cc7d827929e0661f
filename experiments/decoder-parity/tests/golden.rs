//! The experiment on its own cases, and on a model that is none.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, Placement, Residency};
use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{ExperimentSpec, ModelFacts, PromptSet, Record, RecordKey, Sample};
use candle_core::{DType, Device};
use decoder_parity::DecoderParity;

/// What experiment.toml predicts of every element.
const ALLOWED: f64 = 5e-5;

fn case(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../golden/parity")
        .join(name)
}

fn spec() -> ExperimentSpec {
    ExperimentSpec::parse(DecoderParity.spec_text(), Path::new("experiment.toml")).unwrap()
}

fn measured(folder: &Path) -> Result<(Checkpoint, Vec<Sample>), ExperimentError> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let placement = Placement {
        dtype: DType::F32,
        devices: &[Device::Cpu],
        residency: Residency::Resident,
        arithmetic: Arithmetic::Exact,
    };
    let decoder = Decoder::load_with(&checkpoint, &placement, &mut |_, _| ()).unwrap();
    let quiet = &mut |_: &str, _, _| ();
    let mut session = Session::new("case", (&checkpoint, placement), decoder, quiet);
    let prompts = PromptSet::none();
    DecoderParity.plan(&mut session, &prompts)?;
    let samples = DecoderParity.measure(&mut session, &spec(), &prompts)?;
    drop(session);
    Ok((checkpoint, samples))
}

fn record(name: &str) -> Record {
    let (checkpoint, samples) = measured(&case(name)).unwrap();
    let config = &checkpoint.config;
    let words = |s: &str| s.to_owned();
    Record {
        key: RecordKey {
            experiment: words("decoder-parity"),
            spec_version: 1,
            spec_sha256: words("spec"),
            fingerprint: words("fingerprint"),
            model: words(name),
            family: words("case"),
            revision: words("local"),
            weights_sha256: words("weights"),
            tokenizer_sha256: words("none"),
            prompts_sha256: words("none"),
            dtype: words("f32"),
            device_class: words("cpu"),
            setting: words("default"),
            switches: Default::default(),
        },
        facts: ModelFacts {
            model_type: config.model_type.clone(),
            n_layers: config.n_layers,
            n_heads: config.n_heads,
            n_kv_heads: config.n_kv_heads,
            d_model: config.d_model,
            d_head: config.d_head,
            d_mlp: config.d_mlp,
            vocab: config.vocab,
            rho: 1.0,
            block: words("block"),
            norm: words("norm"),
            position: words("position"),
            parameters: 1,
            stored: words("F32"),
        },
        samples,
    }
}

#[test]
fn the_table_holds_the_worst_error_of_every_site_of_a_family() {
    let records = ["opt", "opt-post-norm-projected", "bloom"].map(record);
    let summary = DecoderParity.summarise(spec(), &records, &[]).unwrap();
    summary.check().unwrap();
    let number = |id: &str| summary.numbers[&format!("decoder-parity.{id}")].clone();
    // The family's cell is the worst of its cases, layer by layer.
    let errors = |record: &Record, kind: &str| -> f64 {
        let of_kind = record.samples.iter().filter(|s| s.unit.ends_with(kind));
        of_kind.map(|s| s.get("error").unwrap()).fold(0.0, f64::max)
    };
    let kind = "hook_resid_post";
    let worst = errors(&records[0], kind).max(errors(&records[1], kind));
    let cell = number(&format!("opt.{kind}"));
    assert_eq!(cell.value, worst);
    assert_eq!(cell.records.len(), 2);
    assert!(
        worst > 0.0,
        "two implementations in f32 never agree to the bit"
    );
    for (id, number) in &summary.numbers {
        assert!(number.value <= ALLOWED, "{id} is {}", number.value);
    }
    // ALiBi rotates nothing, and opt has learned positions.
    assert!(
        !summary
            .numbers
            .contains_key("decoder-parity.bloom.attn.hook_rot_q")
    );
    assert!(
        summary
            .numbers
            .contains_key("decoder-parity.opt.hook_pos_embed")
    );
}

#[test]
fn a_model_without_reference_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(case("qwen2").join(file), folder.path().join(file)).unwrap();
    }
    let error = measured(folder.path()).err().unwrap().to_string();
    assert!(
        error.contains("case") && error.contains("reference.safetensors"),
        "{error}"
    );
}

/// A reference of another site than the model's is no comparison.
#[test]
fn a_site_on_one_side_only_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(case("qwen2").join(file), folder.path().join(file)).unwrap();
    }
    let path = case("qwen2").join("reference.safetensors");
    let mut values = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    values.remove("blocks.1.hook_mlp_out").unwrap();
    candle_core::safetensors::save(&values, folder.path().join("reference.safetensors")).unwrap();
    let error = measured(folder.path()).err().unwrap().to_string();
    assert!(error.contains("blocks.1.hook_mlp_out"), "{error}");
}
