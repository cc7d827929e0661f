//! What was published, and what follows from it.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding};
use assay_experiment::page::{GAIN, Origin, Page, R, SHARE, Style, must, words};
use assay_record::{Agreement, Comparison, NotRun, Verdict};
use assay_stats as stats;

use super::groups::AS_PUBLISHED;
use super::measured::Measured;
use crate::published::{Group, Published};

/// Words of the shortest prompts that fill a window: groups above are "long".
const LONG: f64 = 16.0;

pub(crate) fn write(
    page: &mut Page,
    published: &Published,
) -> Result<Vec<Candidate>, ExperimentError> {
    let groups = &published.groups;
    let origin = Origin::published(&groups.source);
    for row in &groups.rows {
        for (id, what, value) in [
            ("", "published mean R_V", row.rv),
            (".sem", "published standard error of R_V", row.sem),
            (".words", "published mean words", row.words),
        ] {
            let what = format!("{what}, {}, {}", row.group, groups.model);
            let id = format!("rv.published.{}{id}", row.group);
            page.put(&id, &what, value, Style::declared(value), &origin)?;
        }
    }
    let r = |rows: &[&Group]| -> Result<f64, ExperimentError> {
        let column = |get: fn(&Group) -> f64| rows.iter().map(|g| get(g)).collect::<Vec<f64>>();
        let found = stats::pearson(&column(|g| g.words), &column(|g| g.rv));
        Ok(must("r of published R_V on words", found)?.r)
    };
    let all: Vec<&Group> = groups.rows.iter().collect();
    let long: Vec<&Group> = groups.rows.iter().filter(|g| g.words > LONG).collect();
    page.put(
        "rv.published.r-words",
        "r of published R_V on words, all groups",
        r(&all)?,
        R,
        &origin,
    )?;
    page.put(
        "rv.published.r-words-long",
        "r of published R_V on words, groups that fill a window",
        r(&long)?,
        R,
        &origin,
    )?;
    let baselines: Vec<f64> = groups
        .rows
        .iter()
        .filter(|g| g.kind == "baseline")
        .map(|g| g.rv)
        .collect();
    let baseline = must("published baselines", stats::mean(&baselines))?;
    let of = |name: &str| groups.rows.iter().find(|g| g.group == name).map(|g| g.rv);
    if let (Some(strongest), Some(long)) = (of("L5"), of("long-control")) {
        let share = (baseline - long) / (baseline - strongest);
        let what = "share of the published fall of R_V that a long plain control shows";
        page.put("rv.published.long-share", what, share, SHARE, &origin)?;
    }
    let headline = Origin::published(&published.headline.source);
    for row in &published.headline.rows {
        let id = |what: &str| format!("rv.published.headline.{}.{what}", row.model);
        for (what, value) in [("recursive", row.recursive), ("factual", row.factual)] {
            let said = format!("published R_V, {what}, {}", row.model);
            page.put(&id(what), &said, value, Style::declared(value), &headline)?;
        }
        let fall = 1.0 - row.recursive / row.factual;
        page.put(
            &id("contraction"),
            &format!("published relative contraction, {}", row.model),
            fall,
            GAIN,
            &headline,
        )?;
    }
    let other = Origin::published(&published.other_readings.source);
    let readings = published.other_readings.rows.iter().enumerate();
    for (i, row) in readings {
        for (what, value) in [("recursive", row.recursive), ("baseline", row.baseline)] {
            let id = format!("rv.published.other.{}.{what}", i + 1);
            let said = format!("another published R_V, {what}, {}", row.model);
            page.put(&id, &said, value, Style::declared(value), &other)?;
        }
    }
    let patching = Origin::published(&published.patching.source);
    let p = &published.patching;
    for (id, value) in [("right", p.right_layer), ("wrong", p.wrong_layer)] {
        let what = format!("published effect of patching the {id} layer");
        page.put(
            &format!("rv.published.patch.{id}"),
            &what,
            value,
            Style::declared(value),
            &patching,
        )?;
    }
    let settled = |claim, because: &str| Candidate {
        claim,
        body: "published",
        data: format!("published: {}", groups.model),
        as_published: "contracts, and universally".to_owned(),
        finding: Finding::Settled(Verdict::Inconclusive, because.to_owned()),
    };
    Ok(vec![settled(
        "rv.recursion-contracts",
        "Length and group cannot be told apart: r of R_V on words is {rv.published.r-words} over all \
         groups and {rv.published.r-words-long} among those that fill a window; a long plain control \
         shows {rv.published.long-share} of the fall.",
    )])
}

pub(crate) fn table(page: &mut Page, published: &Published) {
    let rows = (published.groups.rows.iter())
        .map(|g| {
            let id = |rest: &str| format!("rv.published.{}{rest}", g.group);
            vec![
                words(g.group.as_str()),
                words(g.kind.as_str()),
                page.cell(&id(".words"), ""),
                page.cell(&id(""), ""),
                page.cell(&id(".sem"), ""),
            ]
        })
        .collect();
    page.table(
        "published",
        "Published R_V by group",
        &format!("{}.", published.groups.setting),
        &["group", "kind", "#words", "#R_V", "#SEM"],
        rows,
    );
}

/// Groups of the bank that are written as the published ones were.
fn like(group: &str) -> Option<String> {
    Some(match group {
        "baseline-math" => "mathematical".to_owned(),
        "baseline-factual" => "factual".to_owned(),
        "baseline-creative" => "creative".to_owned(),
        "repetitive-control" => "repetitive".to_owned(),
        "long-control" | "pseudo-recursive" => group.to_owned(),
        grade => format!("recursive-{}", grade.strip_prefix('L')?),
    })
}

/// Each published group beside the bank's, on the published model.
pub(crate) fn compare(
    page: &mut Page,
    published: &Published,
    measured: &[Measured<'_>],
    not_run: &[NotRun],
) -> Result<(), ExperimentError> {
    let model = &published.groups.model;
    let here = measured.iter().find(|m| m.record.key.model == *model);
    let reason = match (here, not_run.iter().find(|n| n.model == *model)) {
        (Some(_), _) => String::new(),
        (None, Some(n)) => n.reason.clone(),
        (None, None) => format!("{model} was not asked for in this run"),
    };
    for row in &published.groups.rows {
        let id = format!("rv.published.{}", row.group);
        let mut comparison = Comparison {
            what: format!("R_V, {}, {model}", row.group),
            published: id.clone(),
            as_published: None,
            audited: None,
            difference: None,
            agreement: Agreement::NotRun,
            note: reason.clone(),
        };
        match (here, like(&row.group)) {
            (Some(m), Some(group)) => {
                let has = |id: String| page.summary.numbers.contains_key(&id).then_some(id);
                comparison.as_published = has(m.id(&format!("{AS_PUBLISHED}.{group}.view")));
                comparison.audited = has(m.id(&format!("matched.{group}.a")));
                comparison.agreement = Agreement::DifferentDefinition;
                comparison.note = "Prompts of the same kind in other words.".to_owned();
                if let Some(ours) = &comparison.as_published {
                    let value = page.summary.numbers[ours].value - row.rv;
                    let what = format!("measured minus published R_V, {}", row.group);
                    comparison.difference = Some(page.put(
                        &format!("{id}.difference"),
                        &what,
                        value,
                        GAIN,
                        &m.origin,
                    )?);
                }
            }
            (Some(_), None) => comparison.note = "The bank has no such group.".to_owned(),
            (None, _) => {}
        }
        page.summary.comparisons.push(comparison);
    }
    Ok(())
}
