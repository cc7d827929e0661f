//! `drift`: the models that lie in the project, run again on other numbers of
//! threads, other builds and emulated processors, and compared with a run of
//! another machine and with the golden values.

mod page;
mod rerun;
mod set;
mod variations;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use assay_golden::{Drift, Outcome, Ran, Spread, Variation as Measured};
use assay_record::{Store, write_atomically};

use self::rerun::{Records, Reference};
use self::set::Set;
use self::variations::{Program, Variation};
use crate::bars::{human_seconds, table};
use crate::manifest::Manifest;
use crate::say::{is_quiet, out, outln, say, to_people};
use crate::{Ending, Place, worker, workspace};

/// Run the project's own models again, on other numbers of threads, builds and
/// processors, and compare with a run of another machine and with the golden
/// values.
#[derive(clap::Args)]
#[command(
    after_help = "What is run again stands in golden/drift.toml. Exit status: 0 every golden value holds in every variation, 1 some do not, a verdict flipped, or the number of threads changed a bit; 2 it could not run. A variation that this machine cannot run is a row \"not run\".\n\nExamples:\n  cargo xtask drift                                     everything, against golden/run.zip\n  cargo xtask drift --build threads-1,threads-2         what needs no other build\n  cargo xtask drift --build emulated-haswell --experiments h25-gain\n  cargo xtask drift --write                             and write the table of METHODS.md"
)]
pub(crate) struct Options {
    /// The run to compare with: a store's folder or an archive [default:
    /// golden/run.zip].
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Variations, separated by commas, instead of all; the plan lists them.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    build: Vec<String>,
    /// Experiments, separated by commas, instead of all that are declared.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    experiments: Vec<String>,
    /// Models, separated by commas, instead of all that are declared.
    #[arg(long, value_delimiter = ',', value_name = "MODELS")]
    models: Vec<String>,
    /// Print what was measured as JSON.
    #[arg(long)]
    json: bool,
    /// Keep what was measured in golden/drift.json, and write the table of
    /// METHODS.md from it. Variations that were not asked for stay.
    #[arg(long, conflicts_with_all = ["experiments", "models"])]
    write: bool,
}

pub(crate) fn drift(options: &Options) -> anyhow::Result<Ending> {
    let variations = asked(options)?;
    let place = Place {
        store: Some(match &options.store {
            Some(store) => store.clone(),
            None => workspace::golden().join("run.zip"),
        }),
    };
    let mut opened = place.open()?;
    let folder = opened.place.folder();
    // The list first, so that a mistyped folder is not made.
    let manifest = Manifest::load(&folder)?;
    // Of records nothing changes, and runs need not wait for hours.
    opened.held = None;
    let reference = Reference {
        store: Store::open(&folder)?,
        manifest,
    };
    let known = worker::experiments(&workspace::program("assay-worker")?)?;
    let mut sets = Vec::new();
    for variation in &variations {
        let (experiments, models) = (&options.experiments, &options.models);
        sets.push(set::of(variation.emulated(), experiments, models, &known)?);
    }
    if sets.iter().all(|s| s.units.is_empty()) {
        bail!(
            "golden/drift.toml declares none of what is asked for: {}",
            options.models.join(", ")
        );
    }
    plan(&variations, &sets);

    let mut all = Drift::default();
    let mut failures = Vec::new();
    let mut on_threads: Option<(String, Records)> = None;
    for (variation, set) in variations.iter().zip(&sets) {
        let outcome = match variations::program(variation)? {
            Err(reason) => Outcome::NotRun(reason),
            Ok(_) if set.units.is_empty() => {
                Outcome::NotRun("none of what was asked for is declared for it".to_owned())
            }
            Ok(program) => {
                let started = Instant::now();
                let (ran, records) = run(variation, set, &program, &reference, options.write)?;
                say!(
                    "{}: {} models in {}",
                    variation.name,
                    set.units.len(),
                    human_seconds(started.elapsed().as_secs_f64())
                );
                if variation.is_of_threads() {
                    match &on_threads {
                        Some(first) => failures.extend(threads_apart(first, variation, &records)),
                        None => on_threads = Some((variation.name.clone(), records)),
                    }
                }
                Outcome::Ran(ran)
            }
        };
        let measured = Measured {
            name: variation.name.clone(),
            what: variation.what.clone(),
            outcome,
        };
        if !options.json {
            out!("{}", page::for_terminal(&measured));
        }
        failures.extend(faults(&measured));
        all.variations.push(measured);
    }
    if options.json {
        outln!("{}", serde_json::to_string_pretty(&all)?);
    }
    for line in &failures {
        say!("{line}");
    }
    if options.write {
        write(all)?;
    }
    Ok(if failures.is_empty() {
        Ending::Held
    } else {
        Ending::Failed
    })
}

/// The variations asked for, in their own order.
fn asked(options: &Options) -> anyhow::Result<Vec<Variation>> {
    let all = variations::all();
    let names: Vec<&str> = all.iter().map(|v| v.name.as_str()).collect();
    let missing = (options.build.iter()).find(|n| !names.contains(&n.as_str()));
    if let Some(missing) = missing {
        bail!(
            "there is no variation {missing}; there are {}",
            names.join(", ")
        );
    }
    let wanted = |v: &Variation| options.build.is_empty() || options.build.contains(&v.name);
    Ok(all.into_iter().filter(wanted).collect())
}

/// Minutes to build the worker with all its libraries, on two cores.
const BUILD_MINUTES: f64 = 8.0;

/// Says what will be done, and about how long it takes.
fn plan(variations: &[Variation], sets: &[Set]) {
    let mut rows = vec![
        ["variation", "what", "models", "time"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut total = 0.0;
    for (variation, set) in variations.iter().zip(sets) {
        let mut seconds = set.seconds;
        let mut time = format!("about {}", human_seconds(set.seconds.max(1.0)));
        if variation.builds() && variations::is_unbuilt(variation) {
            seconds += 60.0 * BUILD_MINUTES;
            time += &format!(", and {BUILD_MINUTES:.0} min to build it");
        }
        total += seconds;
        rows.push(vec![
            variation.name.clone(),
            variation.what.clone(),
            set.units.len().to_string(),
            time,
        ]);
    }
    say!("plan:");
    if !is_quiet() {
        to_people(format_args!("{}", table(&rows)));
    }
    say!("in all about {}", human_seconds(total.max(1.0)));
}

/// Runs a variation in a store of its own, which is gone afterwards.
fn run(
    variation: &Variation,
    set: &Set,
    program: &Program,
    reference: &Reference,
    to_be_written: bool,
) -> anyhow::Result<(Ran, Records)> {
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let (records, missing) = rerun::measure(&set.units, program, &variation.name, folder.path())?;
    let others = rerun::of_other_sources(&records, reference)?;
    if !others.is_empty() {
        let names: Vec<String> = others.into_iter().collect();
        let names = names.join(", ");
        if to_be_written {
            bail!(
                "the reference's records of {names} were made by other sources than these, whose differences are no drift: make a run with cargo xtask reproduce --all --offline and give it as --store"
            );
        }
        say!(
            "{}: the reference's records of {names} were made by other sources, which may be what differs",
            variation.name
        );
    }
    let class = |r: &Records| r.values().next().map(|r| r.key.device_class.clone());
    let mut ran = Ran {
        date: today(),
        machine: variations::machine(),
        versions: versions(program)?,
        device_class: class(&records).unwrap_or_default(),
        reference: reference.device_class()?.unwrap_or_default(),
        records: rerun::against(&records, reference)?,
        off: missing,
        ..Ran::default()
    };
    let host = variations::usual()?;
    let program_for = |experiment: &str| {
        if set.by_host.iter().any(|e| e == experiment) {
            &host
        } else {
            program
        }
    };
    rerun::summaries(&records, &program_for, folder.path(), reference, &mut ran)?;
    Ok((ran, records))
}

/// Records that another number of threads made other bits of.
fn threads_apart(
    (first, expected): &(String, Records),
    variation: &Variation,
    records: &Records,
) -> Vec<String> {
    let differ = expected.iter().filter(|(k, r)| {
        records.get(*k).is_none_or(|other| {
            let bits = |r: &assay_record::Record| serde_json::to_string(&r.samples).ok();
            bits(r) != bits(other)
        })
    });
    differ
        .map(|((experiment, model), _)| {
            format!(
                "{}: {experiment} of {model} is not what {first} gives, and no bit may depend on the number of threads",
                variation.name
            )
        })
        .collect()
}

/// What does not hold in a variation, a line each.
fn faults(measured: &Measured) -> Vec<String> {
    let Outcome::Ran(ran) = &measured.outcome else {
        return Vec::new();
    };
    let unmatched = (ran.records.iter())
        .flat_map(|(e, d)| d.unmatched.iter().map(move |line| format!("{e}: {line}")));
    (ran.off.iter().cloned())
        .chain(unmatched)
        .map(|line| format!("{}: {line}", measured.name))
        .collect()
}

/// Keeps what was measured, variation by variation, and writes the table.
fn write(new: Drift) -> anyhow::Result<()> {
    let golden = workspace::golden();
    let path = golden.join("drift.json");
    let mut kept = if path.exists() {
        Drift::load(&golden)?
    } else {
        Drift::default()
    };
    for measured in new.variations {
        let place = kept.variations.iter_mut().find(|v| v.name == measured.name);
        match (place, &measured.outcome) {
            // What another machine measured is not lost to one that cannot.
            (Some(_), Outcome::NotRun(_)) => {}
            (Some(place), Outcome::Ran(_)) => *place = measured,
            (None, _) => kept.variations.push(measured),
        }
    }
    let order: Vec<String> = variations::all().into_iter().map(|v| v.name).collect();
    kept.variations.sort_by_key(|v| {
        order
            .iter()
            .position(|n| *n == v.name)
            .unwrap_or(order.len())
    });
    let text = serde_json::to_string_pretty(&kept)? + "\n";
    write_atomically(&path, text.as_bytes())?;
    let methods = workspace::root().join("METHODS.md");
    let text = std::fs::read_to_string(&methods)
        .with_context(|| format!("failed to read {}", methods.display()))?;
    let Some(text) = page::put_into(&text, &page::markdown(&kept)) else {
        bail!(
            "{} has no lines {} and {} to write the table between",
            methods.display(),
            page::START,
            page::END
        );
    };
    write_atomically(&methods, text.as_bytes())?;
    say!("written: {}, {}", path.display(), methods.display());
    Ok(())
}

/// 2026-01-31.
fn today() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = now.map_or(0, |d| d.as_secs());
    let date = i64::try_from(seconds)
        .ok()
        .and_then(|s| chrono::DateTime::from_timestamp(s, 0));
    date.map_or_else(String::new, |d| d.format("%Y-%m-%d").to_string())
}

/// Compiler, libraries that compute, C library (whose exp and tanh are used),
/// emulator.
fn versions(program: &Program) -> anyhow::Result<Vec<String>> {
    let says = |command: &str, argument: &str| {
        let output = std::process::Command::new(command)
            .arg(argument)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let words: Vec<&str> = text.split_whitespace().take(2).collect();
        (output.status.success() && words.len() == 2).then(|| words.join(" "))
    };
    let path = workspace::root().join("Cargo.lock");
    let lock = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let locked = |name: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", rest.split('"').next()?))
    };
    let all = [
        says("rustc", "--version"),
        locked("candle-core"),
        locked("gemm"),
        says("getconf", "GNU_LIBC_VERSION"),
        program.version.clone(),
    ];
    Ok(all.into_iter().flatten().collect())
}

/// The spread over all experiments.
fn over_all(ran: &Ran) -> Spread {
    let mut all = Spread::default();
    for (experiment, drift) in &ran.records {
        let mut of = drift.all();
        if !of.worst.is_empty() {
            of.worst = format!("{experiment} {}", of.worst);
        }
        all.join(&of);
    }
    all
}

#[cfg(test)]
mod tests;
