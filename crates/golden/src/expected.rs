use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use assay_record::{Number, Summary, Tolerance, Verdict, write_atomically};
use serde::{Deserialize, Serialize};

use crate::compare::{Computed, Difference, Finding};
use crate::drift::BySize;
use crate::error::GoldenError;

/// A file of expected numbers and verdicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Models that the numbers were computed over; empty for published data.
    pub models: Vec<String>,
    /// Id -> value and class.
    pub numbers: BTreeMap<String, ExpectedNumber>,
    /// "claim | data" -> audited verdict.
    pub verdicts: BTreeMap<String, Verdict>,
}

/// An expected number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedNumber {
    /// Its value.
    pub value: f64,
    /// How far off it may be.
    pub tolerance: Tolerance,
}

/// Compares a summary with the golden files of its experiment that apply: that
/// of every model measured, "published", and "across" if it was made over the
/// same models. `computed` says how the summary's records were.
///
/// # Errors
/// A golden file that cannot be read.
pub fn compare_summary(
    summary: &Summary,
    golden: &Path,
    computed: Computed,
) -> Result<Vec<Finding>, GoldenError> {
    let sides = both_sides(summary, golden)?.into_iter();
    let findings = sides.map(|(scope, found, expected)| Finding {
        scope: format!("{}/{scope}", summary.experiment),
        compared: expected.numbers.len() + expected.verdicts.len(),
        differences: differences(&found, &expected, computed),
    });
    Ok(findings.collect())
}

/// How far a summary lies from the golden values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SummaryDrift {
    /// Its numbers, by class.
    pub numbers: BTreeMap<Tolerance, BySize>,
    /// How many of its verdicts are on those models and have a golden one.
    pub verdicts: usize,
}

/// How far the numbers of a summary that rest on one of the `records` lie from
/// the golden ones, and how many verdicts are on their models.
///
/// # Errors
/// A golden file that cannot be read.
pub fn drift_of_summary(
    summary: &Summary,
    records: &BTreeSet<String>,
    golden: &Path,
) -> Result<SummaryDrift, GoldenError> {
    let mut drift = SummaryDrift::default();
    let of_records = summary
        .models
        .iter()
        .filter(|m| records.contains(&m.record));
    let models: BTreeSet<&String> = of_records.map(|m| &m.model).collect();
    for (_, found, expected) in both_sides(summary, golden)? {
        if !found.models.iter().any(|m| models.contains(m)) {
            continue;
        }
        for (id, e) in &expected.numbers {
            let rests = summary.numbers.get(id);
            let rests = rests.is_some_and(|n| n.records.iter().any(|r| records.contains(r)));
            if let (true, Some(f)) = (rests, found.numbers.get(id)) {
                let sizes = drift.numbers.entry(e.tolerance).or_default();
                sizes.add(e.value, f.value, id);
            }
        }
        let has_one = |key: &&String| expected.verdicts.contains_key(*key);
        drift.verdicts += found.verdicts.keys().filter(has_one).count();
    }
    Ok(drift)
}

/// Scope by scope what a summary says and what its golden file expects, where
/// there is one that applies.
fn both_sides(
    summary: &Summary,
    golden: &Path,
) -> Result<Vec<(String, Expected, Expected)>, GoldenError> {
    let mut sides = Vec::new();
    for (scope, found) in by_scope(summary) {
        let path = file(golden, &summary.experiment, &scope);
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|source| GoldenError::Io {
            path: path.clone(),
            source,
        })?;
        let expected: Expected =
            serde_json::from_str(&text).map_err(|e| GoldenError::Malformed {
                path: path.clone(),
                reason: e.to_string(),
            })?;
        if expected.models == found.models {
            sides.push((scope, found, expected));
        }
    }
    Ok(sides)
}

/// Writes the golden files of a summary, and says which.
///
/// # Errors
/// A file that cannot be written.
pub fn update_summary(summary: &Summary, golden: &Path) -> Result<Vec<PathBuf>, GoldenError> {
    let mut written = Vec::new();
    for (scope, expected) in by_scope(summary) {
        let path = file(golden, &summary.experiment, &scope);
        let mut text =
            serde_json::to_string_pretty(&expected).map_err(|e| GoldenError::Malformed {
                path: path.clone(),
                reason: e.to_string(),
            })?;
        text.push('\n');
        write_atomically(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

fn file(golden: &Path, experiment: &str, scope: &str) -> PathBuf {
    golden
        .join(plain(experiment))
        .join(format!("{}.json", plain(scope)))
}

/// A name as a part of a path: names of models may come from somebody else's
/// run, and must not lead out of the folder.
pub(crate) fn plain(name: &str) -> String {
    let kept = |c: char| match c {
        '/' | '\\' | ':' => '_',
        c if c.is_control() => '_',
        c => c,
    };
    let name: String = name.chars().map(kept).collect();
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}

/// What golden values are called that are not of one model: of none, of many.
pub const SCOPES: [&str; 2] = ["published", "across"];

/// The numbers and verdicts of a summary by the models they rest on.
fn by_scope(summary: &Summary) -> BTreeMap<String, Expected> {
    let mut scopes: BTreeMap<String, Expected> = BTreeMap::new();
    let of_record: BTreeMap<&str, &str> = (summary.models.iter())
        .map(|m| (m.record.as_str(), m.model.as_str()))
        .collect();
    let scope_of = |number: &Number| -> (String, Vec<String>) {
        let models = number.records.iter();
        let models: BTreeSet<String> = models
            .filter_map(|r| of_record.get(r.as_str()))
            .map(|model| (*model).to_owned())
            .collect();
        let models: Vec<String> = models.into_iter().collect();
        match models.as_slice() {
            [] => (SCOPES[0].to_owned(), models),
            [one] => (one.clone(), models),
            _ => (SCOPES[1].to_owned(), models),
        }
    };
    let blank = |models| Expected {
        models,
        numbers: BTreeMap::new(),
        verdicts: BTreeMap::new(),
    };
    for (id, number) in &summary.numbers {
        let (scope, models) = scope_of(number);
        let expected = ExpectedNumber {
            value: number.value,
            tolerance: number.tolerance,
        };
        let entry = scopes.entry(scope).or_insert_with(|| blank(models));
        entry.numbers.insert(id.clone(), expected);
    }
    for verdict in &summary.verdicts {
        // A verdict belongs to the model that its data names, else to the
        // published data or to all models.
        let named = summary
            .models
            .iter()
            .find(|m| verdict.data.split([' ', ',', '@']).any(|w| w == m.model));
        let (scope, models) = match named {
            Some(m) => (m.model.clone(), vec![m.model.clone()]),
            None if verdict.data.contains("published") => (SCOPES[0].to_owned(), Vec::new()),
            None => continue,
        };
        let entry = scopes.entry(scope).or_insert_with(|| blank(models));
        let key = format!("{} | {}", verdict.claim, verdict.data);
        entry.verdicts.insert(key, verdict.audited);
    }
    scopes
}

fn differences(found: &Expected, expected: &Expected, computed: Computed) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (id, e) in &expected.numbers {
        match found.numbers.get(id) {
            None => differences.push(Difference::Gone { name: id.clone() }),
            Some(f) if computed.within(e.tolerance, f.value, e.value) => {}
            Some(f) => differences.push(Difference::Off {
                name: id.clone(),
                tolerance: e.tolerance,
                computed,
                expected: e.value,
                actual: f.value,
            }),
        }
    }
    let new = found
        .numbers
        .keys()
        .filter(|id| !expected.numbers.contains_key(*id));
    differences.extend(new.map(|id| Difference::New { name: id.clone() }));
    for (key, e) in &expected.verdicts {
        let f = found.verdicts.get(key);
        if f != Some(e) {
            differences.push(Difference::Verdict {
                name: key.clone(),
                expected: *e,
                actual: f.copied(),
            });
        }
    }
    differences
}
