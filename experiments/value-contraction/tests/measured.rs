//! Measured on tiny random models, and judged on made-up records.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, Placement, Residency};
use assay_experiment::{Experiment, ExperimentError, Session};
use assay_record::{
    ExperimentSpec, ModelFacts, NotRun, Prompt, PromptSet, Record, RecordKey, Sample, Summary,
    Verdict,
};
use assay_testkit::{TinyModel, write_hf};
use candle_core::{DType, Device};
use value_contraction::ValueContraction;

const GROUPS: [&str; 5] = [
    "recursive-1",
    "recursive-2",
    "factual",
    "long-control",
    "pseudo-recursive",
];
const TOPICS: [&str; 4] = ["bees", "glass", "rain", "wool"];

fn prompt(topic: &str, group: &str, set: &str, text: String) -> Prompt {
    let tags = [("set", set), ("group", group)];
    Prompt {
        id: format!("{topic}.{group}.{set}"),
        category: topic.to_owned(),
        text,
        tags: tags.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    }
}

/// A bank whose prompts fill a window with any tokenizer.
fn bank() -> PromptSet {
    let mut set = PromptSet::none();
    for topic in TOPICS {
        for group in GROUPS {
            let text = format!("{group} words on {topic}, {topic} and {group}, to the end of it");
            set.prompts.push(prompt(topic, group, "matched", text));
            set.prompts
                .push(prompt(topic, group, "as-published", format!("on {topic}")));
        }
    }
    for i in 0..3 {
        let mut plain = prompt("other", "", "h25", format!("The capital of place {i} is"));
        plain.id = format!("h25-{i}");
        plain.tags.remove("group");
        set.prompts.push(plain);
    }
    set
}

fn spec() -> ExperimentSpec {
    let text = ValueContraction.spec_text();
    ExperimentSpec::parse(text, Path::new("experiment.toml")).unwrap()
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
    ValueContraction.plan(&mut session, prompts)?;
    ValueContraction.measure(&mut session, &spec(), prompts)
}

fn layers(n_layers: usize, model: TinyModel) -> TinyModel {
    TinyModel {
        n_layers,
        context: 256,
        ..model
    }
}

#[test]
fn the_right_view_rebuilds_z_and_the_published_one_does_not() {
    let samples = measured(&layers(8, TinyModel::gpt_neox(1)), &bank()).unwrap();
    let model = samples.iter().find(|s| s.unit == "model").unwrap();
    // The products of one prompt are those of the pass: nothing but rounding.
    assert!(model.get("rebuilt.v").unwrap() < 1e-6);
    assert!(model.get("rebuilt.view").unwrap() > 0.5);
    assert_eq!(model.get_series("layers").unwrap(), [1.0, 7.0]);

    let of_set = |set: &str| samples.iter().filter(|s| s.tag("set") == Some(set)).count();
    let bank = GROUPS.len() * TOPICS.len();
    assert_eq!(
        ["matched", "as-published", "h25"].map(of_set),
        [bank, bank, 3]
    );
    assert_eq!(
        ["controls", "patch"].map(of_set),
        [2 * TOPICS.len(), TOPICS.len()]
    );
    for sample in samples.iter().filter(|s| s.tag("group").is_some()) {
        let series = sample.get_series("pr-a.by-layer").unwrap();
        assert_eq!(series.len(), 8);
        let ratio = series[7] / series[1];
        assert_eq!(sample.get("rv.a").unwrap(), ratio);
        let window = sample.get("window").unwrap();
        assert!(series.iter().all(|pr| (1.0..=window).contains(pr)));
        let made = sample.tag("set") == Some("controls");
        assert_eq!(sample.get("rv.a-view").is_ok(), !made, "{}", sample.unit);
        assert!(sample.get("rv.a-pseudo").is_err());
    }
}

/// Shuffled prompts hold the tokens of their source.
#[test]
fn controls_are_made_of_the_banks_tokens() {
    let samples = measured(&layers(3, TinyModel::llama(2)), &bank()).unwrap();
    let find = |unit: &str| samples.iter().find(|s| s.unit == unit).unwrap();
    let sorted = |unit: &str| {
        let mut ids = find(unit).token_ids.clone();
        ids.sort_unstable();
        ids
    };
    for topic in TOPICS {
        let source = format!("{topic}.recursive-2.matched");
        let shuffled = format!("{topic}.shuffled-tokens");
        assert_eq!(sorted(&source), sorted(&shuffled));
        assert_ne!(find(&source).token_ids, find(&shuffled).token_ids);
    }
    // Two kv heads of four: 4 pseudo-heads of half the width; no layer L-5.
    let one = find("bees.factual.matched");
    assert!(one.get("rv.a-pseudo").is_ok() && one.get("rv.b").is_err());
    assert!(one.get("rv.a-view").is_err());
}

#[test]
fn measuring_twice_gives_the_same_bits() {
    let model = layers(3, TinyModel::gpt2(3));
    assert_eq!(
        measured(&model, &bank()).unwrap(),
        measured(&model, &bank()).unwrap()
    );
}

#[track_caller]
fn check_refused(spoil: impl FnOnce(&mut PromptSet), words: &str) {
    let mut bank = bank();
    spoil(&mut bank);
    let error = measured(&layers(3, TinyModel::gpt_neox(1)), &bank)
        .unwrap_err()
        .to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_bank_that_cannot_answer_is_refused() {
    let at = |bank: &mut PromptSet, id: &str| bank.prompts.iter().position(|p| p.id == id).unwrap();
    check_refused(
        |bank| {
            let i = at(bank, "rain.factual.matched");
            bank.prompts[i].text = "rain".to_owned();
        },
        "1 prompts are too short for a window of 16 tokens without position 0, for example rain.factual.matched (",
    );
    check_refused(
        |bank| {
            let i = at(bank, "rain.factual.matched");
            bank.prompts.remove(i);
        },
        "unequal counts: topic rain has no prompt of group factual",
    );
    check_refused(
        |bank| {
            let i = at(bank, "rain.factual.matched");
            let mut again = bank.prompts[i].clone();
            again.id.push('2');
            bank.prompts.push(again);
        },
        "unequal counts: topic rain has 6 prompts in 5 groups",
    );
    check_refused(
        |bank| {
            bank.prompts
                .retain(|p| !p.id.contains("recursive-1") && !p.id.contains("recursive-2"))
        },
        "no group whose name begins with \"recursive\"",
    );
    check_refused(
        |bank| {
            bank.prompts
                .retain(|p| !p.id.contains("factual") && !p.id.contains("long-control"))
        },
        "no plain control (factual, mathematical, creative, long-control)",
    );
    check_refused(
        |bank| bank.prompts.retain(|p| p.category == "bees"),
        "has 1 topic",
    );
    check_refused(
        |bank| bank.prompts.retain(|p| p.tag("set") != Some("matched")),
        "no prompt has the tag set = matched",
    );
    check_refused(
        |bank| {
            let i = at(bank, "rain.factual.matched");
            bank.prompts[i].tags.remove("group");
        },
        "prompt rain.factual.matched of set matched has no group",
    );
    let shallow = measured(&layers(1, TinyModel::gpt2(1)), &bank())
        .unwrap_err()
        .to_string();
    assert!(shallow.contains("tiny: has 1 layers"), "{shallow}");
}

/// A record of a model that does not exist. On every topic recursion has
/// `effect` on log R_V, give or take a hundredth by topic; a placebo moves the
/// KL by `placebo` and the right patch by a half.
fn made_up(family: &str, effect: f64, placebo: f64) -> Record {
    let mut samples = Vec::new();
    let sample = |unit: String, topic: &str, tags: &[(&str, &str)]| Sample {
        unit,
        cluster: topic.to_owned(),
        text: String::new(),
        token_ids: vec![1; 20],
        special_tokens: 0,
        tags: tags
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        measures: BTreeMap::new(),
    };
    for t in 0..10 {
        let topic = &format!("topic-{t}");
        let wobble = if t % 2 == 0 { 0.01 } else { -0.01 };
        let made = ["shuffled-tokens", "random-tokens"].map(|g| ("controls", g));
        let sets = ["matched", "as-published"]
            .into_iter()
            .flat_map(|s| GROUPS.map(|g| (s, g)));
        for (i, (set, group)) in sets.chain(made).enumerate() {
            let mut s = sample(
                format!("{topic}.{group}.{set}"),
                topic,
                &[("set", set), ("group", group)],
            );
            let log: f64 = match group {
                "recursive-1" => effect / 2.0 + wobble,
                "recursive-2" => effect + wobble,
                _ => 0.0,
            };
            s.scalar("rv.a", log.exp()).unwrap();
            s.scalar("rv.a-row-only", log.exp()).unwrap();
            s.scalar("tokens", 20.0 + ((t * 7 + i * 3) % 5) as f64)
                .unwrap();
            s.scalar("distinct", 12.0 + ((t * 5 + i * 2) % 4) as f64)
                .unwrap();
            for series in ["pr-a", "pr-a-row-only", "neighbours"] {
                s.series(&format!("{series}.by-layer"), vec![4.0, 2.0])
                    .unwrap();
            }
            samples.push(s);
        }
        let mut s = sample(format!("patch.{topic}"), topic, &[("set", "patch")]);
        s.scalar("patch.kl.unpatched", 2.0).unwrap();
        s.scalar("patch.kl.right", 1.5 + wobble).unwrap();
        for name in [
            "wrong-early",
            "wrong-middle",
            "other-text",
            "noise",
            "noise-same-norms",
        ] {
            s.scalar(&format!("patch.kl.{name}"), 2.0 - placebo + wobble / 2.0)
                .unwrap();
        }
        samples.push(s);
    }
    let mut model = sample("model".to_owned(), "", &[]);
    model.series("layers", vec![0.0, 1.0]).unwrap();
    model.scalar("rebuilt.v", 0.0).unwrap();
    samples.push(model);
    let word = || "made-up".to_owned();
    Record {
        key: RecordKey {
            experiment: "value-contraction".to_owned(),
            spec_version: 1,
            spec_sha256: word(),
            fingerprint: word(),
            model: format!("made-up-{family}"),
            family: family.to_owned(),
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
            block: "sequential".to_owned(),
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
        model: "pythia-2.8b".to_owned(),
        reason: "the hub cannot be reached".to_owned(),
    }];
    let summary = ValueContraction
        .summarise(spec(), records, &not_run)
        .unwrap();
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
fn verdict(summary: &Summary, claim: &str, expected: Verdict) {
    let found = summary
        .verdicts
        .iter()
        .find(|v| v.claim == claim && v.data.starts_with("measured"));
    assert_eq!(found.unwrap().audited, expected, "{claim}");
}

/// Half a unit of the digit that METHODS prints.
#[test]
fn the_published_table_has_its_length_confound() {
    let summary = summary(&[]);
    check(&summary, "rv.published.r-words", -0.90, 0.005);
    check(&summary, "rv.published.r-words-long", -0.25, 0.005);
    check(&summary, "rv.published.long-share", 0.61, 0.005);
    check(
        &summary,
        "rv.published.headline.pythia-2.8b.contraction",
        0.29,
        0.005,
    );
    check(
        &summary,
        "rv.published.headline.mistral-7b.contraction",
        0.15,
        0.005,
    );
    assert_eq!(summary.comparisons.len(), 16);
    assert!(
        summary
            .comparisons
            .iter()
            .all(|c| c.note == "the hub cannot be reached")
    );
    let e5 = summary.errata.iter().find(|e| e.id == "E5").unwrap();
    assert!(e5.computed);
    verdict(&summary, "rv.universal", Verdict::NotRun);
}

#[test]
fn planted_effects_are_found_and_planted_none_refuted() {
    let strong = summary(&[made_up("a", -0.2, 0.0), made_up("b", -0.2, 0.0)]);
    check(&strong, "rv.made-up-a.contrast.plain.a.mean", -0.2, 1e-12);
    check(&strong, "rv.made-up-a.contrast.adjusted.mean", -0.2, 0.01);
    // Recursion rises by half of its effect from grade to grade.
    check(&strong, "rv.made-up-a.contrast.grades.mean", -0.1, 1e-12);
    check(&strong, "rv.made-up-a.patch.right.mean", 0.5, 1e-12);
    check(&strong, "rv.made-up-a.patch.noise.mean", 0.0, 1e-12);
    // All of 2^10 sign patterns: none but the observed one and its mirror.
    check(
        &strong,
        "rv.made-up-a.contrast.plain.a.p",
        2.0 / 1024.0,
        1e-12,
    );
    for claim in [
        "rv.recursion-contracts",
        "rv.not-length-or-words",
        "rv.more-than-word-salad",
        "rv.more-than-talk-of-recursion",
        "rv.graded",
        "rv.universal",
        "rv.patch-moves",
        "rv.patch-specific",
    ] {
        verdict(&strong, claim, Verdict::Supported);
    }
    let none = summary(&[made_up("a", 0.0, 0.5)]);
    for claim in [
        "rv.recursion-contracts",
        "rv.more-than-word-salad",
        "rv.universal",
        "rv.patch-specific",
    ] {
        verdict(&none, claim, Verdict::Refuted);
    }
    let opposite = summary(&[made_up("a", 0.2, 0.0), made_up("b", -0.2, 0.0)]);
    verdict(&opposite, "rv.recursion-contracts", Verdict::Reversed);
    verdict(&opposite, "rv.universal", Verdict::Refuted);
    // One family, however strong, is not all models.
    let one = summary(&[made_up("a", -0.2, 0.0)]);
    verdict(&one, "rv.universal", Verdict::Inconclusive);
}
