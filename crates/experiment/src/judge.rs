//! The claims of experiment.toml, judged by the declared rule.
//!
//! Holm's correction is over the claims of one family on one body of data:
//! published and measured data are two analyses, and what a later run
//! measures must not change what is said of the published table.

use std::collections::BTreeMap;

use crate::ExperimentError;
use assay_record::{ClaimVerdict, Direction, Evidence, ExperimentSpec, Record, Verdict};
use assay_stats as stats;
use assay_stats::Interval;

use crate::page::{GAIN, Origin, P, Page, RECORDED, Style, must, shown};

/// A claim on one body of data, before Holm's correction.
pub struct Candidate {
    /// Id of the claim in experiment.toml.
    pub claim: &'static str,
    /// Claims of one family are corrected together on each body of data.
    pub body: &'static str,
    /// The data it is judged on, in words.
    pub data: String,
    /// What the published rule says of them.
    pub as_published: String,
    /// What there is to judge.
    pub finding: Finding,
}

/// Parameters below which a model is not asked for what is learnt from much
/// natural text.
const FEW_PARAMETERS: u64 = 5_000_000;

/// Candidates of a model; those of a small one and those of recorded
/// activations are of bodies of data of their own ([`body`]).
#[must_use]
pub fn apart_if_small(mut candidates: Vec<Candidate>, record: &Record) -> Vec<Candidate> {
    if let Some(body) = body(record) {
        for candidate in &mut candidates {
            candidate.body = body;
            if body == RECORDINGS {
                candidate.data = candidate.data.replacen("measured", "recorded", 1);
            }
        }
    }
    candidates
}

/// The body of data that a record is of by what was measured, if it is not
/// that of all measured models.
#[must_use]
pub fn body(record: &Record) -> Option<&'static str> {
    if record.key.is_recording() {
        Some(RECORDINGS)
    } else if is_small(record) {
        Some(SMALL)
    } else {
        None
    }
}

/// A claim that recorded activations cannot decide.
#[must_use]
pub fn of_recording() -> Finding {
    let mut because = RECORDED.to_owned();
    because.replace_range(..1, "N");
    Finding::Settled(Verdict::NotApplicable, format!("{because}."))
}

/// As [`apart_if_small`]; those of a small model that are `of_it`, about `what`
/// does not live in small models, are not applicable.
#[must_use]
pub fn unless_small(
    candidates: Vec<Candidate>,
    record: &Record,
    (what, of_it): (&str, impl Fn(&str) -> bool),
) -> Vec<Candidate> {
    let mut candidates = apart_if_small(candidates, record);
    if is_small(record) {
        for candidate in candidates.iter_mut().filter(|c| of_it(c.claim)) {
            let because = format!(
                "{what} not live in a model of fewer than {} million parameters; planted cases test \
                 the instrument (known-answers).",
                FEW_PARAMETERS / 1_000_000
            );
            candidate.finding = Finding::Settled(Verdict::NotApplicable, because);
        }
    }
    candidates
}

/// Body of data of small models: what is measured on the project's own must
/// not change what is said of others.
pub const SMALL: &str = "measured, small";

/// Body of data of recorded activations: they may be those of a model that is
/// measured too, and must not change what is said of it.
pub const RECORDINGS: &str = "recorded";

/// Is a record's model one of those?
#[must_use]
pub fn is_small(record: &Record) -> bool {
    record.facts.parameters < FEW_PARAMETERS
}

/// What there is to judge.
pub enum Finding {
    /// An estimate and its test.
    Tested(Tested),
    /// No test: the verdict and why.
    Settled(Verdict, String),
}

/// An estimate with its interval and its p before correction.
pub struct Tested {
    /// Id under which `.holm-p` is written.
    pub id: String,
    /// On a scale where no effect is 0.
    pub estimate: f64,
    /// At level 1 - alpha.
    pub interval: Interval,
    /// Two-sided.
    pub p: f64,
    /// Why, with numbers as `{id}` placeholders.
    pub because: String,
    /// Records or publication that it rests on.
    pub origin: Origin,
}

/// Corrects within families, judges, and writes the verdicts in order.
///
/// # Errors
/// A claim that is not declared; evidence that is no number.
pub fn judge(
    page: &mut Page,
    spec: &ExperimentSpec,
    candidates: Vec<Candidate>,
) -> Result<(), ExperimentError> {
    let corrected = holm_by_family(spec, &candidates)?;
    for (candidate, holm_p) in candidates.into_iter().zip(corrected) {
        let claim = spec.claim(candidate.claim)?;
        let (audited, because, evidence) = match (candidate.finding, holm_p) {
            (Finding::Tested(tested), Some(holm_p)) => {
                let id = format!("{}.holm-p", tested.id);
                let of = format!("{}, {}", claim.id, candidate.data);
                let what = format!("p after Holm, {of}");
                page.put(&id, &what, holm_p, P.drawn(), &tested.origin)?;
                let written = write_evidence(page, &tested, &id, &of)?;
                let direction = match claim.direction {
                    Direction::Positive => stats::Direction::Positive,
                    Direction::Negative => stats::Direction::Negative,
                };
                let found = stats::Evidence {
                    estimate: tested.estimate,
                    interval: tested.interval,
                    holm_p,
                };
                let verdict = stats::verdict(direction, &found, spec.alpha, claim.smallest_effect);
                let verdict = must(&claim.id, verdict)?;
                let small = stats::excludes_smallest_effect(
                    direction,
                    &tested.interval,
                    claim.smallest_effect,
                );
                let but = if verdict == stats::Verdict::Supported && must(&claim.id, small)? {
                    " The interval lies below the smallest effect of interest."
                } else {
                    ""
                };
                let because = format!("{} Holm p = {}.{but}", tested.because, shown(&id));
                (wire(verdict), because, Some(written))
            }
            (Finding::Settled(verdict, because), _) => (verdict, because, None),
            (Finding::Tested(_), None) => continue,
        };
        page.summary.verdicts.push(ClaimVerdict {
            claim: claim.id.clone(),
            statement: claim.statement.clone(),
            data: candidate.data,
            as_published: candidate.as_published,
            audited,
            because,
            evidence,
        });
    }
    Ok(())
}

/// The numbers of a test under ids. Most stand on the page already, as the id
/// of the test with the usual endings; the others are written.
fn write_evidence(
    page: &mut Page,
    tested: &Tested,
    holm_p: &str,
    of: &str,
) -> Result<Evidence, ExperimentError> {
    let mut at = |endings: &[&str], what: &str, value: f64, style: Style| {
        for ending in endings {
            let usual = format!("{}{ending}", tested.id);
            let there = page.summary.numbers.get(&usual);
            if there.is_some_and(|n| n.value == value) {
                return Ok(usual);
            }
        }
        let ending = endings.first().unwrap_or(&"");
        let id = format!("{}.tested{ending}", tested.id);
        page.put(&id, &format!("{what}, {of}"), value, style, &tested.origin)
    };
    Ok(Evidence {
        effect: at(&["", ".mean"], "estimate", tested.estimate, GAIN)?,
        interval: [
            at(
                &[".low"],
                "lower end of the interval",
                tested.interval.low,
                GAIN.drawn(),
            )?,
            at(
                &[".high"],
                "upper end of the interval",
                tested.interval.high,
                GAIN.drawn(),
            )?,
        ],
        p: at(&[".p"], "p", tested.p, P.drawn())?,
        holm_p: holm_p.to_owned(),
    })
}

/// Holm's p of every tested candidate.
fn holm_by_family(
    spec: &ExperimentSpec,
    candidates: &[Candidate],
) -> Result<Vec<Option<f64>>, ExperimentError> {
    let mut families: BTreeMap<(&str, &str), Vec<(usize, f64)>> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        if let Finding::Tested(tested) = &candidate.finding {
            let family = &spec.claim(candidate.claim)?.family;
            let members = families.entry((family, candidate.body)).or_default();
            members.push((index, tested.p));
        }
    }
    let mut corrected = vec![None; candidates.len()];
    for ((family, _), members) in families {
        let p: Vec<f64> = members.iter().map(|(_, p)| *p).collect();
        let holm = must(
            &format!("Holm's correction of family {family}"),
            stats::holm(&p),
        )?;
        for ((index, _), p) in members.into_iter().zip(holm) {
            if let Some(slot) = corrected.get_mut(index) {
                *slot = Some(p);
            }
        }
    }
    Ok(corrected)
}

fn wire(verdict: stats::Verdict) -> Verdict {
    match verdict {
        stats::Verdict::Supported => Verdict::Supported,
        stats::Verdict::Refuted => Verdict::Refuted,
        stats::Verdict::Reversed => Verdict::Reversed,
        stats::Verdict::Inconclusive => Verdict::Inconclusive,
        stats::Verdict::NotApplicable => Verdict::NotApplicable,
        stats::Verdict::NotRun => Verdict::NotRun,
    }
}
