//! What late values carry from a recursive prompt into a plain one.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, Tested, of_recording};
use assay_experiment::page::{GAIN, Page, words};
use assay_record::{Cell, Sample, Verdict};
use assay_stats::Interval;

use super::measured::{Measured, Settings, mean_and_error, over_topics, write_test};
use crate::patch::PLACEBOS;

fn patches<'a>(m: &Measured<'a>) -> Vec<&'a Sample> {
    let all = m.record.samples.iter();
    all.filter(|s| s.tag("set") == Some("patch")).collect()
}

/// Writes every condition's effect; gives the evidence for the two claims.
pub(crate) fn write(
    page: &mut Page,
    m: &Measured<'_>,
    set: Settings,
) -> Result<Vec<Candidate>, ExperimentError> {
    let samples = patches(m);
    let of = |measure: &str| -> Result<Vec<f64>, ExperimentError> {
        Ok(samples
            .iter()
            .map(|s| s.get(measure))
            .collect::<Result<_, _>>()?)
    };
    let candidate = |claim, finding, said: &str| Candidate {
        claim,
        body: "measured",
        data: format!("measured: {}", m.name),
        as_published: said.to_owned(),
        finding,
    };
    let (moving, specific) = ("transfers R_V", "a wrong layer did as much");
    if m.recorded() {
        return Ok(vec![
            candidate("rv.patch-moves", of_recording(), moving),
            candidate("rv.patch-specific", of_recording(), specific),
        ]);
    }
    let unpatched = of("patch.kl.unpatched")?;
    let (mean, _) = mean_and_error("KL of the unpatched prompt", &unpatched)?;
    let what = format!(
        "mean KL in nats of the plain from the recursive prompt, {}",
        m.name
    );
    page.put(&m.id("patch.unpatched"), &what, mean, GAIN, &m.origin)?;
    let effect = |condition: &str| -> Result<Vec<f64>, ExperimentError> {
        let after = of(&format!("patch.kl.{condition}"))?;
        Ok(unpatched
            .iter()
            .zip(after)
            .map(|(before, after)| before - after)
            .collect())
    };
    let test = |page: &mut Page, id: &str, what: &str, values: &[f64]| {
        let name = format!("{}/patch/{id}", m.key);
        match over_topics(values, &name, set) {
            Ok(test) => {
                let what = format!("{what}, nats, {}", m.name);
                let id = m.id(&format!("patch.{id}"));
                write_test(page, &id, &what, &test, &m.origin).map(Ok)
            }
            Err(e) => Ok::<_, ExperimentError>(Err(format!("There is no test: {e}."))),
        }
    };
    let right = effect("right")?;
    let moves = test(page, "right", "fall of KL by the right patch", &right)?;
    let mut worst: Option<Tested> = None;
    let mut missing = None;
    for placebo in PLACEBOS {
        let placebo_effect = effect(placebo)?;
        let what = format!("fall of KL by placebo {placebo}");
        if let Err(reason) = test(page, placebo, &what, &placebo_effect)? {
            missing = Some(reason);
        }
        let more: Vec<f64> = right
            .iter()
            .zip(&placebo_effect)
            .map(|(r, p)| r - p)
            .collect();
        let what = format!("fall of KL by the right patch beyond {placebo}");
        match test(page, &format!("beyond.{placebo}"), &what, &more)? {
            Ok(tested) => worst = Some(intersected(worst, tested)),
            Err(reason) => missing = Some(reason),
        }
    }
    for condition in ["right"].into_iter().chain(PLACEBOS) {
        let name = format!("patch.rv-downstream.{condition}");
        let values: Vec<f64> = samples.iter().filter_map(|s| s.get(&name).ok()).collect();
        if !values.is_empty() {
            let what = format!(
                "mean R_V behind the late layer after patch {condition}, {}",
                m.name
            );
            let (mean, _) = mean_and_error(&what, &values)?;
            page.put(
                &m.id(&format!("patch.downstream.{condition}")),
                &what,
                mean,
                GAIN,
                &m.origin,
            )?;
        }
    }
    let settled = |reason: String| Finding::Settled(Verdict::Inconclusive, reason);
    let moves = match moves {
        Ok(tested) => Finding::Tested(tested),
        Err(reason) => settled(reason),
    };
    let beyond = match (worst, missing) {
        (Some(tested), None) => {
            let because = format!("The nearest placebo leaves {}", tested.because);
            let id = m.id("patch.specific");
            Finding::Tested(Tested {
                id,
                because,
                ..tested
            })
        }
        (_, reason) => settled(reason.unwrap_or_default()),
    };
    Ok(vec![
        candidate("rv.patch-moves", moves, moving),
        candidate("rv.patch-specific", beyond, specific),
    ])
}

/// The intersection-union of tests: the smallest estimate with its interval,
/// and the largest p (Berger 1982).
fn intersected(worst: Option<Tested>, tested: Tested) -> Tested {
    let Some(worst) = worst else {
        return tested;
    };
    let p = worst.p.max(tested.p);
    let smaller = match tested.estimate < worst.estimate {
        true => tested,
        false => worst,
    };
    Tested {
        interval: Interval { ..smaller.interval },
        p,
        ..smaller
    }
}

pub(crate) fn table(page: &mut Page, measured: &[Measured<'_>]) {
    for m in measured.iter().filter(|m| !m.recorded()) {
        let rows = ["right"]
            .into_iter()
            .chain(PLACEBOS)
            .map(|condition| {
                let at = |rest: &str| m.id(&format!("patch.{condition}.{rest}"));
                let mut row: Vec<Cell> = vec![words(said(condition))];
                row.extend(["mean", "low", "high", "p"].map(|c| page.cell(&at(c), "no test")));
                let beyond = |c: &str| m.id(&format!("patch.beyond.{condition}.{c}"));
                let none = "the patch itself";
                row.extend(["mean", "p"].map(|c| page.cell(&beyond(c), none)));
                let downstream = m.id(&format!("patch.downstream.{condition}"));
                row.push(page.cell(&downstream, "no layer behind"));
                row
            })
            .collect();
        page.table(
            &format!("patch-{}", m.key),
            &format!("Late values of a recursive prompt in a plain one, {}", m.name),
            &format!(
                "Fall of KL(recursive || patched) in nats, next token, from {{{}}} unpatched; the last \
                 {{rv.settings.window}} positions of V are replaced. Beyond: the right patch minus this \
                 one. R_V behind: layers after the late one, over the early one; at the patched layer \
                 itself it would show what was put there. A prompt's own values put back change no bit.",
                m.id("patch.unpatched"),
            ),
            &["patch", "#effect", "#lower", "#upper", "#p", "#right beyond it", "#p", "#R_V behind"],
            rows,
        );
    }
}

fn said(condition: &str) -> &'static str {
    match condition {
        "right" => "late layer, recursive values",
        "wrong-early" => "early layer, recursive values",
        "wrong-middle" => "middle layer, recursive values",
        "other-text" => "late layer, another topic's plain values",
        "noise" => "late layer, noise",
        _ => "late layer, noise of the same norms",
    }
}
