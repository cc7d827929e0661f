//! Templates to text.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use serde::Serialize;
use tera::{Context, Delimiters, Filter, Kwargs, State, Tera};

use crate::book::Book;
use crate::dialect::Dialect;
use crate::error::ReportError;
use crate::figure::dark_rules;
use crate::staging::Staging;
use crate::text::rich;
use crate::view::View;

/// A language's templates, by name: of a table, and of the page that takes
/// tables in, which has the output's name.
struct Source {
    dialect: Dialect,
    table: (&'static str, &'static str),
    page: (&'static str, &'static str),
}

const SOURCES: [Source; 3] = [
    Source {
        dialect: Dialect::Markdown,
        table: ("table.md", include_str!("../templates/table.md")),
        page: ("report.md", include_str!("../templates/report.md")),
    },
    Source {
        dialect: Dialect::Html,
        table: ("table.html", include_str!("../templates/table.html")),
        page: ("report.html", include_str!("../templates/report.html")),
    },
    Source {
        dialect: Dialect::Latex,
        table: ("table.tex", include_str!("../templates/table.tex")),
        page: ("report.tex", include_str!("../templates/report.tex")),
    },
];

/// What report.tex and a paper that takes its tables begin with.
pub(crate) const PREAMBLE: &str = include_str!("../templates/preamble.tex");

/// The style sheet of report.html.
const STYLE: &str = include_str!("../templates/report.css");

/// The script of report.html, which needs none to be read.
const SCRIPT: &str = concat!(
    include_str!("../templates/tables.js"),
    include_str!("../templates/about.js"),
    include_str!("../templates/cards.js"),
    include_str!("../templates/report.js"),
);

/// Writes report.md, report.html, and report.tex with the tables that it takes
/// in.
pub(crate) fn render(
    view: &View,
    book: &Arc<Book>,
    files: &mut Staging,
) -> Result<(), ReportError> {
    let mut write = |name: &str, text: &str| {
        no_placeholder_left(name, text, book)?;
        files.write(name, text.as_bytes())
    };
    for source in &SOURCES {
        let fault = |e: tera::Error| ReportError::Template {
            template: source.page.0,
            reason: chain(&e),
        };
        let mut tera = engine(source, book).map_err(fault)?;
        let mut tables = BTreeMap::new();
        for table in view.tables() {
            let one = BTreeMap::from([("table", table.of_rows(source.dialect.rows()))]);
            let context = Context::from_serialize(&one).map_err(fault)?;
            let text = tera.render(source.table.0, &context).map_err(fault)?;
            if source.dialect == Dialect::Latex {
                write(&format!("tables/{}.tex", table.id()), &text)?;
            }
            tables.insert(table.id().to_owned(), text);
        }
        tera.register_filter("table", TableFilter(tables));
        tera.add_raw_templates([source.page]).map_err(fault)?;
        let page = Page {
            report: view,
            style: format!(
                "{STYLE}\n@media (prefers-color-scheme:dark){{\n{}}}\n",
                dark_rules()
            ),
            script: SCRIPT,
        };
        let context = Context::from_serialize(&page).map_err(fault)?;
        let text = tera.render(source.page.0, &context).map_err(fault)?;
        write(source.page.0, &text)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Page<'a> {
    report: &'a View,
    style: String,
    script: &'static str,
}

fn engine(source: &Source, book: &Arc<Book>) -> Result<Tera, tera::Error> {
    let mut tera = Tera::new();
    if source.dialect == Dialect::Latex {
        tera.set_delimiters(Delimiters {
            block_start: "<%".into(),
            block_end: "%>".into(),
            variable_start: "<<".into(),
            variable_end: ">>".into(),
            comment_start: "<#".into(),
            comment_end: "#>".into(),
        })?;
    }
    tera.autoescape_on([".md", ".html", ".tex"]);
    tera.set_escape_fn(source.dialect.escape_fn());
    tera.register_filter(
        "number",
        NumberFilter {
            dialect: source.dialect,
            book: Arc::clone(book),
        },
    );
    tera.register_filter(
        "rich",
        RichFilter {
            dialect: source.dialect,
            book: Arc::clone(book),
        },
    );
    tera.register_filter("code", CodeFilter(source.dialect));
    tera.add_raw_templates([source.table])?;
    Ok(tera)
}

/// `id | number`: the number with its origin.
struct NumberFilter {
    dialect: Dialect,
    book: Arc<Book>,
}

impl Filter<&str, tera::TeraResult<String>> for NumberFilter {
    fn call(&self, id: &str, _: Kwargs, _: &State) -> tera::TeraResult<String> {
        self.dialect
            .number(id, &self.book)
            .ok_or_else(|| tera::Error::message(format!("there is no number {id}")))
    }

    fn is_safe(&self) -> bool {
        true
    }
}

/// `id | table`: the table's text.
struct TableFilter(BTreeMap<String, String>);

impl Filter<&str, tera::TeraResult<String>> for TableFilter {
    fn call(&self, id: &str, _: Kwargs, _: &State) -> tera::TeraResult<String> {
        let text = self.0.get(id).cloned();
        text.ok_or_else(|| tera::Error::message(format!("there is no table {id}")))
    }

    fn is_safe(&self) -> bool {
        true
    }
}

/// `text | code`: a name or command that a machine reads.
struct CodeFilter(Dialect);

impl Filter<&str, String> for CodeFilter {
    fn call(&self, text: &str, _: Kwargs, _: &State) -> String {
        self.0.code(text)
    }

    fn is_safe(&self) -> bool {
        true
    }
}

/// `text | rich`: words escaped and placeholders replaced.
struct RichFilter {
    dialect: Dialect,
    book: Arc<Book>,
}

impl Filter<&str, tera::TeraResult<String>> for RichFilter {
    fn call(&self, text: &str, _: Kwargs, _: &State) -> tera::TeraResult<String> {
        rich(
            text,
            &self.book,
            |words| self.dialect.words(words),
            |id| self.dialect.number(id, &self.book).unwrap_or_default(),
        )
        .map_err(|e| tera::Error::message(e.to_string()))
    }

    fn is_safe(&self) -> bool {
        true
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A known id between braces that reached an output was meant as a
/// placeholder, in a field that holds none.
pub(crate) fn no_placeholder_left(file: &str, text: &str, book: &Book) -> Result<(), ReportError> {
    for part in text.split('{').skip(1) {
        if let Some((id, _)) = part.split_once('}')
            && book.get(id.trim_end_matches('\\')).is_some()
        {
            return Err(ReportError::Unreplaced {
                id: id.to_owned(),
                file: file.to_owned(),
            });
        }
    }
    Ok(())
}
