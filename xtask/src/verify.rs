//! `verify`: is a finished run in order, and what does it say of each claim?

mod checks;

use assay_record::{ClaimVerdict, Store, Summary, Verdict};
use serde::Serialize;

use crate::bars::table;
use crate::claims::{Claims, Declared};
use crate::manifest::Manifest;
use crate::say::{coloured, out, outln};
use crate::{Ending, Place, golden};

/// Check a finished run, and say of each claim what came of it: one line a
/// claim and body of data.
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 every check held (whatever the verdicts), 1 one did not, 2 it could not run.\n\nExamples:\n  cargo xtask verify\n  cargo xtask verify --claim rv.recursion-contracts\n  cargo xtask verify --store golden/run.zip --json"
)]
pub(crate) struct Options {
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
    /// Only these claims, separated by commas; all checks are made.
    #[arg(long, value_delimiter = ',', value_name = "CLAIMS")]
    claim: Vec<String>,
    /// Do not mind a working tree that differs from its commit.
    #[arg(long)]
    allow_dirty: bool,
    #[command(flatten)]
    place: Place,
}

/// A check and what it found wrong.
#[derive(Serialize)]
pub(crate) struct Check {
    /// What must hold.
    pub(crate) what: String,
    /// One sentence for each thing that does not.
    pub(crate) faults: Vec<String>,
}

impl Check {
    pub(crate) fn new(what: impl Into<String>, faults: Vec<String>) -> Self {
        Self {
            what: what.into(),
            faults,
        }
    }
}

/// A finished run with what was declared of it.
pub(crate) struct Run {
    pub(crate) place: Place,
    pub(crate) store: Store,
    pub(crate) manifest: Manifest,
    pub(crate) summaries: Vec<Summary>,
    pub(crate) claims: Claims,
}

impl Run {
    fn load(place: &Place) -> anyhow::Result<Self> {
        let folder = place.folder();
        let manifest = Manifest::load(&folder)?;
        Ok(Self {
            store: Store::open(&folder)?,
            summaries: golden::summaries(place, &manifest)?,
            manifest,
            claims: Claims::load()?,
            place: place.clone(),
        })
    }
}

/// Says what came of one claim.
pub(crate) fn print_claim(place: &Place, claim: &str) -> anyhow::Result<()> {
    let lines = lines(&Run::load(place)?, &[claim.to_owned()])?;
    print(&[], &lines);
    Ok(())
}

pub(crate) fn verify(options: &Options) -> anyhow::Result<Ending> {
    let opened = options.place.open()?;
    let run = Run::load(&opened.place)?;
    let lines = lines(&run, &options.claim)?;
    let checks = checks::all(&run, options.allow_dirty)?;
    if options.json {
        let all = serde_json::json!({"checks": checks, "claims": lines});
        outln!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print(&checks, &lines);
    }
    Ok(if checks.iter().all(|c| c.faults.is_empty()) {
        Ending::Held
    } else {
        Ending::Failed
    })
}

/// What came of one claim on one body of data.
#[derive(Serialize)]
struct Line {
    claim: String,
    experiment: String,
    data: String,
    as_published: String,
    verdict: Verdict,
    /// Effect, ends of its interval, p, p after Holm, where it is of a test.
    effect: Option<f64>,
    interval: Option<[f64; 2]>,
    p: Option<f64>,
    holm_p: Option<f64>,
    /// Controls and instruments without which it says little, or why it was
    /// not run.
    but: Vec<String>,
}

fn lines(run: &Run, only: &[String]) -> anyhow::Result<Vec<Line>> {
    let declared = run.claims.all();
    if let Some(id) = only
        .iter()
        .find(|id| declared.iter().all(|d| d.claim.id != **id))
    {
        anyhow::bail!("there is no claim {id}; cargo xtask claims lists them");
    }
    let mut lines = Vec::new();
    for d in declared {
        if !only.is_empty() && !only.contains(&d.claim.id) {
            continue;
        }
        let summary = run.summaries.iter().find(|s| s.experiment == d.experiment);
        let verdicts: Vec<&ClaimVerdict> = summary
            .iter()
            .flat_map(|s| &s.verdicts)
            .filter(|v| v.claim == d.claim.id)
            .collect();
        if verdicts.is_empty() {
            lines.push(not_run(&d, summary));
        }
        for verdict in verdicts {
            lines.push(line(run, &d, verdict));
        }
    }
    Ok(lines)
}

fn line(run: &Run, d: &Declared, verdict: &ClaimVerdict) -> Line {
    let summary = run.summaries.iter().find(|s| s.experiment == d.experiment);
    let value = |id: &String| summary.and_then(|s| s.numbers.get(id)).map(|n| n.value);
    let evidence = verdict.evidence.as_ref();
    Line {
        claim: d.claim.id.clone(),
        experiment: d.experiment.clone(),
        data: verdict.data.clone(),
        as_published: verdict.as_published.clone(),
        verdict: verdict.audited,
        effect: evidence.and_then(|e| value(&e.effect)),
        interval: evidence.and_then(|e| Some([value(&e.interval[0])?, value(&e.interval[1])?])),
        p: evidence.and_then(|e| value(&e.p)),
        holm_p: evidence.and_then(|e| value(&e.holm_p)),
        but: but(run, d, verdict),
    }
}

/// What stands against believing a supported claim: an instrument that failed
/// its planted cases, a control that did not hold on the same data.
fn but(run: &Run, d: &Declared, verdict: &ClaimVerdict) -> Vec<String> {
    if verdict.audited != Verdict::Supported {
        return Vec::new();
    }
    let all = || run.summaries.iter().flat_map(|s| &s.verdicts);
    let failed = |id: &String| {
        all().any(|v| v.claim == *id && v.audited != Verdict::Supported)
            || all().all(|v| v.claim != *id)
    };
    let mut but: Vec<String> = (d.entry.instruments.iter())
        .filter(|id| failed(id))
        .map(|id| format!("instrument {id} was not seen to work"))
        .collect();
    for id in &d.entry.controls {
        let control = all().find(|v| v.claim == *id && v.data == verdict.data);
        match control {
            Some(c) if c.audited == Verdict::Supported => {}
            Some(c) => but.push(format!("{id} {}", c.audited)),
            None => but.push(format!("{id} has no verdict on these data")),
        }
    }
    but
}

fn not_run(d: &Declared, summary: Option<&Summary>) -> Line {
    let why = match summary {
        None => format!("{} was not part of this run", d.experiment),
        Some(s) => match s.not_run.first() {
            Some(n) => format!("{}: {}", n.model, n.reason),
            None => "no model of this run can show it".to_owned(),
        },
    };
    Line {
        claim: d.claim.id.clone(),
        experiment: d.experiment.clone(),
        data: String::new(),
        as_published: String::new(),
        verdict: Verdict::NotRun,
        effect: None,
        interval: None,
        p: None,
        holm_p: None,
        but: vec![why],
    }
}

fn print(checks: &[Check], lines: &[Line]) {
    let heads = [
        "claim",
        "data",
        "as published",
        "audited",
        "effect",
        "interval",
        "p",
        "Holm p",
        "but",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let number = |v: f64| format!("{v:.3}");
    let p = |p: Option<f64>| p.map_or_else(String::new, |p| format!("{p:.4}"));
    for line in lines {
        rows.push(vec![
            line.claim.clone(),
            line.data.clone(),
            line.as_published.clone(),
            line.verdict.to_string(),
            line.effect.map_or_else(String::new, number),
            line.interval.map_or_else(String::new, |[l, h]| {
                format!("[{}, {}]", number(l), number(h))
            }),
            p(line.p),
            p(line.holm_p),
            line.but.join("; "),
        ]);
    }
    out!("{}", coloured(&table(&rows)));
    outln!();
    for check in checks {
        let word = if check.faults.is_empty() {
            "ok  "
        } else {
            "FAIL"
        };
        out!("{}", coloured(&format!("{word}  {}\n", check.what)));
        for fault in &check.faults {
            outln!("      {fault}");
        }
    }
}
