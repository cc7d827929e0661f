//! One shape for every table of the report, so that each output has one way of
//! setting tables.

use assay_record::{Cell, Summary, Table};
use serde::Serialize;

use crate::book::{Book, short};
use crate::columns::{Extent, Layout, SIZES, layout};
use crate::error::ReportError;
use crate::hostile;
use crate::text::unmarked;

/// How a cell is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Words.
    Text,
    /// Words with `{id}` placeholders.
    Rich,
    /// Id of a number.
    Number,
    /// Why there is nothing.
    Missing,
    /// A name that a machine reads.
    Code,
    /// A hash; its start is printed.
    Hash,
    /// A record's id: what the numbers link to.
    Record,
    /// An audited verdict.
    Verdict,
}

/// A cell.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CellView {
    kind: Kind,
    text: String,
    /// The whole of what `text` is the start of.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<String>,
}

impl CellView {
    pub(crate) fn new(kind: Kind, text: &str) -> Self {
        let text = text.to_owned();
        match kind {
            Kind::Hash | Kind::Record => Self {
                kind,
                text: short(&text).to_owned(),
                whole: Some(text),
            },
            _ => Self {
                kind,
                text,
                whole: None,
            },
        }
    }
}

#[derive(Debug, Clone, Serialize)]
struct ColumnView {
    title: String,
    numeric: bool,
}

/// A table of the report. A page takes it in as text by its id: the cells of
/// thousands of models are many.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TableView {
    /// Anchor, unique in the report.
    id: String,
    title: String,
    #[serde(skip)]
    body: Body,
}

/// What a table's own template sees of it beside its id and title.
#[derive(Debug, Clone)]
struct Body {
    /// May hold placeholders.
    caption: String,
    /// The command that makes it.
    command: String,
    columns: Vec<ColumnView>,
    rows: Vec<Vec<CellView>>,
    /// How LaTeX sets it.
    latex: Layout,
}

/// A table ready for its template.
#[derive(Debug, Serialize)]
pub(crate) struct Whole<'a> {
    id: &'a str,
    title: &'a str,
    caption: &'a str,
    command: &'a str,
    columns: &'a [ColumnView],
    rows: &'a [Vec<CellView>],
    /// How many rows more there are.
    left_out: usize,
    latex: &'a Layout,
}

/// What stands around the cells of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) id: &'a str,
    pub(crate) title: &'a str,
    pub(crate) caption: &'a str,
    pub(crate) command: &'a str,
}

impl TableView {
    /// Its anchor, which is its file name too.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A table; a heading that starts with "#" is that of a column of numbers.
    pub(crate) fn new(
        around: Around<'_>,
        headings: &[&str],
        rows: Vec<Vec<CellView>>,
        book: &Book,
    ) -> Result<Self, ReportError> {
        Self::sized(around, headings, rows, SIZES, book)
    }

    /// As [`TableView::new`], in one of some font sizes where it is set.
    pub(crate) fn sized(
        around: Around<'_>,
        headings: &[&str],
        rows: Vec<Vec<CellView>>,
        sizes: &[f64],
        book: &Book,
    ) -> Result<Self, ReportError> {
        let columns = headings
            .iter()
            .map(|title| ColumnView {
                title: title.trim_start_matches('#').to_owned(),
                numeric: title.starts_with('#'),
            })
            .collect();
        Self::of(around, columns, rows, sizes, book)
    }

    /// A table of a summary.
    pub(crate) fn from_summary(
        table: &Table,
        around: Around<'_>,
        book: &Book,
    ) -> Result<Self, ReportError> {
        let columns = table
            .columns
            .iter()
            .map(|c| ColumnView {
                title: c.title.clone(),
                numeric: c.numeric,
            })
            .collect();
        let cell = |cell: &Cell| match cell {
            Cell::Text(text) => CellView::new(Kind::Text, text),
            Cell::Number(id) => CellView::new(Kind::Number, id),
            Cell::Missing(why) => CellView::new(Kind::Missing, why),
        };
        let rows = table
            .rows
            .iter()
            .map(|row| row.iter().map(cell).collect())
            .collect();
        Self::of(around, columns, rows, SIZES, book)
    }

    fn of(
        around: Around<'_>,
        columns: Vec<ColumnView>,
        rows: Vec<Vec<CellView>>,
        sizes: &[f64],
        book: &Book,
    ) -> Result<Self, ReportError> {
        let mut extents: Vec<Extent> = columns
            .iter()
            .map(|column| {
                let mut extent = Extent {
                    numeric: column.numeric,
                    ..Extent::default()
                };
                extent.add_heading(&column.title);
                extent
            })
            .collect();
        for row in &rows {
            for (extent, cell) in extents.iter_mut().zip(row) {
                match cell.kind {
                    Kind::Number => {
                        let shown = book.shown(&cell.text).map(|s| s.plain("-"));
                        extent.add(&shown.unwrap_or_default(), false);
                    }
                    Kind::Rich => extent.add(&unmarked(&cell.text, book)?, true),
                    Kind::Hash | Kind::Record => extent.add_typewriter(&cell.text),
                    Kind::Verdict => extent.add_bold(&cell.text),
                    _ => {
                        // Words in a column of numbers may be broken too.
                        extent.numeric = false;
                        extent.add(&cell.text, true);
                    }
                }
            }
        }
        for (extent, column) in extents.iter_mut().zip(&columns) {
            extent.right = column.numeric;
        }
        Ok(Self {
            id: around.id.to_owned(),
            title: around.title.to_owned(),
            body: Body {
                caption: around.caption.to_owned(),
                command: around.command.to_owned(),
                columns,
                rows,
                latex: layout(&extents, sizes),
            },
        })
    }

    /// The table with no more rows than these.
    pub(crate) fn of_rows(&self, most: usize) -> Whole<'_> {
        let Body {
            caption,
            command,
            columns,
            rows,
            latex,
        } = &self.body;
        let shown = rows.len().min(most);
        Whole {
            id: &self.id,
            title: &self.title,
            caption,
            command,
            columns,
            rows: rows.get(..shown).unwrap_or(rows),
            left_out: rows.len() - shown,
            latex,
        }
    }
}

/// A table of a summary as CSV: numbers with all their digits.
pub(crate) fn csv(summary: &Summary, table: &Table) -> Result<Vec<u8>, ReportError> {
    let fault = |reason: String| ReportError::Table {
        table: table.id.clone(),
        reason,
    };
    let mut out = csv::Writer::from_writer(Vec::new());
    let titles = table.columns.iter().map(|c| hostile::cell(&c.title));
    out.write_record(titles.map(std::borrow::Cow::into_owned))
        .map_err(|e| fault(e.to_string()))?;
    for row in &table.rows {
        let cells = row.iter().map(|cell| match cell {
            Cell::Text(text) => hostile::cell(text).into_owned(),
            Cell::Number(id) => {
                let number = summary.numbers.get(id);
                number.map_or_else(String::new, |n| n.value.to_string())
            }
            Cell::Missing(_) => String::new(),
        });
        out.write_record(cells).map_err(|e| fault(e.to_string()))?;
    }
    out.into_inner().map_err(|e| fault(e.to_string()))
}
