//! What the templates see: the input in reading order, with every table in one
//! shape. Nothing is computed here.

use std::collections::BTreeSet;

use assay_record::{Direction, Figure, RecordKey, Summary};
use serde::Serialize;

use crate::book::{Book, alpha_id, smallest_effect_id};
use crate::error::ReportError;
use crate::figure::Drawn;
use crate::input::ReportInput;
use crate::sections::{models, overview, provenance, published};
use crate::story;
use crate::tables::{Around, TableView};

/// A figure of the report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FigureView {
    /// Anchor, and file name in figures/ without extension.
    pub(crate) id: String,
    title: String,
    caption: String,
    alt: String,
    command: String,
    svg: String,
    points_wide: u32,
    points_high: u32,
}

#[derive(Debug, Clone, Serialize)]
struct ClaimView {
    id: String,
    statement: String,
    metric: String,
    direction: &'static str,
    smallest_effect: String,
    family: String,
}

#[derive(Debug, Clone, Serialize)]
struct VerdictView {
    claim: String,
    statement: String,
    data: String,
    as_published: String,
    audited: String,
    because: String,
}

#[derive(Debug, Clone, Serialize)]
struct ExperimentView {
    name: String,
    title: String,
    hypothesis: String,
    predicts: String,
    falsified_by: String,
    unit: String,
    dtype: String,
    seed: String,
    version: String,
    sites: Vec<String>,
    alpha: String,
    command: String,
    claims: Vec<ClaimView>,
    verdicts: Vec<VerdictView>,
    tables: Vec<TableView>,
    figures: Vec<FigureView>,
}

/// The whole report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct View {
    command: String,
    /// First page: a figure, where a headline claim was tested, and a table.
    story_figure: Option<FigureView>,
    story: TableView,
    /// Every verdict, what ran, checks against expected values.
    overview: Vec<TableView>,
    /// Published against measured, and errata.
    published: Vec<TableView>,
    /// Models measured.
    models: Vec<TableView>,
    experiments: Vec<ExperimentView>,
    provenance: Vec<TableView>,
}

impl View {
    /// Every table, in reading order.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &TableView> {
        let first = [&self.story].into_iter().chain(&self.overview);
        let rest = self.published.iter().chain(&self.models);
        let measured = self.experiments.iter().flat_map(|e| &e.tables);
        first.chain(rest).chain(measured).chain(&self.provenance)
    }
}

/// File name of a figure, without extension.
pub(crate) fn figure_name(summary: &Summary, figure: &str) -> String {
    format!("{}-{figure}", summary.experiment)
}

/// The command that makes an experiment's records.
fn run_command(experiment: &str) -> String {
    format!("cargo xtask run {experiment}")
}

/// A figure as the templates see it.
fn figure_view(id: String, figure: &Figure, command: &str, drawn: Drawn) -> FigureView {
    FigureView {
        id,
        title: figure.title.clone(),
        caption: figure.caption.clone(),
        alt: figure.alt.clone(),
        command: command.to_owned(),
        svg: drawn.svg,
        points_wide: drawn.points_wide,
        points_high: drawn.points_high,
    }
}

/// Arranges the input; `story` is the figure of the first page, `figures` are
/// in the order of the summaries and their figures.
pub(crate) fn view(
    input: &ReportInput,
    story: Option<(Figure, Drawn)>,
    figures: Vec<Drawn>,
    book: &Book,
) -> Result<View, ReportError> {
    let mut drawn = figures.into_iter();
    let experiments: Result<Vec<_>, _> = input
        .summaries
        .iter()
        .map(|s| {
            let figures = s.figures.iter().zip(drawn.by_ref());
            let command = run_command(&s.experiment);
            let figures =
                figures.map(|(f, drawn)| figure_view(figure_name(s, &f.id), f, &command, drawn));
            experiment(s, computed_in(s, &input.records), figures.collect(), book)
        })
        .collect();
    Ok(View {
        command: input.command.clone(),
        story_figure: story.map(|(f, drawn)| figure_view(f.id.clone(), &f, &input.command, drawn)),
        story: story::table(input, book)?,
        overview: overview(input, book)?,
        published: published(input, book)?,
        models: models(input, book)?,
        experiments: experiments?,
        provenance: provenance(input, book)?,
    })
}

/// The types that the records of an experiment were computed in; what it
/// declares if it has none.
fn computed_in(s: &Summary, records: &[RecordKey]) -> String {
    let own = records.iter().filter(|key| key.experiment == s.experiment);
    let types: BTreeSet<&str> = own.map(|key| key.dtype.as_str()).collect();
    if types.is_empty() {
        return s.spec.dtype.clone();
    }
    types.into_iter().collect::<Vec<_>>().join(" and ")
}

fn experiment(
    s: &Summary,
    dtype: String,
    figures: Vec<FigureView>,
    book: &Book,
) -> Result<ExperimentView, ReportError> {
    let command = run_command(&s.experiment);
    let anchor = |part: &str| format!("{}-{part}", s.experiment);
    let tables: Result<Vec<_>, _> = s
        .tables
        .iter()
        .map(|t| {
            let around = Around {
                id: &anchor(&t.id),
                title: &t.title,
                caption: &t.caption,
                command: &command,
            };
            TableView::from_summary(t, around, book)
        })
        .collect();
    Ok(ExperimentView {
        name: s.experiment.clone(),
        title: s.spec.title.clone(),
        hypothesis: s.spec.hypothesis.clone(),
        predicts: s.spec.predicts.clone(),
        falsified_by: s.spec.falsified_by.clone(),
        unit: s.spec.unit.clone(),
        dtype,
        seed: s.spec.seed.to_string(),
        version: s.spec.version.to_string(),
        sites: s.spec.sites.clone(),
        alpha: alpha_id(&s.experiment),
        claims: s
            .spec
            .claims
            .iter()
            .map(|c| ClaimView {
                id: c.id.clone(),
                statement: c.statement.clone(),
                metric: c.metric.clone(),
                direction: match c.direction {
                    Direction::Positive => "positive",
                    Direction::Negative => "negative",
                },
                smallest_effect: smallest_effect_id(&c.id),
                family: c.family.clone(),
            })
            .collect(),
        verdicts: s
            .verdicts
            .iter()
            .map(|v| VerdictView {
                claim: v.claim.clone(),
                statement: v.statement.clone(),
                data: v.data.clone(),
                as_published: v.as_published.clone(),
                audited: v.audited.to_string(),
                because: v.because.clone(),
            })
            .collect(),
        tables: tables?,
        figures,
        command,
    })
}
