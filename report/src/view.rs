//! What the templates see: the input in reading order, with every table in one
//! shape. Nothing is computed here.

use assay_record::{Direction, Summary};
use serde::Serialize;

use crate::book::{Book, alpha_id, smallest_effect_id};
use crate::error::ReportError;
use crate::figure::Drawn;
use crate::input::ReportInput;
use crate::sections::{models, overview, provenance, published};
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
    models: Vec<TableView>,
    verdicts: Vec<VerdictView>,
    tables: Vec<TableView>,
    figures: Vec<FigureView>,
    /// Published against measured, then errata.
    published: Vec<TableView>,
}

/// The whole report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct View {
    command: String,
    /// First page: verdicts, what ran, checks against expected values.
    overview: Vec<TableView>,
    experiments: Vec<ExperimentView>,
    provenance: Vec<TableView>,
}

/// File name of a figure, without extension.
pub(crate) fn figure_name(summary: &Summary, figure: &str) -> String {
    format!("{}-{figure}", summary.experiment)
}

/// The command that makes an experiment's records.
fn run_command(experiment: &str) -> String {
    format!("cargo xtask run {experiment}")
}

/// Arranges the input; `figures` are in the order of the summaries and their
/// figures.
pub(crate) fn view(
    input: &ReportInput,
    figures: Vec<Drawn>,
    book: &Book,
) -> Result<View, ReportError> {
    let mut drawn = figures.into_iter();
    let experiments: Result<Vec<_>, _> = input
        .summaries
        .iter()
        .map(|s| {
            let figures = s.figures.iter().zip(drawn.by_ref());
            let figures = figures.map(|(f, drawn)| FigureView {
                id: figure_name(s, &f.id),
                title: f.title.clone(),
                caption: f.caption.clone(),
                alt: f.alt.clone(),
                command: run_command(&s.experiment),
                svg: drawn.svg,
                points_wide: drawn.points_wide,
                points_high: drawn.points_high,
            });
            experiment(s, figures.collect(), book)
        })
        .collect();
    Ok(View {
        command: input.command.clone(),
        overview: overview(input, book)?,
        experiments: experiments?,
        provenance: provenance(input, book)?,
    })
}

fn experiment(
    s: &Summary,
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
        dtype: s.spec.dtype.clone(),
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
        models: models(s, &command, book)?,
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
        published: published(s, &command, book)?,
        command,
    })
}
