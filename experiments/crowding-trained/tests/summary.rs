//! Slopes that were put into made-up records are found, and only those.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_experiment::Experiment;
use assay_record::{
    ExperimentSpec, Measure, ModelFacts, Record, RecordKey, Sample, Summary, Verdict,
};
use assay_train::{Form, Organism, Suite};
use crowding_trained::CrowdingTrained;

fn spec() -> ExperimentSpec {
    ExperimentSpec::parse(CrowdingTrained.spec_text(), Path::new("experiment.toml")).unwrap()
}

/// The suite as it is declared.
fn organisms() -> Vec<Organism> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../organisms/crowding/suite.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    Suite::parse(&text, &path).unwrap().organisms()
}

/// What log gain follows from.
#[derive(Clone, Copy, Default)]
struct Planted {
    rho: f64,
    depth: f64,
    parallel: f64,
    rotary: f64,
    noise: f64,
}

/// A normal deviate.
fn noise(i: usize) -> f64 {
    assay_geometry::normals(1, &mut assay_stats::stream(7, &format!("noise/{i}")))[0]
}

fn record(organism: &Organism, at: usize, planted: Planted) -> Record {
    let (layers, heads, d_head) = organism.architecture.sizes(organism.d_model);
    let (block, positions, form) = match organism.architecture {
        Form::GptNeox { parallel: true, .. } => ("parallel", "rotary", "gpt-neox"),
        Form::GptNeox { .. } => ("sequential", "rotary", "gpt-neox"),
        Form::Gpt2 { .. } => ("sequential", "learned", "gpt2"),
        _ => ("sequential", "rotary", "llama"),
    };
    let rho = heads as f64 / d_head as f64;
    let log = 0.2
        + planted.rho * rho
        + if layers == 8 { planted.depth } else { 0.0 }
        + if block == "parallel" {
            planted.parallel
        } else {
            0.0
        }
        + if positions == "rotary" {
            planted.rotary
        } else {
            0.0
        }
        + planted.noise * noise(at);
    let blank = |unit: &str, text: &str| Sample {
        unit: unit.to_owned(),
        cluster: "words-8".to_owned(),
        text: text.to_owned(),
        token_ids: vec![0, 1],
        special_tokens: 1,
        tags: BTreeMap::new(),
        measures: BTreeMap::new(),
    };
    let mut prompt = blank("words-8-1", "There is");
    let mut model = blank("model", "");
    for prefix in ["", "untrained."] {
        let log = if prefix.is_empty() {
            log
        } else {
            0.1 * noise(at + 99)
        };
        let growth = log * (layers - 1) as f64;
        for (name, value) in [
            ("gain.as-published", log),
            ("gain.last-block", log),
            ("growth", growth),
        ] {
            prompt
                .scalar(&format!("{prefix}{name}"), value.exp())
                .unwrap();
        }
    }
    for (name, value) in [
        ("layers", layers as f64),
        ("heads", heads as f64),
        ("d-head", d_head as f64),
        ("seed", organism.seed as f64),
        ("steps", 700.0),
        ("all-steps", 700.0),
        ("valid-loss", 1.0),
        ("trigram-loss", 1.4),
    ] {
        model
            .measures
            .insert(name.to_owned(), Measure::Scalar(value));
    }
    model.series("losses", vec![5.0, 2.0, 1.0]).unwrap();
    model.tags = [
        ("cell", organism.cell.as_str()),
        ("block", block),
        ("positions", positions),
        ("form", form),
        ("shuffled", if organism.shuffled { "true" } else { "false" }),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    let word = || "x".to_owned();
    Record {
        key: RecordKey {
            experiment: "crowding-trained".to_owned(),
            spec_version: 1,
            spec_sha256: word(),
            fingerprint: word(),
            model: organism.name.clone(),
            family: "crowding".to_owned(),
            revision: "local".to_owned(),
            weights_sha256: word(),
            tokenizer_sha256: word(),
            prompts_sha256: word(),
            dtype: "f32".to_owned(),
            device_class: word(),
            setting: "default".to_owned(),
            switches: BTreeMap::new(),
        },
        facts: ModelFacts {
            model_type: form.to_owned(),
            n_layers: layers,
            n_heads: heads,
            n_kv_heads: heads,
            d_model: organism.d_model,
            d_head,
            d_mlp: 256,
            vocab: 512,
            rho,
            block: block.to_owned(),
            norm: word(),
            position: positions.to_owned(),
            parameters: 1,
            stored: "f16".to_owned(),
        },
        samples: vec![prompt, model],
    }
}

fn summary(planted: Planted) -> Summary {
    let records: Vec<Record> = (organisms().iter().enumerate())
        .map(|(i, o)| record(o, i, planted))
        .collect();
    CrowdingTrained.summarise(spec(), &records, &[]).unwrap()
}

fn verdict(summary: &Summary, claim: &str) -> Verdict {
    let claim = format!("crowding.{claim}");
    let found = summary.verdicts.iter().find(|v| v.claim == claim);
    found.unwrap().audited
}

fn number(summary: &Summary, id: &str) -> f64 {
    summary.numbers[&format!("crowding.{id}")].value
}

/// The power that experiment.toml states follows from this design.
#[test]
fn the_design_is_the_declared_one() {
    let all = organisms();
    let units = all.iter().filter(|o| !o.shuffled).count();
    assert_eq!((all.len(), units), (40, 39));
    let s = summary(Planted {
        noise: 0.05,
        ..Planted::default()
    });
    assert_eq!(number(&s, "published-gain.models"), 39.0);
    assert_eq!(number(&s, "published-gain.strata"), 5.0);
    assert!((number(&s, "published-gain.spread") - 7.36).abs() < 0.005);
    let per_sd = number(&s, "published-gain.detectable") / number(&s, "published-gain.sd");
    assert!((per_sd - 1.06).abs() < 0.01, "{per_sd}");
    assert_eq!(s.verdicts.len(), spec().claims.len());
}

#[test]
fn a_planted_slope_is_found_and_its_rivals_are_not() {
    let s = summary(Planted {
        rho: -0.3,
        noise: 0.03,
        ..Planted::default()
    });
    let slope = number(&s, "published-gain");
    assert!((slope + 0.3).abs() < 0.03, "{slope}");
    for claim in [
        "published-gain",
        "last-block",
        "stack",
        "not-the-number-of-heads",
    ] {
        assert_eq!(verdict(&s, claim), Verdict::Supported, "{claim}");
    }
    for claim in ["depth", "parallel-blocks", "rotary-positions"] {
        assert_ne!(verdict(&s, claim), Verdict::Supported, "{claim}");
    }
    // What stood there before training is another number.
    assert!(number(&s, "published-gain.untrained").abs() < 0.1);
}

#[test]
fn planted_rivals_are_no_slope() {
    let rivals = Planted {
        depth: -0.3,
        parallel: -0.3,
        rotary: -0.3,
        noise: 0.02,
        ..Planted::default()
    };
    let s = summary(rivals);
    for claim in ["published-gain", "last-block", "stack"] {
        assert_eq!(verdict(&s, claim), Verdict::Refuted, "{claim}");
    }
    for claim in ["depth", "parallel-blocks", "rotary-positions"] {
        assert_eq!(verdict(&s, claim), Verdict::Supported, "{claim}");
    }
    let up = Planted {
        rho: 0.3,
        noise: 0.03,
        ..Planted::default()
    };
    assert_eq!(verdict(&summary(up), "published-gain"), Verdict::Reversed);
}

#[test]
fn too_few_models_are_not_judged() {
    let none = CrowdingTrained.summarise(spec(), &[], &[]).unwrap();
    assert!(none.verdicts.iter().all(|v| v.audited == Verdict::NotRun));
    let few: Vec<Record> = (organisms().iter().take(3).enumerate())
        .map(|(i, o)| record(o, i, Planted::default()))
        .collect();
    let few = CrowdingTrained.summarise(spec(), &few, &[]).unwrap();
    assert!(few.verdicts.iter().all(|v| v.audited == Verdict::NotRun));
}
