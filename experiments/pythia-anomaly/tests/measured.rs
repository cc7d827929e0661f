//! Measured on tiny random models, and judged on made-up records.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_checkpoint::{BlockKind, Checkpoint};
use assay_decoder::{Arithmetic, Decoder, Placement, Residency};
use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{
    ExperimentSpec, ModelFacts, NotRun, Prompt, PromptSet, Record, RecordKey, Sample, Summary,
    Verdict,
};
use assay_testkit::{TinyModel, write_hf};
use candle_core::{DType, Device};
use pythia_anomaly::PythiaAnomaly;

fn prompts(set: &str, n: usize) -> impl Iterator<Item = Prompt> {
    let set = set.to_owned();
    (0..n).map(move |i| Prompt {
        id: format!("{set}-{i}"),
        category: format!("category-{}", i % 2),
        text: format!("The capital of the {i} countries is"),
        tags: BTreeMap::from([("set".to_owned(), set.clone())]),
    })
}

fn both() -> PromptSet {
    let mut set = PromptSet::none();
    set.prompts.extend(prompts("published-four", 4));
    set.prompts.extend(prompts("h25", 6));
    set
}

fn spec() -> ExperimentSpec {
    ExperimentSpec::parse(PythiaAnomaly.spec_text(), Path::new("experiment.toml")).unwrap()
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
    PythiaAnomaly.plan(&mut session, prompts)?;
    PythiaAnomaly.measure(&mut session, &spec(), prompts)
}

fn models() -> [TinyModel; 4] {
    let sequential = TinyModel {
        block: BlockKind::Sequential,
        ..TinyModel::gpt_neox(4)
    };
    let all = [
        TinyModel::gpt_neox(1),
        TinyModel::llama(2),
        TinyModel::gpt2(3),
        sequential,
    ];
    all.map(|m| TinyModel {
        n_layers: 3,
        context: 256,
        ..m
    })
}

/// What every reading must be, whatever the model: the split's terms add up to
/// the squared gain, and the wiring that a block was trained with changes
/// nothing.
#[test]
fn the_split_is_exact_and_the_own_wiring_changes_nothing() {
    for model in models() {
        let samples = measured(&model, &both()).unwrap();
        assert_eq!(samples.len(), 12);
        let parallel = model.block == BlockKind::Parallel;
        for sample in samples.iter().filter(|s| !s.unit.ends_with(".all")) {
            let at = |name: &str| sample.get_series(name).unwrap();
            let gains = at("gain.by-layer");
            assert_eq!(gains.len(), 3);
            for (l, gain) in gains.iter().enumerate() {
                let terms = ["attn", "mlp", "x-attn", "x-mlp", "attn-mlp"];
                let sum: f64 = terms
                    .iter()
                    .map(|t| at(&format!("split.{t}.by-layer"))[l])
                    .sum();
                // Activations are f32; what is split is what was added.
                assert!((1.0 + sum - gain * gain).abs() < 1e-5 * (1.0 + gain * gain));
                assert!(at("cos.attn-mlp.by-layer")[l].abs() <= 1.0);
            }
            let own = if parallel { 0 } else { 4 };
            assert_eq!(at("surgery.loss.last")[own], 0.0, "{}", sample.unit);
            assert!((at("surgery.gain.last")[own] - gains[2].ln()).abs() < 1e-12);
            assert!(at("surgery.loss.last")[4 - own] != 0.0);
            // Block 2 wired the other way is the last block at the other end.
            assert_eq!(
                at("surgery.loss.by-layer")[2],
                at("surgery.loss.last")[4 - own]
            );
        }
        for set in ["published-four.all", "h25.all"] {
            let all = samples.iter().find(|s| s.unit == set).unwrap();
            let null = all.get_series("null-sd.by-layer").unwrap();
            assert!(null.iter().all(|sd| (0.0..=1.0).contains(sd)));
        }
    }
}

#[test]
fn measuring_twice_gives_the_same_bits() {
    let [model, ..] = models();
    assert_eq!(
        measured(&model, &both()).unwrap(),
        measured(&model, &both()).unwrap()
    );
}

#[test]
fn a_prompt_without_angles_is_refused() {
    let mut set = both();
    set.prompts[5].text = "ab".to_owned();
    let [model, ..] = models();
    let error = measured(&model, &set).unwrap_err().to_string();
    assert!(error.contains("cuts prompt h25-1 into 2 tokens"), "{error}");
}

/// A model that does not exist: two blocks, of which the last has this gain and
/// this cosine between A and M, give or take a hundredth by prompt.
fn made_up(block: &str, gain: f64, cos: f64, loss: f64) -> Record {
    let mut samples = Vec::new();
    for set in ["published-four", "h25"] {
        for i in 0..12 {
            let wobble = if (i / 2) % 2 == 0 { 0.01 } else { -0.01 };
            let mut s = Sample {
                unit: format!("{set}-{i}"),
                cluster: format!("category-{}", i % 3),
                text: String::new(),
                token_ids: vec![1; 5],
                special_tokens: 0,
                tags: BTreeMap::from([("set".to_owned(), set.to_owned())]),
                measures: BTreeMap::new(),
            };
            s.scalar("tokens", 5.0).unwrap();
            let g: f64 = gain + wobble;
            // |A| = |M| = |x| / 2, and x·A = x·M make up the rest.
            let along = (g * g - 1.0 - 0.5 - cos * 0.5) / 2.0;
            for (name, value) in [
                ("gain", g),
                ("split.attn", 0.25),
                ("split.mlp", 0.25),
                ("split.x-attn", along),
                ("split.x-mlp", along),
                ("split.attn-mlp", cos * 0.5),
                ("ratio.attn", 0.5),
                ("ratio.mlp", 0.5),
                ("norm.attn-out", 1.0),
                ("norm.mlp-out", 3.0),
                ("norm.attn-in", 2.0),
                ("norm.mlp-in", 2.0),
                ("cos.attn-mlp", cos + wobble),
                ("cos.x-attn", along),
                ("cos.x-mlp", along),
                ("removed.own", cos + wobble),
                ("removed.other", 0.0),
                ("surgery.gain", 0.1 + wobble),
                ("surgery.loss", 0.2 + wobble),
            ] {
                s.series(&format!("{name}.by-layer"), vec![value; 2])
                    .unwrap();
            }
            let by_alpha = |top: f64| (0..5).map(|a| top * f64::from(a) / 4.0).collect();
            s.series("surgery.alphas", vec![0.0, 0.25, 0.5, 0.75, 1.0])
                .unwrap();
            s.series("surgery.gain.last", by_alpha(0.3 + wobble))
                .unwrap();
            s.series("surgery.loss.last", by_alpha(loss)).unwrap();
            samples.push(s);
        }
        let mut all = samples[0].clone();
        all.unit = format!("{set}.all");
        all.tags = BTreeMap::from([("set".to_owned(), all.unit.clone())]);
        all.measures = BTreeMap::new();
        all.series("null-sd.by-layer", vec![0.01; 2]).unwrap();
        samples.push(all);
    }
    let word = || "made-up".to_owned();
    Record {
        key: RecordKey {
            experiment: "pythia-anomaly".to_owned(),
            spec_version: 1,
            spec_sha256: word(),
            fingerprint: word(),
            model: word(),
            family: word(),
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
            n_layers: 2,
            n_heads: 4,
            n_kv_heads: 4,
            d_model: 32,
            d_head: 8,
            d_mlp: 128,
            vocab: 100,
            rho: 0.5,
            block: block.to_owned(),
            norm: "LayerNorm, pre".to_owned(),
            position: "rotary".to_owned(),
            parameters: 100_000_000,
            stored: "f32".to_owned(),
        },
        samples,
    }
}

fn summary(records: &[Record]) -> Summary {
    let not_run = [NotRun {
        model: "gpt-j-6b".to_owned(),
        reason: "the hub cannot be reached".to_owned(),
    }];
    let summary = PythiaAnomaly.summarise(spec(), records, &not_run).unwrap();
    summary.check().unwrap();
    summary
}

#[track_caller]
fn check(summary: &Summary, id: &str, expected: f64, tolerance: f64) {
    let found = summary.numbers[id].value;
    assert!(
        (found - expected).abs() <= tolerance,
        "{id} is {found}, not {expected}"
    );
}

#[track_caller]
fn verdict(summary: &Summary, claim: &str, data: &str, expected: Verdict) {
    let found = summary
        .verdicts
        .iter()
        .find(|v| v.claim == claim && v.data == data);
    assert_eq!(found.unwrap().audited, expected, "{claim}, {data}");
}

/// What METHODS E10 says of the published numbers.
#[test]
fn published_data_refute_the_hypothesis() {
    let summary = summary(&[]);
    let of = |claim, model: &str, expected| {
        verdict(&summary, claim, &format!("published: {model}"), expected)
    };
    of(
        "anomaly.parallel-dampens",
        "pythia-6.9b",
        Verdict::Supported,
    );
    of("anomaly.parallel-dampens", "gpt-j-6b", Verdict::Reversed);
    of(
        "anomaly.sequential-expands",
        "llama-3.1-8b",
        Verdict::Supported,
    );
    of(
        "anomaly.parallel-below-sequential",
        "penultimate block",
        Verdict::Inconclusive,
    );
    check(&summary, "anomaly.published.last.gpt-j-6b", 1.0652, 0.0);
    check(&summary, "anomaly.published.last.pythia-6.9b", 0.8047, 0.0);
    // By hand from mean and sample SD; the publication's own t of GPT-J,
    // 3.63349, is (1.0652 - 1) / (0.0897 / 5) to the digits printed.
    check(
        &summary,
        "anomaly.published.last.pythia-6.9b.less-one.mean",
        -0.1953,
        1e-12,
    );
    let half = 0.0659 / 5.0 * 2.063_898_6;
    check(
        &summary,
        "anomaly.published.last.pythia-6.9b.less-one.low",
        -0.1953 - half,
        1e-6,
    );
    check(&summary, "anomaly.triangle.random", 1000.0, 0.0);
    let tree = summary
        .tables
        .iter()
        .find(|t| t.id == "predictions")
        .unwrap();
    let said = format!("{:?}", tree.rows);
    assert!(said.contains("PARALLEL ARCHITECTURE HYPOTHESIS: REJECTED"));
    let of_gptj = summary
        .comparisons
        .iter()
        .filter(|c| c.what.ends_with("gpt-j-6b"));
    assert!(of_gptj.clone().count() == 1);
    assert!(
        of_gptj
            .clone()
            .all(|c| c.note == "the hub cannot be reached")
    );
}

#[test]
fn planted_gains_and_cosines_are_found() {
    let cancels = summary(&[made_up("parallel", 0.8, -0.5, 0.05)]);
    let data = "measured: made-up";
    check(&cancels, "anomaly.made-up.cos.last.mean", -0.5, 1e-12);
    check(
        &cancels,
        "anomaly.made-up.split.last.attn-mlp",
        -0.25,
        1e-12,
    );
    check(&cancels, "anomaly.made-up.surgery.mean", 0.3, 1e-12);
    // As published: 1.0 over 2.0 contracts, 3.0 over 2.0 does not.
    check(&cancels, "anomaly.made-up.four.attn-contract", 1.0, 0.0);
    check(&cancels, "anomaly.made-up.four.mlp-contract", 0.0, 0.0);
    check(&cancels, "anomaly.made-up.four.last-mlp", 1.5, 1e-12);
    check(&cancels, "anomaly.made-up.four.mlp-below-x", 1.0, 0.0);
    check(&cancels, "anomaly.made-up.algebra.below", 24.0, 0.0);
    check(&cancels, "anomaly.made-up.algebra.needed", 24.0, 0.0);
    // 1 + |A + M|² / |x|² with a cosine of -0.5.
    check(&cancels, "anomaly.made-up.algebra.smallest", 1.25, 1e-12);
    check(&cancels, "anomaly.made-up.cos.outside", 1.0, 0.0);
    for (claim, expected) in [
        ("anomaly.parallel-dampens", Verdict::Supported),
        ("anomaly.parallel-cancels", Verdict::Supported),
        ("anomaly.cancels-token-by-token", Verdict::Supported),
        ("anomaly.sequential-wiring-raises-gain", Verdict::Supported),
        ("anomaly.sequential-expands", Verdict::NotApplicable),
        ("anomaly.sequential-cancels", Verdict::NotApplicable),
        (
            "anomaly.parallel-wiring-lowers-gain",
            Verdict::NotApplicable,
        ),
    ] {
        verdict(&cancels, claim, data, expected);
    }
    // A block so far off its training that its gain says nothing.
    let off = summary(&[made_up("parallel", 0.8, -0.5, 0.2)]);
    let claim = "anomaly.sequential-wiring-raises-gain";
    verdict(&off, claim, data, Verdict::Inconclusive);
    let none = summary(&[made_up("sequential", 1.2, 0.0, 0.05)]);
    verdict(
        &none,
        "anomaly.sequential-expands",
        data,
        Verdict::Supported,
    );
    verdict(&none, "anomaly.sequential-cancels", data, Verdict::Refuted);
    verdict(
        &none,
        "anomaly.parallel-wiring-lowers-gain",
        data,
        Verdict::Supported,
    );
    verdict(
        &none,
        "anomaly.parallel-dampens",
        data,
        Verdict::NotApplicable,
    );
    check(&none, "anomaly.made-up.algebra.below", 0.0, 0.0);
}
