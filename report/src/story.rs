//! The first page: one figure and one table, a row a headline claim, on the
//! largest model that it was judged on.

use assay_record::{
    Axis, Bar, Claim, ClaimVerdict, Direction, Figure, ModelRow, Panel, Plot, Summary, Verdict,
};

use crate::book::Book;
use crate::columns::SMALL;
use crate::error::ReportError;
use crate::input::ReportInput;
use crate::tables::{Around, CellView, Kind, TableView};

/// Effects beyond this many smallest effects of interest are drawn here.
const EDGE: f64 = 6.0;

/// A headline claim and the verdict that is shown of it.
struct Row<'a> {
    summary: &'a Summary,
    claim: &'a Claim,
    verdict: Option<&'a ClaimVerdict>,
    errata: &'a [String],
}

/// The headline claims of this run, in their order.
fn rows(input: &ReportInput) -> Vec<Row<'_>> {
    let found = input.headlines.iter().filter_map(|headline| {
        let id = &headline.claim;
        let declares = |s: &&Summary| s.spec.claims.iter().any(|c| c.id == *id);
        let summary = input.summaries.iter().find(declares)?;
        let claim = summary.spec.claims.iter().find(|c| c.id == *id)?;
        let verdicts = summary.verdicts.iter().filter(|v| v.claim == *id);
        // Of equal ones the first.
        let verdict = verdicts.rev().max_by_key(|v| weight(summary, v));
        Some(Row {
            summary,
            claim,
            verdict,
            errata: &headline.errata,
        })
    });
    found.collect()
}

/// Which verdict of a claim is shown: one of a test before others, then the one
/// on the largest model, then the first.
fn weight(summary: &Summary, verdict: &ClaimVerdict) -> (bool, u64) {
    let evidence = verdict.evidence.as_ref();
    let effect = evidence.and_then(|e| summary.numbers.get(&e.effect));
    let rests_on = |row: &&ModelRow| effect.is_some_and(|n| n.records.contains(&row.record));
    let models = summary.models.iter().filter(rests_on);
    let largest = models.map(|row| row.facts.parameters).max();
    (effect.is_some(), largest.unwrap_or(0))
}

/// The figure; none where no headline claim was tested.
pub(crate) fn figure(input: &ReportInput) -> Option<Figure> {
    let bars: Vec<Bar> = rows(input).iter().filter_map(bar).collect();
    if bars.is_empty() {
        return None;
    }
    Some(Figure {
        id: "story".to_owned(),
        title: "What was claimed, and what the data say".to_owned(),
        caption:
            "Each bar is the confidence interval of a claim's effect, in units of its smallest \
                  effect of interest and with the sign turned so that right is as claimed. A claim \
                  is supported where the bar lies right of nothing after correction, refuted where \
                  it lies wholly short of the dashed line. Bars that go on are cut at the edge."
                .to_owned(),
        alt: format!(
            "Intervals of {} claims beside the line of no effect and that of the smallest effect \
             of interest, coloured by verdict.",
            bars.len()
        ),
        panels: vec![Panel {
            title: String::new(),
            x: Axis {
                label: "effect, in smallest effects of interest (right: as claimed)".to_owned(),
                log: false,
            },
            y: Axis {
                label: String::new(),
                log: false,
            },
            plot: Plot::Bars { bars, origin: 0.0 },
            y_lines: vec![(1.0, "of interest".to_owned())],
            note: String::new(),
        }],
    })
}

fn bar(row: &Row<'_>) -> Option<Bar> {
    let verdict = row.verdict?;
    let evidence = verdict.evidence.as_ref()?;
    let sign = match row.claim.direction {
        Direction::Positive => 1.0,
        Direction::Negative => -1.0,
    };
    let end = |id: &String| {
        let number = row.summary.numbers.get(id)?;
        Some((sign * number.value / row.claim.smallest_effect).clamp(-EDGE, EDGE))
    };
    let [a, b] = &evidence.interval;
    let (a, b) = (end(a)?, end(b)?);
    Some(Bar {
        label: row.claim.id.clone(),
        start: Some(a.min(b)),
        value: a.max(b),
        error: None,
        group: verdict.audited.to_string(),
    })
}

/// The table.
pub(crate) fn table(input: &ReportInput, book: &Book) -> Result<TableView, ReportError> {
    let text = |words: &str| CellView::new(Kind::Text, words);
    let mut cells = Vec::new();
    for row in rows(input) {
        let audited = row.verdict.map_or(Verdict::NotRun, |v| v.audited);
        let effect = match row.verdict.and_then(|v| v.evidence.as_ref()) {
            Some(e) => {
                let [low, high] = &e.interval;
                let text = format!("{{{}}} ({{{low}}} to {{{high}}})", e.effect);
                CellView::new(Kind::Rich, &text)
            }
            None => CellView::new(Kind::Missing, "not of a test"),
        };
        let on = match row.verdict {
            Some(v) => v.data.as_str(),
            None => "no model of this run could show it",
        };
        cells.push(vec![
            text(&format!("{}: {}", row.claim.id, row.claim.statement)),
            text(row.verdict.map_or("", |v| v.as_published.as_str())),
            CellView::new(Kind::Verdict, &audited.to_string()),
            effect,
            text(on),
            text(&row.errata.join(", ")),
        ]);
    }
    TableView::sized(
        Around {
            id: "story-table",
            title: "The claims in short",
            caption: "As published: what the published rule or text says of the same data. Audited: \
                      under the corrected definition, with controls. Each on the largest model that \
                      it was judged on; the table of verdicts has all of them, and why. Faults of \
                      the publication that bear on it are rows of the table of errata.",
            command: &input.command,
        },
        &[
            "Claim",
            "As published",
            "Audited",
            "Effect (interval)",
            "On",
            "Faults",
        ],
        cells,
        SMALL,
        book,
    )
}
