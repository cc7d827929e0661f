//! The tables of the report that do not come ready from a summary.

use assay_record::{Agreement, ModelRow, RecordKey, Summary, Verdict};

use crate::book::{Book, fact_id, golden_id};
use crate::error::ReportError;
use crate::input::{Outcome, ReportInput};
use crate::tables::{Around, CellView, Kind, TableView};

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

/// First page: verdicts, what ran, checks against expected values.
pub(crate) fn overview(input: &ReportInput, book: &Book) -> Result<Vec<TableView>, ReportError> {
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
                if input.golden.is_empty() {
                    "Nothing was compared in this run."
                } else {
                    "Values compared with those that an earlier run or another implementation \
                     gave."
                },
            ),
            &["Experiment", "Model", "#Compared", "#Failed", "Outcome"],
            golden,
            book,
        )?,
    ])
}

/// What was measured, and what was not.
pub(crate) fn models(
    s: &Summary,
    command: &str,
    book: &Book,
) -> Result<Vec<TableView>, ReportError> {
    let [shapes_id, builds_id, absent_id] =
        ["shapes", "builds", "not-run"].map(|part| format!("{}-{part}", s.experiment));
    let around = |id, title, caption| Around {
        id,
        title,
        caption,
        command,
    };
    let fact = |row: &ModelRow, name: &str| number(&fact_id(s, row, name));
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

/// Published beside measured, and what is wrong with the publication.
pub(crate) fn published(
    s: &Summary,
    command: &str,
    book: &Book,
) -> Result<Vec<TableView>, ReportError> {
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
            text(&e.id),
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

/// What the numbers rest on.
pub(crate) fn provenance(input: &ReportInput, book: &Book) -> Result<Vec<TableView>, ReportError> {
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
    let mut settings = Vec::new();
    let mut hashes = Vec::new();
    for record in &input.records {
        let id = crate::archive::record_id(&record.key)?;
        settings.push(setting_row(&id, &record.key));
        hashes.push(hash_row(&id, &record.key));
    }
    let count = input.records.len();
    tables.extend(unless_empty(
        TableView::new(
            around(
                "records",
                "Records",
                "One a model and setting; the id is the hash of everything that can change a \
                 number in it.",
            ),
            &[
                "Record",
                "Experiment",
                "Model",
                "Revision",
                "Type",
                "Device",
                "Setting",
                "Switches",
            ],
            settings,
            book,
        )?,
        count,
    ));
    tables.extend(unless_empty(
        TableView::new(
            around(
                "hashes",
                "What the records were made from",
                "SHA-256 of each, printed to twelve digits and whole in results.zip; code is the \
                 sources and locked libraries that compute.",
            ),
            &[
                "Record",
                "Weights",
                "Tokenizer",
                "Prompts",
                "Declaration",
                "Code",
            ],
            hashes,
            book,
        )?,
        count,
    ));
    Ok(tables)
}

fn setting_row(id: &str, key: &RecordKey) -> Vec<CellView> {
    let switches: Vec<_> = key
        .switches
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // A commit is printed like a hash; names and versions are printed whole.
    let is_commit = key.revision.len() == 40 && key.revision.chars().all(|c| c.is_ascii_hexdigit());
    let revision = if is_commit { Kind::Hash } else { Kind::Code };
    vec![
        CellView::new(Kind::Record, id),
        code(&format!("{} v{}", key.experiment, key.spec_version)),
        code(&key.model),
        CellView::new(revision, &key.revision),
        text(&key.dtype),
        text(&key.device_class),
        text(&key.setting),
        text(&switches.join(", ")),
    ]
}

fn hash_row(id: &str, key: &RecordKey) -> Vec<CellView> {
    [
        id,
        &key.weights_sha256,
        &key.tokenizer_sha256,
        &key.prompts_sha256,
        &key.spec_sha256,
        &key.fingerprint,
    ]
    .map(|hash| CellView::new(Kind::Hash, hash))
    .to_vec()
}
