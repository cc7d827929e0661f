//! Writing a summary: numbers under ids, and tables of them.

use crate::ExperimentError;
use assay_record::{
    Cell, Column, ExperimentSpec, Format, ModelRow, NotRun, Number, Record, RecordError, Summary,
    Table, Tolerance,
};
use assay_stats::StatsError;

/// How a number is printed, and when two runs agree on it.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    format: Format,
    tolerance: Tolerance,
}

impl Style {
    const fn new(format: Format, tolerance: Tolerance) -> Self {
        Self { format, tolerance }
    }

    /// A number that was set and not computed, with the digits it was set with.
    pub fn declared(value: f64) -> Self {
        let digits = value.to_string();
        let places = digits.split_once('.').map_or(0, |(_, after)| after.len());
        let format = match u8::try_from(places) {
            Ok(0) | Err(_) => Format::Integer,
            Ok(places) => Format::Fixed(places),
        };
        Self::new(format, Tolerance::Exact)
    }

    /// The same print for a number that depends on random draws.
    pub const fn drawn(self) -> Self {
        Self::new(self.format, Tolerance::Statistical)
    }
}

/// Gains, logs of gains, growths and their spreads.
pub const GAIN: Style = Style::new(Format::Fixed(4), Tolerance::Rounding);
/// Correlations and shares of variance.
pub const R: Style = Style::new(Format::Fixed(3), Tolerance::Rounding);
/// Other measured numbers.
pub const PLAIN: Style = Style::new(Format::Significant(3), Tolerance::Rounding);
/// p values.
pub const P: Style = Style::new(Format::PValue, Tolerance::Rounding);
/// Counts.
pub const COUNT: Style = Style::new(Format::Integer, Tolerance::Exact);
/// Counts and shares of values beyond a threshold, which rounding can cross.
pub const SHARE: Style = Style::new(Format::Percent, Tolerance::Statistical);
/// Differences of the size of rounding itself.
pub const NOISE: Style = Style::new(Format::Significant(2), Tolerance::Statistical);

/// Where a number comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Ids of records.
    pub records: Vec<String>,
    /// Where it was published.
    pub source: Option<String>,
}

impl Origin {
    /// Something printed there.
    #[must_use]
    pub fn published(source: &str) -> Self {
        Self {
            records: Vec::new(),
            source: Some(source.to_owned()),
        }
    }

    /// One record.
    #[must_use]
    pub fn record(id: &str) -> Self {
        Self {
            records: vec![id.to_owned()],
            source: None,
        }
    }

    /// A number from several numbers.
    pub fn join<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> Self {
        let mut all = Self::default();
        let mut sources: Vec<&str> = Vec::new();
        for origin in origins {
            for id in &origin.records {
                if !all.records.contains(id) {
                    all.records.push(id.clone());
                }
            }
            if let Some(source) = &origin.source
                && !sources.contains(&source.as_str())
            {
                sources.push(source);
            }
        }
        all.source = (!sources.is_empty()).then(|| sources.join("; "));
        all
    }
}

/// A number under its id, or the reason why there is none.
#[derive(Debug, Clone)]
pub enum Value {
    /// The id.
    Id(String),
    /// The reason.
    None(String),
}

impl Value {
    /// As a cell of a table.
    #[must_use]
    pub fn cell(&self) -> Cell {
        match self {
            Value::Id(id) => Cell::Number(id.clone()),
            Value::None(reason) => Cell::Missing(reason.clone()),
        }
    }

    /// The number's placeholder, or words that say why there is none.
    pub fn text(&self) -> String {
        match self {
            Value::Id(id) => shown(id),
            Value::None(reason) => format!("(none: {reason})"),
        }
    }
}

/// Why a number is missing where there were activations alone.
pub const RECORDED: &str = "needs the model itself; this is a recording of activations";

/// The placeholder of a number.
pub fn shown(id: &str) -> String {
    format!("{{{id}}}")
}

/// A statistic, or why it has no value on these data.
pub type Stat<T> = Result<T, StatsError>;

/// A statistic that must have a value; `what` is named if it has none.
pub fn must<T>(what: &str, value: Stat<T>) -> Result<T, ExperimentError> {
    value.map_err(|e| ExperimentError::Statistic {
        what: what.to_owned(),
        reason: e.to_string(),
    })
}

/// The id of a record.
///
/// # Errors
/// The key cannot be written.
pub fn record_id(record: &Record) -> Result<String, ExperimentError> {
    record.key.id().map_err(|e| {
        ExperimentError::Record(RecordError::Malformed {
            path: record.key.model.clone().into(),
            kind: "record key",
            reason: e.to_string(),
        })
    })
}

/// A name as part of a number id.
#[must_use]
pub fn slug(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    name.chars()
        .map(|c| if keep(c) { c.to_ascii_lowercase() } else { '-' })
        .collect()
}

/// The summary while it is being written.
pub struct Page {
    /// What is written so far.
    pub summary: Summary,
}

impl Page {
    /// A page that names the models measured and those not.
    ///
    /// # Errors
    /// A record whose key cannot be written.
    pub fn new(
        experiment: &str,
        spec: ExperimentSpec,
        records: &[Record],
        not_run: &[NotRun],
    ) -> Result<Self, ExperimentError> {
        let mut summary = Summary::new(experiment, spec);
        for record in records {
            summary.models.push(ModelRow {
                model: record.key.model.clone(),
                revision: record.key.revision.clone(),
                record: record_id(record)?,
                facts: record.facts.clone(),
            });
        }
        summary.not_run = not_run.to_vec();
        Ok(Self { summary })
    }

    /// Adds a number and returns its id.
    pub fn put(
        &mut self,
        id: &str,
        what: &str,
        value: f64,
        style: Style,
        origin: &Origin,
    ) -> Result<String, ExperimentError> {
        let number = Number {
            value,
            what: what.to_owned(),
            format: style.format,
            tolerance: style.tolerance,
            records: origin.records.clone(),
            source: origin.source.clone(),
        };
        Ok(self.summary.number(id, number)?)
    }

    /// Adds a statistic that the data may not allow.
    pub fn try_put(
        &mut self,
        id: &str,
        what: &str,
        value: Stat<f64>,
        style: Style,
        origin: &Origin,
    ) -> Result<Value, ExperimentError> {
        Ok(match value {
            Ok(value) => Value::Id(self.put(id, what, value, style, origin)?),
            Err(reason) => Value::None(reason.to_string()),
        })
    }

    /// The number under `id` where it was written, else `reason`.
    pub fn value(&self, id: &str, reason: &str) -> Value {
        if self.summary.numbers.contains_key(id) {
            Value::Id(id.to_owned())
        } else {
            Value::None(reason.to_owned())
        }
    }

    /// The number under `id` as a cell.
    pub fn cell(&self, id: &str, reason: &str) -> Cell {
        self.value(id, reason).cell()
    }

    /// Adds a table; columns whose title starts with '#' are numeric.
    pub fn table(
        &mut self,
        id: &str,
        title: &str,
        caption: &str,
        columns: &[&str],
        rows: Vec<Vec<Cell>>,
    ) {
        let columns = columns.iter().map(|title| Column {
            title: title.trim_start_matches('#').to_owned(),
            numeric: title.starts_with('#'),
        });
        self.summary.tables.push(Table {
            id: id.to_owned(),
            title: title.to_owned(),
            caption: caption.to_owned(),
            columns: columns.collect(),
            rows,
        });
    }
}

/// A cell of words.
pub fn words(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}
