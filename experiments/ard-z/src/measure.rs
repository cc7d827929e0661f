//! What is measured on one model.
//!
//! **A pair** (`pair.{id}`; tag half = fitted | held-out): at the input of l1,
//! audited weights: `near`, `far` weighted MMD² to its translation and to
//! another problem of its half, `near-equal`, `far-equal` with equal weights
//!
//! **The model** (`model`):
//! - `layers`, `l1`, `k`, `lambdas`
//! - `fit.{layer}.{zeros|svd}.{λ}` [steps, objective at the start, at the end,
//!   MMD² at the start, at the end, effective number of dimensions, 0 or which
//!   degenerate end: 1 no kernel, 2 negative by noise, 3 endless lengths]
//! - `log-lengths.{layer}.{start}` [d] at λ = .01
//! - `overlap.{layer}.{start}` share of the k shortest lengths among the k
//!   dimensions of greatest energy in Z, λ = .01
//! - `zero-share.{layer}` share of the kernel's values that are exactly 0 in
//!   f32 at log ℓ = 0
//! - `contrast.{layer}` [objective at the start, at the end, on the held-out
//!   half with equal weights, with the weights, effective number, steps]
//! - `contrast-overlap.{layer}` [share of overlap, mean over 999 draws of
//!   dimensions matched in variance, their rank p, chance k/d]
//! - `weights` [d] the audited weights at l1, `energy` [d] Z's energy by
//!   dimension, `variance` [d]
//! - `basis` [AUC-like: effective number of dimensions and share of the weight
//!   that falls on Z, of a contrast in a basis whose first k directions are Z]
//! - `held` the same where the first directions are those that the model was
//!   trained to hold its answers in, at their block
//! - `languages` MMD² of pooled prompts, `languages.swaps` [999] under swaps
//! - `planted.{basis}.n{pairs}.s{noise}` [AUC published, effective number
//!   published, AUC audited, effective number audited]

use std::collections::BTreeMap;

use assay_experiment::{ExperimentError, Session, Tokenised};
use assay_geometry::{
    ContrastSettings, Degenerate, GeometryError, LengthFit, LengthSettings, Subspace, TwoClouds,
    contrast, effective_number,
};
use assay_problems::{Pair, pairs};
use assay_record::{PromptSet, Sample};
use assay_stats::stream;
use assay_train::HeldSubspace;
use nalgebra::DMatrix;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;
use rayon::prelude::*;

use crate::clouds::{Clouds, query_key};
use crate::planted::{self, Basis};

/// Layers in 36ths of the depth.
const DEPTHS: [usize; 10] = [10, 15, 20, 25, 28, 30, 32, 33, 34, 35];
const LAMBDAS: [f64; 3] = [0.001, 0.01, 0.1];
/// Pairs that the published fits use.
const PUBLISHED_PAIRS: usize = 20;
/// λ at which lengths are kept.
const KEPT: f64 = 0.01;
const DRAWS: usize = 999;
const K: usize = 50;
/// Added to energies before their logarithm is taken: the share that a
/// dimension has if a thousandth of Z is spread over all.
const FLOOR: f64 = 1e-3;

fn published(lambda: f64) -> LengthSettings {
    LengthSettings {
        lambda,
        rate: 0.01,
        steps: (500, 1000),
        plateau: (50, 1e-3),
    }
}

fn audited(k: usize) -> ContrastSettings {
    ContrastSettings {
        budget: 1.0,
        cap: 1.0 / k as f64,
        rate: 0.3,
        steps: 150,
        plateau: (20, 1e-4),
    }
}

/// Layers looked at, the primary one among them.
fn layers(n: usize) -> (usize, Vec<usize>) {
    let l1 = (32 * n / 36).min(n - 3);
    let mut all: Vec<usize> = DEPTHS.iter().map(|d| (d * n / 36).min(n - 1)).collect();
    all.push(l1);
    all.sort_unstable();
    all.dedup();
    (l1, all)
}

fn bank(session: &Session, prompts: &PromptSet) -> Result<(Vec<Pair>, Tokenised), ExperimentError> {
    let set = prompts.with_tag("set", "problems");
    if set.prompts.is_empty() {
        return Err(session
            .unsuitable("cannot be asked with this bank: no prompt has the tag set = problems"));
    }
    let pairs = pairs(&set).map_err(|e| session.unsuitable(e.to_string()))?;
    if pairs.len() < 8 {
        return Err(session.unsuitable(format!(
            "cannot be asked with {} pairs: halves need four each",
            pairs.len()
        )));
    }
    let tokens = session.tokenise(&set)?;
    if let Some(short) = tokens.ids.iter().position(|t| t.ids.len() < t.special + 2) {
        let prompt = &set.prompts[short].id;
        return Err(session.unsuitable(format!("cuts prompt {prompt} into fewer than two tokens")));
    }
    Ok((pairs, tokens))
}

pub(crate) fn plan(session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
    let n = session.config().n_layers;
    if n < 3 {
        return Err(session.unsuitable(format!(
            "has {n} layers, and Z is looked for in one with two behind it"
        )));
    }
    let (l1, _) = layers(n);
    let _ = query_key(session, l1)?;
    let (_, tokens) = bank(session, prompts)?;
    session.plan(&tokens.pack, &["blocks.*.hook_resid_pre"])
}

fn failed(session: &Session, layer: usize, what: impl ToString) -> ExperimentError {
    ExperimentError::Measure {
        model: session.model().to_owned(),
        prompt: "(all pairs)".to_owned(),
        layer,
        reason: what.to_string(),
    }
}

fn blank(unit: &str, cluster: &str, tags: BTreeMap<String, String>) -> Sample {
    Sample {
        unit: unit.to_owned(),
        cluster: cluster.to_owned(),
        text: String::new(),
        token_ids: Vec::new(),
        special_tokens: 0,
        tags,
        measures: BTreeMap::new(),
    }
}

pub(crate) fn measure(
    session: &mut Session,
    seed: u64,
    prompts: &PromptSet,
) -> Result<Vec<Sample>, ExperimentError> {
    let n = session.config().n_layers;
    let (l1, all) = layers(n);
    let (pairs, tokens) = bank(session, prompts)?;
    let trace = session.trace(&tokens.pack)?;
    let sides: Vec<(usize, usize)> = pairs.iter().map(|p| (p.zh, p.en)).collect();
    let mut model = blank("model", "model", BTreeMap::new());
    model.series("layers", all.iter().map(|l| *l as f64).collect())?;
    model.scalar("l1", l1 as f64)?;
    model.series("lambdas", LAMBDAS.to_vec())?;
    let masks = query_key(session, l1)?
        .factorize()
        .map_err(|e| failed(session, l1, e))?;
    let k = K.min(masks.span()).min(session.config().d_model / 2);
    model.scalar("k", k as f64)?;
    // Every other pair, so that every category is in both halves.
    let half = |rest: usize| -> Vec<usize> { (0..pairs.len()).filter(|i| i % 2 == rest).collect() };
    let (fitted, held_out) = (half(0), half(1));
    let mut samples: Vec<Sample> = pairs
        .iter()
        .enumerate()
        .map(|(i, p)| {
            let half = if i % 2 == 0 { "fitted" } else { "held-out" };
            let tags = BTreeMap::from([("half".to_owned(), half.to_owned())]);
            blank(&format!("pair.{}", p.id), &p.category, tags)
        })
        .collect();
    let stages = all.len() as u64;
    for (done, layer) in all.iter().enumerate() {
        let fail = |e: GeometryError| failed(session, *layer, e);
        let clouds = Clouds::before(&trace, *layer, &sides, &tokens)?;
        let masks = query_key(session, *layer)?.factorize().map_err(fail)?;
        let z = masks.of_all_heads(k.min(masks.span())).map_err(fail)?;
        let energy: Vec<f64> = z.basis().column_iter().map(|c| c.norm_squared()).collect();
        as_published(session, (&clouds, &energy, k), *layer, &mut model)?;
        session.progress("ard-z: audited fits", done as u64, stages);
        let scaled = clouds.standardised();
        let weights = contrasted(
            session,
            &scaled,
            (&fitted, &held_out, k),
            *layer,
            &mut model,
        )?;
        let variance = clouds.variances();
        let overlap = overlap(&weights, &energy, &variance, k, seed, *layer);
        model.series(&format!("contrast-overlap.{layer}"), overlap.to_vec())?;
        if *layer == l1 {
            by_pair(
                session,
                &scaled,
                &weights,
                [&fitted, &held_out],
                &mut samples,
            )?;
            let found = in_its_basis(session, (&clouds, &z), &fitted, *layer)?;
            model.series("basis", found)?;
            languages(session, &scaled, seed, *layer, &mut model)?;
            model.series("weights", weights)?;
            model.series("energy", energy)?;
            model.series("variance", variance)?;
        }
    }
    if let Some((block, held)) = held(session)? {
        let clouds = Clouds::before(&trace, block, &sides, &tokens)?;
        let found = in_its_basis(session, (&clouds, &held), &fitted, block)?;
        model.series("held", found)?;
    }
    planted_truths(session, seed, &mut model)?;
    samples.push(model);
    Ok(samples)
}

/// The subspace that a model was trained to hold its answers in, if it was.
fn held(session: &Session) -> Result<Option<(usize, Subspace)>, ExperimentError> {
    let config = session.config();
    let held = HeldSubspace::read(session.folder()?, config.d_model);
    let held = held.map_err(|e| session.unsuitable(e.to_string()))?;
    Ok(held.filter(|(block, _)| *block < config.n_layers))
}

/// The λ grid from both starts, on the first pairs, in f32.
fn as_published(
    session: &mut Session,
    (clouds, energy, k): (&Clouds, &[f64], usize),
    layer: usize,
    model: &mut Sample,
) -> Result<(), ExperimentError> {
    let fail = |session: &Session, e: GeometryError| failed(session, layer, e);
    let few: Vec<usize> = (0..clouds.zh.len().min(PUBLISHED_PAIRS)).collect();
    let pairs: Vec<TwoClouds<f32>> = clouds.together(&few).map_err(|e| fail(session, e))?;
    let d = clouds.d();
    let ones = vec![1.0; d];
    let zero: Vec<f64> = pairs
        .par_iter()
        .map(|p| p.zero_share(&ones))
        .collect::<Result<_, _>>()
        .map_err(|e| fail(session, e))?;
    let share = zero.iter().sum::<f64>() / zero.len() as f64;
    model.scalar(&format!("zero-share.{layer}"), share)?;
    let prior = energy.iter().map(|e| -(e + FLOOR).ln()).collect();
    for (start, log_lengths) in [("zeros", vec![0.0; d]), ("svd", prior)] {
        for lambda in LAMBDAS {
            let settings = published(lambda);
            let stage = format!("ard-z: layer {layer}, lambda {lambda}");
            let mut fit = LengthFit::from(log_lengths.clone());
            let tell = &mut |done: usize| {
                if done.is_multiple_of(20) {
                    session.progress(&stage, done as u64, settings.steps.1 as u64);
                }
            };
            fit.run(&pairs, &settings, tell)
                .map_err(|e| failed(session, layer, e))?;
            let ends = |values: &[f64]| {
                let first = values.first().copied().unwrap_or_default();
                [first, values.last().copied().unwrap_or_default()]
            };
            let [first, last] = ends(&fit.objective);
            let [mmd_first, mmd_last] = ends(&fit.mmd2);
            let degenerate = match fit.degenerate() {
                None => 0.0,
                Some(Degenerate::NoKernel) => 1.0,
                Some(Degenerate::NegativeByNoise) => 2.0,
                Some(Degenerate::EndlessLengths) => 3.0,
            };
            let number = effective_number(&fit.weights()).map_err(|e| fail(session, e))?;
            let about = vec![
                fit.objective.len() as f64,
                first,
                last,
                mmd_first,
                mmd_last,
                number,
                degenerate,
            ];
            model.series(&format!("fit.{layer}.{start}.{lambda}"), about)?;
            if lambda == KEPT {
                let share = shared(&top(&fit.weights(), k), &top(energy, k));
                model.scalar(&format!("overlap.{layer}.{start}"), share)?;
                model.series(&format!("log-lengths.{layer}.{start}"), fit.log_lengths)?;
            }
        }
    }
    Ok(())
}

/// The audited weights of a layer, fitted on one half.
fn contrasted(
    session: &mut Session,
    clouds: &Clouds,
    (fitted, held_out, k): (&[usize], &[usize], usize),
    layer: usize,
    model: &mut Sample,
) -> Result<Vec<f64>, ExperimentError> {
    let fail = |e: GeometryError| failed(session, layer, e);
    let together: Vec<TwoClouds<f32>> = clouds.together(fitted).map_err(fail)?;
    let apart: Vec<TwoClouds<f32>> = clouds.apart(fitted).map_err(fail)?;
    let found = contrast(&together, &apart, &audited(k), &mut |_| ()).map_err(fail)?;
    let score = |weights: &[f64]| -> Result<f64, GeometryError> {
        let mean = |clouds: Vec<TwoClouds<f32>>| -> Result<f64, GeometryError> {
            let n = clouds.len() as f64;
            let all: Vec<f64> = clouds
                .par_iter()
                .map(|c| c.mmd2(weights))
                .collect::<Result<_, _>>()?;
            Ok(all.iter().sum::<f64>() / n)
        };
        Ok(mean(clouds.together(held_out)?)? - mean(clouds.apart(held_out)?)?)
    };
    let d = clouds.d();
    let ends = [found.objective.first(), found.objective.last()];
    let [first, last] = ends.map(|v| v.copied().unwrap_or_default());
    let about = vec![
        first,
        last,
        score(&vec![1.0 / d as f64; d]).map_err(fail)?,
        score(&found.weights).map_err(fail)?,
        effective_number(&found.weights).map_err(fail)?,
        found.objective.len() as f64,
    ];
    model.series(&format!("contrast.{layer}"), about)?;
    Ok(found.weights)
}

/// Places of the k largest.
pub(crate) fn top(values: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order.truncate(k);
    order
}

fn shared(a: &[usize], b: &[usize]) -> f64 {
    a.iter().filter(|i| b.contains(i)).count() as f64 / a.len().max(1) as f64
}

/// [share of overlap with Z's dimensions, its mean over draws of dimensions
/// matched in variance, rank p, chance].
fn overlap(
    weights: &[f64],
    energy: &[f64],
    variance: &[f64],
    k: usize,
    seed: u64,
    layer: usize,
) -> [f64; 4] {
    let (own, z) = (top(weights, k), top(energy, k));
    let found = shared(&own, &z);
    // Strata of ten dimensions of like variance; as many are drawn from each
    // as the weights chose there.
    let order = top(variance, variance.len());
    let strata: Vec<&[usize]> = order.chunks(10).collect();
    let mut draws = stream(seed, &format!("ard/matched/{layer}"));
    let random: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let mut drawn = Vec::with_capacity(k);
            for stratum in &strata {
                let wanted = stratum.iter().filter(|i| own.contains(i)).count();
                drawn.extend(some(stratum, wanted, &mut draws));
            }
            shared(&drawn, &z)
        })
        .collect();
    let mean = random.iter().sum::<f64>() / DRAWS as f64;
    let above = random.iter().filter(|r| **r >= found).count();
    let below = random.iter().filter(|r| **r <= found).count();
    let p = (2.0 * (above.min(below) + 1) as f64 / (DRAWS + 1) as f64).min(1.0);
    [found, mean, p, k as f64 / weights.len() as f64]
}

/// Some of a list, without repetition.
fn some(list: &[usize], wanted: usize, draws: &mut ChaCha20Rng) -> Vec<usize> {
    let mut keyed: Vec<(u64, usize)> = list.iter().map(|i| (draws.next_u64(), *i)).collect();
    keyed.sort_unstable();
    keyed.into_iter().take(wanted).map(|(_, i)| i).collect()
}

/// Distances of each pair within its half.
fn by_pair(
    session: &Session,
    clouds: &Clouds,
    weights: &[f64],
    halves: [&[usize]; 2],
    samples: &mut [Sample],
) -> Result<(), ExperimentError> {
    let d = clouds.d();
    let equal = vec![1.0 / d as f64; d];
    for half in halves {
        let fail = |e: GeometryError| failed(session, 0, e);
        let together: Vec<TwoClouds<f32>> = clouds.together(half).map_err(fail)?;
        let apart: Vec<TwoClouds<f32>> = clouds.apart(half).map_err(fail)?;
        for (at, i) in half.iter().enumerate() {
            for (name, clouds, weights) in [
                ("near", &together[at], weights),
                ("far", &apart[at], weights),
                ("near-equal", &together[at], equal.as_slice()),
                ("far-equal", &apart[at], equal.as_slice()),
            ] {
                let value = clouds.mmd2(weights).map_err(fail)?;
                samples[*i].scalar(name, value)?;
            }
        }
    }
    Ok(())
}

/// A contrast in a basis whose first directions are Z: how much of the weight
/// falls on Z.
fn in_its_basis(
    session: &Session,
    (clouds, z): (&Clouds, &Subspace),
    fitted: &[usize],
    layer: usize,
) -> Result<Vec<f64>, ExperimentError> {
    let fail = |e: GeometryError| failed(session, layer, e);
    let d = clouds.d();
    let basis = completed(z).map_err(fail)?;
    let turned = clouds.turned(&basis).standardised();
    let together: Vec<TwoClouds<f32>> = turned.together(fitted).map_err(fail)?;
    let apart: Vec<TwoClouds<f32>> = turned.apart(fitted).map_err(fail)?;
    let found = contrast(&together, &apart, &audited(z.k()), &mut |_| ()).map_err(fail)?;
    let on_z: f64 = found.weights[..z.k()].iter().sum();
    let number = effective_number(&found.weights).map_err(fail)?;
    Ok(vec![number, on_z, z.k() as f64 / d as f64])
}

/// An orthonormal basis [d, d] that begins with a subspace's.
fn completed(z: &Subspace) -> Result<DMatrix<f64>, GeometryError> {
    let (k, d) = (z.k(), z.d());
    let mut draws = stream(0, "ard/completed");
    let rest = z.random_in_complement(d - k, &mut draws)?;
    let mut basis = DMatrix::zeros(d, d);
    basis.rows_mut(0, k).copy_from(z.basis());
    basis.rows_mut(k, d - k).copy_from(rest.basis());
    Ok(basis)
}

/// Do the languages' pooled prompts differ? Whole prompts change language
/// within their pair.
fn languages(
    session: &Session,
    clouds: &Clouds,
    seed: u64,
    layer: usize,
    model: &mut Sample,
) -> Result<(), ExperimentError> {
    let fail = |e: GeometryError| failed(session, layer, e);
    let d = clouds.d();
    let rows = |side: &[DMatrix<f64>]| -> DMatrix<f64> {
        DMatrix::from_rows(&side.iter().map(|m| m.row_mean()).collect::<Vec<_>>())
    };
    let (zh, en) = (rows(&clouds.zh), rows(&clouds.en));
    let weights = vec![1.0 / d as f64; d];
    let value =
        |zh: &DMatrix<f64>, en: &DMatrix<f64>| TwoClouds::<f64>::new(zh, en)?.mmd2(&weights);
    model.scalar("languages", value(&zh, &en).map_err(fail)?)?;
    let swaps: Vec<f64> = (0..DRAWS)
        .into_par_iter()
        .map(|i| {
            let mut draws = stream(seed, &format!("ard/swaps/{i}"));
            let (mut a, mut b) = (zh.clone(), en.clone());
            for row in 0..a.nrows() {
                if draws.next_u64() & 1 == 1 {
                    a.set_row(row, &en.row(row));
                    b.set_row(row, &zh.row(row));
                }
            }
            value(&a, &b)
        })
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    Ok(model.series("languages.swaps", swaps)?)
}

/// Planted dimensions of every kind.
fn planted_truths(
    session: &mut Session,
    seed: u64,
    model: &mut Sample,
) -> Result<(), ExperimentError> {
    let mut at = 0;
    for basis in Basis::ALL {
        for pairs in [6, 20] {
            for noise in [0.5, 1.0, 2.0] {
                session.progress("ard-z: planted dimensions", at, 18);
                at += 1;
                let found = planted::recovery(basis, pairs, noise, seed);
                let found = found.map_err(|e| failed(session, 0, e))?;
                let name = format!("planted.{}.n{pairs}.s{noise}", basis.name());
                model.series(&name, found.to_vec())?;
            }
        }
    }
    Ok(())
}
