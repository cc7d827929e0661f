//! What patches do to generated texts.

use std::collections::BTreeMap;

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding};
use assay_experiment::page::{COUNT, Page, R, SHARE, must, shown, words};
use assay_experiment::subject::{Settings, Subject, over_clusters, write_estimate};
use assay_record::{Cell, Sample, Verdict};
use assay_stats as stats;

use super::patching::cells;
use super::{candidate, primary, too_few};

/// What one text is beside the unpatched one of its prompt.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Another number is read from it.
    changed: bool,
    /// It is in the source's language and the unpatched one is not.
    switched: bool,
    right: bool,
    silent: bool,
    /// Neither Chinese nor English.
    neither: bool,
}

fn reading(text: &Sample, plain: &Sample) -> Reading {
    let answer = |x: &Sample| x.get("answer").ok();
    let language = |x: &Sample| x.get("language").ok();
    let source = match text.tag("direction") {
        Some("en-zh") => 1.0,
        _ => 0.0,
    };
    let own = text.tag("answer").and_then(|a| a.parse::<f64>().ok());
    Reading {
        changed: answer(text) != answer(plain),
        switched: language(text) == Some(source) && language(plain) != Some(source),
        right: answer(text).is_some() && answer(text) == own,
        silent: answer(text).is_none(),
        neither: language(text).is_none(),
    }
}

/// (cell, condition, random) -> (category, pair, reading) of each pair.
type Found<'a> = BTreeMap<(String, String, Option<String>), Vec<(&'a str, &'a str, Reading)>>;

fn read<'a>(s: &Subject<'a>) -> Result<Found<'a>, ExperimentError> {
    let mut found: Found<'a> = BTreeMap::new();
    for text in s.units("text.") {
        let (Some(pair), Some(direction), Some(condition)) = (
            text.tag("pair"),
            text.tag("direction"),
            text.tag("condition"),
        ) else {
            continue;
        };
        let Some(cell) = text.tag("cell") else {
            continue;
        };
        let plain = s.unit(&format!("text.{pair}.{direction}.none"))?;
        let random = text.tag("random").map(str::to_owned);
        let key = (cell.to_owned(), condition.to_owned(), random);
        let list = found.entry(key).or_default();
        list.push((text.cluster.as_str(), pair, reading(text, plain)));
    }
    Ok(found)
}

fn share(list: &[(&str, &str, Reading)], is: fn(&Reading) -> bool) -> f64 {
    let count = list.iter().filter(|(_, _, r)| is(r)).count();
    count as f64 / list.len().max(1) as f64
}

pub(crate) fn write(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
) -> Result<Candidate, ExperimentError> {
    let found = read(s)?;
    let get =
        |cell: &str, condition: &str| found.get(&(cell.to_owned(), condition.to_owned(), None));
    if !found.is_empty() {
        rates(page, s, set, &found)?;
    }
    let mut rows = Vec::new();
    for cell in cells(s)? {
        let (Some(z), Some(perp)) = (get(&cell, "z"), get(&cell, "z-perp")) else {
            continue;
        };
        let one = |r: bool| f64::from(u8::from(r));
        if z.iter().map(|x| x.1).ne(perp.iter().map(|x| x.1)) {
            return Err(ExperimentError::Statistic {
                what: format!("dissociation index D, cell {cell}, {}", s.name),
                reason: "not every pair has a text under Z and one under its complement".to_owned(),
            });
        }
        let by_pair: Vec<(&str, f64)> = z
            .iter()
            .zip(perp)
            .map(|((cluster, _, z), (_, _, p))| {
                let answers = one(z.changed) - one(p.changed);
                (*cluster, answers + one(p.switched) - one(z.switched))
            })
            .collect();
        let id = s.id(&format!("d.{cell}"));
        let what = format!("dissociation index D, cell {cell}, {}", s.name);
        let estimate = must(
            &what,
            over_clusters(&by_pair, &format!("{}/d/{cell}", s.key), set),
        )?;
        write_estimate(page, (&id, &what), &estimate, &s.origin)?;
        // McNemar on the same pairs under Z and under its complement.
        let only = |a: bool, b: bool| {
            let both = z.iter().zip(perp);
            both.filter(|((_, _, z), (_, _, p))| (z.changed, p.changed) == (a, b))
                .count() as u64
        };
        let p = must(
            "McNemar",
            stats::mcnemar_exact(only(true, false), only(false, true)),
        )?;
        let mcnemar = format!("{id}.mcnemar");
        let what = format!(
            "exact McNemar p of answers changed in Z and in its complement, cell {cell}, {}",
            s.name
        );
        page.put(&mcnemar, &what, p, assay_experiment::page::P, &s.origin)?;
        let mut row = vec![words(cell.as_str())];
        row.extend(
            ["", ".low", ".high", ".p", ".mcnemar"]
                .map(|rest| page.cell(&format!("{id}{rest}"), "none")),
        );
        row.push(words(by_note(z, perp)));
        rows.push(row);
    }
    if rows.is_empty() {
        return Ok(candidate(s, "z.dissociation", "not decoded", too_few(s)));
    }
    page.table(
        &format!("dissociation-{}", s.key),
        &format!("Answers and languages of generated texts, {}", s.name),
        "D = (a_Z - a_perp) + (g_perp - g_Z), shares of texts of which the answer (a) and the language (g) \
         changed: above 0 if Z carries answers and its complement the language. Interval by a bootstrap \
         over categories, p by flipping their signs; exact McNemar compares answers changed in Z and in \
         the complement. By the note's rule, as read here: success if Z changes at least half of the \
         answers and fewer languages than its complement does, while the complement changes fewer than \
         half of the answers; REVERSED if the complement changes at least half of the answers and Z fewer; \
         partial if Z changes at least half of the answers otherwise; null if neither does.",
        &["cell", "#D", "#lower", "#upper", "#p", "#McNemar p", "by the note's rule"],
        rows,
    );
    random(page, s, set, &found)?;
    by_problem(page, s)?;
    let cell = primary(s, "out")?;
    let id = s.id(&format!("d.{cell}"));
    let said = match (get(&cell, "z"), get(&cell, "z-perp")) {
        (Some(z), Some(perp)) => by_note(z, perp),
        _ => "not measured",
    };
    let value = |rest: &str| {
        page.summary
            .numbers
            .get(&format!("{id}{rest}"))
            .map(|n| n.value)
    };
    let finding = match (value(""), value(".low"), value(".high"), value(".p")) {
        (Some(estimate), Some(low), Some(high), Some(p)) => {
            Finding::Tested(assay_experiment::judge::Tested {
                because: format!(
                    "D = {} [{}, {}], p = {}; twenty random subspaces give {} on average.",
                    shown(&id),
                    shown(&format!("{id}.low")),
                    shown(&format!("{id}.high")),
                    shown(&format!("{id}.p")),
                    shown(&s.id(&format!("d-random.{cell}"))),
                ),
                id,
                estimate,
                interval: stats::Interval { low, high },
                p,
                origin: s.origin.clone(),
            })
        }
        _ => Finding::Settled(Verdict::NotRun, "No texts were decoded.".to_owned()),
    };
    Ok(candidate(s, "z.dissociation", said, finding))
}

fn by_note(z: &[(&str, &str, Reading)], perp: &[(&str, &str, Reading)]) -> &'static str {
    let (a_z, a_perp) = (share(z, |r| r.changed), share(perp, |r| r.changed));
    let (g_z, g_perp) = (share(z, |r| r.switched), share(perp, |r| r.switched));
    match (a_z >= 0.5, a_perp >= 0.5) {
        (true, false) if g_z < g_perp => "success",
        (true, _) => "partial",
        (false, true) => "REVERSED",
        (false, false) => "null",
    }
}

/// Id, words, and what a text must be to count.
type Rate = (&'static str, &'static str, fn(&Reading) -> bool);

/// The five rates of every cell and condition.
fn rates(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    found: &Found<'_>,
) -> Result<(), ExperimentError> {
    let kinds: [Rate; 5] = [
        ("changed", "answers changed", |r| r.changed),
        ("switched", "language switched to the source's", |r| {
            r.switched
        }),
        ("right", "answered right", |r| r.right),
        ("silent", "without a number", |r| r.silent),
        ("neither", "in neither language", |r| r.neither),
    ];
    let mut rows = Vec::new();
    for ((cell, condition, random), list) in found {
        if random.is_some() {
            continue;
        }
        let mut row: Vec<Cell> = vec![words(cell.as_str()), words(condition.as_str())];
        for (id, said, is) in kinds {
            let count = list.iter().filter(|(_, _, r)| is(r)).count() as u64;
            let id = s.id(&format!("text.{cell}.{condition}.{id}"));
            let what = format!("share of texts {said}, {cell}, {condition}, {}", s.name);
            let value = count as f64 / list.len() as f64;
            row.push(Cell::Number(page.put(&id, &what, value, SHARE, &s.origin)?));
            if said == "answers changed" {
                let interval = stats::wilson_interval(count, list.len() as u64, 1.0 - set.alpha);
                let interval = must(&what, interval)?;
                for (end, value) in [("low", interval.low), ("high", interval.high)] {
                    let what = format!("{what}: {end} end of Wilson's interval");
                    let id = format!("{id}.{end}");
                    row.push(Cell::Number(page.put(&id, &what, value, SHARE, &s.origin)?));
                }
            }
        }
        rows.push(row);
    }
    page.table(
        &format!("rates-{}", s.key),
        &format!("The five published rates, {}", s.name),
        "Shares of generated texts (16 tokens, greedy, the patch held while decoding), source the mean of \
         the same problem in the other language. Answers changed is damage, not transfer: the source has \
         the same answer (E20). Wilson's intervals as description.",
        &[
            "cell", "part", "#changed", "#lower", "#upper", "#switched", "#right", "#no number",
            "#neither language",
        ],
        rows,
    );
    Ok(())
}

/// Twenty random subspaces where Z was put.
fn random(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    found: &Found<'_>,
) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for place in ["in", "out"] {
        let cell = primary(s, place)?;
        let of = |condition: &str, n: usize| {
            let key = (cell.clone(), condition.to_owned(), Some(n.to_string()));
            found.get(&key)
        };
        let shares: Vec<[f64; 3]> = (0..)
            .map_while(|n| Some((of("z", n)?, of("z-perp", n)?)))
            .map(|(z, perp)| {
                let (a_z, a_perp) = (share(z, |r| r.changed), share(perp, |r| r.changed));
                let (g_z, g_perp) = (share(z, |r| r.switched), share(perp, |r| r.switched));
                [a_z, a_perp, (a_z - a_perp) + (g_perp - g_z)]
            })
            .collect();
        if shares.is_empty() {
            continue;
        }
        let mut row = vec![words(cell.as_str())];
        for (at, id, said, style) in [
            (0, "z-random", "answers changed in random subspaces", SHARE),
            (
                1,
                "perp-random",
                "answers changed in their complements",
                SHARE,
            ),
            (2, "d-random", "D of random subspaces", R.drawn()),
        ] {
            let values: Vec<f64> = shares.iter().map(|x| x[at]).collect();
            let id = s.id(&format!("{id}.{cell}"));
            let what = format!("mean {said}, {cell}, {}", s.name);
            let mean = must(&what, stats::mean(&values))?;
            row.push(Cell::Number(page.put(&id, &what, mean, style, &s.origin)?));
            if at == 2 {
                for (end, q) in [("low", set.alpha / 2.0), ("high", 1.0 - set.alpha / 2.0)] {
                    let value = must(&what, stats::quantile(&values, q))?;
                    let what = format!("{what}: {end} end of the middle share");
                    let id = format!("{id}.{end}");
                    row.push(Cell::Number(page.put(&id, &what, value, style, &s.origin)?));
                }
                let id = format!("{id}.draws");
                let n = values.len() as f64;
                row.push(Cell::Number(page.put(
                    &id,
                    "random subspaces",
                    n,
                    COUNT,
                    &s.origin,
                )?));
            }
        }
        row.push(page.cell(&s.id(&format!("d.{cell}")), "not decoded"));
        rows.push(row);
    }
    if !rows.is_empty() {
        page.table(
            &format!("random-texts-{}", s.key),
            &format!("Texts under random subspaces, {}", s.name),
            "Shares of answers changed by patching random subspaces of Z's size and their complements, D \
             of each with the middle 95 %, and Z's own D beside it.",
            &["cell", "#in them", "#in complements", "#D", "#lower", "#upper", "#draws", "#D of Z"],
            rows,
        );
    }
    Ok(())
}

/// The note's table: every problem at the published place.
fn by_problem(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let cell = primary(s, "out")?;
    let mut rows = Vec::new();
    for pair in s.units("pair.") {
        let name = pair.unit.trim_start_matches("pair.");
        let mut row = vec![words(name), words(pair.tag("answer").unwrap_or_default())];
        let plain = s.unit(&format!("text.{name}.en-zh.none"))?;
        let units = ["z", "z-perp", "full"].map(|c| format!("text.{name}.{cell}.{c}"));
        row.push(words(shown_text(plain)));
        for unit in units {
            row.push(words(shown_text(s.unit(&unit)?)));
        }
        rows.push(row);
    }
    page.table(
        &format!("problems-{}", s.key),
        &format!("Every problem at the published place, {}", s.name),
        &format!(
            "First line of what is decoded after the English prompt, at cell {cell}; read answer in \
             brackets, - where there is none. All texts and the other cells are in the record."
        ),
        &["problem", "answer", "unpatched", "Z", "complement", "all"],
        rows,
    );
    Ok(())
}

fn shown_text(text: &Sample) -> String {
    let line = text.text.trim().lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(18).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    match text.get("answer") {
        Ok(answer) => format!("{short} [{answer}]"),
        Err(_) => format!("{short} [-]"),
    }
}
