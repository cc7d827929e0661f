//! The tables of the report that do not come ready from a summary.

use std::collections::BTreeSet;

use assay_record::{Agreement, Comparison, Erratum, ModelRow, RecordKey, Summary, Verdict};

use crate::book::{Book, facts_of, golden_id};
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

/// The models measured, each once.
pub(crate) fn models(input: &ReportInput, book: &Book) -> Result<Vec<TableView>, ReportError> {
    let around = |id, title, caption| Around {
        id,
        title,
        caption,
        command: &input.command,
    };
    let mut seen = BTreeSet::new();
    let models: Vec<(&ModelRow, String)> = (input.summaries.iter().flat_map(facts_of))
        .filter(|(row, _)| seen.insert((&row.model, &row.revision)))
        .collect();
    let shapes = models.iter().map(|(row, facts)| {
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
        let mut cells = vec![code(&row.model), code(&row.revision)];
        cells.extend(names.map(|name| number(&format!("{facts}.{name}"))));
        cells
    });
    let builds = models.iter().map(|(row, _)| {
        let f = &row.facts;
        vec![
            code(&row.model),
            code(&row.revision),
            text(&f.model_type),
            text(&f.block),
            text(&f.norm),
            text(&f.position),
            text(&f.stored),
        ]
    });
    let mut tables = unless_empty(
        TableView::new(
            around(
                "shapes",
                "Models measured: sizes",
                "Read from the configuration and the weights: L blocks, H query heads, \
                 H_kv key/value heads, widths d, head density ρ = H / d_head.",
            ),
            &[
                "Model",
                "Revision",
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
        models.len(),
    );
    tables.extend(unless_empty(
        TableView::new(
            around(
                "builds",
                "Models measured: construction",
                "As seen from what each block does to a changed activation, not as configured.",
            ),
            &[
                "Model",
                "Revision",
                "Type",
                "Block",
                "Norm",
                "Positions",
                "Stored as",
            ],
            builds.collect(),
            book,
        )?,
        models.len(),
    ));
    Ok(tables)
}

/// Published beside measured, and what is wrong with the publications.
pub(crate) fn published(input: &ReportInput, book: &Book) -> Result<Vec<TableView>, ReportError> {
    let measured = |id: &Option<String>| match id {
        Some(id) => number(id),
        None => CellView::new(Kind::Missing, "not measured"),
    };
    let comparisons = |s: &Summary| -> Vec<Vec<CellView>> {
        let row = |c: &Comparison| {
            vec![
                code(&s.experiment),
                text(&c.what),
                number(&c.published),
                measured(&c.as_published),
                measured(&c.difference),
                measured(&c.audited),
                text(agreement(c.agreement)),
                CellView::new(Kind::Rich, &c.note),
            ]
        };
        s.comparisons.iter().map(row).collect()
    };
    let comparisons: Vec<_> = input.summaries.iter().flat_map(comparisons).collect();
    let mut errata: Vec<(&Summary, &Erratum)> = input
        .summaries
        .iter()
        .flat_map(|s| s.errata.iter().map(move |e| (s, e)))
        .collect();
    // E2 before E10.
    errata.sort_by_key(|(_, e)| (e.id.len(), &e.id));
    let errata = errata.into_iter().map(|(s, e)| {
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
            code(&s.experiment),
        ]
    });
    let (compared, errata) = (comparisons.len(), errata.collect::<Vec<_>>());
    let around = |id, title, caption| Around {
        id,
        title,
        caption,
        command: &input.command,
    };
    let mut tables = unless_empty(
        TableView::new(
            around(
                "comparisons",
                "Published against measured",
                "The measured value under the published definition, its difference from the \
                 published one, the value under the audited definition, and what explains the \
                 difference.",
            ),
            &[
                "Experiment",
                "What",
                "#Published",
                "#Measured, as published",
                "#Difference",
                "#Audited",
                "Agreement",
                "Note",
            ],
            comparisons,
            book,
        )?,
        compared,
    );
    let faults = errata.len();
    tables.extend(unless_empty(
        TableView::new(
            around("errata", "Errata of the published work", ""),
            &[
                "No.",
                "Claimed",
                "True",
                "Evidence",
                "Evidence was",
                "Experiment",
            ],
            errata,
            book,
        )?,
        faults,
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
    for key in &input.records {
        let id = crate::archive::record_id(key)?;
        settings.push(setting_row(&id, key));
        hashes.push(hash_row(&id, key));
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
