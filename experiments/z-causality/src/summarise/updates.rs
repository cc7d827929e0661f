//! What blocks write into Z.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, Tested};
use assay_experiment::page::{COUNT, GAIN, Origin, P, Page, R, must, shown, words};
use assay_experiment::subject::{Settings, Subject};
use assay_record::{Cell, Sample};
use assay_stats as stats;
use assay_stats::{Interval, PERMUTATION_DRAWS, stream};

use super::candidate;
use crate::masks::RANDOM;

/// Prompts of a language, or of both.
pub(crate) fn prompts<'a>(s: &Subject<'a>, language: Option<&str>) -> Vec<&'a Sample> {
    let all = s.record.samples.iter();
    all.filter(|x| {
        x.tag("language")
            .is_some_and(|l| language.is_none_or(|w| w == l))
    })
    .collect()
}

/// R of every block over some prompts: mean |P_Z Δ| / mean |P_⊥ Δ|, each prompt
/// weighted as `weights` says.
fn ratios(of: &[&Sample], kind: &str, weights: &[f64]) -> Result<Vec<f64>, ExperimentError> {
    let mut sums: Vec<(f64, f64)> = Vec::new();
    for (sample, weight) in of.iter().zip(weights) {
        let z = sample.get_series(&format!("{kind}.z.by-block"))?;
        let perp = sample.get_series(&format!("{kind}.perp.by-block"))?;
        sums.resize(z.len(), (0.0, 0.0));
        for (sum, (z, p)) in sums.iter_mut().zip(z.iter().zip(perp)) {
            *sum = (sum.0 + weight * z, sum.1 + weight * p);
        }
    }
    Ok(sums.into_iter().map(|(z, p)| z / p).collect())
}

pub(crate) fn plain(of: &[&Sample], kind: &str) -> Result<Vec<f64>, ExperimentError> {
    ratios(of, kind, &vec![1.0; of.len()])
}

/// Ratios of random subspaces, [draw][block].
pub(crate) fn random<'a>(s: &Subject<'a>) -> Result<Vec<&'a [f64]>, ExperimentError> {
    let all = s.model()?.get_series("update.random")?;
    Ok(all.chunks(s.record.facts.n_layers).take(RANDOM).collect())
}

pub(crate) fn write(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
) -> Result<Vec<Candidate>, ExperimentError> {
    let both = prompts(s, None);
    let found = plain(&both, "update")?;
    let draws = random(s)?;
    let (d, k) = (s.record.facts.d_model as f64, s.model()?.get("primary-k")?);
    let chance = (k / (d - k)).sqrt();
    let put = |page: &mut Page, id: &str, what: &str, value: f64, style| {
        page.put(
            &s.id(id),
            &format!("{what}, {}", s.name),
            value,
            style,
            &s.origin,
        )
    };
    put(
        page,
        "update.chance",
        "chance level of R, sqrt(k/(d-k))",
        chance,
        R,
    )?;
    put(
        page,
        "update.block-0",
        "R of block 0, both languages",
        found[0],
        R,
    )?;
    // Published: from block 1 on.
    let later = |r: &[f64]| -> Vec<f64> { r[1..].to_vec() };
    let top = |r: &[f64]| r.iter().copied().fold(f64::MIN, f64::max);
    let largest = top(&later(&found));
    let block = found
        .iter()
        .skip(1)
        .position(|r| *r == largest)
        .map_or(0, |b| b + 1);
    put(
        page,
        "update.max",
        "largest R over blocks from 1 on, both languages",
        largest,
        R,
    )?;
    put(
        page,
        "update.max-block",
        "block with the largest R",
        block as f64,
        COUNT,
    )?;
    for (id, kind, what) in [
        (
            "update.max-token",
            "update-token",
            "largest R from norms token by token",
        ),
        (
            "update.max-bare",
            "update-bare",
            "largest R without massive positions",
        ),
    ] {
        put(page, id, what, top(&later(&plain(&both, kind)?)), R)?;
    }
    let written = written(page, s, set, &both, largest)?;
    let beyond = beyond(page, s, set, &later(&found), &draws)?;
    asymmetry(page, s, set)?;
    table(page, s, &draws)?;
    phases(page, s, &found, &draws)?;
    let said = if largest > 1.0 {
        "Z is written by some block"
    } else {
        "emergent: R never exceeds 1"
    };
    Ok(vec![
        candidate(s, "z.written", said, Finding::Tested(written)),
        candidate(
            s,
            "z.written-beyond-chance",
            "not asked",
            Finding::Tested(beyond),
        ),
    ])
}

/// log of the largest R, with a bootstrap over prompts' categories.
fn written(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    both: &[&Sample],
    largest: f64,
) -> Result<Tested, ExperimentError> {
    let mut clusters: Vec<&str> = both.iter().map(|p| p.cluster.as_str()).collect();
    clusters.sort_unstable();
    clusters.dedup();
    let statistic = |picked: &[usize]| {
        let weights: Vec<f64> = both
            .iter()
            .map(|p| picked.iter().filter(|i| clusters[**i] == p.cluster).count() as f64)
            .collect();
        let found = ratios(both, "update", &weights);
        let found = found.map_err(|_| stats::StatsError::OutOfScale {
            argument: "updates",
        })?;
        Ok(found[1..].iter().copied().fold(f64::MIN, f64::max).ln())
    };
    let draws = stream(set.seed, &format!("{}/update/max", s.key));
    let resamples = assay_experiment::subject::RESAMPLES / 4;
    let bootstrap =
        stats::bootstrap_bca(clusters.len(), statistic, resamples, 1.0 - set.alpha, draws);
    let interval = must("largest R", bootstrap)?.interval;
    let estimate = largest.ln();
    // p by flipping the signs of categories' own log R at that block.
    let at = ratios(both, "update", &vec![1.0; both.len()])?;
    let block = at
        .iter()
        .skip(1)
        .position(|r| *r == largest)
        .map_or(0, |b| b + 1);
    let by_category: Vec<f64> = clusters
        .iter()
        .map(|c| {
            let own: Vec<&Sample> = both.iter().copied().filter(|p| p.cluster == *c).collect();
            Ok(plain(&own, "update")?[block].ln())
        })
        .collect::<Result<_, ExperimentError>>()?;
    let draws = stream(set.seed, &format!("{}/update/flips", s.key));
    let flips = stats::sign_flip(&by_category, PERMUTATION_DRAWS, draws);
    let p = must("largest R", flips)?.p;
    let id = s.id("update.log-max");
    let put = |page: &mut Page, rest: &str, what: &str, value: f64, style| {
        let what = format!("{what}, {}", s.name);
        page.put(&format!("{id}{rest}"), &what, value, style, &s.origin)
    };
    put(page, "", "log of the largest R", estimate, GAIN)?;
    put(
        page,
        ".low",
        "log of the largest R: low end",
        interval.low,
        GAIN.drawn(),
    )?;
    put(
        page,
        ".high",
        "log of the largest R: high end",
        interval.high,
        GAIN.drawn(),
    )?;
    put(page, ".p", "log of the largest R: p", p, P.drawn())?;
    Ok(Tested {
        because: format!(
            "The largest R is {} (block {}), log {} [{}, {}]; R = 1 would need half of an update in {} of \
             its dimensions, and chance is {} (E17).",
            shown(&s.id("update.max")),
            shown(&s.id("update.max-block")),
            shown(&id),
            shown(&format!("{id}.low")),
            shown(&format!("{id}.high")),
            shown(&s.id("k")),
            shown(&s.id("update.chance")),
        ),
        id,
        estimate,
        interval,
        p,
        origin: s.origin.clone(),
    })
}

/// The largest log R above the random mean over blocks, ranked among random
/// subspaces' own largest.
fn beyond(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    found: &[f64],
    draws: &[&[f64]],
) -> Result<Tested, ExperimentError> {
    let n = draws.len() as f64;
    let means: Vec<f64> = (0..found.len())
        .map(|b| draws.iter().map(|r| r[b + 1].ln()).sum::<f64>() / n)
        .collect();
    let largest = |r: &[f64]| {
        let both = r.iter().zip(&means);
        both.map(|(r, mean)| r.ln() - mean).fold(f64::MIN, f64::max)
    };
    let estimate = largest(found);
    let random: Vec<f64> = draws.iter().map(|r| largest(&r[1..])).collect();
    let above = random.iter().filter(|r| **r >= estimate).count();
    let below = random.iter().filter(|r| **r <= estimate).count();
    let p = (2.0 * (above.min(below) + 1) as f64 / (n + 1.0)).min(1.0);
    let what = "largest log R above the random mean over blocks";
    let low = must(what, stats::quantile(&random, set.alpha / 2.0))?;
    let high = must(what, stats::quantile(&random, 1.0 - set.alpha / 2.0))?;
    let centre = must(what, stats::mean(&random))?;
    let id = s.id("update.beyond");
    let put = |page: &mut Page, rest: &str, what: &str, value: f64, style| {
        let what = format!("{what}, {}", s.name);
        page.put(&format!("{id}{rest}"), &what, value, style, &s.origin)
    };
    put(page, "", what, estimate - centre, GAIN.drawn())?;
    put(page, ".p", "exact two-sided rank p of that", p, P.drawn())?;
    Ok(Tested {
        because: format!(
            "Above what random subspaces' own largest are by {} (rank p = {}).",
            shown(&id),
            shown(&format!("{id}.p"))
        ),
        estimate: estimate - centre,
        interval: Interval {
            low: estimate - high,
            high: estimate - low,
        },
        p,
        id,
        origin: s.origin.clone(),
    })
}

/// Differences of the two languages, pair by pair.
fn asymmetry(page: &mut Page, s: &Subject<'_>, set: Settings) -> Result<(), ExperimentError> {
    let (zh, en) = (prompts(s, Some("zh")), prompts(s, Some("en")));
    let share = |x: &Sample| -> Result<Vec<f64>, ExperimentError> {
        let z = x.get_series("update.z.by-block")?;
        let perp = x.get_series("update.perp.by-block")?;
        Ok(z.iter().zip(perp).map(|(z, p)| (z / p).ln()).collect())
    };
    let mut columns = vec![Vec::new(); s.record.facts.n_layers - 1];
    for a in &zh {
        let pair = a.tag("pair");
        let Some(b) = en.iter().find(|b| b.tag("pair") == pair) else {
            continue;
        };
        let (a, b) = (share(a)?, share(b)?);
        for (column, (a, b)) in columns.iter_mut().zip(a.iter().zip(&b).skip(1)) {
            column.push(a - b);
        }
    }
    let views: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let draws = stream(set.seed, &format!("{}/update/asymmetry", s.key));
    let tests = must(
        "asymmetry",
        stats::sign_flip_max(&views, PERMUTATION_DRAWS, draws),
    )?;
    let least = tests.iter().map(|t| t.family.p).fold(1.0, f64::min);
    let at = tests
        .iter()
        .position(|t| t.family.p == least)
        .unwrap_or_default();
    let mean = must("asymmetry", stats::mean(views[at]))?;
    let count = tests.iter().filter(|t| t.family.p < set.alpha).count();
    let id = |rest: &str| s.id(&format!("update.asymmetry.{rest}"));
    let put = |page: &mut Page, rest: &str, what: &str, value: f64, style| {
        page.put(
            &id(rest),
            &format!("{what}, {}", s.name),
            value,
            style,
            &s.origin,
        )
    };
    put(
        page,
        "p",
        "smallest p over blocks of the difference of log R between languages (max-statistic)",
        least,
        P.drawn(),
    )?;
    put(page, "block", "the block with it", (at + 1) as f64, COUNT)?;
    put(
        page,
        "mean",
        "mean difference of log R there, Chinese minus English",
        mean,
        GAIN,
    )?;
    put(
        page,
        "blocks",
        "blocks in which languages differ",
        count as f64,
        COUNT,
    )?;
    Ok(())
}

/// R by block and language with chance and the random band.
fn table(page: &mut Page, s: &Subject<'_>, draws: &[&[f64]]) -> Result<(), ExperimentError> {
    let series = [
        ("zh", plain(&prompts(s, Some("zh")), "update")?),
        ("en", plain(&prompts(s, Some("en")), "update")?),
        ("token", plain(&prompts(s, None), "update-token")?),
        ("bare", plain(&prompts(s, None), "update-bare")?),
    ];
    let mut rows = Vec::new();
    for block in 0..s.record.facts.n_layers {
        let mut row = vec![words(block.to_string())];
        for (name, values) in &series {
            let id = s.id(&format!("update.{name}.{block}"));
            let what = format!("R, {name}, block {block}, {}", s.name);
            row.push(Cell::Number(page.put(
                &id,
                &what,
                values[block],
                R,
                &s.origin,
            )?));
        }
        let random: Vec<f64> = draws.iter().map(|r| r[block]).collect();
        for (end, q) in [("low", 0.025), ("high", 0.975)] {
            let value = must("band", stats::quantile(&random, q))?;
            let id = s.id(&format!("update.random.{block}.{end}"));
            let what = format!(
                "R of random subspaces, {end} end, block {block}, {}",
                s.name
            );
            row.push(Cell::Number(page.put(
                &id,
                &what,
                value,
                R.drawn(),
                &s.origin,
            )?));
        }
        rows.push(row);
    }
    page.table(
        &format!("updates-{}", s.key),
        &format!("What each block writes into Z, {}", s.name),
        &format!(
            "R = mean |P_Z d| / mean |P_perp d| of what a block adds, pooled over positions; token: norms \
             token by token; bare: massive positions left out; random: the middle 95 % of 100 random \
             subspaces. Chance is {}. Published series begin at block 1. Languages differ in {} blocks, \
             most at block {} (by {} in log R, max-statistic p = {}).",
            shown(&s.id("update.chance")),
            shown(&s.id("update.asymmetry.blocks")),
            shown(&s.id("update.asymmetry.block")),
            shown(&s.id("update.asymmetry.mean")),
            shown(&s.id("update.asymmetry.p")),
        ),
        &["block", "#zh", "#en", "#token", "#bare", "#random from", "#to"],
        rows,
    );
    Ok(())
}

/// Encode, reason, decode: stretches of blocks above and below chance.
fn phases(
    page: &mut Page,
    s: &Subject<'_>,
    found: &[f64],
    draws: &[&[f64]],
) -> Result<(), ExperimentError> {
    let state = |block: usize| -> Result<&'static str, ExperimentError> {
        let random: Vec<f64> = draws.iter().map(|r| r[block]).collect();
        let low = must("band", stats::quantile(&random, 0.025))?;
        let high = must("band", stats::quantile(&random, 0.975))?;
        Ok(if found[block] > high {
            "above chance"
        } else if found[block] < low {
            "below chance"
        } else {
            "at chance"
        })
    };
    let mut stretches: Vec<(&'static str, usize, usize)> = Vec::new();
    for block in 0..found.len() {
        let now = state(block)?;
        match stretches.last_mut() {
            Some((before, _, end)) if *before == now => *end = block,
            _ => stretches.push((now, block, block)),
        }
    }
    let none = Origin { ..s.origin.clone() };
    let mut rows = Vec::new();
    for (i, (state, from, to)) in stretches.into_iter().enumerate() {
        let mut row = vec![words(state)];
        for (name, value) in [("from", from), ("to", to)] {
            let id = s.id(&format!("phase.{i}.{name}"));
            let what = format!("blocks {state}: {name}, {}", s.name);
            row.push(Cell::Number(page.put(
                &id,
                &what,
                value as f64,
                COUNT,
                &none,
            )?));
        }
        rows.push(row);
    }
    page.table(
        &format!("phases-{}", s.key),
        &format!("Stretches of blocks, {}", s.name),
        "Change-points by one rule: a stretch is a run of blocks whose R, both languages, lies above, in or \
         below the middle 95 % of random subspaces. Encoding, reasoning and decoding would be three.",
        &["R", "#from block", "#to block"],
        rows,
    );
    Ok(())
}
