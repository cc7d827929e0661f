//! `diff`: two finished runs, number by number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use assay_golden::{bounds, within};
use assay_record::{Number, Summary, Tolerance, write_atomically};
use serde::Serialize;

use crate::manifest::Manifest;
use crate::say::out;
use crate::{Ending, Place, golden};

/// Compare two finished runs: two machines, two commits, CPU and GPU. Prints
/// every number that differs by more than rounding, worst first, and every
/// verdict that changed, as Markdown.
#[derive(clap::Args)]
#[command(
    after_help = "A run is a store's folder or the archive of a run (cargo xtask export).\n\nExit status: 0 no number differs by more than its class allows and no verdict changed, 1 some did, 2 it could not compare.\n\nExample: cargo xtask diff golden/run.zip .assay/store --json diff.json --markdown diff.md"
)]
pub(crate) struct Options {
    /// The run to compare with.
    a: PathBuf,
    /// The run to look at.
    b: PathBuf,
    /// Write every difference as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the Markdown here instead of printing it.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// How far two values of a number lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Class {
    /// More than its class allows.
    Beyond,
    /// More than rounding, and no more than random draws and thresholds do.
    Statistical,
    /// Only in the first run.
    Gone,
    /// Only in the second.
    New,
}

#[derive(Serialize)]
struct Line {
    id: String,
    class: Class,
    a: Option<f64>,
    b: Option<f64>,
    /// Difference in units of what the number's class allows; without one
    /// where nothing is allowed, or a side is missing.
    times_allowed: Option<f64>,
    what: String,
}

#[derive(Serialize)]
struct Changed {
    claim: String,
    data: String,
    a: Option<String>,
    b: Option<String>,
}

#[derive(Serialize)]
struct Difference {
    compared: usize,
    equal: usize,
    within_rounding: usize,
    numbers: Vec<Line>,
    verdicts: Vec<Changed>,
}

pub(crate) fn diff(options: &Options) -> anyhow::Result<Ending> {
    let difference = compare(&read(&options.a)?, &read(&options.b)?);
    let text = markdown(&difference, &options.a, &options.b);
    match &options.markdown {
        Some(path) => write_atomically(path, text.as_bytes())?,
        None => out!("{text}"),
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&difference)? + "\n";
        write_atomically(path, text.as_bytes())?;
    }
    let worse = |l: &Line| l.class == Class::Beyond;
    let failed = difference.numbers.iter().any(worse) || !difference.verdicts.is_empty();
    Ok(if failed { Ending::Failed } else { Ending::Held })
}

fn read(run: &Path) -> anyhow::Result<Vec<Summary>> {
    let place = Place {
        store: Some(run.to_path_buf()),
    };
    let opened = place.open()?;
    let manifest = Manifest::load(&opened.place.folder())
        .with_context(|| format!("{} is no finished run", run.display()))?;
    golden::summaries(&opened.place, &manifest)
}

fn numbers(run: &[Summary]) -> BTreeMap<&str, &Number> {
    let all = run.iter().flat_map(|s| &s.numbers);
    all.map(|(id, n)| (id.as_str(), n)).collect()
}

fn compare(a: &[Summary], b: &[Summary]) -> Difference {
    let (left, right) = (numbers(a), numbers(b));
    let ids: BTreeSet<&str> = left.keys().chain(right.keys()).copied().collect();
    let mut difference = Difference {
        compared: ids.len(),
        equal: 0,
        within_rounding: 0,
        numbers: Vec::new(),
        verdicts: verdicts(a, b),
    };
    for id in ids {
        let (x, y) = (left.get(id), right.get(id));
        let line = |class, times_allowed| Line {
            id: id.to_owned(),
            class,
            a: x.map(|n| n.value),
            b: y.map(|n| n.value),
            times_allowed,
            what: x.or(y).map_or_else(String::new, |n| n.what.clone()),
        };
        match (x, y) {
            (Some(x), Some(y)) if x.value == y.value => difference.equal += 1,
            (Some(x), Some(y)) => {
                let rounding = x.tolerance != Tolerance::Exact
                    && within(Tolerance::Rounding, y.value, x.value);
                if rounding {
                    difference.within_rounding += 1;
                    continue;
                }
                let (abs, rel) = bounds(x.tolerance);
                let allowed = abs + rel * x.value.abs();
                let times = (allowed > 0.0).then(|| (x.value - y.value).abs() / allowed);
                let class = if within(x.tolerance, y.value, x.value) {
                    Class::Statistical
                } else {
                    Class::Beyond
                };
                difference.numbers.push(line(class, times));
            }
            (Some(_), None) => difference.numbers.push(line(Class::Gone, None)),
            _ => difference.numbers.push(line(Class::New, None)),
        }
    }
    let size = |l: &Line| l.times_allowed.unwrap_or(f64::INFINITY);
    difference.numbers.sort_by(|p, q| {
        let by_size = size(q).total_cmp(&size(p));
        p.class.cmp(&q.class).then(by_size).then(p.id.cmp(&q.id))
    });
    difference
}

fn verdicts(a: &[Summary], b: &[Summary]) -> Vec<Changed> {
    let all = |run: &[Summary]| -> BTreeMap<(String, String), String> {
        let verdicts = run.iter().flat_map(|s| &s.verdicts);
        verdicts
            .map(|v| ((v.claim.clone(), v.data.clone()), v.audited.to_string()))
            .collect()
    };
    let (left, right) = (all(a), all(b));
    let keys: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    keys.into_iter()
        .filter(|key| left.get(*key) != right.get(*key))
        .map(|key| Changed {
            claim: key.0.clone(),
            data: key.1.clone(),
            a: left.get(key).cloned(),
            b: right.get(key).cloned(),
        })
        .collect()
}

/// Rows of a table beyond which a pull request's comment is not read.
const SHOWN: usize = 60;

fn markdown(d: &Difference, a: &Path, b: &Path) -> String {
    let mut text = format!(
        "### {} against {}\n\n{} numbers: {} equal, {} equal within rounding, {} apart by more. {} verdicts changed.\n",
        b.display(),
        a.display(),
        d.compared,
        d.equal,
        d.within_rounding,
        d.numbers.len(),
        d.verdicts.len()
    );
    if !d.verdicts.is_empty() {
        text.push_str("\n| Claim | Data | Before | After |\n|---|---|---|---|\n");
        for v in &d.verdicts {
            let side = |s: &Option<String>| s.clone().unwrap_or_else(|| "none".to_owned());
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                v.claim,
                v.data,
                side(&v.a),
                side(&v.b)
            );
        }
    }
    if !d.numbers.is_empty() {
        text.push_str(
            "\n| Number | Class | Before | After | Times what is allowed |\n|---|---|---:|---:|---:|\n",
        );
        for line in d.numbers.iter().take(SHOWN) {
            let value = |v: Option<f64>| v.map_or_else(|| "none".to_owned(), |v| v.to_string());
            let class = match line.class {
                Class::Beyond => "**beyond**",
                Class::Statistical => "statistical",
                Class::Gone => "gone",
                Class::New => "new",
            };
            let times = line
                .times_allowed
                .map_or_else(String::new, |t| format!("{t:.2}"));
            let _ = writeln!(
                text,
                "| `{}` | {class} | {} | {} | {times} |",
                line.id,
                value(line.a),
                value(line.b)
            );
        }
        if d.numbers.len() > SHOWN {
            let _ = writeln!(text, "\n{} more are in the JSON.", d.numbers.len() - SHOWN);
        }
    }
    text
}
