//! `claims`: every claim with what was declared of it, from experiment.toml and
//! claims.toml together.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Context;
use assay_record::{Claim, ClaimEntry, ClaimsFile, Direction, ExperimentSpec, write_atomically};

use crate::say::{outln, say};
use assay_report::Headline;

use crate::{Ending, workspace};

/// List every claim: statement, metric, direction, what refutes it, where its
/// numbers stand, what it costs to judge.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask claims\n  cargo xtask claims --json | jq '.[] | select(.experiment == \"bridge\")'\n  cargo xtask claims --write    after a change of claims.toml or an experiment.toml"
)]
pub(crate) struct Options {
    /// Print them as JSON.
    #[arg(long, conflicts_with = "write")]
    json: bool,
    /// Write CLAIMS.md anew.
    #[arg(long)]
    write: bool,
}

/// A claim with all that is known of it before a run.
pub(crate) struct Declared {
    pub(crate) experiment: String,
    pub(crate) alpha: f64,
    pub(crate) minutes: f64,
    pub(crate) claim: Claim,
    pub(crate) entry: ClaimEntry,
}

/// Both sources.
pub(crate) struct Claims {
    pub(crate) file: ClaimsFile,
    pub(crate) specs: BTreeMap<String, ExperimentSpec>,
}

impl Claims {
    pub(crate) fn load() -> anyhow::Result<Self> {
        let path = workspace::root().join("claims.toml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        Ok(Self {
            file: ClaimsFile::parse(&text, &path)?,
            specs: workspace::specs()?,
        })
    }

    /// Every claim that both sources know, experiment by experiment.
    pub(crate) fn all(&self) -> Vec<Declared> {
        let mut all = Vec::new();
        for (name, experiment) in &self.file.experiments {
            let Some(spec) = self.specs.get(name) else {
                continue;
            };
            for claim in &spec.claims {
                if let Some(entry) = experiment.claims.get(&claim.id) {
                    all.push(Declared {
                        experiment: name.clone(),
                        alpha: spec.alpha,
                        minutes: experiment.minutes,
                        claim: claim.clone(),
                        entry: entry.clone(),
                    });
                }
            }
        }
        all
    }

    /// The claims of the report's first page, in their order.
    pub(crate) fn headlines(&self) -> Vec<Headline> {
        let mut found: Vec<(u32, &String, &ClaimEntry)> = (self.file.experiments.values())
            .flat_map(|e| &e.claims)
            .filter_map(|(id, entry)| Some((entry.headline?, id, entry)))
            .collect();
        found.sort_by_key(|(place, ..)| *place);
        found
            .into_iter()
            .map(|(_, id, entry)| Headline {
                claim: id.clone(),
                errata: entry.errata.clone(),
            })
            .collect()
    }

    /// CLAIMS.md.
    pub(crate) fn markdown(&self) -> String {
        let mut text = HEAD.to_owned();
        for (name, experiment) in &self.file.experiments {
            let Some(spec) = self.specs.get(name) else {
                continue;
            };
            let _ = write!(
                text,
                "\n## {name}: {}\n\n{}\n\n- Predicts: {}\n- Falsified by: {}\n- Error rate of a family: {}. Unit: {}. Seed: {}.\n- {} min on two cores. Needs: {}.\n\n",
                spec.title,
                spec.hypothesis,
                spec.predicts,
                spec.falsified_by,
                spec.alpha,
                spec.unit,
                spec.seed,
                experiment.minutes,
                experiment.needs,
            );
            text.push_str(
                "| Claim | Says | Decided by | Predicts | Holm family | Tables | Published numbers | Faults found | Must pass, must hold |\n|---|---|---|---|---|---|---|---|---|\n",
            );
            for claim in &spec.claims {
                let Some(entry) = experiment.claims.get(&claim.id) else {
                    continue;
                };
                let others: Vec<String> = (entry.instruments.iter())
                    .chain(&entry.controls)
                    .cloned()
                    .collect();
                let cells = [
                    format!("`{}`", claim.id),
                    claim.statement.clone(),
                    claim.metric.clone(),
                    predicts(claim),
                    claim.family.clone(),
                    list(&entry.tables),
                    list(&entry.published),
                    entry.errata.join(", "),
                    list(&others),
                ];
                let cells: Vec<String> = cells.iter().map(|c| c.replace('|', "\\|")).collect();
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
        }
        text
    }
}

const HEAD: &str = "# Claims

Written by `cargo xtask claims --write` from every `experiment.toml`, where each
claim is declared before the run, and from `claims.toml`.

A claim is SUPPORTED where p after Holm's correction in its family is below the
error rate and the effect has the predicted sign; REVERSED where it is
significant with the other sign; REFUTED where the interval lies wholly short of
the smallest effect of interest; otherwise INCONCLUSIVE, with the effect that
the data could have shown. *Predicts* gives the direction and that smallest
effect. *Tables* are those of the report that hold the numbers, `*` for any
model; `cargo xtask explain ID` takes any number to its raw data. *Must pass* are
planted cases of known-answers that the measure has to find first, *must hold*
the controls without which the claim says little: `cargo xtask verify` says so
beside it.

*Faults found* (E1 to E24) are rows of the report's errata table, each with what
was claimed, what is true and the evidence of the run; `cargo xtask explain E6`
prints one. Every published number stands beside the measured one in the table
of comparisons, with what explains the difference.
";

/// Direction and smallest effect of interest: "at least +0.3".
pub(crate) fn predicts(claim: &Claim) -> String {
    match claim.direction {
        Direction::Positive => format!("at least +{}", claim.smallest_effect),
        Direction::Negative => format!("at most -{}", claim.smallest_effect),
    }
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    names.join(", ")
}

pub(crate) fn claims(options: &Options) -> anyhow::Result<Ending> {
    let claims = Claims::load()?;
    let faults = claims.file.differences(&claims.specs);
    for fault in &faults {
        say!("{fault}");
    }
    if options.write {
        let path = workspace::root().join("CLAIMS.md");
        write_atomically(&path, claims.markdown().as_bytes())?;
        say!("written: {}", path.display());
    } else if options.json {
        let all: Vec<_> = claims.all().iter().map(json).collect();
        outln!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        for d in claims.all() {
            outln!("{}  {}", d.claim.id, d.claim.statement);
            outln!(
                "    {} of {}; refuted where the interval leaves out all that is {}; {} min",
                d.claim.metric,
                d.experiment,
                predicts(&d.claim),
                d.minutes
            );
        }
    }
    Ok(if faults.is_empty() {
        Ending::Held
    } else {
        Ending::Failed
    })
}

fn json(d: &Declared) -> serde_json::Value {
    serde_json::json!({
        "id": d.claim.id,
        "experiment": d.experiment,
        "statement": d.claim.statement,
        "metric": d.claim.metric,
        "direction": d.claim.direction,
        "smallest-effect": d.claim.smallest_effect,
        "alpha": d.alpha,
        "family": d.claim.family,
        "minutes": d.minutes,
        "tables": d.entry.tables,
        "published": d.entry.published,
        "errata": d.entry.errata,
        "instruments": d.entry.instruments,
        "controls": d.entry.controls,
    })
}
