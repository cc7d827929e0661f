//! Writing numbers into the summary.

use assay_experiment::ExperimentError;
use assay_record::{Cell, Column, Format, Number, Summary, Table, Tolerance};
use assay_stats::StatsError;

/// How a number is printed, and when two runs agree on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    format: Format,
    tolerance: Tolerance,
}

impl Style {
    const fn new(format: Format, tolerance: Tolerance) -> Self {
        Self { format, tolerance }
    }

    /// A number that was set and not computed, with the digits it was set with.
    pub(crate) fn declared(value: f64) -> Self {
        let digits = value.to_string();
        let places = digits.split_once('.').map_or(0, |(_, after)| after.len());
        let format = match u8::try_from(places) {
            Ok(0) | Err(_) => Format::Integer,
            Ok(places) => Format::Fixed(places),
        };
        Self::new(format, Tolerance::Exact)
    }

    /// The same print for a number that depends on random draws.
    pub(crate) const fn drawn(self) -> Self {
        Self::new(self.format, Tolerance::Statistical)
    }
}

/// Gains, logs of gains, growths and their spreads.
pub(crate) const GAIN: Style = Style::new(Format::Fixed(4), Tolerance::Rounding);
/// Correlations and shares of variance.
pub(crate) const R: Style = Style::new(Format::Fixed(3), Tolerance::Rounding);
/// Other measured numbers.
pub(crate) const PLAIN: Style = Style::new(Format::Significant(3), Tolerance::Rounding);
/// p values.
pub(crate) const P: Style = Style::new(Format::PValue, Tolerance::Rounding);
/// Counts.
pub(crate) const COUNT: Style = Style::new(Format::Integer, Tolerance::Exact);
/// Counts and shares of values beyond a threshold, which rounding can cross.
pub(crate) const SHARE: Style = Style::new(Format::Percent, Tolerance::Statistical);
/// Differences of the size of rounding itself.
pub(crate) const NOISE: Style = Style::new(Format::Significant(2), Tolerance::Statistical);

/// Where a number comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// Ids of records.
    pub(crate) records: Vec<String>,
    /// Where it was published.
    pub(crate) source: Option<String>,
}

impl Origin {
    pub(crate) fn published(source: &str) -> Self {
        Self {
            records: Vec::new(),
            source: Some(source.to_owned()),
        }
    }

    pub(crate) fn record(id: &str) -> Self {
        Self {
            records: vec![id.to_owned()],
            source: None,
        }
    }

    /// A number from several numbers.
    pub(crate) fn join<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> Self {
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
pub(crate) enum Value {
    Id(String),
    None(String),
}

impl Value {
    pub(crate) fn cell(&self) -> Cell {
        match self {
            Value::Id(id) => Cell::Number(id.clone()),
            Value::None(reason) => Cell::Missing(reason.clone()),
        }
    }

    /// The number's placeholder, or words that say why there is none.
    pub(crate) fn text(&self) -> String {
        match self {
            Value::Id(id) => shown(id),
            Value::None(reason) => format!("(none: {reason})"),
        }
    }
}

/// The placeholder of a number.
pub(crate) fn shown(id: &str) -> String {
    format!("{{{id}}}")
}

/// A statistic, or why it has no value on these data.
pub(crate) type Stat<T> = Result<T, StatsError>;

/// A statistic that must have a value; `what` is named if it has none.
pub(crate) fn must<T>(what: &str, value: Stat<T>) -> Result<T, ExperimentError> {
    value.map_err(|e| ExperimentError::Statistic {
        what: what.to_owned(),
        reason: e.to_string(),
    })
}

/// The summary while it is being written.
pub(crate) struct Page {
    pub(crate) summary: Summary,
}

impl Page {
    /// Adds a number and returns its id.
    pub(crate) fn put(
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
    pub(crate) fn try_put(
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
    pub(crate) fn value(&self, id: &str, reason: &str) -> Value {
        if self.summary.numbers.contains_key(id) {
            Value::Id(id.to_owned())
        } else {
            Value::None(reason.to_owned())
        }
    }

    /// The number under `id` as a cell.
    pub(crate) fn cell(&self, id: &str, reason: &str) -> Cell {
        self.value(id, reason).cell()
    }

    /// Adds a table; columns whose title starts with '#' are numeric.
    pub(crate) fn table(
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

pub(crate) fn words(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}
