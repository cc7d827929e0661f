use std::path::Path;

use serde_json::{Map, Value};

use crate::CheckpointError;

/// The fields of a config, with errors that name the file and the field.
pub(crate) struct Fields<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(path: &'a Path, map: &'a Map<String, Value>) -> Self {
        Self { path, map }
    }

    pub(crate) fn error(&self, field: &str, reason: impl Into<String>) -> CheckpointError {
        CheckpointError::Field {
            path: self.path.to_path_buf(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    /// Is the field there, be it null?
    pub(crate) fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// A field that is absent or null is None.
    pub(crate) fn value(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|v| !v.is_null())
    }

    pub(crate) fn object(&self, field: &str) -> Result<Option<Fields<'a>>, CheckpointError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields::new(self.path, map))),
            Some(other) => Err(self.error(field, format!("is {other}, not an object"))),
        }
    }

    /// A count of at least 1 and at most 2^31, so that products of two fit.
    pub(crate) fn count_opt(&self, field: &str) -> Result<Option<usize>, CheckpointError> {
        let Some(value) = self.value(field) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(n) if (1..=1 << 31).contains(&n) => Ok(Some(n as usize)),
            _ => Err(self.error(field, format!("is {value}, not a positive whole number"))),
        }
    }

    pub(crate) fn count(&self, field: &str) -> Result<usize, CheckpointError> {
        self.count_opt(field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    /// A number of blocks: at most 10,000, since memory is taken for each
    /// before any of its weights is looked for.
    pub(crate) fn layers(&self, field: &str) -> Result<usize, CheckpointError> {
        match self.count(field)? {
            n if n <= 10_000 => Ok(n),
            n => Err(self.error(
                field,
                format!("is {n}, and no model has above 10000 blocks"),
            )),
        }
    }

    pub(crate) fn number_opt(&self, field: &str) -> Result<Option<f64>, CheckpointError> {
        let Some(value) = self.value(field) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(x) if x.is_finite() => Ok(Some(x)),
            _ => Err(self.error(field, format!("is {value}, not a number"))),
        }
    }

    /// A number above 0.
    pub(crate) fn positive_opt(&self, field: &str) -> Result<Option<f64>, CheckpointError> {
        match self.number_opt(field)? {
            Some(x) if x <= 0.0 => Err(self.error(field, format!("is {x}, not above 0"))),
            other => Ok(other),
        }
    }

    pub(crate) fn positive(&self, field: &str) -> Result<f64, CheckpointError> {
        self.positive_opt(field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    pub(crate) fn flag(&self, field: &str, absent: bool) -> Result<bool, CheckpointError> {
        match self.value(field) {
            None => Ok(absent),
            Some(Value::Bool(b)) => Ok(*b),
            Some(other) => Err(self.error(field, format!("is {other}, not true or false"))),
        }
    }

    pub(crate) fn text(&self, field: &str) -> Result<&'a str, CheckpointError> {
        match self.value(field) {
            Some(Value::String(s)) => Ok(s),
            Some(other) => Err(self.error(field, format!("is {other}, not a string"))),
            None => Err(self.error(field, "is missing")),
        }
    }
}
