//! The measures on tiny seeded models: against planted values, against sums
//! made here, and with text sets of a user's own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Arithmetic, Decoder, Pack, Placement, Residency};
use assay_experiment::{Experiment, ExperimentError, Session};
use assay_hook_site::BlockSite;
use assay_record::{ExperimentSpec, Prompt, PromptSet, Record, Sample, sha256_hex};
use assay_testkit::{TinyModel, write_hf};
use assay_trace::record;
use candle_core::{DType, Device};
use suite_anatomy::SuiteAnatomy;

fn prompt(id: &str, category: &str, text: &str, tags: &[(&str, &str)]) -> Prompt {
    let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Prompt {
        id: id.to_owned(),
        category: category.to_owned(),
        text: text.to_owned(),
        tags: tags.collect::<BTreeMap<_, _>>(),
    }
}

fn set(prompts: Vec<Prompt>) -> PromptSet {
    PromptSet {
        prompts,
        sha256: sha256_hex(b"test"),
    }
}

/// Two sets of two lengths each, and a pair that differs in one token.
fn whole() -> PromptSet {
    let mut prompts = Vec::new();
    for (name, words) in [("letters", "The year is"), ("numbers", "12 and 1900 in")] {
        for i in 0..3 {
            for (length, times) in [("short", 1), ("long", 2)] {
                let text = format!("{} {i}.", vec![words; times + i % 2].join(" "));
                let id = format!("{name}-{i}-{length}");
                let tags = [("set", name), ("length", length)];
                prompts.push(prompt(&id, &format!("c{i}"), &text, &tags));
            }
        }
    }
    let both = |role| {
        [
            ("set", "pairs"),
            ("role", role),
            ("answer", "x"),
            ("other", "y"),
        ]
    };
    prompts.push(prompt("p.clean", "p", "The year of b", &both("clean")));
    prompts.push(prompt("p.corrupt", "p", "The year of d", &both("corrupt")));
    prompts.push(prompt("q.clean", "q", "The year of b", &both("clean")));
    prompts.push(prompt(
        "q.corrupt",
        "q",
        "The year of a long b",
        &both("corrupt"),
    ));
    set(prompts)
}

fn run(folder: &Path, prompts: &PromptSet) -> Result<(Vec<Sample>, usize), ExperimentError> {
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
    let spec = ExperimentSpec::parse(SuiteAnatomy.spec_text(), Path::new("experiment.toml"));
    SuiteAnatomy.plan(&mut session, prompts)?;
    let samples = SuiteAnatomy.measure(&mut session, &spec.unwrap(), prompts)?;
    Ok((samples, session.passes()))
}

fn tiny(model: &TinyModel, prompts: &PromptSet) -> (tempfile::TempDir, Vec<Sample>) {
    let folder = tempfile::tempdir().unwrap();
    write_hf(folder.path(), model).unwrap();
    let (samples, passes) = run(folder.path(), prompts).unwrap();
    // One a set of texts; pairs and replacements run apart.
    let sets = prompts
        .values_of("set")
        .into_iter()
        .filter(|s| *s != "pairs");
    assert_eq!(passes, sets.count());
    (folder, samples)
}

fn sample<'s>(samples: &'s [Sample], unit: &str) -> &'s Sample {
    samples.iter().find(|s| s.unit == unit).unwrap()
}

#[test]
fn norms_massive_activations_and_sinks_by_hand() {
    let prompts = whole();
    let (folder, samples) = tiny(&TinyModel::llama(3), &prompts);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
    let one = sample(&samples, "letters-1-long");
    let pack = Pack::new(std::slice::from_ref(&one.token_ids)).unwrap();
    let sites = [BlockSite::ResidPost.at(1), BlockSite::Pattern.at(1)];
    let trace = record(&decoder, &pack, &sites.into_iter().collect(), Vec::new()).unwrap();
    let rows: Vec<Vec<f32>> = trace.rows(sites[0]).unwrap().to_vec2().unwrap();
    let norms = rows
        .iter()
        .map(|r| r.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt());
    let norms: Vec<f64> = norms.collect();
    // f64 sums of the same f32 activations, packed or not.
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    let mean = norms.iter().sum::<f64>() / norms.len() as f64;
    close(
        one.get_series("norm.resid-post.by-layer").unwrap()[1],
        mean.ln(),
    );
    close(
        one.get_series("norm.resid-post.first").unwrap()[1],
        norms[0].ln(),
    );

    let mut all = Vec::new();
    for (t, row) in rows.iter().enumerate() {
        all.extend(
            row.iter()
                .enumerate()
                .map(|(d, v)| (f64::from(v.abs()), t, d)),
        );
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let half = all.len() / 2;
    close(
        one.get_series("massive.top-1.by-layer").unwrap()[1],
        all[0].0,
    );
    close(
        one.get_series("massive.top-3.by-layer").unwrap()[1],
        all[2].0,
    );
    close(
        one.get_series("massive.position.by-layer").unwrap()[1],
        all[0].1 as f64,
    );
    close(
        one.get_series("massive.dimension.by-layer").unwrap()[1],
        all[0].2 as f64,
    );
    let median = (all[half - 1].0 + all[half].0) / 2.0;
    close(
        one.get_series("massive.median.by-layer").unwrap()[1],
        median,
    );

    let pattern: Vec<Vec<Vec<f32>>> = trace.prompt(sites[1], 0).unwrap().to_vec3().unwrap();
    let to_first = pattern
        .iter()
        .flat_map(|head| head[1..].iter().map(|q| f64::from(q[0])));
    let to_first: Vec<f64> = to_first.collect();
    let mean = to_first.iter().sum::<f64>() / to_first.len() as f64;
    close(one.get_series("sink.first.by-layer").unwrap()[1], mean);
}

#[test]
fn the_lens_ends_at_the_final_distribution_and_gradients_meet_the_loss() {
    let (_folder, samples) = tiny(&TinyModel::gpt_neox(5), &whole());
    for one in samples.iter().filter(|s| s.measures.contains_key("loss")) {
        assert_eq!(one.get_series("lens.kl.by-layer").unwrap()[1], 0.0);
        assert!(one.get("loss").unwrap() > 0.0);
        // Nothing after the last block changes the residual, so both sublayers of
        // a parallel last block meet the gradient at its output.
        let at = |what: &str| {
            one.get_series(&format!("gradient.{what}.by-layer"))
                .unwrap()[1]
        };
        assert!((at("attn-out") - at("resid-post")).abs() <= 1e-5 * at("resid-post"));
        assert!((at("mlp-out") - at("resid-post")).abs() <= 1e-5 * at("resid-post"));
        assert!(at("mlp-weight") > 0.0);
    }
}

#[test]
fn patches_of_the_last_residual_are_the_corrupt_run() {
    let (_folder, samples) = tiny(&TinyModel::llama(7), &whole());
    let pair = sample(&samples, "p.clean");
    let change = pair.get("pair.corrupt").unwrap() - pair.get("pair.clean").unwrap();
    let last = pair.get_series("patch.resid-post-last.true").unwrap();
    // The last token alone decides after the last block; f32 logits of order 1.
    assert!((last[1] - change).abs() < 1e-4, "{} {change}", last[1]);
    // The changed token is the last one, so both are the same patch.
    let changed = pair.get_series("patch.resid-post-changed.true").unwrap();
    assert_eq!(changed, last);
    // The estimate adds over sites: after the last block all of the change is
    // attn_out's, mlp_out's and resid_pre's; it is finite and not all zero.
    assert!(
        pair.get_series("patch.attn-out.attribution")
            .unwrap()
            .iter()
            .any(|v| *v != 0.0)
    );
    let model = sample(&samples, Record::MODEL);
    assert_eq!(model.get("pair.fitting").unwrap(), 1.0);
    // The other pair's counts differ.
    assert_eq!(model.get("pair.left-out").unwrap(), 1.0);
}

#[test]
fn replacing_activations_changes_what_it_should() {
    let (_folder, samples) = tiny(&TinyModel::llama(9), &whole());
    let one = samples
        .iter()
        .find(|s| s.measures.contains_key("ablation.mlp-out.mean.kl"));
    let one = one.unwrap();
    // A model without biases makes nothing of nothing, at every depth.
    let zero = one.get_series("ablation.resid-post.zero.kl").unwrap();
    assert!(zero.iter().all(|v| (v - zero[0]).abs() < 1e-9 && *v > 0.0));
    let scalar = one.get_series("ablation.scalar.resid-post").unwrap();
    let vector = one.get_series("ablation.vector.resid-post").unwrap();
    // The mean norm is not the norm of the mean, yet a norm's distance from the
    // mean of norms stays below the mean distance plus the means' own gap; on
    // these models it is smaller outright, which is what E12 is about.
    assert!(scalar.iter().zip(vector).all(|(s, v)| s < v));
}

#[test]
fn a_planted_sink_and_a_planted_massive_activation_are_found() {
    use candle_core::Tensor;
    let folder = tempfile::tempdir().unwrap();
    write_hf(folder.path(), &TinyModel::gpt2(4)).unwrap();
    // The first position's embedding carries 5000 in dimension 7; head 2 of block
    // 0 has that dimension for its first key and a constant first query.
    let path = folder.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let name = tensors
        .keys()
        .find(|k| k.ends_with("wpe.weight"))
        .unwrap()
        .clone();
    let mut rows: Vec<Vec<f32>> = tensors[&name].to_vec2().unwrap();
    rows[0][7] = 5000.0;
    tensors.insert(name, Tensor::new(rows, &Device::Cpu).unwrap());
    let (d, first_of_head) = (32, 2 * 8);
    let find = |end: &str| tensors.keys().find(|k| k.ends_with(end)).unwrap().clone();
    let (weight, bias) = (find("h.0.attn.c_attn.weight"), find("h.0.attn.c_attn.bias"));
    let gain = tensors[&find("h.0.ln_1.weight")].to_vec1::<f32>().unwrap()[7];
    let mut rows: Vec<Vec<f32>> = tensors[&weight].to_vec2().unwrap();
    rows[7][d + first_of_head] = 10.0 * gain.signum();
    let mut constant: Vec<f32> = tensors[&bias].to_vec1().unwrap();
    constant[first_of_head] = 20.0;
    tensors.insert(weight, Tensor::new(rows, &Device::Cpu).unwrap());
    tensors.insert(bias, Tensor::new(constant, &Device::Cpu).unwrap());
    candle_core::safetensors::save(&tensors, &path).unwrap();
    let (samples, _) = run(folder.path(), &whole()).unwrap();
    let one = sample(&samples, "letters-1-long");
    for layer in 0..2 {
        let at = |what: &str| one.get_series(&format!("massive.{what}.by-layer")).unwrap()[layer];
        assert_eq!(
            (at("position"), at("dimension"), at("sun")),
            (0.0, 7.0, 1.0)
        );
        assert!(at("top-1") > 4000.0);
    }
    let first = one.get_series("norm.resid-post.first").unwrap();
    let rest = one.get_series("norm.resid-post.rest").unwrap();
    assert!(first[0] - rest[0] > 3.0);
    for set in ["letters", "numbers"] {
        let map = sample(&samples, Record::MODEL).get_series(&format!("map.sink.{set}"));
        let heads = &map.unwrap()[..4];
        assert!(heads[2] > 0.999, "{heads:?}");
        assert!([0, 1, 3].iter().all(|h| heads[*h] < 0.9), "{heads:?}");
    }
}

#[test]
fn a_users_own_texts_need_no_lengths_and_no_pairs() {
    let prompts = [
        "The year is 1900.",
        "12 and 12 in France",
        "to a capital, in 19.",
    ];
    let prompts = prompts.iter().enumerate();
    let prompts = prompts.map(|(i, t)| prompt(&format!("own-{i}"), "own", t, &[("set", "own")]));
    let (_folder, samples) = tiny(&TinyModel::llama(3), &set(prompts.collect()));
    let one = sample(&samples, "own-0");
    assert!(one.measures.contains_key("norm.attn-out.by-layer"));
    assert!(!one.measures.keys().any(|k| k.starts_with("ablation.")));
    assert_eq!(
        sample(&samples, Record::MODEL).get("pair.fitting").unwrap(),
        0.0
    );
}

#[test]
fn a_text_of_one_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_hf(folder.path(), &TinyModel::gpt_neox(1)).unwrap();
    let error = run(folder.path(), &set(vec![prompt("lone", "c", "x", &[])])).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("tiny") && said.contains("lone"), "{said}");
}
