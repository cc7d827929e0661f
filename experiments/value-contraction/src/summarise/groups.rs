//! R_V of each group, both sets.

use assay_experiment::ExperimentError;
use assay_experiment::page::{COUNT, GAIN, PLAIN, Page, R, RECORDED, words};
use assay_record::{Cell, Sample};

use super::measured::{Measured, REBUILT, mean_and_error};
use crate::bank::MATCHED;

/// The set with the lengths of the published study.
pub(crate) const AS_PUBLISHED: &str = "as-published";

/// What is printed of a group in a set: id, what, measure.
const SHOWN: [(&str, &str, &str); 5] = [
    ("tokens", "mean tokens", "tokens"),
    ("a", "mean R_V (A)", "rv.a"),
    ("b", "mean R_V (B)", "rv.b"),
    ("row-only", "mean R_V (A, row-only)", "rv.a-row-only"),
    ("view", "mean R_V (A, published view)", "rv.a-view"),
];

pub(crate) fn write(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut sets = vec![
        (AS_PUBLISHED, m.groups.clone()),
        (MATCHED, m.groups.clone()),
    ];
    let controls = ["shuffled-tokens", "random-tokens"].map(str::to_owned);
    sets.push(("controls", controls.to_vec()));
    for (set, groups) in sets {
        for group in groups {
            let samples = m.of_group(set, &group);
            for (id, what, measure) in SHOWN {
                put(page, m, (set, &group), (id, what, measure), &samples)?;
            }
        }
    }
    let model = m.record.sample(assay_record::Record::MODEL)?;
    let layers = model.get_series("layers")?;
    let late = layers.get(1).copied().unwrap_or_default() as usize;
    for group in &m.groups {
        let samples = m.of_group(MATCHED, group);
        let cosines: Vec<f64> = samples
            .iter()
            .filter_map(|s| s.get_series("neighbours.by-layer").ok()?.get(late).copied())
            .collect();
        let what = format!(
            "mean cosine of neighbouring rows of V, late layer, {group}, set {MATCHED}, {}",
            m.name
        );
        let (mean, _) = mean_and_error(&what, &cosines)?;
        let id = m.id(&format!("{MATCHED}.{group}.neighbours"));
        page.put(&id, &what, mean, R, &m.origin)?;
    }
    for (name, layer) in ["early", "late"].iter().zip(layers) {
        let what = format!("{name} layer of {}", m.name);
        page.put(
            &m.id(&format!("layer.{name}")),
            &what,
            *layer,
            COUNT,
            &m.origin,
        )?;
    }
    for (name, what) in [
        ("v", "error of z rebuilt from V"),
        ("view", "error of z rebuilt from the published view"),
    ] {
        if let Ok(error) = model.get(&format!("rebuilt.{name}")) {
            let what = format!("relative {what}, {}", m.name);
            let style = if name == "v" { REBUILT } else { PLAIN };
            page.put(
                &m.id(&format!("rebuilt.{name}")),
                &what,
                error,
                style,
                &m.origin,
            )?;
        }
    }
    Ok(())
}

fn put(
    page: &mut Page,
    m: &Measured<'_>,
    (set, group): (&str, &str),
    (id, what, measure): (&str, &str, &str),
    samples: &[&Sample],
) -> Result<(), ExperimentError> {
    let values: Vec<f64> = samples.iter().filter_map(|s| s.get(measure).ok()).collect();
    if values.is_empty() || values.len() != samples.len() {
        return Ok(());
    }
    let what = format!("{what}, {group}, set {set}, {}", m.name);
    let (mean, error) = mean_and_error(&what, &values)?;
    let at = |rest: &str| m.id(&format!("{set}.{group}.{id}{rest}"));
    page.put(&at(""), &what, mean, GAIN, &m.origin)?;
    if id != "tokens" {
        page.put(
            &at(".se"),
            &format!("standard error of {what}"),
            error,
            GAIN,
            &m.origin,
        )?;
    }
    Ok(())
}

pub(crate) fn tables(page: &mut Page, measured: &[Measured<'_>]) {
    for m in measured {
        let mut rows = Vec::new();
        let controls = ["shuffled-tokens", "random-tokens"].map(str::to_owned);
        for group in m.groups.iter().chain(&controls) {
            let control = controls.contains(group);
            let set = if control { "controls" } else { MATCHED };
            let cell = |page: &Page, set: &str, id: &str, none: &str| {
                page.cell(&m.id(&format!("{set}.{group}.{id}")), none)
            };
            let mut row = vec![words(group.as_str())];
            for (set, id) in [
                (AS_PUBLISHED, "tokens"),
                (AS_PUBLISHED, "a"),
                (AS_PUBLISHED, "view"),
                (set, "tokens"),
                (set, "a"),
                (set, "a.se"),
                (set, "b"),
                (set, "row-only"),
                (set, "neighbours"),
            ] {
                let none = match id {
                    _ if m.recorded() => RECORDED,
                    "view" => "no fused matrix with such a view",
                    "b" => "too few layers",
                    _ => "made for the matched set only",
                };
                row.push(cell(page, set, id, none));
            }
            rows.push(row);
        }
        page.table(
            &format!("groups-{}", m.key),
            &format!("R_V by group of prompts, {}", m.name),
            &format!(
                "Mean over topics of PR(V, layer {{{late}}}) / PR(V, layer {{{early}}}) over the last \
                 {{rv.settings.window}} positions (fewer where a prompt is shorter). As published: \
                 texts of the study's lengths; matched: texts of one length, position 0 outside the \
                 window. A: mean over kv heads; B: all of V, layer L-5; row-only: from pairs of \
                 different positions, which takes the bias of few rows away and is still lowered by \
                 rows that resemble their neighbours (last column: mean cosine of neighbouring rows at \
                 the late layer).",
                late = m.id("layer.late"),
                early = m.id("layer.early"),
            ),
            &[
                "group", "#tokens, as published", "#A", "#A, published view", "#tokens, matched",
                "#A", "#SE", "#B", "#A, row-only", "#neighbours",
            ],
            rows,
        );
    }
    let rows = measured
        .iter()
        .map(|m| {
            let none = match m.recorded() {
                true => RECORDED,
                false => "queries, keys and values are not fused as GPT-NeoX's",
            };
            let cell = |page: &Page, id: &str, none: &str| -> Cell { page.cell(&m.id(id), none) };
            vec![
                words(m.name.as_str()),
                cell(page, "layer.early", ""),
                cell(page, "layer.late", ""),
                words(format!(
                    "{} of {}",
                    m.record.facts.n_kv_heads, m.record.facts.n_heads
                )),
                cell(page, "rebuilt.v", none),
                cell(page, "rebuilt.view", none),
            ]
        })
        .collect();
    page.table(
        "views",
        "Which view is V",
        "z = pattern V rebuilt from either view and compared with the model's own z, |difference| / \
         |z| at the late layer: rounding for what attention mixes, of order 1 for anything else.",
        &["model", "#early layer", "#late layer", "kv heads", "#rebuilt from V", "#from the published view"],
        rows,
    );
}
