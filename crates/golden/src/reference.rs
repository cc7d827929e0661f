use std::collections::BTreeMap;
use std::path::Path;

use assay_record::{Measure, Record, Tolerance};
use serde::{Deserialize, Serialize};

use crate::compare::{Computed, Difference, Finding};
use crate::error::GoldenError;
use crate::expected::plain;

/// Measures of a record as an independent implementation gives them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// What computed the values: program, versions, generator.
    pub source: String,
    /// SHA-256 of the weights file that it read.
    pub weights_sha256: String,
    /// Unit -> token ids, special tokens included.
    pub token_ids: BTreeMap<String, Vec<u32>>,
    /// Unit -> measure -> value or series.
    pub values: BTreeMap<String, BTreeMap<String, Measure>>,
}

/// Compares a record with `golden/<experiment>/<model>.reference.json`, if
/// there is one. Other weights under the model's name show as differences.
///
/// # Errors
/// A golden file that cannot be read.
pub fn compare_record(record: &Record, golden: &Path) -> Result<Option<Finding>, GoldenError> {
    let key = &record.key;
    let scope = format!("{}/{}.reference", key.experiment, key.model);
    let path = golden
        .join(plain(&key.experiment))
        .join(format!("{}.reference.json", plain(&key.model)));
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|source| GoldenError::Io {
        path: path.clone(),
        source,
    })?;
    let reference: Reference = serde_json::from_str(&text).map_err(|e| GoldenError::Malformed {
        path: path.clone(),
        reason: e.to_string(),
    })?;
    let mut finding = Finding {
        scope,
        compared: 0,
        differences: Vec::new(),
    };
    for (unit, ids) in &reference.token_ids {
        finding.compared += 1;
        if record.sample(unit).is_ok_and(|s| s.token_ids == *ids) {
            continue;
        }
        finding.differences.push(Difference::Gone {
            name: format!("token ids of {unit}"),
        });
    }
    for (unit, measures) in &reference.values {
        for (measure, expected) in measures {
            let name = format!("{unit} {measure}");
            let actual = record
                .sample(unit)
                .ok()
                .and_then(|s| s.measures.get(measure));
            compare_measure(&mut finding, &name, (actual, Computed::of(key)), expected);
        }
    }
    Ok(Some(finding))
}

fn compare_measure(
    finding: &mut Finding,
    name: &str,
    (actual, computed): (Option<&Measure>, Computed),
    expected: &Measure,
) {
    let numbers = |m: &Measure| match m {
        Measure::Scalar(v) => vec![*v],
        Measure::Series(v) => v.clone(),
    };
    let expected = numbers(expected);
    let actual = actual.map(numbers).unwrap_or_default();
    finding.compared += expected.len();
    if actual.len() != expected.len() {
        finding.differences.push(Difference::Gone {
            name: format!("{name} ({} values, found {})", expected.len(), actual.len()),
        });
        return;
    }
    for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
        if !computed.within(Tolerance::Rounding, *a, *e) {
            finding.differences.push(Difference::Off {
                name: format!("{name}[{i}]"),
                tolerance: Tolerance::Rounding,
                computed,
                expected: *e,
                actual: *a,
            });
        }
    }
}
