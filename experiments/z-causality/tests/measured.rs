//! A model built by hand, whose answer lives in a chosen subspace and nowhere
//! else: patching it must find that, and random subspaces must not.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, Placement, Residency};
use assay_experiment::{Experiment, ExperimentError, Session};
use assay_geometry::{Subspace, normals};
use assay_record::{
    ExperimentSpec, Measure, ModelFacts, Prompt, PromptSet, Record, RecordKey, Sample, Summary,
    Verdict,
};
use assay_stats::stream;
use assay_testkit::{TinyModel, tensors, write_hf_with};
use candle_core::{DType, Device, Tensor};
use nalgebra::DMatrix;
use z_causality::ZCausality;

const D: usize = 64;
/// Letters that stand for the answers 1, 2, 3.
const LETTERS: [u8; 3] = *b"jkq";

fn spec() -> ExperimentSpec {
    ExperimentSpec::parse(ZCausality.spec_text(), Path::new("experiment.toml")).unwrap()
}

/// Categories of three problems each: a letter four times, and its number is
/// the answer; but one of the three shows the next one's letter, so that it is
/// not able and a source all the same. Eight, so that flipping their signs can
/// give a p of .008.
fn bank() -> PromptSet {
    bank_of(&["zz", "yy", "ww", "vv", "uu", "tt", "ss", "rr"])
}

fn bank_of(categories: &[&str]) -> PromptSet {
    let mut set = PromptSet::none();
    for (number, category) in categories.iter().enumerate() {
        for i in 0..LETTERS.len() {
            let shown = if i == number % 3 { (i + 1) % 3 } else { i };
            let letters = char::from(LETTERS[shown]).to_string().repeat(4);
            for (language, text) in [
                ("zh", format!("中{category}{letters}:")),
                ("en", format!("{category} {letters}:")),
            ] {
                let pair = format!("{category}-{i}");
                let answer = (i + 1).to_string();
                let tags = [
                    ("set", "problems"),
                    ("pair", pair.as_str()),
                    ("language", language),
                    ("answer", answer.as_str()),
                    ("difficulty", "1"),
                ];
                set.prompts.push(Prompt {
                    id: format!("{pair}.{language}"),
                    category: (*category).to_owned(),
                    text,
                    tags: tags.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
                });
            }
        }
    }
    set
}

fn tiny(seed: u64) -> TinyModel {
    TinyModel {
        n_layers: 4,
        d_model: D,
        n_heads: 8,
        n_kv_heads: 2,
        context: 256,
        tied: false,
        ..TinyModel::llama(seed)
    }
}

/// Block 0 gives every position the mean of what the positions up to it have in
/// S; no other block adds more than a trace; the unembedding reads S only, but for how
/// long the whole stream is, which a part that all tokens share settles. Keys
/// of block 1, the l1 of four, read S. So S is Z, and the answer is in it.
fn by_hand() -> (TinyModel, Vec<(String, Tensor)>) {
    let spec = tiny(1);
    let mut draws = stream(5, "by hand");
    let s = Subspace::random(2, D, &mut draws).unwrap();
    let outside = |draws: &mut _, rows: usize| {
        let all = DMatrix::from_row_slice(rows, D, &normals(rows * D, draws));
        &all - s.project(&all).unwrap()
    };
    let common = outside(&mut draws, 1) * 3.0;
    // Three directions in S, a third of a turn apart.
    let direction = |i: usize| {
        let angle = std::f64::consts::TAU * i as f64 / 3.0;
        let plane = DMatrix::from_row_slice(1, 2, &[angle.cos(), angle.sin()]);
        plane * s.basis()
    };
    // Byte-level ids: the special token, then the bytes in GPT-2's alphabet,
    // which sorts '!' to '~' first.
    let id = |byte: u8| 1 + (byte - b'!') as usize;
    let tensor = |m: &DMatrix<f64>| {
        let values: Vec<f32> = m.transpose().iter().map(|v| *v as f32).collect();
        Tensor::from_vec(values, m.shape(), &Device::Cpu).unwrap()
    };
    let made = tensors(&spec).unwrap().into_iter().map(|(name, old)| {
        let zeros = || old.zeros_like().unwrap();
        let new = if name == "model.embed_tokens.weight" {
            let mut rows = outside(&mut draws, spec.vocab);
            for mut row in rows.row_iter_mut() {
                row += common.row(0);
            }
            for (i, letter) in LETTERS.iter().enumerate() {
                let mut row = rows.row_mut(id(*letter));
                row += (direction(i) * 20.0).row(0);
            }
            tensor(&rows)
        } else if name == "lm_head.weight" {
            let mut rows = DMatrix::zeros(spec.vocab, D);
            for (i, digit) in (b'1'..=b'3').enumerate() {
                rows.set_row(id(digit), &(direction(i) * 2.0).row(0));
            }
            tensor(&rows)
        } else if name.ends_with("norm.weight") {
            old.ones_like().unwrap()
        } else if name == "model.layers.0.self_attn.v_proj.weight" {
            let mut rows = DMatrix::zeros(16, D);
            rows.rows_mut(0, 2).copy_from(s.basis());
            tensor(&rows)
        } else if name == "model.layers.0.self_attn.o_proj.weight" {
            let mut out = DMatrix::zeros(D, D);
            out.columns_mut(0, 2)
                .copy_from(&(s.basis().transpose() * 8.0));
            tensor(&out)
        } else if name == "model.layers.0.self_attn.q_proj.weight" {
            // Every position is looked at alike.
            (&old * 1e-5).unwrap()
        } else if name.ends_with("down_proj.weight") {
            // Next to nothing: what a block adds has a direction.
            (&old * 1e-6).unwrap()
        } else if name.ends_with("o_proj.weight") {
            zeros()
        } else if name.ends_with("k_proj.weight") {
            let mix = DMatrix::from_row_slice(16, 2, &normals(32, &mut draws));
            let rest = DMatrix::from_row_slice(16, D, &normals(16 * D, &mut draws));
            tensor(&(mix * s.basis() + rest * 1e-4))
        } else {
            old
        };
        (name, new)
    });
    let made = made.collect();
    (spec, made)
}

fn measured(
    spec_of: &TinyModel,
    weights: &[(String, Tensor)],
    prompts: &PromptSet,
) -> Result<Vec<Sample>, ExperimentError> {
    let folder = tempfile::tempdir().unwrap();
    write_hf_with(folder.path(), spec_of, &weights.to_vec()).unwrap();
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
    ZCausality.plan(&mut session, prompts)?;
    ZCausality.measure(&mut session, &spec(), prompts)
}

fn record(samples: Vec<Sample>) -> Record {
    let word = || "x".to_owned();
    Record {
        key: RecordKey {
            experiment: "z-causality".to_owned(),
            spec_version: 1,
            spec_sha256: word(),
            fingerprint: word(),
            model: "by-hand".to_owned(),
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
            n_kv_heads: 2,
            d_model: D,
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

#[track_caller]
fn verdict(summary: &Summary, claim: &str) -> Verdict {
    let found = summary
        .verdicts
        .iter()
        .find(|v| v.claim == claim && v.data.starts_with("measured"));
    found.unwrap().audited
}

#[test]
fn patching_finds_the_subspace_that_the_answer_was_put_into() {
    let (spec_of, weights) = by_hand();
    let samples = measured(&spec_of, &weights, &bank()).unwrap();
    let pairs: Vec<&Sample> = samples
        .iter()
        .filter(|s| s.unit.starts_with("pair."))
        .collect();
    assert_eq!(pairs.len(), 24);
    let is_able = |pair: &&&Sample| pair.get("prefers.en").unwrap() > 0.0;
    let (able, others): (Vec<&Sample>, Vec<&Sample>) = pairs.iter().partition(is_able);
    assert_eq!((able.len(), others.len()), (16, 8));
    for pair in &able {
        assert!(pair.get("prefers.zh").unwrap() > 0.0, "{}", pair.unit);
        // A prompt's own rows put back change no bit.
        assert_eq!(pair.get("placebo.itself").unwrap(), 0.0);
    }
    assert!(others.iter().all(|p| p.get_series("placebo.haar").is_err()));
    // Nothing is massive here: leaving out what is massive changes nothing, so
    // that the placebos' sources are those of the cell.
    for pair in &able {
        let cell = pair.get("cross.in.l1.k2.en-zh.z").unwrap();
        assert_eq!(pair.get("bare").unwrap(), cell, "{}", pair.unit);
    }
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let of = |measure: &str| mean(able.iter().map(|p| p.get(measure).unwrap()).collect());
    let z = of("cross.in.l1.k2.en-zh.z");
    let perp = of("cross.in.l1.k2.en-zh.z-perp");
    assert!(z > 0.5, "{z}");
    // The complement holds the length of the stream only.
    assert!(perp.abs() < 0.1 * z, "{z} {perp}");
    let full = of("cross.in.l1.k2.en-zh.full");
    assert!((full / z - 1.0).abs() < 0.1, "{z} {full}");
    // Not so those of equal patch size: nearly all that is patched lies in S, so
    // that a subspace in which as much is patched is nearly S.
    for kind in ["haar", "perp-part"] {
        for draw in 0..199 {
            let all = able
                .iter()
                .map(|p| p.get_series(&format!("placebo.{kind}")).unwrap()[draw]);
            let random = mean(all.collect());
            assert!(random.abs() < 0.7 * z, "{kind} {draw}: {random} {z}");
        }
    }
    // An unpatched text and one under each condition of each cell.
    let texts = samples.iter().filter(|s| s.unit.starts_with("text."));
    let (none, patched): (Vec<_>, Vec<_>) = texts.partition(|t| t.tag("cell").is_none());
    assert_eq!(none.len(), 48);
    assert!(patched.len() >= 24 * 2 * 2 * 2 * 3);

    let summarised =
        |samples: &[Sample]| ZCausality.summarise(spec(), &[record(samples.to_vec())], &[]);
    let summary = summarised(&samples).unwrap();
    for claim in [
        "z.moves-answers",
        "z.beyond-random",
        "z.rather-than-complement",
        "z.full-is-like-z",
    ] {
        assert_eq!(verdict(&summary, claim), Verdict::Supported, "{claim}");
    }
    let declared = spec().claims.len();
    let judged = summary
        .verdicts
        .iter()
        .filter(|v| v.data.starts_with("measured"));
    assert_eq!(judged.count(), declared);
    let errata: Vec<&str> = summary.errata.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(errata, ["E13", "E14", "E15", "E16", "E17", "E20", "E24"]);
    assert!(summary.errata.iter().all(|e| e.computed));

    // Made up from it: random subspaces that do as much, and more.
    let changed = |change: &dyn Fn(&mut Sample)| {
        let mut all = samples.clone();
        all.iter_mut().for_each(change);
        all
    };
    let as_much = changed(&|s| {
        if let Ok(z) = s.get("cross.in.l1.k2.en-zh.z")
            && s.measures.contains_key("placebo.haar")
        {
            let draws = (0..199).map(|i| z + f64::from(i - 99) * 1e-3).collect();
            s.measures
                .insert("placebo.haar".to_owned(), Measure::Series(draws));
        }
    });
    let found = verdict(&summarised(&as_much).unwrap(), "z.beyond-random");
    assert!(
        !matches!(found, Verdict::Supported | Verdict::Reversed),
        "{found:?}"
    );
    // Answers that change under the complement and not under Z.
    let reversed = changed(&|s| {
        if s.tag("cell") == Some("out.l1.k2.en-zh") && s.tag("random").is_none() {
            s.measures.remove("answer");
            if s.tag("condition") == Some("z-perp") {
                s.measures
                    .insert("answer".to_owned(), Measure::Scalar(99.0));
            }
        }
        if s.tag("condition") == Some("none") {
            s.measures.remove("answer");
        }
    });
    let summary = summarised(&reversed).unwrap();
    assert_eq!(verdict(&summary, "z.dissociation"), Verdict::Reversed);
    let said = summary
        .verdicts
        .iter()
        .rfind(|v| v.claim == "z.dissociation")
        .unwrap();
    assert_eq!(said.as_published, "REVERSED");
    // A measure that is missing is an error, not a smaller sample.
    let missing = changed(&|s| {
        if s.unit == able[0].unit {
            s.measures.remove("cross.in.l1.k2.en-zh.z");
        }
    });
    let error = summarised(&missing).unwrap_err().to_string();
    assert!(
        error.contains("cross.in.l1.k2.en-zh.z") && error.contains(&able[0].unit),
        "{error}"
    );
}

#[test]
fn a_random_model_shows_nothing_and_twice_the_same() {
    let spec_of = tiny(2);
    let weights = tensors(&spec_of).unwrap();
    let few = bank_of(&["zz", "yy", "ww"]);
    let samples = measured(&spec_of, &weights, &few).unwrap();
    assert_eq!(samples, measured(&spec_of, &weights, &few).unwrap());
    let summary = ZCausality
        .summarise(spec(), &[record(samples)], &[])
        .unwrap();
    // Hardly eight of nine pairs are preferred by chance.
    assert_eq!(verdict(&summary, "z.moves-answers"), Verdict::NotApplicable);
    summary.check().unwrap();
}

#[track_caller]
fn check_refused(model: &TinyModel, prompts: &PromptSet, words: &str) {
    let error = measured(model, &tensors(model).unwrap(), prompts)
        .unwrap_err()
        .to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn what_cannot_answer_is_refused() {
    check_refused(
        &tiny(1),
        &PromptSet::none(),
        "no prompt has the tag set = problems",
    );
    let mut one_sided = bank();
    one_sided.prompts.retain(|p| p.id != "zz-0.en");
    check_refused(&tiny(1), &one_sided, "pair zz-0: has no prompt in en");
    let short = TinyModel {
        n_layers: 2,
        ..tiny(1)
    };
    check_refused(&short, &bank(), "has 2 layers");
    let fused = TinyModel {
        n_layers: 4,
        ..TinyModel::gpt_neox(1)
    };
    check_refused(&fused, &bank(), "fuses its queries and keys");
}
