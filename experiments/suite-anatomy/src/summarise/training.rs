//! Curves over training: models of which at least three revisions "step…" were
//! measured.

use std::collections::BTreeMap;

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, Tested};
use assay_experiment::page::{Origin, P, Page, R, shown, slug, words};
use assay_record::{Axis, Figure, Line, Panel, Plot, Verdict};
use assay_stats as stats;

use super::claims::{excess, ratios};
use super::measured::{Measured, argmax, mean};

/// Fewest revisions of a curve.
const MIN_REVISIONS: usize = 3;

/// What is followed over training, one number a revision.
fn followed(m: &Measured<'_>) -> Result<Vec<(&'static str, f64)>, ExperimentError> {
    let mut found = Vec::new();
    let texts = m.having(None, "massive.top-1.by-layer");
    let mut tops = Vec::new();
    for s in &texts {
        let ratios = ratios(m, s)?;
        tops.push(ratios[argmax(&ratios)].log10());
    }
    if !tops.is_empty() {
        found.push((
            "log10 of the largest activation over the median",
            mean(&tops),
        ));
    }
    for (name, measure) in [
        ("attention to position 0", "sink.first.by-layer"),
        ("logit lens KL, mean over layers", "lens.kl.by-layer"),
    ] {
        if let Some(series) = m.mean_series(None, measure)? {
            found.push((name, mean(&series)));
        }
    }
    for (name, measure, from, to) in [
        (
            "MLP gradient at 3/4 depth, excess share",
            "gradient.mlp-weight.by-layer",
            0.625,
            0.875,
        ),
        (
            "attention gradient in the first quarter, excess share",
            "gradient.attn-weight.by-layer",
            0.0,
            0.25,
        ),
    ] {
        if let Some(series) = m.mean_series(None, measure)? {
            found.push((name, excess(&series, from, to)));
        }
    }
    if let Some(rank) = m.map("spectrum.resid-post.rank")? {
        found.push(("effective rank of resid_post, mean over layers", mean(rank)));
    }
    Ok(found)
}

/// All norm maps of a record in a row.
fn maps(m: &Measured<'_>) -> Result<Vec<f64>, ExperimentError> {
    let mut all = Vec::new();
    for set in m.sets() {
        for site in ["attn-out", "mlp-out", "resid-post"] {
            all.extend_from_slice(m.map(&format!("map.{site}.{set}"))?.unwrap_or_default());
        }
    }
    Ok(all)
}

pub(crate) fn write(
    page: &mut Page,
    measured: &[Measured<'_>],
    alpha: f64,
) -> Result<Vec<Candidate>, ExperimentError> {
    let mut models: BTreeMap<&str, Vec<(f64, &Measured<'_>)>> = BTreeMap::new();
    for m in measured {
        if let Some(step) = m.step() {
            models
                .entry(&m.record.key.model)
                .or_default()
                .push((step, m));
        }
    }
    let mut candidates = Vec::new();
    let candidate = |data: String, finding| Candidate {
        claim: "anatomy.matures",
        body: "measured",
        data,
        as_published: "read off heat maps".to_owned(),
        finding,
    };
    for (model, mut revisions) in models {
        if revisions.len() < MIN_REVISIONS {
            continue;
        }
        revisions.sort_by(|a, b| a.0.total_cmp(&b.0));
        let origin = Origin::join(revisions.iter().map(|(_, m)| &m.origin));
        let steps: Vec<f64> = revisions.iter().map(|(step, _)| *step).collect();
        let mut curves: Vec<(&str, Vec<f64>)> = Vec::new();
        for (_, m) in &revisions {
            for (name, value) in followed(m)? {
                match curves.iter_mut().find(|c| c.0 == name) {
                    Some(curve) => curve.1.push(value),
                    None => curves.push((name, vec![value])),
                }
            }
        }
        curves.retain(|(_, values)| values.len() == steps.len());
        // Likeness to the last revision, which is left out.
        let last = revisions.len() - 1;
        let end = maps(revisions[last].1)?;
        let mut like = Vec::new();
        for (_, m) in &revisions[..last] {
            like.extend(stats::pearson(&maps(m)?, &end).ok().map(|r| r.r));
        }
        let id = format!("anatomy.training.{}", slug(model));
        let finding = match stats::spearman(&steps[..last], &like) {
            Ok(rho) => {
                let interval = stats::fisher_interval(rho.r, like.len(), 1.0 - alpha);
                let what = format!("rho of training step and likeness to the end, {model}");
                page.put(&format!("{id}.matures"), &what, rho.r, R, &origin)?;
                page.put(
                    &format!("{id}.matures.p"),
                    &format!("p of {what}"),
                    rho.p,
                    P,
                    &origin,
                )?;
                match interval {
                    Ok(interval) => Finding::Tested(Tested {
                        estimate: rho.r,
                        interval,
                        p: rho.p,
                        because: format!(
                            "Spearman's rho {} over the revisions before the last.",
                            shown(&format!("{id}.matures"))
                        ),
                        origin: origin.clone(),
                        id: format!("{id}.matures"),
                    }),
                    Err(why) => Finding::Settled(Verdict::Inconclusive, format!("{why}.")),
                }
            }
            Err(why) => Finding::Settled(Verdict::Inconclusive, format!("{why}.")),
        };
        candidates.push(candidate(
            format!("measured, revisions of {model}"),
            finding,
        ));
        let mut rows = Vec::new();
        for (c, (name, values)) in curves.iter().enumerate() {
            let mut row = vec![words(*name)];
            for (part, value) in [("first", values[0]), ("last", values[last])] {
                let id = format!("{id}.{c}.{part}");
                let what = format!("{name} at the {part} revision, {model}");
                row.push(assay_record::Cell::Number(
                    page.put(&id, &what, value, R, &origin)?,
                ));
            }
            let rho = stats::spearman(&steps, values).map(|r| r.r);
            let what = format!("rho of training step and {name}, {model}");
            row.push(
                page.try_put(&format!("{id}.{c}.rho"), &what, rho, R, &origin)?
                    .cell(),
            );
            rows.push(row);
        }
        let key = slug(model).replace('.', "-");
        page.table(
            &format!("anatomy-training-{key}"),
            &format!("Over training, {model}"),
            "Every revision measured is a point: value at the first and at the last, and \
             Spearman's rho of training step and value.",
            &["measure", "#first", "#last", "#rho"],
            rows,
        );
        // A logarithmic axis has no place for step 0.
        let panel = |(name, values): &(&str, Vec<f64>)| Panel {
            title: (*name).to_owned(),
            x: Axis {
                label: "training step + 1".to_owned(),
                log: true,
            },
            y: Axis {
                label: String::new(),
                log: false,
            },
            plot: Plot::Lines {
                lines: vec![Line {
                    label: model.to_owned(),
                    points: steps
                        .iter()
                        .map(|s| s + 1.0)
                        .zip(values.iter().copied())
                        .collect(),
                    band: Vec::new(),
                }],
            },
            y_lines: Vec::new(),
            note: String::new(),
        };
        for (half, curves) in curves.chunks(3).enumerate() {
            page.summary.figures.push(Figure {
                id: format!("anatomy-training-{key}-{half}"),
                title: format!("Over training, {model}"),
                caption: "Means over texts at every revision measured.".to_owned(),
                alt: "Lines of one measure each against the training step.".to_owned(),
                panels: curves.iter().map(panel).collect(),
            });
        }
    }
    if candidates.is_empty() {
        let why = "no three training revisions of one model were measured.";
        let finding = Finding::Settled(Verdict::NotRun, why.to_owned());
        candidates.push(candidate("measured models".to_owned(), finding));
    }
    if !measured.iter().any(|m| m.record.key.model == "pythia-1.4b") {
        candidates.push(Candidate {
            claim: "anatomy.two-strips",
            body: "measured",
            data: "measured models".to_owned(),
            as_published: "read off heat maps".to_owned(),
            finding: Finding::Settled(Verdict::NotRun, "pythia-1.4b was not measured.".to_owned()),
        });
    }
    Ok(candidates)
}
