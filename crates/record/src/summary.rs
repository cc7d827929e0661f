//! What an experiment says after its statistics: numbers under ids, and the
//! tables, figures, verdicts and errata that refer to them. The report formats
//! these and computes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::RecordError;

/// How far two values of one number may lie apart, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tolerance {
    /// Counts, verdicts, hashes: equal, or a failure.
    Exact,
    /// Same arithmetic in another order, library or instruction set.
    Rounding,
    /// Depends on random draws or on a threshold that rounding can cross.
    Statistical,
}

/// How a number is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// This many digits after the point.
    Fixed(u8),
    /// This many significant digits.
    Significant(u8),
    /// A share, printed as a percentage with one digit after the point.
    Percent,
    /// A p value: three digits, "< .001" below that.
    PValue,
    /// A whole number.
    Integer,
}

/// One number with its origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// The value; finite.
    pub value: f64,
    /// What it is, in words, with its unit.
    pub what: String,
    /// How it is printed.
    pub format: Format,
    /// What difference between two runs is no difference.
    pub tolerance: Tolerance,
    /// Ids of the records it was computed from; empty for published numbers.
    pub records: Vec<String>,
    /// Where a published number was published.
    pub source: Option<String>,
}

/// The outcome of a claim (METHODS, "Verdicts").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Holm-adjusted p < alpha with the predicted sign.
    Supported,
    /// The interval excludes the smallest effect of interest.
    Refuted,
    /// Significant with the opposite sign.
    Reversed,
    /// Neither; the minimal detectable effect stands beside it.
    Inconclusive,
    /// The model cannot show the phenomenon.
    NotApplicable,
    /// The model or data could not be had.
    NotRun,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verdict::Supported => "SUPPORTED",
            Verdict::Refuted => "REFUTED",
            Verdict::Reversed => "REVERSED",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::NotApplicable => "NOT APPLICABLE",
            Verdict::NotRun => "NOT RUN",
        })
    }
}

/// What a tested verdict rests on, as ids of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The estimate, on a scale where no effect is 0.
    pub effect: String,
    /// Lower and upper end of its interval at level 1 - alpha.
    pub interval: [String; 2],
    /// Two-sided p.
    pub p: String,
    /// The same after Holm's correction within the claim's family.
    pub holm_p: String,
}

/// Both readings of one claim on one body of data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimVerdict {
    /// Id of the claim in experiment.toml.
    pub claim: String,
    /// The claim in a sentence.
    pub statement: String,
    /// The data it is judged on: "published, 8 Pythia models", "measured…".
    pub data: String,
    /// The verdict of the published rule, in the publication's own word.
    pub as_published: String,
    /// The audited verdict.
    pub audited: Verdict,
    /// Why, with numbers as `{id}` placeholders.
    pub because: String,
    /// The numbers of the test; none where the verdict is not one of a test.
    pub evidence: Option<Evidence>,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// Words.
    Text(String),
    /// Id of a number.
    Number(String),
    /// Nothing to show, and why.
    Missing(String),
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Heading, short.
    pub title: String,
    /// Numbers are set right-aligned.
    pub numeric: bool,
}

/// A table; every number in it is an id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Identifier, unique in the summary: letters, digits and dashes.
    pub id: String,
    /// One line above the table.
    pub title: String,
    /// What the reader must know to read it; may hold `{id}` placeholders.
    pub caption: String,
    /// Columns, left to right.
    pub columns: Vec<Column>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

/// A figure: one or more panels side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Identifier, unique in the summary: letters, digits and dashes.
    pub id: String,
    /// One line above the figure.
    pub title: String,
    /// What is seen, for a reader; may hold `{id}` placeholders.
    pub caption: String,
    /// What is seen, for someone who cannot see it; plain words.
    pub alt: String,
    /// Left to right.
    pub panels: Vec<Panel>,
}

/// One plot with its axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Short heading.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// What is drawn.
    pub plot: Plot,
    /// Horizontal reference lines with their labels, for example G = 1.
    pub y_lines: Vec<(f64, String)>,
    /// Words set inside the panel; may hold `{id}` placeholders.
    pub note: String,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Label with unit.
    pub label: String,
    /// Logarithmic; all values must then be positive.
    pub log: bool,
}

/// What a panel draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plot {
    /// Points with error bars and names, and lines fitted to them.
    Points {
        /// The points.
        points: Vec<Point>,
        /// Fitted lines, each drawn across its points.
        fits: Vec<Fit>,
    },
    /// Horizontal bars, one a name, growing from `origin`.
    Bars {
        /// The bars, top to bottom.
        bars: Vec<Bar>,
        /// Value at which a bar has no length.
        origin: f64,
    },
    /// Lines over a common axis, each with an optional band.
    Lines {
        /// The lines.
        lines: Vec<Line>,
    },
    /// A matrix of colours; `values[row][column]`, row 0 at the bottom.
    HeatMap {
        /// The matrix.
        values: Vec<Vec<f64>>,
        /// What the colours stand for, with its unit.
        label: String,
    },
    /// Bar heights over equal bins between `low` and `high`, and marks.
    Histogram {
        /// Left edge of the first bin.
        low: f64,
        /// Right edge of the last bin.
        high: f64,
        /// Count in each bin.
        counts: Vec<f64>,
        /// Vertical lines with labels.
        marks: Vec<(f64, String)>,
    },
}

/// A point of a scatter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Name set beside the point.
    pub label: String,
    /// Group: points of one group share a colour and a shape.
    pub group: String,
    /// Horizontal position.
    pub x: f64,
    /// Vertical position.
    pub y: f64,
    /// Half length of the error bar.
    pub error: Option<f64>,
    /// Record it came from.
    pub record: Option<String>,
}

/// A fitted line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// What was fitted.
    pub label: String,
    /// Points that it was fitted to and is coloured as; all, in ink, if left
    /// out.
    pub group: Option<String>,
    /// Change of y for a change of x by 1.
    pub slope: f64,
    /// y at x = 0.
    pub intercept: f64,
}

/// A bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// Name beside the bar.
    pub label: String,
    /// Where it begins, if not at the plot's origin: the bars of a waterfall
    /// begin where the one before ends.
    pub start: Option<f64>,
    /// Where it ends.
    pub value: f64,
    /// Half length of the error bar.
    pub error: Option<f64>,
    /// Group: bars of one group share a colour.
    pub group: String,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Name in the legend.
    pub label: String,
    /// (x, y), x ascending.
    pub points: Vec<(f64, f64)>,
    /// (lower, upper) at each point; empty for no band.
    pub band: Vec<(f64, f64)>,
}

/// A fault of the published work: what was claimed, what is true, and the
/// evidence computed in this run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erratum {
    /// "E1"….
    pub id: String,
    /// What the publication says.
    pub claimed: String,
    /// What is true.
    pub truth: String,
    /// Computed evidence with `{id}` placeholders, or why it was not run.
    pub evidence: String,
    /// Whether the evidence was computed in this run.
    pub computed: bool,
}

/// Which class explains the distance of a measured from a published number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// Equal within rounding of the printed digits.
    SameWithinRounding,
    /// Within the sampling error of either.
    SameWithinSampling,
    /// The definitions differ; the audited one says how.
    DifferentDefinition,
    /// Measured on another model.
    DifferentModel,
    /// Same definition and model, and not equal.
    Contradicted,
    /// Not measured in this run; the reason stands beside it.
    NotRun,
}

/// A published number beside the measured one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// What is compared.
    pub what: String,
    /// Id of the published number.
    pub published: String,
    /// Id of the measured number under the published definition.
    pub as_published: Option<String>,
    /// Id of the measured number under the audited definition.
    pub audited: Option<String>,
    /// Id of as-published minus published.
    pub difference: Option<String>,
    /// What explains the difference.
    pub agreement: Agreement,
    /// A sentence where the class needs one.
    pub note: String,
}

/// A model that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRow {
    /// Registry name.
    pub model: String,
    /// Revision of the weights.
    pub revision: String,
    /// Record id.
    pub record: String,
    /// What the config and the code say.
    pub facts: crate::ModelFacts,
}

/// A model that was asked for and not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotRun {
    /// Registry name.
    pub model: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// Everything an experiment has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Experiment name.
    pub experiment: String,
    /// What was declared.
    pub spec: crate::ExperimentSpec,
    /// Models measured.
    pub models: Vec<ModelRow>,
    /// Models not measured.
    pub not_run: Vec<NotRun>,
    /// Every number, under an id such as "h25.smollm2-135m.gain.as-published".
    pub numbers: BTreeMap<String, Number>,
    /// Verdicts, both ways.
    pub verdicts: Vec<ClaimVerdict>,
    /// Tables in reading order.
    pub tables: Vec<Table>,
    /// Figures in reading order.
    pub figures: Vec<Figure>,
    /// Faults of the published work.
    pub errata: Vec<Erratum>,
    /// Published beside measured.
    pub comparisons: Vec<Comparison>,
}

impl Summary {
    /// A summary with nothing measured yet.
    #[must_use]
    pub fn new(experiment: &str, spec: crate::ExperimentSpec) -> Self {
        Self {
            experiment: experiment.to_owned(),
            spec,
            models: Vec::new(),
            not_run: Vec::new(),
            numbers: BTreeMap::new(),
            verdicts: Vec::new(),
            tables: Vec::new(),
            figures: Vec::new(),
            errata: Vec::new(),
            comparisons: Vec::new(),
        }
    }

    /// Adds a number and returns its id.
    ///
    /// # Errors
    /// The value is not finite, or the id is taken.
    pub fn number(&mut self, id: &str, number: Number) -> Result<String, RecordError> {
        if !number.value.is_finite() {
            return Err(RecordError::NotFinite {
                measure: id.to_owned(),
                unit: self.experiment.clone(),
                value: number.value,
            });
        }
        if self.numbers.insert(id.to_owned(), number).is_some() {
            return Err(RecordError::Duplicate {
                kind: "number",
                name: id.to_owned(),
            });
        }
        Ok(id.to_owned())
    }

    /// Checks that every id that a table, figure, verdict, erratum or
    /// comparison refers to exists, and that rows are as long as their heads.
    ///
    /// # Errors
    /// Names the first reference to nothing.
    pub fn check(&self) -> Result<(), RecordError> {
        let known = |id: &str, place: &str| {
            if self.numbers.contains_key(id) {
                Ok(())
            } else {
                Err(RecordError::Missing {
                    kind: "number",
                    name: format!("{id}, which {place} of {} refers to", self.experiment),
                })
            }
        };
        let text = |text: &str, place: &str| placeholders(text).try_for_each(|id| known(id, place));
        for table in &self.tables {
            let place = format!("table {}", table.id);
            text(&table.caption, &place)?;
            for row in &table.rows {
                if row.len() != table.columns.len() {
                    return Err(RecordError::Missing {
                        kind: "cell",
                        name: format!("some cell in a row of {place} of {}", self.experiment),
                    });
                }
                for cell in row {
                    if let Cell::Number(id) = cell {
                        known(id, &place)?;
                    }
                }
            }
        }
        for figure in &self.figures {
            let place = format!("figure {}", figure.id);
            text(&figure.caption, &place)?;
            for panel in &figure.panels {
                text(&panel.note, &place)?;
            }
        }
        for verdict in &self.verdicts {
            let place = format!("claim {}", verdict.claim);
            text(&verdict.because, &place)?;
            if let Some(e) = &verdict.evidence {
                let [low, high] = &e.interval;
                let all = [&e.effect, low, high, &e.p, &e.holm_p];
                all.into_iter().try_for_each(|id| known(id, &place))?;
            }
        }
        for erratum in &self.errata {
            text(&erratum.evidence, &format!("erratum {}", erratum.id))?;
        }
        for c in &self.comparisons {
            let place = format!("comparison {}", c.what);
            let ids = [Some(&c.published), c.as_published.as_ref()];
            let more = [c.audited.as_ref(), c.difference.as_ref()];
            for id in ids.into_iter().chain(more).flatten() {
                known(id, &place)?;
            }
        }
        Ok(())
    }
}

/// The ids named as `{id}` in a text.
pub(crate) fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(id, _)| id))
}
