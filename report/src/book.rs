//! Every number of the report under one roof: those of the summaries, and
//! those that the harness itself states (model facts, declared thresholds,
//! counts of checks).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_record::{Format, ModelRow, Number, Summary, Tolerance};

use crate::archive::record_id;
use crate::error::ReportError;
use crate::input::ReportInput;
use crate::latex::macro_names;
use crate::shown::{Shown, shown};

/// How many characters of a hash are printed; the whole of it stands in
/// results.zip.
pub(crate) const SHORT_HASH: usize = 12;

/// The start of a hash, as printed.
pub(crate) fn short(hash: &str) -> &str {
    hash.get(..SHORT_HASH).unwrap_or(hash)
}

/// How the ids of the facts about each of a summary's models begin; where a
/// summary has several records of one model, the record's id is part of it.
pub(crate) fn facts_of(summary: &Summary) -> impl Iterator<Item = (&ModelRow, String)> {
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &summary.models {
        *rows.entry(&row.model).or_default() += 1;
    }
    summary.models.iter().map(move |row| {
        let ModelRow { model, record, .. } = row;
        let facts = format!("{}.facts.{model}", summary.experiment);
        let several = rows.get(model.as_str()).is_some_and(|n| *n > 1);
        (
            row,
            if several {
                format!("{facts}.{}", short(record))
            } else {
                facts
            },
        )
    })
}

/// Id of the declared smallest effect of interest of a claim.
pub(crate) fn smallest_effect_id(claim: &str) -> String {
    format!("{claim}.smallest-effect")
}

/// Id of an experiment's declared error rate.
pub(crate) fn alpha_id(experiment: &str) -> String {
    format!("{experiment}.alpha")
}

/// Id of the number of values compared for one line of the golden table.
pub(crate) fn golden_id(experiment: &str, model: &str, what: &str) -> String {
    format!("golden.{experiment}.{model}.{what}")
}

/// Numbers by id.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    /// Those of the summaries stay there: thousands of models have many.
    input: Arc<ReportInput>,
    /// Those that the harness states.
    stated: BTreeMap<String, Number>,
    /// LaTeX macro of each number.
    macros: BTreeMap<String, String>,
}

impl Book {
    /// Gathers and checks all numbers.
    pub(crate) fn new(input: &Arc<ReportInput>) -> Result<Self, ReportError> {
        let mut records = BTreeSet::new();
        for key in &input.records {
            records.insert(record_id(key)?);
        }
        let mut book = Self {
            input: Arc::clone(input),
            stated: BTreeMap::new(),
            macros: BTreeMap::new(),
        };
        for summary in &input.summaries {
            summary.check()?;
            for (id, number) in &summary.numbers {
                if let Some(record) = number.records.iter().find(|r| !records.contains(*r)) {
                    return Err(ReportError::UnknownRecord {
                        number: id.clone(),
                        record: record.clone(),
                    });
                }
                check(id, number)?;
            }
            book.insert_declared(summary)?;
            book.insert_facts(summary)?;
        }
        for line in &input.golden {
            for (what, count) in [("compared", line.compared), ("failed", line.failures.len())] {
                let id = golden_id(&line.experiment, &line.model, what);
                book.insert(id, counted(count as f64, &format!("values {what}"), &[]))?;
            }
        }
        let mut ids = BTreeSet::new();
        let measured = input.summaries.iter().flat_map(|s| s.numbers.keys());
        for id in measured.chain(book.stated.keys()) {
            if !ids.insert(id) {
                return Err(twice(id));
            }
        }
        book.macros = macro_names(ids);
        Ok(book)
    }

    fn insert_declared(&mut self, summary: &Summary) -> Result<(), ReportError> {
        let declared = |value: f64, what: &str| Number {
            value,
            what: what.to_owned(),
            format: as_declared(value),
            tolerance: Tolerance::Exact,
            records: Vec::new(),
            source: Some(format!("experiment.toml of {}", summary.experiment)),
        };
        self.insert(
            alpha_id(&summary.experiment),
            declared(summary.spec.alpha, "family-wise error rate"),
        )?;
        for claim in &summary.spec.claims {
            self.insert(
                smallest_effect_id(&claim.id),
                declared(claim.smallest_effect, "smallest effect of interest"),
            )?;
        }
        Ok(())
    }

    fn insert_facts(&mut self, summary: &Summary) -> Result<(), ReportError> {
        for (row, facts) in facts_of(summary) {
            let f = &row.facts;
            let counts = [
                ("n-layers", "blocks, L", f.n_layers as f64),
                ("n-heads", "query heads, H", f.n_heads as f64),
                ("n-kv-heads", "key/value heads", f.n_kv_heads as f64),
                ("d-model", "width of the residual stream", f.d_model as f64),
                ("d-head", "width of a head", f.d_head as f64),
                ("d-mlp", "hidden width of the MLP", f.d_mlp as f64),
                ("vocab", "vocabulary size", f.vocab as f64),
                ("parameters", "parameters in the file", f.parameters as f64),
            ];
            let from = [row.record.clone()];
            for (fact, what, value) in counts {
                let what = format!("{what} of {}", row.model);
                self.insert(format!("{facts}.{fact}"), counted(value, &what, &from))?;
            }
            let rho = Number {
                format: Format::Fixed(4),
                ..counted(f.rho, &format!("head density of {}", row.model), &from)
            };
            self.insert(format!("{facts}.rho"), rho)?;
        }
        Ok(())
    }

    fn insert(&mut self, id: String, number: Number) -> Result<(), ReportError> {
        check(&id, &number)?;
        if self.stated.contains_key(&id) {
            return Err(twice(&id));
        }
        self.stated.insert(id, number);
        Ok(())
    }

    /// The number under `id`.
    pub(crate) fn get(&self, id: &str) -> Option<&Number> {
        let mut summaries = self.input.summaries.iter();
        let measured = || summaries.find_map(|s| s.numbers.get(id));
        self.stated.get(id).or_else(measured)
    }

    /// The printed parts of the number under `id`.
    pub(crate) fn shown(&self, id: &str) -> Option<Shown> {
        self.get(id).map(|n| shown(n.value, n.format))
    }

    /// The LaTeX macro of the number under `id`, without its backslash.
    pub(crate) fn macro_name(&self, id: &str) -> Option<&str> {
        self.macros.get(id).map(String::as_str)
    }

    /// Ids and numbers in alphabetical order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Number)> {
        let ids = self.macros.keys();
        ids.filter_map(|id| Some((id.as_str(), self.get(id)?)))
    }
}

/// A number must be one that its format can print.
fn check(id: &str, number: &Number) -> Result<(), ReportError> {
    let (in_range, expected) = match number.format {
        Format::PValue => ((0.0..=1.0).contains(&number.value), "a probability"),
        Format::Integer => (number.value.fract() == 0.0, "a whole number"),
        _ => (number.value.is_finite(), "finite"),
    };
    if in_range {
        return Ok(());
    }
    Err(ReportError::BadNumber {
        id: id.to_owned(),
        value: number.value,
        expected,
    })
}

fn twice(id: &str) -> ReportError {
    ReportError::Duplicate {
        kind: "number",
        name: id.to_owned(),
    }
}

/// The digits that a declaration was written with.
fn as_declared(value: f64) -> Format {
    let digits = value.to_string();
    let places = digits.split_once('.').map_or(0, |(_, after)| after.len());
    u8::try_from(places).map_or(Format::Significant(3), Format::Fixed)
}

/// A count that the harness states of itself.
fn counted(value: f64, what: &str, records: &[String]) -> Number {
    Number {
        value,
        what: what.to_owned(),
        format: Format::Integer,
        tolerance: Tolerance::Exact,
        records: records.to_vec(),
        source: None,
    }
}
