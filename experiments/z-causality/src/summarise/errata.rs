//! Faults of the published work, each with evidence of this run.

use assay_experiment::ExperimentError;
use assay_experiment::page::{GAIN, Page, R, must, shown};
use assay_experiment::subject::Subject;
use assay_record::{Erratum, Sample};
use assay_stats as stats;

use super::masks::configurations;
use super::primary;
use crate::published::Published;

pub(crate) fn write(
    page: &mut Page,
    published: &Published,
    subjects: &[Subject<'_>],
) -> Result<(), ExperimentError> {
    let add = |page: &mut Page, id: &str, claimed: &str, truth: &str, evidence: String| {
        let computed = !evidence.is_empty();
        page.summary.errata.push(Erratum {
            id: id.to_owned(),
            claimed: claimed.to_owned(),
            truth: truth.to_owned(),
            evidence: if computed {
                evidence
            } else {
                "No model was measured.".to_owned()
            },
            computed,
        });
    };
    let each = |text: &dyn Fn(&Subject<'_>) -> Result<String, ExperimentError>| {
        let all = subjects
            .iter()
            .map(|s| Ok(format!("{}: {}", s.name, text(s)?)));
        Ok::<_, ExperimentError>(all.collect::<Result<Vec<_>, ExperimentError>>()?.join(" "))
    };
    let span = each(&|s| {
        Ok(format!(
            "the keys of l1 read {} of {} dimensions.",
            shown(&s.id("span")),
            s.record.facts.d_model
        ))
    })?;
    add(
        page,
        "E13",
        "Z is a subspace of the residual stream that all heads of a layer agree on.",
        "It is what the keys of H_kv heads read, so it has at most H_kv d_head dimensions, and query heads \
         that share a key are not independent.",
        span,
    );
    let patched = |s: &Subject<'_>| -> Result<bool, ExperimentError> {
        Ok(s.units("pair.")
            .any(|p| p.measures.keys().any(|m| m.starts_with("cross."))))
    };
    let unable = "too few pairs are solved to be patched.";
    let places = each(&|s| {
        if !patched(s)? {
            return Ok(unable.to_owned());
        }
        let of = |place: &str| -> Result<String, ExperimentError> {
            Ok(shown(
                &s.id(&format!("cell.cross.{}.z", primary(s, place)?)),
            ))
        };
        Ok(format!(
            "the patch of Z moves log-odds by {} at the input and by {} at the output.",
            of("in")?,
            of("out")?
        ))
    })?;
    add(
        page,
        "E14",
        "The mask of layer 32 is applied to the output of layer 32.",
        "The weights of a layer read its input.",
        places,
    );
    let readings = first_numbers(page, subjects)?;
    add(
        page,
        "E15",
        "A problem is answered by the first number of the first line.",
        "Models think aloud or restate the problem: the answer is the last number of the final answer.",
        readings,
    );
    let reversed = format!(
        "From the published counts of {}: D = {}, and a_Z - a_perp = {} where random subspaces gave {} to {}.",
        published.random.cell,
        shown("z.published.d"),
        shown("z.published.answers"),
        shown("z.published.random.answers.low"),
        shown("z.published.random.answers.high")
    );
    add(
        page,
        "E16",
        "Patching Z changes answers, patching its complement changes the language.",
        "The complement destroys answers and random subspaces do the same: the sign is opposite to the \
         claim's and nothing is specific to Z.",
        reversed,
    );
    let chance = each(&|s| {
        Ok(format!(
            "chance is {}, the largest R {} (published {}, chance {}).",
            shown(&s.id("update.chance")),
            shown(&s.id("update.max")),
            shown("z.published.update.max"),
            shown("z.published.update.chance"),
        ))
    })?;
    add(
        page,
        "E17",
        "R about 1 means that a block writes into both, and R below 1 that Z is not written.",
        "R compares k with d - k dimensions: chance is sqrt(k/(d-k)).",
        chance,
    );
    let damage = each(&|s| {
        if !patched(s)? {
            return Ok(unable.to_owned());
        }
        let cell = primary(s, "in")?;
        Ok(format!(
            "with the same problem's source the patch of everything changes log p of the answer by {}, with \
             the partner's source log-odds by {}.",
            shown(&s.id(&format!("cell.same.{cell}.full.mean"))),
            shown(&s.id(&format!("cell.cross.{cell}.full")))
        ))
    })?;
    add(
        page,
        "E20",
        "Answers changed by patching show that Z carries answers.",
        "Source and target are one problem with one answer: perfect transfer changes nothing, and changes \
         are damage. The audited design crosses problems.",
        damage,
    );
    let tokens = each(&|s| {
        let mut said = Vec::new();
        for name in configurations(s)? {
            if let Some(last) = name.strip_suffix(".last") {
                let gap = |pooling: &str| shown(&s.id(&format!("distance.{last}.{pooling}.gap")));
                if last.contains(".all.") {
                    said.push(format!(
                        "{last}: {} by last token, {} by mean",
                        gap("last"),
                        gap("mean")
                    ));
                }
            }
        }
        Ok(format!(
            "gap of relative distances, Z minus outside: {}.",
            said.join("; ")
        ))
    })?;
    add(
        page,
        "E24",
        "Taking the last token in place of the mean reverses the effect.",
        "In the published data that holds at one layer and for k up to 50 only.",
        tokens,
    );
    Ok(())
}

/// Accuracy by either reading of unpatched texts.
fn first_numbers(page: &mut Page, subjects: &[Subject<'_>]) -> Result<String, ExperimentError> {
    let mut all = Vec::new();
    for s in subjects {
        let texts: Vec<&Sample> = s
            .units("text.")
            .filter(|t| t.tag("condition") == Some("none"))
            .collect();
        let share = |measure: &str| {
            let right: Vec<f64> = texts
                .iter()
                .map(|t| {
                    let own = t.tag("answer").and_then(|a| a.parse::<f64>().ok());
                    f64::from(u8::from(t.get(measure).ok() == own && own.is_some()))
                })
                .collect();
            must("accuracy", stats::mean(&right))
        };
        let (last, first) = (share("answer")?, share("first-number")?);
        for (id, what, value) in [
            (
                "answer",
                "share of unpatched texts right by the audited reading",
                last,
            ),
            (
                "first",
                "share of unpatched texts right by the first number",
                first,
            ),
        ] {
            let what = format!("{what}, {}", s.name);
            page.put(&s.id(&format!("reading.{id}")), &what, value, R, &s.origin)?;
        }
        let what = format!("difference of the two readings, {}", s.name);
        page.put(
            &s.id("reading.difference"),
            &what,
            last - first,
            GAIN,
            &s.origin,
        )?;
        all.push(format!(
            "{}: {} are right by the audited reading, {} by the first number of the first line.",
            s.name,
            shown(&s.id("reading.answer")),
            shown(&s.id("reading.first"))
        ));
    }
    Ok(all.join(" "))
}
