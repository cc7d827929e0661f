//! `checklist`: the questions of the NeurIPS paper checklist, answered from a
//! finished run as far as a run can answer them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use assay_record::{Store, Verdict, write_atomically};

use assay_source::Source;

use crate::bars::human_seconds;
use crate::claims::Claims;
use crate::golden::Found;
use crate::manifest::Manifest;
use crate::say::{out, say};
use crate::{Ending, Place, golden, reproduce, workspace};

/// Answer the NeurIPS paper checklist from a finished run; what a run cannot
/// answer is left to the authors by name.
#[derive(clap::Args)]
#[command(
    after_help = "Example: cargo xtask checklist --out checklist.md\n\nThe questions are those of the NeurIPS paper checklist (neurips.cc/public/guides/PaperChecklist), in short."
)]
pub(crate) struct Options {
    /// Write it here instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// What of a run the answers are made of.
struct Facts {
    commit: String,
    claims: usize,
    verdicts: BTreeMap<String, usize>,
    errata: usize,
    records: usize,
    prompts: usize,
    models: BTreeSet<(String, String)>,
    seeds: Vec<String>,
    alphas: BTreeSet<String>,
    devices: BTreeSet<String>,
    hosts: BTreeSet<String>,
    seconds: f64,
    goldens: usize,
    not_run: Vec<String>,
}

pub(crate) fn checklist(options: &Options) -> anyhow::Result<Ending> {
    let opened = options.place.open()?;
    let facts = facts(&opened.place)?;
    let text = markdown(&facts, &licences(&facts)?);
    match &options.out {
        Some(path) => {
            write_atomically(path, text.as_bytes())?;
            say!("written: {}", path.display());
        }
        None => out!("{text}"),
    }
    Ok(Ending::Held)
}

fn facts(place: &Place) -> anyhow::Result<Facts> {
    let folder = place.folder();
    let manifest = Manifest::load(&folder)?;
    let store = Store::open(&folder)?;
    let claims = Claims::load()?;
    let (Found { summaries, .. }, findings) = golden::compare(place, &manifest)?;
    let mut facts = Facts {
        commit: reproduce::commit(),
        claims: claims.all().len(),
        verdicts: BTreeMap::new(),
        errata: summaries.iter().map(|s| s.errata.len()).sum(),
        records: 0,
        prompts: 0,
        models: BTreeSet::new(),
        seeds: Vec::new(),
        alphas: BTreeSet::new(),
        devices: BTreeSet::new(),
        hosts: BTreeSet::new(),
        seconds: 0.0,
        goldens: findings.iter().map(|f| f.compared).sum(),
        not_run: Vec::new(),
    };
    for summary in &summaries {
        facts
            .seeds
            .push(format!("{} {}", summary.experiment, summary.spec.seed));
        facts.alphas.insert(summary.spec.alpha.to_string());
        for v in &summary.verdicts {
            *facts.verdicts.entry(v.audited.to_string()).or_default() += 1;
        }
    }
    for (experiment, outcomes) in &manifest.experiments {
        for measured in &outcomes.measured {
            let record = store.read(experiment, &measured.record)?;
            facts.records += 1;
            facts.prompts += record.prompts().count();
            facts.devices.insert(record.key.device_class.clone());
            facts
                .models
                .insert((record.key.model.clone(), record.key.revision.clone()));
            if let Some(made) = store.made(experiment, &measured.record)? {
                facts
                    .hosts
                    .insert(format!("{} ({} threads)", made.host, made.threads));
                facts.seconds += made.milliseconds as f64 / 1000.0;
            }
        }
        for n in &outcomes.not_run {
            facts
                .not_run
                .push(format!("{} on {}: {}", experiment, n.model, n.reason));
        }
    }
    Ok(facts)
}

/// Licences of the models measured, as the registry states them.
fn licences(facts: &Facts) -> anyhow::Result<Vec<String>> {
    let (registry, _, _) = workspace::models()?;
    let mut found = Vec::new();
    for entry in registry.models() {
        // A model of the same name that lay in a folder is another one.
        let own = matches!(entry.source, Source::Local(_));
        let is_it = |(name, revision): &(String, String)| {
            *name == entry.name && (own || revision != "local")
        };
        if facts.models.iter().any(is_it) {
            found.push(format!("{} ({})", entry.name, entry.licence));
        }
    }
    Ok(found)
}

fn markdown(f: &Facts, licences: &[String]) -> String {
    let list = |items: &BTreeSet<String>| items.iter().cloned().collect::<Vec<_>>().join(", ");
    let verdicts: Vec<String> = f.verdicts.iter().map(|(v, n)| format!("{n} {v}")).collect();
    let against = [Verdict::Refuted, Verdict::Reversed, Verdict::Inconclusive];
    let negative: usize = against
        .iter()
        .filter_map(|v| f.verdicts.get(&v.to_string()))
        .sum();
    let of_authors = "For the authors of the paper to answer; a run says nothing of it.".to_owned();
    let answers = [
        ("Claims", format!("Yes. {} claims are declared with metric, direction, smallest effect and error rate (CLAIMS.md), and every one has its verdicts: {}.", f.claims, verdicts.join(", "))),
        ("Limitations", format!("Yes. {negative} verdicts are against a claim or inconclusive and stay in the report; {} faults of the published work are listed with evidence; what was not run is named: {}.", f.errata, if f.not_run.is_empty() { "nothing".to_owned() } else { f.not_run.join("; ") })),
        ("Theory, assumptions and proofs", "Not applicable: there are no theorems. Definitions are in METHODS.md.".to_owned()),
        ("Reproducibility of experimental results", format!("Yes. `cargo xtask reproduce --all` at commit {} makes every number; {} values were compared with golden ones; `cargo xtask verify` checks a finished run.", f.commit, f.goldens)),
        ("Open access to data and code", "Yes. Code, prompts and small models are in the repository under MIT OR Apache-2.0; public models are fetched by pinned revision and SHA-256.".to_owned()),
        ("Experimental setting and details", format!("Yes. experiment.toml of each experiment; every record names its prompts, model files, code, type and switches. {} records over {} models and revisions, {} samples.", f.records, f.models.len(), f.prompts)),
        ("Statistical significance", format!("Yes. Every tested verdict has effect, interval, p and p after Holm's correction within its declared family (error rate {}); units are prompts, problems or models, never tokens. Seeds: {}.", list(&f.alphas), f.seeds.join(", "))),
        ("Compute resources", if f.hosts.is_empty() { format!("It is not known how the records were made. Device: {}.", list(&f.devices)) } else { format!("Yes. {} of measuring in all, on {}; host {}.", human_seconds(f.seconds), list(&f.devices), list(&f.hosts)) }),
        ("Code of ethics", of_authors.clone()),
        ("Broader impacts", of_authors.clone()),
        ("Safeguards", "Not applicable: no model is released that could be misused; the small ones know made-up stories and sums.".to_owned()),
        ("Licences of assets", format!("Yes. Models measured that the registry knows: {}. Published numbers are facts, each with its source (golden/published). Licences of dependencies are checked by `cargo xtask tidy`.", licences.join(", "))),
        ("New assets", "Yes. organisms/README.md, a card beside each model, and the recipe that makes it again.".to_owned()),
        ("Crowdsourcing and human subjects", "Not applicable: there are none.".to_owned()),
        ("Review board approval", "Not applicable: there are no human subjects.".to_owned()),
        ("Use of language models", of_authors),
    ];
    let mut text = "# NeurIPS paper checklist\n\nAnswered by `cargo xtask checklist` from the records of a run.\n".to_owned();
    for (number, (question, answer)) in (1..).zip(answers) {
        let _ = write!(text, "\n{number}. **{question}.** {answer}\n");
    }
    text
}
