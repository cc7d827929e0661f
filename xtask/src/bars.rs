//! Progress for people: bars with time left on a terminal, one line a stage
//! elsewhere.

use std::io::IsTerminal;
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::say::{is_quiet, say, to_people};

/// All bars, one under the other: workers run side by side.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// One bar whose stage may change.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    name: String,
    stage: String,
}

impl Bar {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            bar: (!is_quiet() && std::io::stderr().is_terminal())
                .then(|| BARS.add(ProgressBar::no_length())),
            name: name.to_owned(),
            stage: String::new(),
        }
    }

    /// Steps of a stage.
    pub(crate) fn steps(&mut self, stage: &str, done: u64, total: u64) {
        self.show(
            stage,
            Some(total),
            done,
            "{msg:40!} {wide_bar} {pos}/{len}, {eta} left",
        );
    }

    /// Steps of a stage, with something said of the last one.
    pub(crate) fn steps_of(&mut self, stage: &str, note: &str, done: u64, total: u64) {
        self.steps(stage, done, total);
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {stage}, {note}", self.name));
        }
    }

    /// Bytes of a file.
    pub(crate) fn bytes(&mut self, file: &str, done: u64, total: Option<u64>) {
        let template = "{msg:40!} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        self.show(file, total, done, template);
    }

    fn show(&mut self, stage: &str, total: Option<u64>, done: u64, template: &str) {
        let new = self.stage != stage;
        self.stage = stage.to_owned();
        match &self.bar {
            None if new => say!("{}: {stage}", self.name),
            None => {}
            Some(bar) => {
                if new {
                    bar.reset();
                    if let Ok(style) = ProgressStyle::with_template(template) {
                        bar.set_style(style);
                    }
                    bar.set_message(format!("{}: {stage}", self.name));
                }
                if let Some(total) = total {
                    bar.set_length(total);
                }
                bar.set_position(done);
            }
        }
    }

    /// A line above the bars.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(_) => BARS.suspend(|| to_people(format_args!("{line}\n"))),
            None => say!("{line}"),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            BARS.remove(bar);
        }
    }
}

/// 98362432 -> "94 MiB".
pub(crate) fn human_bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// "3GiB", "800 MiB" or a number of bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text
        .trim_end_matches(|c: char| c.is_alphabetic())
        .trim_end();
    let unit = text[digits.len()..].trim();
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        other => return Err(format!("{other:?} is no unit; use KiB, MiB or GiB")),
    };
    let wrong = || format!("{text:?} is no size; write 3GiB or 800MiB");
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number * (1u64 << shift) as f64;
    if bytes.is_finite() && bytes >= 1.0 {
        Ok(bytes as u64)
    } else {
        Err(wrong())
    }
}

/// 75.2 -> "75 s"; 754 -> "13 min".
pub(crate) fn human_seconds(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

/// Lines of cells, columns aligned.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        let cells = rows.iter().filter_map(|r| r.get(c));
        cells.map(|s| s.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(c, w)| format!("{c:w$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
