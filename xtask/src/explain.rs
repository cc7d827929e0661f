//! `explain`: from a number of the report back to the bytes it comes from.

mod chain;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use assay_record::wire::{DependsRequest, Event};
use assay_record::{Measure, Number, Record, Sample, Store, Summary};
use assay_report::{ReportInput, all_numbers};

use crate::bars::{Bar, table};
use crate::claims::{Claims, predicts};
use crate::manifest::Manifest;
use crate::say::{out, outln};
use crate::{Ending, Place, golden, report, worker, workspace};

/// Say where a number of the report comes from, back to the samples, the
/// model's files and the code.
#[derive(clap::Args)]
#[command(
    after_help = "An id is that of a number (point at it in report.html, or read it above its macro in macros.tex), of a claim (cargo xtask claims), of a fault of the published work (E1 to E24), or of a record.\n\nExamples:\n  cargo xtask explain rv.recursion-contracts\n  cargo xtask explain E6\n  cargo xtask explain h25.parallel-l4-h8-s1.gain.as-published.mean --samples"
)]
pub(crate) struct Options {
    /// The number, claim, fault or record.
    id: String,
    /// Print the raw values behind a number: which they are is found by
    /// changing each measure and doing the statistics again.
    #[arg(long)]
    samples: bool,
    #[command(flatten)]
    place: Place,
}

/// A finished run.
pub(crate) struct Run {
    place: Place,
    store: Store,
    manifest: Manifest,
    report: Arc<ReportInput>,
    /// Every number of the report.
    numbers: BTreeMap<String, Number>,
}

pub(crate) fn explain(options: &Options) -> anyhow::Result<Ending> {
    let opened = options.place.open()?;
    let folder = opened.place.folder();
    let manifest = Manifest::load(&folder)?;
    let (found, findings) = golden::compare(&opened.place, &manifest)?;
    let input = Arc::new(report::input(&manifest, (found, &findings))?);
    let run = Run {
        store: Store::open(&folder)?,
        numbers: all_numbers(&input)?,
        report: input,
        manifest,
        place: opened.place.clone(),
    };
    let id = options.id.trim_matches(|c| c == '{' || c == '}');
    if let Some(number) = run.numbers.get(id) {
        let summary = run
            .report
            .summaries
            .iter()
            .find(|s| s.numbers.contains_key(id));
        chain::number(&run, summary, id, number)?;
        match summary {
            Some(summary) if options.samples => samples(&run, summary, id, number)?,
            Some(_) if !number.records.is_empty() => {
                outln!("\nraw values: cargo xtask explain {id} --samples");
            }
            _ => {}
        }
    } else if run.erratum(id) || run.claim(id)? || chain::record(&run, id)? {
    } else {
        bail!(
            "there is no number, claim, fault or record {id}{}",
            run.near(id)
        );
    }
    Ok(Ending::Held)
}

impl Run {
    /// A text with its numbers in place, each followed by its id.
    fn filled(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let Some((id, tail)) = after.split_once('}') else {
                return out + "{" + after;
            };
            match self.numbers.get(id) {
                Some(n) => out.push_str(&format!("{} ({id})", chain::short(n.value))),
                None => out.push_str(id),
            }
            rest = tail;
        }
        out + rest
    }

    fn erratum(&self, id: &str) -> bool {
        let mut all = self.report.summaries.iter().flat_map(|s| &s.errata);
        let Some(erratum) = all.find(|e| e.id.eq_ignore_ascii_case(id)) else {
            return false;
        };
        outln!("{}", erratum.id);
        outln!("claimed   {}", self.filled(&erratum.claimed));
        outln!("true      {}", self.filled(&erratum.truth));
        let origin = if erratum.computed {
            "computed in this run"
        } else {
            "NOT RUN"
        };
        outln!("evidence  ({origin}) {}", self.filled(&erratum.evidence));
        true
    }

    fn claim(&self, id: &str) -> anyhow::Result<bool> {
        let claims = Claims::load()?;
        let declared = claims.all();
        let Some(d) = declared.iter().find(|d| d.claim.id == id) else {
            return Ok(false);
        };
        outln!("{id}: {}", d.claim.statement);
        outln!(
            "declared   experiments/{}/experiment.toml: {}; predicts {}; error rate {} in family {}",
            d.experiment,
            d.claim.metric,
            predicts(&d.claim),
            d.alpha,
            d.claim.family
        );
        for published in &d.entry.published {
            if let Some(n) = self.numbers.get(published) {
                let source = n.source.as_deref().unwrap_or_default();
                outln!(
                    "published  {published} = {}: {} ({source})",
                    chain::short(n.value),
                    n.what
                );
            }
        }
        let verdicts = self.report.summaries.iter().flat_map(|s| &s.verdicts);
        let mut judged = false;
        for v in verdicts.filter(|v| v.claim == id) {
            judged = true;
            outln!("\non {}", v.data);
            outln!("  as published  {}", v.as_published);
            outln!("  audited       {}", v.audited);
            outln!("  because       {}", self.filled(&v.because));
        }
        if !judged {
            outln!("\nNOT RUN in this run");
        }
        Ok(true)
    }

    /// Ids that have the same words, for someone who mistyped.
    fn near(&self, id: &str) -> String {
        let words: Vec<&str> = id.split(['.', '-']).filter(|w| !w.is_empty()).collect();
        let mut scored: Vec<(usize, &String)> = (self.numbers.keys())
            .map(|k| (words.iter().filter(|w| k.contains(**w)).count(), k))
            .filter(|(score, _)| *score > 0)
            .collect();
        scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.len().cmp(&b.1.len())));
        let best: Vec<&str> = scored.iter().take(5).map(|(_, k)| k.as_str()).collect();
        if best.is_empty() {
            String::new()
        } else {
            format!("; near it are {}", best.join(", "))
        }
    }
}

/// The raw values that a number depends on.
fn samples(run: &Run, summary: &Summary, id: &str, number: &Number) -> anyhow::Result<()> {
    if number.records.is_empty() {
        outln!("\nit comes from no record of this run, so there are no raw values");
        return Ok(());
    }
    let Depends {
        measures,
        refused,
        units,
    } = depends(run, summary, id, number)?;
    outln!();
    if measures.is_empty() && refused.is_empty() {
        outln!("no measure moves it: it is a constant, a count, or a fact about the model");
        return Ok(());
    }
    outln!("it moves with {}", measures.join(", "));
    if !refused.is_empty() {
        outln!(
            "the statistics refuse others in place of {}",
            refused.join(", ")
        );
    }
    for record in &number.records {
        let record = run.store.read(&summary.experiment, record)?;
        outln!("\n{} ({})", record.key.model, record.key.revision);
        out!("{}", values(&record, &measures, units.as_deref()));
    }
    Ok(())
}

/// What moves a number.
#[derive(Default)]
struct Depends {
    measures: Vec<String>,
    /// Measures that the statistics refuse when they are changed.
    refused: Vec<String>,
    /// Units, where it was tried which.
    units: Option<Vec<String>>,
}

/// Asks a worker what moves a number.
fn depends(run: &Run, summary: &Summary, id: &str, number: &Number) -> anyhow::Result<Depends> {
    let worker = workspace::program("assay-worker")?;
    let outcomes = run.manifest.experiments.get(&summary.experiment);
    let request = serde_json::to_string(&DependsRequest {
        experiment: summary.experiment.clone(),
        store: run.place.folder(),
        records: outcomes
            .iter()
            .flat_map(|o| &o.measured)
            .map(|m| m.record.clone())
            .collect(),
        not_run: summary.not_run.clone(),
        number: id.to_owned(),
        of_number: number.records.clone(),
    })?;
    let mut bar = Bar::new(id);
    let mut found = Depends::default();
    worker::talk(&worker, &["depends"], Some(&request), &mut |event| {
        match event {
            Event::Progress { stage, done, total } => bar.steps(&stage, done, total),
            Event::Depends {
                measures,
                refused,
                units,
            } => {
                found = Depends {
                    measures,
                    refused,
                    units,
                };
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// How many values of a series are printed; all stand in the record.
const SHOWN: usize = 8;

/// How much of a text is printed.
const WORDS: usize = 44;

fn values(record: &Record, measures: &[String], units: Option<&[String]>) -> String {
    let has = |s: &&Sample| {
        measures.iter().any(|m| s.measures.contains_key(m))
            && units.is_none_or(|units| units.contains(&s.unit))
    };
    let mut heads = vec!["unit".to_owned(), "text".to_owned()];
    heads.extend(measures.iter().cloned());
    let mut rows = vec![heads];
    for sample in record.samples.iter().filter(has) {
        let text: String = sample.text.chars().take(WORDS).collect();
        let mut row = vec![sample.unit.clone(), text.replace('\n', " ")];
        for measure in measures {
            row.push(match sample.measures.get(measure) {
                None => String::new(),
                Some(Measure::Scalar(value)) => value.to_string(),
                Some(Measure::Series(values)) => {
                    let shown = values.iter().take(SHOWN).map(|v| chain::short(*v));
                    let shown: Vec<String> = shown.collect();
                    let more = values.len().saturating_sub(SHOWN);
                    let and = if more > 0 {
                        format!(" and {more} more")
                    } else {
                        String::new()
                    };
                    format!("{}{and}", shown.join(" "))
                }
            });
        }
        rows.push(row);
    }
    table(&rows)
}
