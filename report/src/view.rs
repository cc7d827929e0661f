//! What the templates see: the input in reading order, with every table in one
//! shape. Nothing is computed here.

use assay_record::{Agreement, Direction, ModelRow, RecordKey, Summary, Verdict};
use serde::Serialize;

use crate::book::{Book, alpha_id, fact_id, golden_id, smallest_effect_id};
use crate::error::ReportError;
use crate::figure::Drawn;
use crate::input::{Outcome, ReportInput};
use crate::tables::{Around, CellView, Kind, TableView};

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
    verdicts: Vec<TableView>,
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

fn text(words: &str) -> CellView {
    CellView::new(Kind::Text, words)
}

fn code(words: &str) -> CellView {
    CellView::new(Kind::Code, words)
}

fn number(id: &str) -> CellView {
    CellView::new(Kind::Number, id)
}

fn verdict(verdict: Verdict) -> CellView {
    CellView::new(Kind::Verdict, &verdict.to_string())
}

/// Keeps a table if it has rows.
fn unless_empty(table: TableView, rows: usize) -> Vec<TableView> {
    if rows == 0 { Vec::new() } else { vec![table] }
}

fn overview(input: &ReportInput, book: &Book) -> Result<Vec<TableView>, ReportError> {
    let around = |id, title, caption| Around {
        id,
        title,
        caption,
        command: &input.command,
    };
    let verdicts = input
        .summaries
        .iter()
        .flat_map(|s| &s.verdicts)
        .map(|v| {
            vec![
                code(&v.claim),
                text(&v.data),
                text(&v.as_published),
                verdict(v.audited),
                CellView::new(Kind::Rich, &v.because),
            ]
        })
        .collect();
    let outcomes = input
        .outcomes
        .iter()
        .map(|line| {
            let (outcome, why) = match &line.outcome {
                Outcome::Measured => (text("measured"), text("")),
                Outcome::NotRun(why) => (CellView::new(Kind::Verdict, "NOT RUN"), text(why)),
            };
            vec![code(&line.experiment), code(&line.model), outcome, why]
        })
        .collect();
    let golden = input
        .golden
        .iter()
        .map(|line| {
            let id = |what| golden_id(&line.experiment, &line.model, what);
            let outcome = if line.failures.is_empty() {
                text("all held")
            } else {
                text(&line.failures.join("; "))
            };
            vec![
                code(&line.experiment),
                code(&line.model),
                number(&id("compared")),
                number(&id("failed")),
                outcome,
            ]
        })
        .collect();
    Ok(vec![
        TableView::new(
            around(
                "verdicts",
                "Verdicts",
                "Each claim under the published rule and under the audited one.",
            ),
            &["Claim", "Data", "As published", "Audited", "Because"],
            verdicts,
            book,
        )?,
        TableView::new(
            around("outcomes", "What ran, and what did not", ""),
            &["Experiment", "Model", "Outcome", "Why"],
            outcomes,
            book,
        )?,
        TableView::new(
            around(
                "golden",
                "Checks against expected values",
                "Values compared with those that an earlier run or another implementation gave.",
            ),
            &["Experiment", "Model", "#Compared", "#Failed", "Outcome"],
            golden,
            book,
        )?,
    ])
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
        verdicts: verdicts(s, &command, book)?,
        tables: tables?,
        figures,
        published: published(s, &command, book)?,
        command,
    })
}

fn models(s: &Summary, command: &str, book: &Book) -> Result<Vec<TableView>, ReportError> {
    let [shapes_id, builds_id, absent_id] =
        ["shapes", "builds", "not-run"].map(|part| format!("{}-{part}", s.experiment));
    let around = |id, title, caption| Around {
        id,
        title,
        caption,
        command,
    };
    let fact = |row: &ModelRow, name: &str| number(&fact_id(&s.experiment, &row.record, name));
    let shapes = s.models.iter().map(|row| {
        let names = [
            "n-layers",
            "n-heads",
            "n-kv-heads",
            "d-model",
            "d-head",
            "d-mlp",
            "vocab",
            "rho",
            "parameters",
        ];
        let mut cells = vec![code(&row.model)];
        cells.extend(names.map(|name| fact(row, name)));
        cells
    });
    let builds = s.models.iter().map(|row| {
        let f = &row.facts;
        vec![
            code(&row.model),
            code(&row.revision),
            text(&f.model_type),
            text(&f.block),
            text(&f.norm),
            text(&f.position),
            text(&f.stored),
            CellView::new(Kind::Hash, &row.record),
        ]
    });
    let absent = s
        .not_run
        .iter()
        .map(|n| vec![code(&n.model), text(&n.reason)]);
    let mut tables = unless_empty(
        TableView::new(
            around(
                &shapes_id,
                "Models measured: sizes",
                "Read from the configuration and the weights: L blocks, H query heads, \
                 H_kv key/value heads, widths d, head density ρ = H / d_head.",
            ),
            &[
                "Model",
                "#L",
                "#H",
                "#H_kv",
                "#d_model",
                "#d_head",
                "#d_mlp",
                "#Vocabulary",
                "#ρ",
                "#Parameters",
            ],
            shapes.collect(),
            book,
        )?,
        s.models.len(),
    );
    tables.extend(unless_empty(
        TableView::new(
            around(&builds_id, "Models measured: construction", ""),
            &[
                "Model",
                "Revision",
                "Type",
                "Block",
                "Norm",
                "Positions",
                "Stored as",
                "Record",
            ],
            builds.collect(),
            book,
        )?,
        s.models.len(),
    ));
    tables.extend(unless_empty(
        TableView::new(
            around(&absent_id, "Models not measured", ""),
            &["Model", "Why"],
            absent.collect(),
            book,
        )?,
        s.not_run.len(),
    ));
    Ok(tables)
}

fn verdicts(s: &Summary, command: &str, book: &Book) -> Result<Vec<TableView>, ReportError> {
    let rows = s.verdicts.iter().map(|v| {
        vec![
            code(&v.claim),
            text(&v.statement),
            text(&v.data),
            text(&v.as_published),
            verdict(v.audited),
            CellView::new(Kind::Rich, &v.because),
        ]
    });
    let table = TableView::new(
        Around {
            id: &format!("{}-verdicts", s.experiment),
            title: "Verdicts and their reasons",
            caption: "",
            command,
        },
        &[
            "Claim",
            "Statement",
            "Data",
            "As published",
            "Audited",
            "Because",
        ],
        rows.collect(),
        book,
    )?;
    Ok(unless_empty(table, s.verdicts.len()))
}

fn published(s: &Summary, command: &str, book: &Book) -> Result<Vec<TableView>, ReportError> {
    let measured = |id: &Option<String>| match id {
        Some(id) => number(id),
        None => CellView::new(Kind::Missing, "not measured"),
    };
    let comparisons = s.comparisons.iter().map(|c| {
        vec![
            text(&c.what),
            number(&c.published),
            measured(&c.as_published),
            measured(&c.difference),
            measured(&c.audited),
            text(agreement(c.agreement)),
            CellView::new(Kind::Rich, &c.note),
        ]
    });
    let errata = s.errata.iter().map(|e| {
        let origin = if e.computed {
            text("computed in this run")
        } else {
            CellView::new(Kind::Verdict, "NOT RUN")
        };
        vec![
            code(&e.id),
            CellView::new(Kind::Rich, &e.claimed),
            CellView::new(Kind::Rich, &e.truth),
            CellView::new(Kind::Rich, &e.evidence),
            origin,
        ]
    });
    let mut tables = unless_empty(
        TableView::new(
            Around {
                id: &format!("{}-comparisons", s.experiment),
                title: "Published against measured",
                caption: "The measured value under the published definition, its difference \
                          from the published one, and the value under the audited definition.",
                command,
            },
            &[
                "What",
                "#Published",
                "#Measured, as published",
                "#Difference",
                "#Audited",
                "Agreement",
                "Note",
            ],
            comparisons.collect(),
            book,
        )?,
        s.comparisons.len(),
    );
    tables.extend(unless_empty(
        TableView::new(
            Around {
                id: &format!("{}-errata", s.experiment),
                title: "Errata of the published work",
                caption: "",
                command,
            },
            &["No.", "Claimed", "True", "Evidence", "Evidence was"],
            errata.collect(),
            book,
        )?,
        s.errata.len(),
    ));
    Ok(tables)
}

fn agreement(class: Agreement) -> &'static str {
    match class {
        Agreement::SameWithinRounding => "same within rounding",
        Agreement::SameWithinSampling => "same within sampling error",
        Agreement::DifferentDefinition => "different definition",
        Agreement::DifferentModel => "different model",
        Agreement::Contradicted => "contradicted",
        Agreement::NotRun => "not run",
    }
}

fn provenance(input: &ReportInput, book: &Book) -> Result<Vec<TableView>, ReportError> {
    let around = |id, title, caption| Around {
        id,
        title,
        caption,
        command: &input.command,
    };
    let mut tables = Vec::new();
    if !input.provenance.is_empty() {
        let rows = input
            .provenance
            .iter()
            .map(|(name, value)| vec![text(name), code(value)]);
        tables.push(TableView::new(
            around("provenance", "This report", ""),
            &["What", "Value"],
            rows.collect(),
            book,
        )?);
    }
    let mut rows = Vec::new();
    for record in &input.records {
        rows.push(record_row(&record.key)?);
    }
    let count = rows.len();
    let table = TableView::new(
        around(
            "records",
            "Records",
            "One a model and setting; the id is the hash of everything that can change a number \
             in it. Hashes are SHA-256, printed to twelve digits and whole in results.zip.",
        ),
        &[
            "Record",
            "Experiment",
            "Model",
            "Revision",
            "Weights",
            "Tokenizer",
            "Prompts",
            "Code",
            "Type",
            "Device",
            "Setting",
            "Switches",
        ],
        rows,
        book,
    )?;
    tables.extend(unless_empty(table, count));
    Ok(tables)
}

fn record_row(key: &RecordKey) -> Result<Vec<CellView>, ReportError> {
    let id = crate::archive::record_id(key)?;
    let hash = |hash: &str| CellView::new(Kind::Hash, hash);
    let switches: Vec<_> = key
        .switches
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // A commit is as long as a hash; names and versions are printed whole.
    let is_commit = key.revision.len() == 40 && key.revision.chars().all(|c| c.is_ascii_hexdigit());
    Ok(vec![
        CellView::new(Kind::Record, &id),
        code(&format!("{} v{}", key.experiment, key.spec_version)),
        code(&key.model),
        if is_commit {
            hash(&key.revision)
        } else {
            code(&key.revision)
        },
        hash(&key.weights_sha256),
        hash(&key.tokenizer_sha256),
        hash(&key.prompts_sha256),
        hash(&key.fingerprint),
        text(&key.dtype),
        text(&key.device_class),
        text(&key.setting),
        text(&switches.join(", ")),
    ])
}
