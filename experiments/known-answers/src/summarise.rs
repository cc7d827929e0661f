//! What was found of what was planted, against the pass marks.
//!
//! Number ids: `known.<claim>` is a claim's metric; `known.<instrument>.n….noise….…`
//! are about one planted case.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, judge};
use assay_experiment::page::{COUNT, GAIN, Origin, Page, R, SHARE, Style, must, shown, words};
use assay_experiment::subject::Subject;
use assay_record::{
    Axis, Cell, Direction, ExperimentSpec, Figure, Line, NotRun, Panel, Plot, Record, Summary,
    Verdict,
};
use assay_stats as stats;

use crate::by_hand::DRAWS;
use crate::planted::{self, INSTRUMENTS, Instrument};

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    let mut page = Page::new("known-answers", spec.clone(), records, not_run)?;
    let subjects = Subject::all("known", records)?;
    // One model is built by hand; records of it made by other code are not read.
    let subject = subjects.first();
    let mut candidates = Vec::new();
    if let Some(s) = subject {
        for (claim, value) in by_hand(&mut page, s)? {
            candidates.push(marked(&mut page, &spec, (claim, value), &s.origin)?);
        }
        for instrument in &INSTRUMENTS {
            let value = cases(&mut page, instrument, s)?;
            candidates.push(marked(
                &mut page,
                &spec,
                (claim_of(instrument), value),
                &s.origin,
            )?);
        }
        figures(&mut page, s)?;
    } else {
        for claim in CLAIMS {
            put_mark(&mut page, &spec, claim)?;
            candidates.push(Candidate {
                claim,
                body: "planted",
                data: "planted".to_owned(),
                as_published: "not asked".to_owned(),
                finding: Finding::Settled(
                    Verdict::NotRun,
                    "The hand-built model was not measured.".to_owned(),
                ),
            });
        }
    }
    judge(&mut page, &spec, candidates)?;
    page.summary.check()?;
    Ok(page.summary)
}

/// Every claim, in the order of experiment.toml.
const CLAIMS: [&str; 10] = [
    "known.patch",
    "known.patch-complement",
    "known.massive",
    "known.sink",
    "known.dimensions",
    "known.mask",
    "known.bridge",
    "known.rotation",
    "known.contraction",
    "known.cosine",
];

fn claim_of(instrument: &Instrument) -> &'static str {
    let is = |claim: &&&str| claim.strip_prefix("known.") == Some(instrument.name);
    CLAIMS.iter().find(is).copied().unwrap_or("known.patch")
}

/// The declared mark of a claim as a number; gives its id.
fn put_mark(
    page: &mut Page,
    spec: &ExperimentSpec,
    claim: &str,
) -> Result<String, ExperimentError> {
    let mark = spec.claim(claim)?.smallest_effect;
    let declared = Origin::published("experiment.toml of known-answers");
    page.put(
        &format!("{claim}.mark"),
        "pass mark",
        mark,
        Style::declared(mark),
        &declared,
    )
}

/// A claim is supported if its metric passes the declared mark: the truth is
/// known, and nothing is estimated.
fn marked(
    page: &mut Page,
    spec: &ExperimentSpec,
    (claim, value): (&'static str, f64),
    origin: &Origin,
) -> Result<Candidate, ExperimentError> {
    let declared = spec.claim(claim)?;
    let mark = declared.smallest_effect;
    page.put(claim, &declared.metric, value, R, origin)?;
    let mark_id = put_mark(page, spec, claim)?;
    let (passed, must) = match declared.direction {
        Direction::Positive => (value >= mark, "at least"),
        Direction::Negative => (value <= mark, "at most"),
    };
    Ok(Candidate {
        claim,
        body: "planted",
        data: "planted".to_owned(),
        as_published: "not asked".to_owned(),
        finding: Finding::Settled(
            if passed {
                Verdict::Supported
            } else {
                Verdict::Refuted
            },
            format!("{} (pass mark: {must} {}).", shown(claim), shown(&mark_id)),
        ),
    })
}

/// Metrics of the hand-built model, by claim.
fn by_hand(page: &mut Page, s: &Subject<'_>) -> Result<Vec<(&'static str, f64)>, ExperimentError> {
    let prompts: Vec<_> = s.units("").filter(|x| !x.text.is_empty()).collect();
    let mean_of = |name: &str| -> Result<f64, ExperimentError> {
        let values: Vec<f64> = (prompts.iter())
            .map(|p| p.get(name))
            .collect::<Result<_, _>>()?;
        must(name, stats::mean(&values))
    };
    let mut rows = Vec::new();
    for (name, what) in [
        ("subspace", "the true subspace"),
        ("complement", "its complement"),
        ("all", "everything"),
        ("itself", "nothing (its own rows)"),
    ] {
        let id = format!("known.by-hand.{name}");
        let value = mean_of(&format!("patch.{name}"))?;
        let label = format!("mean effect of patching {what}, logits");
        page.put(&id, &label, value, GAIN, &s.origin)?;
        rows.push(vec![words(what), Cell::Number(id)]);
    }
    let mut random = vec![0.0; DRAWS];
    for prompt in &prompts {
        let effects = prompt.get_series("patch.random")?;
        for (sum, effect) in random.iter_mut().zip(effects) {
            *sum += effect / prompts.len() as f64;
        }
    }
    let largest = random.iter().copied().fold(f64::MIN, f64::max);
    let id = "known.by-hand.random".to_owned();
    let label = format!("largest mean effect of {DRAWS} random subspaces, logits");
    page.put(&id, &label, largest, GAIN.drawn(), &s.origin)?;
    rows.push(vec![
        words(format!("the most effective of {DRAWS} random subspaces")),
        Cell::Number(id),
    ]);
    page.table(
        "by-hand",
        "Patching the hand-built model",
        "Mean over prompts of the change of the logit of the partner's answer less that of the own one, \
         when that part of the last token's residual stream is the partner's.",
        &["patched", "#effect"],
        rows,
    );
    let subspace = mean_of("patch.subspace")?;
    let below = random.iter().filter(|r| **r < subspace).count();
    let mut sinks = Vec::new();
    for prompt in &prompts {
        let heads = prompt.get_series("sink.by-head")?;
        let rest = heads.iter().skip(1).copied().fold(0.0, f64::max);
        sinks.push(heads.first().copied().unwrap_or_default() - rest);
    }
    Ok(vec![
        ("known.patch", below as f64 / DRAWS as f64),
        (
            "known.patch-complement",
            (mean_of("patch.complement")? / subspace).abs(),
        ),
        ("known.massive", mean_of("massive.found")?),
        ("known.sink", must("sinks", stats::mean(&sinks))?),
    ])
}

/// The cases of an instrument as numbers and a table; gives the mean at the
/// case of its claim.
fn cases(
    page: &mut Page,
    instrument: &Instrument,
    s: &Subject<'_>,
) -> Result<f64, ExperimentError> {
    let mut rows = Vec::new();
    let mut at_claim = 0.0;
    for n in instrument.sizes {
        for noise in instrument.noises {
            let unit = instrument.unit(*n, *noise);
            let sample = s.unit(&unit)?;
            let values = sample.get_series("value")?;
            let mean = must(&unit, stats::mean(values))?;
            if instrument.at == (*n, *noise) {
                at_claim = mean;
            }
            let id = |rest: &str| format!("known.{unit}.{rest}");
            let what = format!(
                "{}, {n} {}, noise {noise}",
                instrument.measure, instrument.of
            );
            page.put(&id("n"), instrument.of, *n as f64, COUNT, &s.origin)?;
            let style = Style::declared(*noise);
            page.put(&id("noise"), "noise", *noise, style, &s.origin)?;
            page.put(&id("mean"), &what, mean, R.drawn(), &s.origin)?;
            let sd = must(&unit, stats::sd_sample(values))?;
            let label = format!("{what}: standard deviation over draws");
            page.put(&id("sd"), &label, sd, R.drawn(), &s.origin)?;
            let label = format!("{what}: share of draws that pass the mark");
            page.put(
                &id("passed"),
                &label,
                sample.get("passed")?,
                SHARE,
                &s.origin,
            )?;
            rows.push(
                ["n", "noise", "mean", "sd", "passed"]
                    .map(|r| Cell::Number(id(r)))
                    .into(),
            );
        }
    }
    page.table(
        instrument.name,
        &format!("Planted: {}", instrument.name),
        &format!(
            "{} over {} draws; a draw passes with {} {}.",
            instrument.measure,
            planted::DRAWS,
            if instrument.up { "at least" } else { "at most" },
            shown(&format!("{}.mark", claim_of(instrument))),
        ),
        &[
            &format!("#{}", instrument.of),
            "#noise",
            "#mean",
            "#deviation",
            "#passed",
        ],
        rows,
    );
    Ok(at_claim)
}

/// What is recovered, and how often the mark is passed, over noise and size.
fn figures(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    for instrument in &INSTRUMENTS {
        // Over what varies most.
        let over_noise = instrument.noises.len() > 1;
        let lines = |of: &dyn Fn(&str) -> Result<f64, ExperimentError>| {
            let mut all = Vec::new();
            for n in instrument.sizes {
                for noise in instrument.noises {
                    all.push((*n, *noise, of(&instrument.unit(*n, *noise))?));
                }
            }
            let line = |label: String, points: Vec<(f64, f64)>| Line {
                label,
                points,
                band: Vec::new(),
            };
            Ok::<_, ExperimentError>(if over_noise {
                let of_size = |n: &usize| {
                    let points = all.iter().filter(|p| p.0 == *n).map(|p| (p.1, p.2));
                    line(format!("{n} {}", instrument.of), points.collect())
                };
                instrument.sizes.iter().map(of_size).collect::<Vec<_>>()
            } else {
                let points = all.iter().map(|p| (p.0 as f64, p.2)).collect();
                vec![line(format!("noise {}", instrument.at.1), points)]
            })
        };
        let x = if over_noise { "noise" } else { instrument.of };
        let panel = |y: &str, lines: Vec<Line>, marks: Vec<(f64, String)>| Panel {
            title: y.to_owned(),
            x: Axis {
                label: x.to_owned(),
                log: false,
            },
            y: Axis {
                label: y.to_owned(),
                log: false,
            },
            plot: Plot::Lines { lines },
            y_lines: marks,
            note: String::new(),
        };
        let mean = |unit: &str| must(unit, stats::mean(s.unit(unit)?.get_series("value")?));
        let passed = |unit: &str| Ok(s.unit(unit)?.get("passed")?);
        page.summary.figures.push(Figure {
            id: format!("recovery-{}", instrument.name),
            title: format!("Recovery: {}", instrument.name),
            caption: format!(
                "Left: {}, mean over draws. Right: the share of draws that pass the mark, which is the \
                 power to find what was planted.",
                instrument.measure
            ),
            alt: format!(
                "Lines of {} and of the share of draws that pass, over {x}.",
                instrument.measure
            ),
            panels: vec![
                panel(
                    instrument.measure,
                    lines(&mean)?,
                    vec![(instrument.mark, "pass mark".to_owned())],
                ),
                panel("share that pass", lines(&passed)?, Vec::new()),
            ],
        });
    }
    Ok(())
}
