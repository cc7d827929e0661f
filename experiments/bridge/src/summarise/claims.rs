//! The claims on the primary bridge.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, Tested};
use assay_experiment::page::{COUNT, P, Page, R, must, shown};
use assay_experiment::subject::{Estimate, Settings, Subject, over_clusters, write_estimate};
use assay_record::Verdict;
use assay_stats as stats;
use assay_stats::Interval;

use super::tables::class;

pub(crate) fn write(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
) -> Result<Vec<Candidate>, ExperimentError> {
    let model = s.model()?;
    let n = model.get_series("ns")?.last().copied().unwrap_or_default();
    let k = model.get("primary-k")?;
    page.put(
        &s.id("pairs"),
        &format!("pairs, {}", s.name),
        n,
        COUNT,
        &s.origin,
    )?;
    let inside = model.get_series(&format!("r2.z.mean.ols.n{n}.k{k}"))?[0];
    let said = format!("{} by the in-sample R2", class(inside));
    let candidate = |claim, finding| Candidate {
        claim,
        body: "measured",
        data: format!("measured: {}", s.name),
        as_published: said.clone(),
        finding,
    };
    if n < 5.0 * k {
        let because = format!(
            "{} pairs are fewer than five times {} dimensions.",
            shown(&s.id("pairs")),
            shown(&s.id("primary-k"))
        );
        let claims = [
            "bridge.predicts",
            "bridge.predicts-kinds",
            "bridge.beyond-random",
            "bridge.rotation",
        ];
        let settled = |c| candidate(c, Finding::Settled(Verdict::Inconclusive, because.clone()));
        return Ok(claims.into_iter().map(settled).collect());
    }
    // R2 = 1 - Σe/Σw is the mean over pairs of 1 - e_i/mean(w).
    let r2 =
        |errors: &str, whole: &str, factor: f64| -> Result<Vec<(&str, f64)>, ExperimentError> {
            let pairs: Vec<_> = s.units("pair.").collect();
            let whole: Vec<f64> = pairs
                .iter()
                .map(|p| p.get(whole))
                .collect::<Result<_, _>>()?;
            let mean = must("variance", stats::mean(&whole))?;
            let each = pairs
                .iter()
                .map(|p| Ok((p.cluster.as_str(), factor * (1.0 - p.get(errors)? / mean))));
            each.collect()
        };
    let test = |page: &mut Page, id: &str, what: &str, values: &[(&str, f64)]| {
        let estimate: Estimate =
            must(what, over_clusters(values, &format!("{}/{id}", s.key), set))?;
        let what = format!("{what}, {}", s.name);
        write_estimate(page, (&s.id(id), &what), &estimate, &s.origin)
    };
    let ridge = r2("error.ridge", "whole", 1.0)?;
    let mut predicts = test(
        page,
        "primary",
        "R2 of the primary bridge, one pair left out",
        &ridge,
    )?;
    let null = model.get_series("null.shuffled")?;
    let own = model.get("null.shuffled.own")?;
    let above = null.iter().filter(|v| **v >= own).count();
    let p = (above + 1) as f64 / (null.len() + 1) as f64;
    let id = s.id("primary.shuffled-p");
    let what = format!(
        "p of the primary bridge among shuffled pairings, {}",
        s.name
    );
    page.put(&id, &what, p, P.drawn(), &s.origin)?;
    predicts.p = p;
    predicts.because = format!(
        "{} Shuffled pairings: p = {}.",
        predicts.because,
        shown(&id)
    );
    let kinds = test(
        page,
        "primary-kinds",
        "R2 of the primary bridge, one category left out",
        &r2("kinds-error.ridge", "kinds-whole", 1.0)?,
    )?;
    let rotation = r2("error.procrustes", "whole", 1.0)?;
    test(
        page,
        "primary-rotation",
        "R2 of the rotation, one pair left out",
        &rotation,
    )?;
    let rest: Vec<(&str, f64)> = rotation
        .iter()
        .zip(&ridge)
        .map(|((c, a), (_, b))| (*c, a - 0.9 * b))
        .collect();
    let rotation = test(
        page,
        "rotation",
        "R2 of the rotation minus .9 of that of ridge",
        &rest,
    )?;
    let beyond = beyond(page, s, set, kinds.estimate)?;
    Ok(vec![
        candidate("bridge.predicts", Finding::Tested(predicts)),
        candidate("bridge.predicts-kinds", Finding::Tested(kinds)),
        candidate("bridge.beyond-random", Finding::Tested(beyond)),
        candidate("bridge.rotation", Finding::Tested(rotation)),
    ])
}

/// R² of unseen kinds in Z against random subspaces.
fn beyond(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    own: f64,
) -> Result<Tested, ExperimentError> {
    let random = s.model()?.get_series("null.random")?;
    let what = "R2 of unseen categories in random subspaces";
    let mean = must(what, stats::mean(random))?;
    let low = must(what, stats::quantile(random, set.alpha / 2.0))?;
    let high = must(what, stats::quantile(random, 1.0 - set.alpha / 2.0))?;
    let above = random.iter().filter(|v| **v >= own).count();
    let below = random.iter().filter(|v| **v <= own).count();
    let p = (2.0 * (above.min(below) + 1) as f64 / (random.len() + 1) as f64).min(1.0);
    let id = s.id("beyond");
    let put = |page: &mut Page, rest: &str, what: &str, value: f64, style| {
        let what = format!("{what}, {}", s.name);
        page.put(&format!("{id}{rest}"), &what, value, style, &s.origin)
    };
    put(
        page,
        "",
        "R2 of unseen categories in Z minus the mean of random subspaces",
        own - mean,
        R.drawn(),
    )?;
    put(page, ".mean", &format!("mean {what}"), mean, R.drawn())?;
    put(
        page,
        ".low",
        &format!("{what}, lower end of the middle 95 %"),
        low,
        R.drawn(),
    )?;
    put(
        page,
        ".high",
        &format!("{what}, upper end of the middle 95 %"),
        high,
        R.drawn(),
    )?;
    put(
        page,
        ".p",
        "exact two-sided rank p of Z among random subspaces",
        p,
        P.drawn(),
    )?;
    Ok(Tested {
        because: format!(
            "In Z {}, in random subspaces {} [{}, {}] on average: {} more (rank p = {}).",
            shown(&s.id("primary-kinds")),
            shown(&format!("{id}.mean")),
            shown(&format!("{id}.low")),
            shown(&format!("{id}.high")),
            shown(&id),
            shown(&format!("{id}.p")),
        ),
        estimate: own - mean,
        interval: Interval {
            low: own - high,
            high: own - low,
        },
        p,
        id,
        origin: s.origin.clone(),
    })
}
