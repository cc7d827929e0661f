//! What is measured on one model. Rows are pairs; x is English and y Chinese
//! unless said otherwise; loo leaves out one pair, kinds one category.
//!
//! **A pair** (`pair.{id}`), the primary bridge: `whole`, `error.ols`,
//! `error.ridge`, `error.procrustes` squared distances with the pair left out,
//! `kinds-whole`, `kinds-error.ridge`, `kinds-error.ols` with its category left
//! out
//!
//! **The model** (`model`):
//! - `layers` all of them, `l1`, `ks`, `ns`, `primary-k`, `span`
//! - `r2.{space}.{mean|last}.{fit}.n{N}.k{k}` [in-sample, loo], space `z` (SVD-Z
//!   of l1), `pca`, or `ard` (the dimensions of greatest weight in a contrast
//!   fitted on the problems); `kinds.…` where N is all; `within.…` loo with
//!   categories' means taken off
//! - `back.…` the same as `r2` from Chinese to English (space z, mean, all N)
//! - `across.{from}.{to}` kinds of ridge from English at a layer to Chinese at
//!   another, in each layer's own Z
//! - `map.{fit}.n{N}.k{k}` [orthogonality error, largest singular value, number
//!   of singular values above 1e-8 of the largest]
//! - `spectrum` singular values of the primary ridge map
//! - `null.shuffled` [199] loo of the primary bridge (least squares) with
//!   shuffled pairings; `null.shuffled.own` its own; `null.random` [100] kinds
//!   of ridge in random subspaces; `null.random-in-sample` [100] the note's
//!   N = 20, k = 50 in random subspaces
//! - `note` the published case on 20 problems: [in-sample, loo, non-zero
//!   singular values, orthogonality error]
//! - `planted.n{N}.k{k}.r{R²}` [power, ridge, least squares, rotation error]

use std::collections::BTreeMap;

use assay_experiment::{ExperimentError, Session};
use assay_geometry::{
    Bridge, ContrastSettings, Fit, GeometryError, HeadMasks, Moment, Subspace, TwoClouds, contrast,
    left_out, r2_by_groups, r2_in_sample, r2_left_out,
};
use assay_problems::Pair;
use assay_record::{PromptSet, Sample};
use assay_stats::stream;
use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::features::{Layers, Pooled, Sides, bank, pooled, query_key};
use crate::planted::{recovery, shuffled};

const POOLINGS: [&str; 2] = ["mean", "last"];
const KS: [usize; 4] = [5, 10, 20, 50];
const NS: [usize; 4] = [20, 50, 100, 200];
const SHUFFLED: usize = 199;
const RANDOM: usize = 100;
/// The published case.
const NOTE: (usize, usize) = (20, 50);

/// Penalties to choose from, in units of the mean eigenvalue.
pub(crate) fn ridge() -> Fit {
    Fit::Ridge(vec![1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0])
}

fn fits() -> [(&'static str, Fit); 3] {
    [
        ("ols", Fit::LeastSquares),
        ("ridge", ridge()),
        ("procrustes", Fit::Procrustes),
    ]
}

pub(crate) fn plan(session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
    let layers = Layers::of(session)?;
    let _ = query_key(session, layers.l1)?;
    session.tokenizer()?;
    let (_, pairs) = bank(session, prompts, "pairs")?;
    let least = *NS.last().unwrap_or(&0);
    if pairs.len() < least {
        return Err(session.unsuitable(format!(
            "cannot be asked with {} pairs: a bridge needs {least}",
            pairs.len()
        )));
    }
    Ok(())
}

fn failed(session: &Session, layer: usize, what: impl ToString) -> ExperimentError {
    ExperimentError::Measure {
        model: session.model().to_owned(),
        prompt: "(all pairs)".to_owned(),
        layer,
        reason: what.to_string(),
    }
}

/// What the fits of one model share.
struct Bench<'a> {
    layers: Layers,
    masks: HeadMasks,
    pooled: &'a Pooled,
    groups: Vec<usize>,
    ks: Vec<usize>,
    ns: Vec<usize>,
    /// An order in which the first N pairs are N drawn at random.
    order: Vec<usize>,
}

pub(crate) fn measure(
    session: &mut Session,
    seed: u64,
    prompts: &PromptSet,
) -> Result<Vec<Sample>, ExperimentError> {
    let layers = Layers::of(session)?;
    let (set, pairs) = bank(session, prompts, "pairs")?;
    let features = pooled(session, (&set, &pairs), &layers)?;
    let (problem_set, problems) = bank(session, prompts, "problems")?;
    let few = pooled(session, (&problem_set, &problems), &layers)?;
    let fail = |e: GeometryError| failed(session, layers.l1, e);
    let masks = query_key(session, layers.l1)?.factorize().map_err(fail)?;
    let mut categories: Vec<&str> = pairs.iter().map(|p| p.category.as_str()).collect();
    categories.sort_unstable();
    categories.dedup();
    let place = |p: &Pair| {
        categories
            .iter()
            .position(|c| *c == p.category)
            .unwrap_or(0)
    };
    let mut ns: Vec<usize> = NS.to_vec();
    ns.push(pairs.len());
    ns.dedup();
    let bench = Bench {
        ks: KS.iter().copied().filter(|k| *k <= masks.span()).collect(),
        ns,
        groups: pairs.iter().map(place).collect(),
        order: shuffled(pairs.len(), &mut stream(seed, "bridge/order")),
        pooled: &features,
        masks,
        layers: layers.clone(),
    };
    let mut model = blank("model", "model", BTreeMap::new());
    let all: Vec<f64> = layers.all.iter().map(|l| *l as f64).collect();
    model.series("layers", all)?;
    model.scalar("l1", layers.l1 as f64)?;
    model.scalar("span", bench.masks.span() as f64)?;
    model.series("ks", bench.ks.iter().map(|k| *k as f64).collect())?;
    model.series("ns", bench.ns.iter().map(|n| *n as f64).collect())?;
    model.scalar("primary-k", bench.primary() as f64)?;

    let ard = relevant(session, &few, &layers, seed)?;
    bench.sizes(session, &ard, &mut model)?;
    let mut samples = bench.primary_by_pair(session, &pairs)?;
    bench.nulls(session, seed, &few, &mut model)?;
    bench.across(session, &mut model)?;
    bench.note(session, &few, &mut model)?;
    planted(session, seed, &mut model)?;
    samples.push(model);
    Ok(samples)
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

impl Bench<'_> {
    fn primary(&self) -> usize {
        self.ks.last().copied().unwrap_or(1)
    }

    fn at(&self, layer: usize, pooling: usize) -> Option<&Sides> {
        let found = self.pooled.iter().find(|(l, _)| *l == layer);
        found.map(|(_, sides)| &sides[pooling])
    }

    fn l1(&self, session: &Session, pooling: usize) -> Result<&Sides, ExperimentError> {
        let sides = self.at(self.layers.l1, pooling);
        sides.ok_or_else(|| failed(session, self.layers.l1, "was not recorded"))
    }

    /// Every space, pooling, fit, number of pairs and of dimensions.
    fn sizes(
        &self,
        session: &mut Session,
        ard: &[usize],
        model: &mut Sample,
    ) -> Result<(), ExperimentError> {
        let l1 = self.layers.l1;
        let mut jobs = Vec::new();
        for (pooling, name) in POOLINGS.iter().enumerate() {
            for space in ["z", "pca", "ard"] {
                for k in &self.ks {
                    for n in &self.ns {
                        for (fit_name, fit) in fits() {
                            jobs.push((pooling, *name, space, *k, *n, fit_name, fit));
                        }
                    }
                }
            }
        }
        let steps = jobs.len();
        let mut spaces: BTreeMap<(usize, &str, usize), Subspace> = BTreeMap::new();
        for (at, (pooling, pooling_name, space, k, n, fit_name, fit)) in
            jobs.into_iter().enumerate()
        {
            session.progress("bridge: fits", at as u64, steps as u64);
            let sides = self.l1(session, pooling)?;
            let fail = |e: GeometryError| failed(session, l1, e);
            let subspace = match spaces.get(&(pooling, space, k)) {
                Some(subspace) => subspace.clone(),
                None => {
                    let made = match space {
                        "z" => self.masks.of_all_heads(k),
                        "pca" => principal(sides, k),
                        _ => axes(&ard[..k.min(ard.len())], sides.zh.ncols()),
                    };
                    let made = made.map_err(fail)?;
                    spaces.insert((pooling, space, k), made.clone());
                    made
                }
            };
            let rows = &self.order[..n];
            let (x, y) = coordinates(&sides.some(rows), &subspace).map_err(fail)?;
            let name = format!("{space}.{pooling_name}.{fit_name}.n{n}.k{k}");
            let found = both(&x, &y, &fit).map_err(fail)?;
            model.series(&format!("r2.{name}"), found.to_vec())?;
            let everything = n == self.order.len();
            if everything && fit_name != "procrustes" {
                let groups: Vec<usize> = rows.iter().map(|i| self.groups[*i]).collect();
                let kinds = r2_by_groups(&x, &y, &groups, &fit).map_err(fail)?;
                model.scalar(&format!("kinds.{name}"), kinds)?;
                let (x, y) = (centred(&x, &groups), centred(&y, &groups));
                let within = r2_left_out(&x, &y, &fit).map_err(fail)?;
                model.scalar(&format!("within.{name}"), within)?;
            }
            if space == "z" && pooling == 0 {
                if everything {
                    let back = both(&y, &x, &fit).map_err(fail)?;
                    model.series(&format!("back.{name}"), back.to_vec())?;
                }
                let map = Bridge::fit(&x, &y, &fit).map_err(fail)?;
                let values = map.singular_values();
                let top = values.first().copied().unwrap_or_default();
                let above = values.iter().filter(|v| **v > 1e-8 * top).count();
                let about = vec![map.orthogonality_error(), top, above as f64];
                model.series(&format!("map.{fit_name}.n{n}.k{k}"), about)?;
                if everything && fit_name == "ridge" && k == self.primary() {
                    model.series("spectrum", values)?;
                }
            }
        }
        Ok(())
    }

    /// Squared errors of the primary bridge, pair by pair.
    fn primary_by_pair(
        &self,
        session: &mut Session,
        pairs: &[Pair],
    ) -> Result<Vec<Sample>, ExperimentError> {
        session.progress("bridge: pair by pair", 0, 1);
        let fail = |e: GeometryError| failed(session, self.layers.l1, e);
        let z = self.masks.of_all_heads(self.primary()).map_err(fail)?;
        let (x, y) = coordinates(self.l1(session, 0)?, &z).map_err(fail)?;
        let mut samples: Vec<Sample> = pairs
            .iter()
            .map(|p| blank(&format!("pair.{}", p.id), &p.category, BTreeMap::new()))
            .collect();
        let each: Vec<usize> = (0..pairs.len()).collect();
        for (prefix, groups) in [("", &each), ("kinds-", &self.groups)] {
            for (name, fit) in fits() {
                if prefix == "kinds-" && name == "procrustes" {
                    continue;
                }
                let found = left_out(&x, &y, groups, &fit).map_err(fail)?;
                let both = found.errors.iter().zip(&found.whole);
                for (sample, (error, whole)) in samples.iter_mut().zip(both) {
                    sample.scalar(&format!("{prefix}error.{name}"), *error)?;
                    if name == "ols" {
                        sample.scalar(&format!("{prefix}whole"), *whole)?;
                    }
                }
            }
        }
        Ok(samples)
    }

    /// Shuffled pairings and random subspaces.
    fn nulls(
        &self,
        session: &mut Session,
        seed: u64,
        few: &Pooled,
        model: &mut Sample,
    ) -> Result<(), ExperimentError> {
        session.progress("bridge: nulls", 0, 2);
        let l1 = self.layers.l1;
        let fail = |e: GeometryError| failed(session, l1, e);
        let sides = self.l1(session, 0)?;
        let z = self.masks.of_all_heads(self.primary()).map_err(fail)?;
        let (x, y) = coordinates(sides, &z).map_err(fail)?;
        let ols = Fit::LeastSquares;
        let null: Vec<f64> = (0..SHUFFLED)
            .into_par_iter()
            .map(|i| {
                let mut draws = stream(seed, &format!("bridge/shuffled/{i}"));
                r2_left_out(&x, &y.select_rows(&shuffled(y.nrows(), &mut draws)), &ols)
            })
            .collect::<Result<_, _>>()
            .map_err(fail)?;
        model.series("null.shuffled", null)?;
        model.scalar(
            "null.shuffled.own",
            r2_left_out(&x, &y, &ols).map_err(fail)?,
        )?;
        let problems = few.iter().find(|(l, _)| *l == l1).map(|(_, s)| &s[0]);
        let random: Vec<[f64; 2]> = (0..RANDOM)
            .into_par_iter()
            .map(|i| {
                let mut draws = stream(seed, &format!("bridge/random/{i}"));
                let p = Subspace::random(z.k(), z.d(), &mut draws)?;
                let (x, y) = coordinates(sides, &p)?;
                let kinds = r2_by_groups(&x, &y, &self.groups, &ridge())?;
                let inside = match problems {
                    Some(sides) => {
                        let rows: Vec<usize> = (0..NOTE.0.min(sides.zh.nrows())).collect();
                        let (x, y) = coordinates(&sides.some(&rows), &p)?;
                        r2_in_sample(&x, &y, &ols)?
                    }
                    None => f64::NAN,
                };
                Ok([kinds, inside])
            })
            .collect::<Result<_, GeometryError>>()
            .map_err(fail)?;
        model.series("null.random", random.iter().map(|r| r[0]).collect())?;
        let inside = random.iter().map(|r| r[1]).collect();
        Ok(model.series("null.random-in-sample", inside)?)
    }

    /// From English at one layer to Chinese at another.
    fn across(&self, session: &mut Session, model: &mut Sample) -> Result<(), ExperimentError> {
        let mut own = Vec::new();
        for layer in &self.layers.all {
            session.progress("bridge: across layers", 0, 1);
            let fail = |e: GeometryError| failed(session, *layer, e);
            let masks = query_key(session, *layer)?.factorize().map_err(fail)?;
            let z = masks.of_all_heads(self.primary()).map_err(fail)?;
            let Some(sides) = self.at(*layer, 0) else {
                continue;
            };
            own.push((*layer, coordinates(sides, &z).map_err(fail)?));
        }
        for (from, (x, _)) in &own {
            for (to, (_, y)) in &own {
                let kinds = r2_by_groups(x, y, &self.groups, &ridge());
                let kinds = kinds.map_err(|e| failed(session, *to, e))?;
                model.scalar(&format!("across.{from}.{to}"), kinds)?;
            }
        }
        Ok(())
    }

    /// The published case: 20 problems, 50 dimensions, least squares.
    fn note(
        &self,
        session: &Session,
        few: &Pooled,
        model: &mut Sample,
    ) -> Result<(), ExperimentError> {
        let fail = |e: GeometryError| failed(session, self.layers.l1, e);
        let Some((_, [sides, _])) = few.iter().find(|(l, _)| *l == self.layers.l1) else {
            return Ok(());
        };
        let k = NOTE.1.min(self.masks.span());
        let z = self.masks.of_all_heads(k).map_err(fail)?;
        let rows: Vec<usize> = (0..NOTE.0.min(sides.zh.nrows())).collect();
        let (x, y) = coordinates(&sides.some(&rows), &z).map_err(fail)?;
        let [inside, loo] = both(&x, &y, &Fit::LeastSquares).map_err(fail)?;
        // Without intercept, as published.
        let bridge = Bridge::fit(&x, &y, &Fit::LeastSquares).map_err(fail)?;
        let values = bridge.singular_values();
        let top = values.first().copied().unwrap_or_default();
        let above = values.iter().filter(|v| **v > 1e-8 * top).count();
        let found = vec![inside, loo, above as f64, bridge.orthogonality_error()];
        Ok(model.series("note", found)?)
    }
}

/// [in-sample, one pair left out].
fn both(x: &DMatrix<f64>, y: &DMatrix<f64>, fit: &Fit) -> Result<[f64; 2], GeometryError> {
    Ok([r2_in_sample(x, y, fit)?, r2_left_out(x, y, fit)?])
}

/// English and Chinese coordinates.
fn coordinates(
    sides: &Sides,
    space: &Subspace,
) -> Result<(DMatrix<f64>, DMatrix<f64>), GeometryError> {
    Ok((space.coordinates(&sides.en)?, space.coordinates(&sides.zh)?))
}

/// Rows less the mean of their group.
fn centred(rows: &DMatrix<f64>, groups: &[usize]) -> DMatrix<f64> {
    let mut out = rows.clone();
    for group in 0..=groups.iter().copied().max().unwrap_or_default() {
        let own: Vec<usize> = (0..groups.len()).filter(|i| groups[*i] == group).collect();
        if own.is_empty() {
            continue;
        }
        let mean = rows.select_rows(&own).row_mean();
        for i in own {
            let mut row = out.row_mut(i);
            row -= &mean;
        }
    }
    out
}

/// The first k principal directions of both languages' rows.
fn principal(sides: &Sides, k: usize) -> Result<Subspace, GeometryError> {
    let n = sides.zh.nrows();
    let mut rows = DMatrix::zeros(2 * n, sides.zh.ncols());
    for (at, side) in [(0, &sides.zh), (n, &sides.en)] {
        let mean = side.row_mean();
        for i in 0..n {
            rows.set_row(at + i, &(side.row(i) - &mean));
        }
    }
    Moment::of(&rows)?.top(k)
}

/// The span of some axes.
fn axes(dimensions: &[usize], d: usize) -> Result<Subspace, GeometryError> {
    let mut rows = DMatrix::zeros(dimensions.len(), d);
    for (i, j) in dimensions.iter().enumerate() {
        rows[(i, *j)] = 1.0;
    }
    Subspace::spanning(&rows)
}

/// Dimensions by falling weight in a contrast of problems in both languages
/// against different problems, from equal weights: standardised means over
/// positions, so that a problem is a cloud of its category's pairs.
fn relevant(
    session: &mut Session,
    few: &Pooled,
    layers: &Layers,
    seed: u64,
) -> Result<Vec<usize>, ExperimentError> {
    let fail = |e: GeometryError| failed(session, layers.l1, e);
    let Some((_, [mean, last])) = few.iter().find(|(l, _)| *l == layers.l1) else {
        return Err(failed(session, layers.l1, "was not recorded"));
    };
    let d = mean.zh.ncols();
    let scale = spreads(mean);
    // Two views of each prompt, mean and last position, are its cloud.
    let cloud = |mean: &DMatrix<f64>, last: &DMatrix<f64>, i: usize| {
        DMatrix::from_fn(2, d, |r, j| {
            let row = if r == 0 { mean } else { last };
            row[(i, j)] / scale[j]
        })
    };
    let n = mean.zh.nrows();
    let order = shuffled(n, &mut stream(seed, "bridge/ard"));
    let zh = |i: usize| cloud(&mean.zh, &last.zh, i);
    let en = |i: usize| cloud(&mean.en, &last.en, i);
    let together: Vec<TwoClouds<f64>> = (0..n)
        .map(|i| TwoClouds::new(&zh(i), &en(i)))
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    let apart: Vec<TwoClouds<f64>> = (0..n)
        .filter(|i| order[*i] != *i)
        .map(|i| TwoClouds::new(&zh(i), &zh(order[i])))
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    let settings = ContrastSettings {
        budget: 1.0,
        cap: 1.0 / KS[KS.len() - 1].min(d) as f64,
        rate: 0.3,
        steps: 150,
        plateau: (20, 1e-4),
    };
    let found = contrast(&together, &apart, &settings, &mut |_| ()).map_err(fail)?;
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|a, b| found.weights[*b].total_cmp(&found.weights[*a]));
    Ok(order)
}

/// Standard deviation of every dimension over both languages' rows.
fn spreads(sides: &Sides) -> Vec<f64> {
    let columns = sides.zh.column_iter().zip(sides.en.column_iter());
    columns
        .map(|(zh, en)| {
            let all: Vec<f64> = zh.iter().chain(en.iter()).copied().collect();
            let n = all.len() as f64;
            let mean = all.iter().sum::<f64>() / n;
            let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
            // A dimension that never varies tells nothing: it stays as it is.
            if variance > 0.0 { variance.sqrt() } else { 1.0 }
        })
        .collect()
}

/// Planted bridges of every size.
fn planted(session: &mut Session, seed: u64, model: &mut Sample) -> Result<(), ExperimentError> {
    let mut at = 0;
    for n in [20, 50, 100, 200] {
        for k in [5, 20] {
            for r2 in [0.2, 0.5, 0.8] {
                session.progress("bridge: planted bridges", at, 24);
                at += 1;
                let found = recovery(n, k, r2, seed).map_err(|e| failed(session, 0, e))?;
                let values = vec![
                    found.power,
                    found.ridge,
                    found.least_squares,
                    found.rotation_error,
                ];
                model.series(&format!("planted.n{n}.k{k}.r{r2}"), values)?;
            }
        }
    }
    Ok(())
}
