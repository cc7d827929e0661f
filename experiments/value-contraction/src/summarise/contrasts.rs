//! Recursion against its controls, topic by topic.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, of_recording};
use assay_experiment::page::{COUNT, Page, SHARE, Stat, Value, words};
use assay_record::{Cell, ClaimVerdict, ExperimentSpec, Record, Verdict};
use assay_stats as stats;
use assay_stats::{Exchangeability, PERMUTATION_DRAWS, stream};

use super::groups::AS_PUBLISHED;
use super::measured::{Measured, RESAMPLES, Settings, Test, over_topics, write_test};
use crate::bank::{MATCHED, PSEUDO};

/// Readings of R_V: id, words, measure.
const READINGS: [(&str, &str, &str); 5] = [
    ("a", "definition A", "rv.a"),
    ("a-row-only", "definition A, row-only", "rv.a-row-only"),
    ("b", "definition B", "rv.b"),
    ("a-pseudo", "definition A over pseudo-heads", "rv.a-pseudo"),
    ("a-view", "definition A, published view", "rv.a-view"),
];

/// log R_V of the strongest grade minus the mean of some controls, by topic.
fn against(
    m: &Measured<'_>,
    (set, controls): (&str, &[&str]),
    measure: &str,
) -> Result<Vec<f64>, ExperimentError> {
    let mut differences = m.logs(MATCHED, m.strongest(), measure)?;
    for control in controls {
        let logs = m.logs(set, control, measure)?;
        for (difference, log) in differences.iter_mut().zip(logs) {
            *difference -= log / controls.len() as f64;
        }
    }
    Ok(differences)
}

/// Writes every contrast of one model; gives the evidence for the claims.
pub(crate) fn write(
    page: &mut Page,
    m: &Measured<'_>,
    set: Settings,
) -> Result<Vec<Candidate>, ExperimentError> {
    let plain = m.plain();
    let mut candidates = Vec::new();
    let test = |page: &mut Page, id: &str, what: &str, differences: &[f64]| {
        let tested = over_topics(differences, &format!("{}/{id}", m.key), set);
        let what = format!("{what}, {}", m.name);
        let id = m.id(&format!("contrast.{id}"));
        match tested {
            Ok(test) => Ok(Finding::Tested(write_test(
                page, &id, &what, &test, &m.origin,
            )?)),
            Err(e) => Ok::<_, ExperimentError>(Finding::Settled(
                Verdict::Inconclusive,
                format!("There is no test: {e}."),
            )),
        }
    };
    let log = "mean difference of log R_V, strongest recursion minus";
    for (id, words, measure) in READINGS {
        if !m.has(measure) {
            continue;
        }
        let differences = against(m, (MATCHED, &plain), measure)?;
        let what = format!("{log} plain controls, {words}");
        let finding = test(page, &format!("plain.{id}"), &what, &differences)?;
        if id == "a" {
            candidates.push(candidate(
                m,
                "rv.recursion-contracts",
                finding,
                as_published(m)?,
            ));
        }
    }
    let share = against(m, (MATCHED, &plain), "rv.a")?;
    let below = share.iter().filter(|d| **d < 0.0).count();
    let what = format!(
        "share of topics on which recursion has the smaller R_V, {}",
        m.name
    );
    page.put(
        &m.id("contrast.share"),
        &what,
        below as f64 / share.len() as f64,
        SHARE,
        &m.origin,
    )?;
    page.put(
        &m.id("topics"),
        &format!("topics, {}", m.name),
        share.len() as f64,
        COUNT,
        &m.origin,
    )?;

    candidates.push(candidate(
        m,
        "rv.not-length-or-words",
        adjusted(page, m, set)?,
        NOT_TESTED.to_owned(),
    ));
    let single = m
        .groups
        .iter()
        .map(String::as_str)
        .filter(|g| !crate::bank::is_recursive(g));
    let made = ["shuffled-tokens", "random-tokens"].map(|g| ("controls", g));
    let made = made.into_iter().filter(|_| !m.recorded());
    if m.recorded() {
        candidates.push(candidate(
            m,
            "rv.more-than-word-salad",
            of_recording(),
            NOT_TESTED.to_owned(),
        ));
    }
    for (from, group) in single.map(|g| (MATCHED, g)).chain(made) {
        let differences = against(m, (from, &[group]), "rv.a")?;
        let finding = test(page, group, &format!("{log} {group}"), &differences)?;
        match group {
            "shuffled-tokens" => {
                candidates.push(candidate(
                    m,
                    "rv.more-than-word-salad",
                    finding,
                    NOT_TESTED.to_owned(),
                ));
            }
            PSEUDO => {
                let said = "reported as a control that contracts less".to_owned();
                candidates.push(candidate(
                    m,
                    "rv.more-than-talk-of-recursion",
                    finding,
                    said,
                ));
            }
            _ => {}
        }
    }
    let slopes = slopes(m)?;
    let finding = test(
        page,
        "grades",
        "mean slope of log R_V on the grade of recursion",
        &slopes,
    )?;
    candidates.push(candidate(
        m,
        "rv.graded",
        finding,
        "reported as falling with the grade".to_owned(),
    ));
    Ok(candidates)
}

/// What the publication did not control for.
const NOT_TESTED: &str = "not tested";

fn candidate(
    m: &Measured<'_>,
    claim: &'static str,
    finding: Finding,
    as_published: String,
) -> Candidate {
    Candidate {
        claim,
        body: "measured",
        data: format!("measured: {}", m.name),
        as_published,
        finding,
    }
}

/// The published comparison on this model: strongest recursion against factual
/// prompts, texts of the study's lengths.
fn as_published(m: &Measured<'_>) -> Result<String, ExperimentError> {
    let of = |group: &str| -> Stat<f64> {
        let samples = m.of_group(AS_PUBLISHED, group).into_iter();
        let values: Vec<f64> = samples.filter_map(|s| s.get("rv.a").ok()).collect();
        stats::mean(&values)
    };
    Ok(match (of(m.strongest()), of("factual")) {
        (Ok(recursive), Ok(factual)) if recursive < factual => "contracts".to_owned(),
        (Ok(_), Ok(_)) => "does not contract".to_owned(),
        _ => "the bank has no such set".to_owned(),
    })
}

/// Slope of log R_V on the grade, by topic.
fn slopes(m: &Measured<'_>) -> Result<Vec<f64>, ExperimentError> {
    let grades = m.grades();
    let centre = (grades.len() as f64 - 1.0) / 2.0;
    let spread: f64 = (0..grades.len()).map(|g| (g as f64 - centre).powi(2)).sum();
    let mut slopes = vec![0.0; m.topics.len()];
    for (grade, group) in grades.iter().enumerate() {
        let logs = m.logs(MATCHED, group, "rv.a")?;
        for (slope, log) in slopes.iter_mut().zip(logs) {
            // One grade has no slope: all stay at 0.
            if spread > 0.0 {
                *slope += (grade as f64 - centre) * log / spread;
            }
        }
    }
    Ok(slopes)
}

/// Recursion's coefficient on log R_V within topics, given tokens and distinct
/// tokens.
fn adjusted(page: &mut Page, m: &Measured<'_>, set: Settings) -> Result<Finding, ExperimentError> {
    let (mut y, mut x, mut tokens, mut distinct, mut topics) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (t, topic) in m.topics.iter().enumerate() {
        let groups = [vec![m.strongest()], m.plain()].concat();
        let samples = groups
            .iter()
            .map(|g| m.sample(MATCHED, g, topic))
            .collect::<Result<Vec<_>, _>>()?;
        let centred = |values: Vec<f64>| -> Vec<f64> {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            values.iter().map(|v| v - mean).collect()
        };
        let of = |measure: &str| -> Result<Vec<f64>, ExperimentError> {
            Ok(samples
                .iter()
                .map(|s| s.get(measure))
                .collect::<Result<_, _>>()?)
        };
        let logs = of("rv.a")?.iter().map(|v| v.ln()).collect();
        let recursive = (0..samples.len())
            .map(|i| f64::from(u8::from(i == 0)))
            .collect();
        y.push(centred(logs));
        x.push(centred(recursive));
        tokens.push(centred(of("tokens")?));
        distinct.push(centred(of("distinct")?));
        topics.extend(vec![t; samples.len()]);
    }
    let coefficient = |units: &[usize]| -> Stat<f64> {
        let drawn = |column: &[Vec<f64>]| {
            units
                .iter()
                .flat_map(|u| column[*u].clone())
                .collect::<Vec<f64>>()
        };
        let predictors = [drawn(&x), drawn(&tokens), drawn(&distinct)];
        let predictors: Vec<&[f64]> = predictors.iter().map(Vec::as_slice).collect();
        let fit = stats::least_squares(&drawn(&y), &predictors)?;
        Ok(fit.coefficients[1].estimate)
    };
    let result = (|| -> Stat<Test> {
        let level = 1.0 - set.alpha;
        let draws = |what: &str| {
            stream(
                set.seed,
                &format!("value-contraction/{what}/{}/adjusted", m.key),
            )
        };
        let bca = stats::bootstrap_bca(x.len(), coefficient, RESAMPLES, level, draws("bootstrap"))?;
        let flat = |column: &[Vec<f64>]| column.concat();
        let test = stats::partial_correlation_permutation(
            &flat(&x),
            &flat(&y),
            &[&flat(&tokens), &flat(&distinct)],
            Exchangeability::WithinClusters(&topics),
            PERMUTATION_DRAWS / 10,
            draws("permutation"),
        )?;
        Ok(Test {
            mean: bca.estimate,
            interval: bca.interval,
            p: test.p,
        })
    })();
    let what = format!(
        "coefficient of recursion on log R_V given tokens and distinct tokens, {}",
        m.name
    );
    Ok(match result {
        Ok(test) => Finding::Tested(write_test(
            page,
            &m.id("contrast.adjusted"),
            &what,
            &test,
            &m.origin,
        )?),
        Err(e) => Finding::Settled(
            Verdict::Inconclusive,
            format!("There is no such coefficient: {e}."),
        ),
    })
}

/// "Universal" follows from the verdicts on the models.
pub(crate) fn judge_universal(
    page: &mut Page,
    spec: &ExperimentSpec,
    records: &[Record],
) -> Result<(), ExperimentError> {
    let verdicts = page.summary.verdicts.iter();
    let found: Vec<Verdict> = verdicts
        .filter(|v| v.claim == "rv.recursion-contracts" && v.data.starts_with("measured"))
        .map(|v| v.audited)
        .collect();
    let mut families: Vec<&str> = records.iter().map(|r| r.key.family.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    let against = |v: &Verdict| matches!(v, Verdict::Refuted | Verdict::Reversed);
    let (audited, because) = if found.is_empty() {
        (Verdict::NotRun, "No model was measured.")
    } else if found.iter().any(against) {
        (
            Verdict::Refuted,
            "A model is enough to refute it, and on one the contraction at equal length is refuted or reversed.",
        )
    } else if found.iter().all(|v| *v == Verdict::Supported) && families.len() >= 2 {
        (
            Verdict::Supported,
            "It is supported on every model measured, of two families or more.",
        )
    } else {
        (
            Verdict::Inconclusive,
            "It is not supported on every model measured, or they are of one family.",
        )
    };
    let claim = spec.claim("rv.universal")?;
    page.summary.verdicts.push(ClaimVerdict {
        claim: claim.id.clone(),
        statement: claim.statement.clone(),
        data: "measured models".to_owned(),
        as_published: "universal".to_owned(),
        audited,
        because: because.to_owned(),
        evidence: None,
    });
    Ok(())
}

pub(crate) fn tables(page: &mut Page, measured: &[Measured<'_>]) {
    for m in measured {
        let mut rows = Vec::new();
        let row = |page: &Page, id: &str, what: String| -> Option<Vec<Cell>> {
            let at = |rest: &str| m.id(&format!("contrast.{id}.{rest}"));
            page.summary.numbers.contains_key(&at("mean")).then(|| {
                let mut cells = vec![words(what)];
                cells.extend(["mean", "low", "high", "p"].map(|c| page.cell(&at(c), "")));
                let holm: Value = page.value(&at("holm-p"), "descriptive: no claim rests on it");
                cells.push(holm.cell());
                cells
            })
        };
        for (id, words, _) in READINGS {
            rows.extend(row(
                page,
                &format!("plain.{id}"),
                format!("plain controls, {words}"),
            ));
        }
        rows.extend(row(
            page,
            "adjusted",
            "plain controls, given tokens and distinct tokens".to_owned(),
        ));
        let groups = m.groups.iter().map(String::as_str);
        for group in groups.chain(["shuffled-tokens", "random-tokens"]) {
            rows.extend(row(page, group, group.to_owned()));
        }
        rows.extend(row(
            page,
            "grades",
            "slope on the grade of recursion".to_owned(),
        ));
        page.table(
            &format!("contrasts-{}", m.key),
            &format!("Recursion against its controls at equal length, {}", m.name),
            &format!(
                "Mean over {{{}}} topics of the difference in log R_V, strongest grade minus control; \
                 negative: recursion contracts more. BCa intervals over topics, sign-flip p, Holm over \
                 the claims of one family. Recursion has the smaller R_V on {{{}}} of topics.",
                m.id("topics"),
                m.id("contrast.share"),
            ),
            &["against", "#difference", "#lower", "#upper", "#p", "#Holm p"],
            rows,
        );
    }
}
