//! The claims on the audited fit, and on the published one.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, Tested};
use assay_experiment::page::{COUNT, P, PLAIN, Page, R, SHARE, must, shown};
use assay_experiment::subject::{Settings, Subject, over_clusters, write_estimate};
use assay_record::{Sample, Verdict};
use assay_stats as stats;
use assay_stats::Interval;

pub(crate) fn write(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
) -> Result<Vec<Candidate>, ExperimentError> {
    let candidate = |claim, said: &str, finding| Candidate {
        claim,
        body: "measured",
        data: format!("measured: {}", s.name),
        as_published: said.to_owned(),
        finding,
    };
    Ok(vec![
        candidate(
            "ard.same-z",
            "data and weights find one Z",
            Finding::Tested(same(page, s)?),
        ),
        candidate(
            "ard.generalises",
            "not asked",
            Finding::Tested(generalises(page, s, set)?),
        ),
        candidate(
            "ard.languages-differ",
            "taken for granted",
            Finding::Tested(differ(page, s, set)?),
        ),
        candidate("ard.published-fit", "converges", ends(page, s)?),
    ])
}

/// Overlap at l1 against dimensions matched in variance.
fn same(page: &mut Page, s: &Subject<'_>) -> Result<Tested, ExperimentError> {
    let model = s.model()?;
    let l1 = model.get("l1")?;
    let overlap = model.get_series(&format!("contrast-overlap.{l1}"))?;
    let (k, d) = (model.get("k")?, s.record.facts.d_model as f64);
    let id = s.id("same");
    let estimate = overlap[0] - overlap[1];
    // The spread of a share of k of d drawn without replacement
    // (hypergeometric), about the matched mean.
    let share = overlap[1].clamp(1.0 / k, 1.0 - 1.0 / k);
    let spread = (share * (1.0 - share) / k * (d - k) / (d - 1.0)).sqrt();
    // Two of it: 95 % at the declared alpha of .05.
    let wide = 2.0 * spread;
    let put = |page: &mut Page, rest: &str, what: &str, value: f64, style| {
        let what = format!("{what}, {}", s.name);
        page.put(&format!("{id}{rest}"), &what, value, style, &s.origin)
    };
    put(
        page,
        "",
        "overlap with Z beyond dimensions matched in variance",
        estimate,
        R.drawn(),
    )?;
    put(page, ".p", "rank p of that overlap", overlap[2], P.drawn())?;
    Ok(Tested {
        because: format!(
            "{} of the dimensions are Z's, {} of matched ones, {} by chance (rank p = {}).",
            shown(&s.id(&format!("contrast.{l1}.overlap"))),
            shown(&s.id(&format!("contrast.{l1}.matched"))),
            shown(&s.id(&format!("contrast.{l1}.chance"))),
            shown(&format!("{id}.p")),
        ),
        estimate,
        interval: Interval {
            low: estimate - wide,
            high: estimate + wide,
        },
        p: overlap[2],
        id,
        origin: s.origin.clone(),
    })
}

/// Held-out AUC of translations against other problems, by fitted and by equal
/// weights.
fn generalises(page: &mut Page, s: &Subject<'_>, set: Settings) -> Result<Tested, ExperimentError> {
    let held: Vec<&Sample> = s
        .units("pair.")
        .filter(|p| p.tag("half") == Some("held-out"))
        .collect();
    // Share of other problems that lie farther than each pair's translation.
    let wins = |near: &str, far: &str| -> Result<Vec<f64>, ExperimentError> {
        let all: Vec<f64> = held.iter().map(|p| p.get(far)).collect::<Result<_, _>>()?;
        let each = held.iter().map(|p| {
            let near = p.get(near)?;
            let more = all.iter().filter(|f| **f > near).count();
            Ok(more as f64 / all.len() as f64)
        });
        each.collect()
    };
    let (fitted, equal) = (wins("near", "far")?, wins("near-equal", "far-equal")?);
    for (id, what, values) in [
        ("auc.fitted", "held-out AUC with fitted weights", &fitted),
        ("auc.equal", "held-out AUC with equal weights", &equal),
    ] {
        let mean = must(what, stats::mean(values))?;
        page.put(
            &s.id(id),
            &format!("{what}, {}", s.name),
            mean,
            R.drawn(),
            &s.origin,
        )?;
    }
    let both = fitted.iter().zip(&equal).zip(&held);
    let values: Vec<(&str, f64)> = both
        .map(|((a, b), p)| (p.cluster.as_str(), a - b))
        .collect();
    let what = format!("held-out AUC, fitted minus equal weights, {}", s.name);
    let estimate = must(
        &what,
        over_clusters(&values, &format!("{}/auc", s.key), set),
    )?;
    let mut tested = write_estimate(page, (&s.id("auc.more"), &what), &estimate, &s.origin)?;
    let fitted = must(&what, stats::mean(&fitted))?;
    let still = if fitted < 0.5 {
        " An AUC below one half: translations still lie farther apart than other problems of one language."
    } else {
        ""
    };
    tested.because = format!(
        "AUC {} with fitted and {} with equal weights: {}{still}",
        shown(&s.id("auc.fitted")),
        shown(&s.id("auc.equal")),
        tested.because
    );
    Ok(tested)
}

/// Pooled clouds of the two languages under swaps.
fn differ(page: &mut Page, s: &Subject<'_>, set: Settings) -> Result<Tested, ExperimentError> {
    let model = s.model()?;
    let own = model.get("languages")?;
    let swaps = model.get_series("languages.swaps")?;
    let mean = must("swaps", stats::mean(swaps))?;
    let above = swaps.iter().filter(|v| **v >= own).count();
    let p = ((above + 1) as f64 / (swaps.len() + 1) as f64).min(1.0);
    let low = must("swaps", stats::quantile(swaps, set.alpha / 2.0))?;
    let high = must("swaps", stats::quantile(swaps, 1.0 - set.alpha / 2.0))?;
    let id = s.id("languages");
    let put = |page: &mut Page, rest: &str, what: &str, value: f64, style| {
        let what = format!("{what}, {}", s.name);
        page.put(&format!("{id}{rest}"), &what, value, style, &s.origin)
    };
    put(
        page,
        "",
        "MMD2 of the languages' pooled prompts",
        own,
        PLAIN,
    )?;
    put(
        page,
        ".swapped",
        "its mean under swaps",
        mean,
        PLAIN.drawn(),
    )?;
    put(page, ".p", "rank p among swaps", p, P.drawn())?;
    Ok(Tested {
        because: format!(
            "MMD2 {} against {} under swaps (p = {}).",
            shown(&id),
            shown(&format!("{id}.swapped")),
            shown(&format!("{id}.p"))
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

/// How the published fits ended.
fn ends(page: &mut Page, s: &Subject<'_>) -> Result<Finding, ExperimentError> {
    let model = s.model()?;
    let fits = model.measures.keys().filter(|n| n.starts_with("fit."));
    let codes: Vec<f64> = fits
        .map(|n| Ok(model.get_series(n)?[6]))
        .collect::<Result<_, ExperimentError>>()?;
    let sound = codes.iter().filter(|c| **c == 0.0).count();
    let share = sound as f64 / codes.len() as f64;
    let id = s.id("sound");
    page.put(
        &id,
        &format!(
            "share of published fits that end in no known degenerate way, {}",
            s.name
        ),
        share,
        SHARE,
        &s.origin,
    )?;
    let count = s.id("fits");
    page.put(
        &count,
        &format!("published fits, {}", s.name),
        codes.len() as f64,
        COUNT,
        &s.origin,
    )?;
    let because = format!(
        "{} of {} fits end in no known degenerate way.",
        shown(&id),
        shown(&count)
    );
    let verdict = if share >= 0.5 {
        Verdict::Inconclusive
    } else {
        Verdict::Refuted
    };
    Ok(Finding::Settled(verdict, because))
}
