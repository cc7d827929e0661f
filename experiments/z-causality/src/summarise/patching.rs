//! What patches do, teacher-forced.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, Tested};
use assay_experiment::page::{COUNT, GAIN, P, PLAIN, Page, SHARE, must, shown, words};
use assay_experiment::subject::{Settings, Subject, over_clusters, write_estimate};
use assay_record::{Cell, Sample, Verdict};
use assay_stats as stats;
use assay_stats::Interval;

use super::{candidate, primary, too_few};
use crate::measure::ENOUGH;

const KINDS: [(&str, &str); 3] = [
    ("haar", "random subspaces"),
    ("matched", "random subspaces of equal patch size"),
    ("perp-part", "as many random dimensions of the complement"),
];

/// A measure of some pairs, with their categories. Every one must have it.
fn values<'a>(pairs: &[&'a Sample], measure: &str) -> Result<Vec<(&'a str, f64)>, ExperimentError> {
    let each = pairs.iter();
    each.map(|p| Ok((p.cluster.as_str(), p.get(measure)?)))
        .collect()
}

pub(crate) fn write(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    able: &[&Sample],
) -> Result<Vec<Candidate>, ExperimentError> {
    let pairs: Vec<&Sample> = s.units("pair.").collect();
    about(page, s)?;
    let cell = primary(s, "in")?;
    let mut found = Vec::new();
    if able.len() < ENOUGH {
        for claim in [
            "z.full-is-like-z",
            "z.moves-answers",
            "z.beyond-random",
            "z.beyond-matched",
            "z.rather-than-complement",
        ] {
            found.push(candidate(
                s,
                claim,
                "success: Z carries answers",
                too_few(s),
            ));
        }
        return Ok(found);
    }
    table(page, s, set, &pairs, able)?;
    like_full(page, s, set, &pairs)?;
    let test = |page: &mut Page, id: &str, what: &str, values: &[(&str, f64)]| {
        let name = format!("{}/{id}", s.key);
        let estimate = must(what, over_clusters(values, &name, set))?;
        let what = format!("{what}, nats, {}", s.name);
        write_estimate(page, (&s.id(id), &what), &estimate, &s.origin)
    };
    let z = values(able, &format!("cross.{cell}.z"))?;
    let moves = test(
        page,
        "primary.z",
        "effect of patching Z towards the partner's answer",
        &z,
    )?;
    found.push(candidate(
        s,
        "z.moves-answers",
        "success: Z carries answers",
        Finding::Tested(moves),
    ));
    let perp = values(able, &format!("cross.{cell}.z-perp"))?;
    test(
        page,
        "primary.z-perp",
        "effect of patching the complement",
        &perp,
    )?;
    let more: Vec<(&str, f64)> = z
        .iter()
        .zip(&perp)
        .map(|((c, a), (_, b))| (*c, a - b))
        .collect();
    let rather = test(
        page,
        "primary.rather",
        "effect in Z minus that in its complement",
        &more,
    )?;
    for (kind, said) in KINDS {
        let beyond = beyond(page, s, set, able, (&z, kind, said))?;
        let claim = match kind {
            "haar" => "z.beyond-random",
            "matched" => "z.beyond-matched",
            _ => continue,
        };
        let finding = match beyond {
            Some(tested) => Finding::Tested(tested),
            None => Finding::Settled(Verdict::NotRun, format!("The record has no {said}.")),
        };
        found.push(candidate(
            s,
            claim,
            "not asked: 5 random subspaces",
            finding,
        ));
    }
    found.push(candidate(
        s,
        "z.rather-than-complement",
        "success: Z carries answers, its complement language",
        Finding::Tested(rather),
    ));
    others(page, s, set, able)?;
    let id = s.id(&format!("full-like.{cell}"));
    let finding = match tested_at(page, &id, s) {
        Some(tested) => Finding::Tested(tested),
        None => Finding::Settled(Verdict::Inconclusive, "There is no test.".to_owned()),
    };
    found.push(candidate(
        s,
        "z.full-is-like-z",
        "asked as the fifth question",
        finding,
    ));
    Ok(found)
}

/// What was written under an id, as evidence.
fn tested_at(page: &Page, id: &str, s: &Subject<'_>) -> Option<Tested> {
    let get = |rest: &str| {
        page.summary
            .numbers
            .get(&format!("{id}{rest}"))
            .map(|n| n.value)
    };
    Some(Tested {
        id: id.to_owned(),
        estimate: get("")?,
        interval: Interval {
            low: get(".low")?,
            high: get(".high")?,
        },
        p: get(".p")?,
        because: format!(
            "{} [{}, {}], p = {}.",
            shown(id),
            shown(&format!("{id}.low")),
            shown(&format!("{id}.high")),
            shown(&format!("{id}.p"))
        ),
        origin: s.origin.clone(),
    })
}

/// Z's mean effect against the same mean in each random subspace: the exact
/// rank, and as an interval the spread of the difference under them.
fn beyond(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    able: &[&Sample],
    (z, kind, said): (&[(&str, f64)], &str, &str),
) -> Result<Option<Tested>, ExperimentError> {
    let name = format!("placebo.{kind}");
    let series: Vec<&[f64]> = able
        .iter()
        .filter_map(|p| p.get_series(&name).ok())
        .collect();
    if series.len() != z.len() || series.is_empty() {
        return Ok(None);
    }
    let draws = series.iter().map(|x| x.len()).min().unwrap_or_default();
    let n = series.len() as f64;
    let random: Vec<f64> = (0..draws)
        .map(|i| series.iter().map(|x| x[i]).sum::<f64>() / n)
        .collect();
    let effect = z.iter().map(|(_, v)| v).sum::<f64>() / n;
    let mean = must(said, stats::mean(&random))?;
    let above = random.iter().filter(|r| **r >= effect).count();
    let below = random.iter().filter(|r| **r <= effect).count();
    // Two-sided: twice the smaller tail, Z counted among the draws.
    let tail = (above.min(below) + 1) as f64 / (draws + 1) as f64;
    let p = (2.0 * tail).min(1.0);
    let low = must(said, stats::quantile(&random, set.alpha / 2.0))?;
    let high = must(said, stats::quantile(&random, 1.0 - set.alpha / 2.0))?;
    let id = s.id(&format!("beyond.{kind}"));
    let put = |page: &mut Page, rest: &str, what: &str, value: f64, style| {
        let what = format!("{what}, {said}, {}", s.name);
        page.put(&format!("{id}{rest}"), &what, value, style, &s.origin)
    };
    let drawn = GAIN.drawn();
    put(
        page,
        "",
        "effect in Z minus the mean of",
        effect - mean,
        drawn,
    )?;
    put(
        page,
        ".low",
        "effect in Z minus the upper end of the middle share of",
        effect - high,
        drawn,
    )?;
    put(
        page,
        ".high",
        "effect in Z minus the lower end of the middle share of",
        effect - low,
        drawn,
    )?;
    put(page, ".p", "exact two-sided rank p among", p, P.drawn())?;
    put(page, ".mean", "mean effect in", mean, drawn)?;
    put(
        page,
        ".random-low",
        "effect below which 2.5 % lie of",
        low,
        drawn,
    )?;
    put(
        page,
        ".random-high",
        "effect above which 2.5 % lie of",
        high,
        drawn,
    )?;
    put(
        page,
        ".above",
        "draws at least as large as Z, of",
        above as f64,
        COUNT.drawn(),
    )?;
    put(page, ".draws", "number of", draws as f64, COUNT)?;
    Ok(Some(Tested {
        because: format!(
            "Z's effect less the mean of {} {said} is {}; {} of them do at least as much (rank p = {}).",
            shown(&format!("{id}.draws")),
            shown(&id),
            shown(&format!("{id}.above")),
            shown(&format!("{id}.p")),
        ),
        estimate: effect - mean,
        interval: Interval {
            low: effect - high,
            high: effect - low,
        },
        p,
        id,
        origin: s.origin.clone(),
    }))
}

/// Other placebos of the primary cell, the split by what is read, and the
/// patch without massive positions.
fn others(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    able: &[&Sample],
) -> Result<(), ExperimentError> {
    let mut rows = vec![row_of(
        page,
        "the patch: Chinese partner's mean in Z",
        &s.id("primary.z"),
    )];
    rows.push(row_of(
        page,
        "the same in the complement",
        &s.id("primary.z-perp"),
    ));
    for (measure, said) in [
        ("placebo.same-language", "English partner's mean in Z"),
        ("placebo.wrong-layer", "half way down, same mask"),
        ("placebo.itself", "the prompt's own rows"),
        ("dormant.read", "the patch's part that later weights read"),
        ("dormant.ignored", "the patch's part that they ignore"),
        ("bare", "massive positions left out"),
    ] {
        let found = values(able, measure)?;
        let id = s.id(&format!("primary.{measure}"));
        let what = format!("effect, {said}, nats, {}", s.name);
        let name = format!("{}/{measure}", s.key);
        let estimate = must(&what, over_clusters(&found, &name, set))?;
        write_estimate(page, (&id, &what), &estimate, &s.origin)?;
        rows.push(row_of(page, said, &id));
    }
    for (kind, said) in KINDS {
        let id = s.id(&format!("beyond.{kind}"));
        let at = |rest: &str| page.cell(&format!("{id}.{rest}"), "not drawn");
        rows.push(vec![
            words(format!("{said}: mean, and the middle 95 %")),
            at("mean"),
            at("random-low"),
            at("random-high"),
            at("p"),
        ]);
    }
    let number = |id: &str| page.summary.numbers.get(id).map(|n| n.value);
    let (all, ignored) = (
        number(&s.id("primary.z")),
        number(&s.id("primary.dormant.ignored")),
    );
    let dormant = match (all, ignored) {
        // Of an effect of less than the smallest of interest no share is told.
        (Some(all), Some(ignored)) if all.abs() >= 0.1 => {
            let share = ignored / all;
            let id = s.id("primary.ignored-share");
            let what = format!(
                "share of the effect through what later weights ignore, {}",
                s.name
            );
            page.put(&id, &what, share, SHARE, &s.origin)?;
            let verdict = if share >= 0.5 {
                "an illusion in the sense of Makelov et al. (2024)"
            } else {
                "not carried by a dormant path"
            };
            format!("Through the ignored part goes {}: {verdict}.", shown(&id))
        }
        _ => String::new(),
    };
    page.table(
        &format!("placebos-{}", s.key),
        &format!("The primary cell and its placebos, {}", s.name),
        &format!(
            "Change of log p(a_j) - log p(a_i) in nats, mean over the {{{}}} pairs that prefer their \
             own answer in both languages; input of block l1, k = {{{}}}, Chinese sources into English \
             prompts; interval by a bootstrap over categories, p by flipping categories' signs; for \
             random subspaces the rank of Z among them. {dormant}",
            s.id("able"),
            s.id("k")
        ),
        &["what is put in", "#effect", "#lower", "#upper", "#p"],
        rows,
    );
    Ok(())
}

fn row_of(page: &Page, said: &str, id: &str) -> Vec<Cell> {
    let mut row = vec![words(said)];
    let at = |rest: &str| page.cell(&format!("{id}{rest}"), "none");
    row.extend(["", ".low", ".high", ".p"].map(at));
    row
}

/// KL(full || z_perp) - KL(full || z) in every cell.
fn like_full(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    pairs: &[&Sample],
) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for cell in cells(s)? {
        let measure = format!("full-like.{cell}");
        let found = values(pairs, &measure)?;
        let what = format!(
            "KL(full || z_perp) - KL(full || z), nats, cell {cell}, {}",
            s.name
        );
        let estimate = over_clusters(&found, &format!("{}/{measure}", s.key), set);
        let id = s.id(&measure);
        write_estimate(page, (&id, &what), &must(&what, estimate)?, &s.origin)?;
        rows.push(row_of(page, &cell, &id));
    }
    page.table(
        &format!("full-like-{}", s.key),
        &format!("Is replacing everything more like replacing Z?, {}", s.name),
        "Mean over pairs of KL(full || z_perp) - KL(full || z) of the next token, nats: above 0 if \
         replacing everything acts like replacing Z, below if like replacing the complement.",
        &["cell", "#difference", "#lower", "#upper", "#p"],
        rows,
    );
    Ok(())
}

/// All cells, by name.
pub(crate) fn cells(s: &Subject<'_>) -> Result<Vec<String>, ExperimentError> {
    let ks = s.model()?.get_series("ks")?;
    let mut cells = Vec::new();
    for direction in ["en-zh", "zh-en"] {
        for place in ["in", "out"] {
            for layer in ["l1", "l2"] {
                cells.extend(
                    ks.iter()
                        .map(|k| format!("{place}.{layer}.k{k}.{direction}")),
                );
            }
        }
    }
    Ok(cells)
}

/// The model's layers and sizes.
fn about(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let model = s.model()?;
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
        "k",
        "dimensions of Z in the primary cell",
        model.get("primary-k")?,
        COUNT,
    )?;
    put(
        page,
        "span",
        "dimensions that the keys of l1 read",
        model.get("span")?,
        COUNT,
    )?;
    put(
        page,
        "massive",
        "massive positions of all prompts",
        model.get("massive")?,
        COUNT,
    )?;
    let layers = model.get_series("layers")?;
    for (name, layer) in ["l1", "l2"].iter().zip(layers) {
        put(page, name, "layer", *layer, COUNT)?;
    }
    Ok(())
}

/// Every cell: both designs, both sources.
fn table(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    pairs: &[&Sample],
    able: &[&Sample],
) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for cell in cells(s)? {
        for condition in ["z", "z-perp", "full"] {
            let mut row = vec![words(cell.as_str()), words(condition)];
            for (measure, of) in [
                (format!("cross.{cell}.{condition}"), able),
                (format!("same.{cell}.{condition}.mean"), pairs),
                (format!("same.{cell}.{condition}.ot"), pairs),
                (format!("same-kl.{cell}.{condition}.mean"), pairs),
                (format!("same-kl.{cell}.{condition}.ot"), pairs),
            ] {
                let found = values(of, &measure)?;
                let id = s.id(&format!("cell.{measure}"));
                let what = format!("mean of {measure}, nats, {}", s.name);
                let mean = stats::mean(&found.iter().map(|(_, v)| *v).collect::<Vec<_>>());
                let value = page.try_put(&id, &what, mean, PLAIN, &s.origin)?;
                row.push(value.cell());
                if measure.starts_with("cross") {
                    let estimate = over_clusters(&found, &format!("{}/{measure}", s.key), set);
                    for (end, get) in [
                        ("low", (|i: Interval| i.low) as fn(Interval) -> f64),
                        ("high", |i| i.high),
                    ] {
                        let value = estimate.clone().map(|e| get(e.interval));
                        let what = format!("{what}: {end} end of the interval");
                        let id = format!("{id}.{end}");
                        row.push(
                            page.try_put(&id, &what, value, PLAIN.drawn(), &s.origin)?
                                .cell(),
                        );
                    }
                }
            }
            rows.push(row);
        }
    }
    page.table(
        &format!("cells-{}", s.key),
        &format!("Patching, teacher-forced, {}", s.name),
        &format!(
            "Cells: in is the input of the layer whose mask it is, out its output (as published, E14); l1 \
             and l2 are layers {{{}}} and {{{}}}; en-zh has Chinese sources and English prompts. Cross: \
             change of log p(a_j) - log p(a_i) with the partner's mean, over pairs that prefer their own \
             answer in both languages, interval over categories. Same: change of log p of the own answer \
             with the same problem's source, which perfect transfer leaves alone (E20); KL: of the next \
             token from the unpatched one. Mean, or per token by entropic transport. Nats.",
            s.id("l1"),
            s.id("l2")
        ),
        &[
            "cell", "part", "#cross", "#lower", "#upper", "#same, mean", "#same, transport",
            "#KL, mean", "#KL, transport",
        ],
        rows,
    );
    Ok(())
}
