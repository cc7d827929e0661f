//! What the masks are like, and how far apart languages are in them.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, Tested};
use assay_experiment::page::{GAIN, P, PLAIN, Page, R, must, shown, words};
use assay_experiment::subject::{Settings, Subject, over_clusters, write_estimate};
use assay_geometry::Subspace;
use assay_record::{Cell, Measure, Verdict};
use assay_stats as stats;
use assay_stats::{Interval, stream};

use super::candidate;
use crate::masks::RANDOM;

pub(crate) fn write(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
) -> Result<Vec<Candidate>, ExperimentError> {
    ranks(page, s, set)?;
    let gate = gates(page, s, set)?;
    distances(page, s, set)?;
    let near = nearer(page, s, set)?;
    Ok(vec![
        candidate(s, "z.nearer-inside", "languages are nearer inside Z", near),
        candidate(s, "z.mlp-avoids", "the MLP avoids Z", gate),
    ])
}

/// Effective ranks and audited masks.
fn ranks(page: &mut Page, s: &Subject<'_>, set: Settings) -> Result<(), ExperimentError> {
    let model = s.model()?;
    let mut all = Vec::new();
    for layer in 0..s.record.facts.n_layers {
        let ranks = model.get_series(&format!("mask.rank.{layer}"))?;
        let mean = must("effective rank", stats::mean(ranks))?;
        let what = format!(
            "effective rank of K_h, mean over heads, layer {layer}, {}",
            s.name
        );
        page.put(
            &s.id(&format!("rank.{layer}")),
            &what,
            mean,
            PLAIN,
            &s.origin,
        )?;
        all.push(mean);
    }
    let what = format!(
        "effective rank of K_h, mean over heads and layers, {}",
        s.name
    );
    let mean = must("effective rank", stats::mean(&all))?;
    page.put(&s.id("rank"), &what, mean, PLAIN, &s.origin)?;
    let ks = model.get_series("ks")?;
    let layers = model.get_series("layers")?;
    let n = s.record.facts.n_layers;
    let mut rows = Vec::new();
    for k in ks {
        let chance = k / s.record.facts.d_model as f64;
        let put = |page: &mut Page, id: String, what: &str, value: f64| {
            let what = format!("{what}, k = {k}, {}", s.name);
            page.put(&s.id(&id), &what, value, R, &s.origin)
                .map(Cell::Number)
        };
        let mut row = vec![words(k.to_string())];
        // By symmetry the similarity of a mask with a random subspace has the
        // distribution of that of any two random subspaces.
        let random: Vec<f64> = (0..RANDOM)
            .map(|n| {
                let mut draws = stream(set.seed, &format!("z-causality/similarity/{k}/{n}"));
                let mut one = || Subspace::random(*k as usize, s.record.facts.d_model, &mut draws);
                let (a, b) = (one()?, one()?);
                a.similarity(&b)
            })
            .collect::<Result<_, assay_geometry::GeometryError>>()
            .map_err(|e| ExperimentError::Statistic {
                what: "similarity of random subspaces".to_owned(),
                reason: e.to_string(),
            })?;
        row.push(put(
            page,
            format!("similarity.k{k}.chance"),
            "chance level k/d of the similarity",
            chance,
        )?);
        let largest = random.iter().copied().fold(0.0, f64::max);
        row.push(put(
            page,
            format!("similarity.k{k}.random"),
            "largest similarity of 100 pairs of random subspaces",
            largest,
        )?);
        for heads in ["all", "head-0"] {
            let name = format!("mask.similarity.{heads}.k{k}");
            let Ok(values) = model.get_series(&name) else {
                row.extend([(), ()].map(|()| Cell::Missing("a head reads fewer".to_owned())));
                continue;
            };
            let (a, b) = (layers[0] as usize, layers[1] as usize);
            let between = values.get(a * n + b).copied().unwrap_or(f64::NAN);
            let off: Vec<f64> = values
                .iter()
                .enumerate()
                .filter(|(i, _)| i / n != i % n)
                .map(|(_, v)| *v)
                .collect();
            let what = format!("similarity of the masks of l1 and l2, {heads}");
            row.push(put(
                page,
                format!("similarity.{heads}.k{k}"),
                &what,
                between,
            )?);
            let mean = must("similarity", stats::mean(&off))?;
            let what = format!("mean similarity of the masks of two layers, {heads}");
            row.push(put(
                page,
                format!("similarity.{heads}.k{k}.mean"),
                &what,
                mean,
            )?);
        }
        let audited = model.get_series(&format!("mask.audited.l1.k{k}"))?;
        for (at, id, what) in [
            (
                0,
                "gains",
                "similarity of the mask of l1 with the one that has gains folded in",
            ),
            (
                1,
                "query",
                "similarity of the mask of l1 with the query side's",
            ),
        ] {
            let value = audited.get(at).copied().unwrap_or(f64::NAN);
            row.push(put(page, format!("audited.{id}.k{k}"), what, value)?);
        }
        rows.push(row);
    }
    page.table(
        &format!("masks-{}", s.key),
        &format!("Similarity of masks, {}", s.name),
        "Mean squared cosine of principal angles. Between l1 and l2, and over all pairs of layers; the \
         published mask against the one with the gains of the norms folded in, and against the query \
         side's.",
        &[
            "k", "#chance", "#random, largest", "#l1-l2, all heads", "#all pairs", "#l1-l2, head 0", "#all pairs",
            "#gains folded in", "#query side",
        ],
        rows,
    );
    Ok(())
}

/// What the gate of l1 avoids, at the primary k.
fn gates(page: &mut Page, s: &Subject<'_>, set: Settings) -> Result<Finding, ExperimentError> {
    let model = s.model()?;
    let layer = model.get_series("layers")?[0] as usize;
    let mut rows = Vec::new();
    let mut finding = None;
    for k in model.get_series("ks")? {
        let by_block = model.get_series(&format!("mask.ffn.k{k}.by-block"))?;
        let random = model.get_series(&format!("mask.ffn-random.k{k}"))?;
        let Some(value) = by_block.get(layer).copied() else {
            continue;
        };
        let mean = must("gates", stats::mean(random))?;
        let below = random.iter().filter(|r| **r <= value).count();
        let above = random.iter().filter(|r| **r >= value).count();
        let p = (2.0 * (below.min(above) + 1) as f64 / (random.len() + 1) as f64).min(1.0);
        let logs: Vec<f64> = random.iter().map(|r| (r / mean).ln()).collect();
        let low = must("gates", stats::quantile(&logs, set.alpha / 2.0))?;
        let high = must("gates", stats::quantile(&logs, 1.0 - set.alpha / 2.0))?;
        let estimate = (value / mean).ln();
        let id = s.id(&format!("ffn.k{k}"));
        let mut put = |rest: &str, what: &str, value: f64, style| {
            let what = format!("{what}, k = {k}, {}", s.name);
            page.put(&format!("{id}{rest}"), &what, value, style, &s.origin)
        };
        let cells = [
            put(
                "",
                "what the gate of l1 reads in Z over chance",
                value,
                GAIN,
            )?,
            put(
                ".random",
                "the same of random subspaces, mean",
                mean,
                GAIN.drawn(),
            )?,
            put(".log", "its log minus theirs", estimate, GAIN.drawn())?,
            put(".p", "exact two-sided rank p", p, P.drawn())?,
        ];
        let mut row = vec![words(k.to_string())];
        row.extend(cells.into_iter().map(Cell::Number));
        rows.push(row);
        if *k == model.get("primary-k")? {
            finding = Some(Finding::Tested(Tested {
                because: format!(
                    "The gate reads {} of chance, random subspaces {} (log ratio {}, rank p = {}).",
                    shown(&id),
                    shown(&format!("{id}.random")),
                    shown(&format!("{id}.log")),
                    shown(&format!("{id}.p"))
                ),
                estimate,
                interval: Interval {
                    low: estimate - high,
                    high: estimate - low,
                },
                p,
                id: id.clone(),
                origin: s.origin.clone(),
            }));
        }
    }
    page.table(
        &format!("gates-{}", s.key),
        &format!("What the gate of l1 reads in Z, {}", s.name),
        "|W_gate P|^2 / |W_gate|^2 over k/d: 1 by chance; beside it the mean of 100 random subspaces.",
        &["k", "#over chance", "#random", "#log ratio", "#p"],
        rows,
    );
    Ok(finding
        .unwrap_or_else(|| Finding::Settled(Verdict::NotRun, "No mask was measured.".to_owned())))
}

/// Names of the configurations of distances, in the record's order.
pub(crate) fn configurations<'a>(s: &Subject<'a>) -> Result<Vec<&'a str>, ExperimentError> {
    let model = s.model()?;
    let names = model.measures.keys();
    let names = names.filter_map(|n| n.strip_prefix("distance."));
    Ok(names.collect())
}

fn distances(page: &mut Page, s: &Subject<'_>, set: Settings) -> Result<(), ExperimentError> {
    let model = s.model()?;
    let mut rows = Vec::new();
    for name in configurations(s)? {
        let found = model.get_series(&format!("distance.{name}"))?;
        let random = model.get_series(&format!("distance-random.{name}"))?;
        let [z, perp, energy] = found else {
            continue;
        };
        let gap: Vec<f64> = random.chunks(3).map(|r| r[0] - r[1]).collect();
        let below = gap.iter().filter(|g| **g <= z - perp).count();
        let above = gap.iter().filter(|g| **g >= z - perp).count();
        let p = (2.0 * (below.min(above) + 1) as f64 / (gap.len() + 1) as f64).min(1.0);
        let energies: Vec<f64> = random.chunks(3).map(|r| r[2]).collect();
        let id = s.id(&format!("distance.{name}"));
        let low = must("distances", stats::quantile(&gap, set.alpha / 2.0))?;
        let high = must("distances", stats::quantile(&gap, 1.0 - set.alpha / 2.0))?;
        let energy_random = must("distances", stats::mean(&energies))?;
        let mut put = |rest: &str, what: &str, value: f64, style| {
            let what = format!("{what}, {name}, {}", s.name);
            let id = format!("{id}.{rest}");
            page.put(&id, &what, value, style, &s.origin)
                .map(Cell::Number)
        };
        let mut row = vec![words(name)];
        row.extend([
            put(
                "z",
                "distance of translations over that of problems in Z",
                *z,
                R,
            )?,
            put("perp", "the same in the complement", *perp, R)?,
            put("gap", "difference of the two", z - perp, R)?,
            put(
                "random-low",
                "lower end of the middle 95 % of that difference in random subspaces",
                low,
                R.drawn(),
            )?,
            put(
                "random-high",
                "upper end of the middle 95 % of that difference in random subspaces",
                high,
                R.drawn(),
            )?,
            put(
                "p",
                "exact two-sided rank p of the difference",
                p,
                P.drawn(),
            )?,
            put(
                "energy",
                "share of the squared difference of translations in Z",
                *energy,
                R,
            )?,
            put(
                "energy-random",
                "mean of that share in random subspaces",
                energy_random,
                R.drawn(),
            )?,
        ]);
        rows.push(row);
    }
    page.table(
        &format!("distances-{}", s.key),
        &format!("Translations near, problems far?, {}", s.name),
        "Distance of a problem's two languages over the mean distance of two problems, inside Z and in the \
         complement; configuration: layer, heads, k, pooling. Below 0 the gap says that languages are \
         relatively nearer inside. The middle 95 % of 100 random subspaces stands beside it, and the energy \
         of the translations' difference, k/d by chance.",
        &[
            "configuration", "#in Z", "#outside", "#gap", "#random from", "#to", "#p", "#energy",
            "#random",
        ],
        rows,
    );
    Ok(())
}

/// The pre-registered configuration, by pairs.
fn nearer(page: &mut Page, s: &Subject<'_>, set: Settings) -> Result<Finding, ExperimentError> {
    let model = s.model()?;
    let name = format!("l1.all.k{}.mean", model.get("primary-k")?);
    let Some(Measure::Series(each)) = model.measures.get(&format!("distance-by-pair.{name}"))
    else {
        return Ok(Finding::Settled(
            Verdict::NotRun,
            format!("The record has no {name}."),
        ));
    };
    if each.len() != 2 * s.units("pair.").count() {
        return Err(ExperimentError::Statistic {
            what: format!("distances by pair, {name}, {}", s.name),
            reason: "there are not two for every pair".to_owned(),
        });
    }
    let pairs = s.units("pair.").zip(each.chunks(2));
    let values: Vec<(&str, f64)> = pairs
        .map(|(pair, r)| (pair.cluster.as_str(), r[0] - r[1]))
        .collect();
    let id = s.id("nearer");
    let what = format!(
        "relative distance of translations in Z minus in its complement, {name}, {}",
        s.name
    );
    let estimate = must(
        &what,
        over_clusters(&values, &format!("{}/nearer", s.key), set),
    )?;
    let mut tested = write_estimate(page, (&id, &what), &estimate, &s.origin)?;
    let random = s.id(&format!("distance.{name}"));
    tested.because = format!(
        "{} Random subspaces give a gap from {} to {}.",
        tested.because,
        shown(&format!("{random}.random-low")),
        shown(&format!("{random}.random-high"))
    );
    Ok(Finding::Tested(tested))
}
