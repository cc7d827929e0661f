//! Where the truth is known.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding};
use assay_experiment::page::{COUNT, GAIN, P, Page, R, must, shown, words};
use assay_experiment::subject::{Settings, Subject, over_clusters, write_estimate};
use assay_record::{Cell, Sample, Verdict};
use assay_stats as stats;

use super::{candidate, too_few};
use crate::measure::ENOUGH;

const CLAIMS: [&str; 2] = ["z.held-is-found", "z.mask-is-held"];
const SAID: &str = "not asked: the truth is known";

pub(crate) fn write(
    page: &mut Page,
    s: &Subject<'_>,
    set: Settings,
    able: &[&Sample],
) -> Result<Vec<Candidate>, ExperimentError> {
    let settled =
        |finding: &dyn Fn() -> Finding| Ok(CLAIMS.map(|c| candidate(s, c, SAID, finding())).into());
    if able.len() < ENOUGH {
        return settled(&|| too_few(s));
    }
    let model = s.model()?;
    let Ok(k) = model.get("held.k") else {
        let because = "The model was not trained to hold its answers in a subspace.";
        return settled(&|| Finding::Settled(Verdict::NotApplicable, because.to_owned()));
    };
    page.put(
        &s.id("held.k"),
        "dimensions that hold the answers",
        k,
        COUNT,
        &s.origin,
    )?;
    let of = |name: &str| -> Result<Vec<(&str, f64)>, ExperimentError> {
        let values = able.iter().map(|p| Ok((p.cluster.as_str(), p.get(name)?)));
        values.collect()
    };
    let random: Vec<(&str, Vec<f64>)> = (able.iter())
        .map(|p| Ok((p.cluster.as_str(), p.get_series("held.random")?.to_vec())))
        .collect::<Result<_, ExperimentError>>()?;
    let draws = random.first().map_or(0, |(_, r)| r.len());
    let by_draw: Vec<f64> = (0..draws)
        .map(|d| random.iter().map(|(_, r)| r[d]).sum::<f64>() / random.len() as f64)
        .collect();

    let mut rows = Vec::new();
    for (name, what) in [
        ("truth", "the subspace that holds the answers"),
        ("truth-perp", "its complement"),
        ("z", "the mask of its size"),
        ("z-perp", "the mask's complement"),
        ("full", "everything"),
    ] {
        let values = of(&format!("held.{name}"))?;
        let stream = format!("{}/held/{name}", s.key);
        let estimate = must(what, over_clusters(&values, &stream, set))?;
        let id = s.id(&format!("held.{name}"));
        let label = format!("mean effect of patching {what} at the last position, nats");
        write_estimate(page, (&id, &label), &estimate, &s.origin)?;
        let rank = format!("{id}.random-as-large");
        let as_large = by_draw.iter().filter(|r| **r >= estimate.mean).count();
        let label = format!("random subspaces that do at least as much as {what}");
        page.put(&rank, &label, as_large as f64, COUNT, &s.origin)?;
        let end = |rest: &str| Cell::Number(format!("{id}{rest}"));
        rows.push(vec![
            words(what),
            end(""),
            end(".low"),
            end(".high"),
            Cell::Number(rank),
        ]);
    }
    let id = s.id("held.random");
    let mean = must("random subspaces", stats::mean(&by_draw))?;
    page.put(
        &id,
        "mean effect of random subspaces, nats",
        mean,
        GAIN.drawn(),
        &s.origin,
    )?;
    let missing = || Cell::Missing("an average".to_owned());
    rows.push(vec![
        words("random subspaces of its size"),
        Cell::Number(id),
        missing(),
        missing(),
        missing(),
    ]);
    page.table(
        &format!("held-{}", s.key),
        &format!("Where the truth is known, {}", s.name),
        "The model was trained to hold its answers in a subspace of one block's input. Effect, in nats, on \
         the partner's answer against the own one when that part of the prompt's last position is the \
         partner's in the other language; beside it how many of the random subspaces do at least as much.",
        &["patched", "#effect", "#lower", "#upper", "#random"],
        rows,
    );
    overlap(page, s, model)?;

    let truth = of("held.truth")?;
    let beyond: Vec<(&str, f64)> = (truth.iter().zip(&random))
        .map(|((c, t), (_, r))| (*c, t - r.iter().sum::<f64>() / r.len() as f64))
        .collect();
    let as_much: Vec<(&str, f64)> = (of("held.z")?.iter().zip(&truth))
        .map(|((c, z), (_, t))| (*c, z - t / 2.0))
        .collect();
    let mut found = Vec::new();
    for (claim, name, what, values) in [
        (
            CLAIMS[0],
            "held.beyond",
            "effect of the true subspace beyond random ones",
            beyond,
        ),
        (
            CLAIMS[1],
            "held.as-much",
            "effect of the mask less half of the true subspace's",
            as_much,
        ),
    ] {
        let stream = format!("{}/{name}", s.key);
        let estimate = must(what, over_clusters(&values, &stream, set))?;
        let tested = write_estimate(page, (&s.id(name), what), &estimate, &s.origin)?;
        found.push(candidate(s, claim, SAID, Finding::Tested(tested)));
    }
    if let Some(Finding::Tested(tested)) = found.last_mut().map(|c| &mut c.finding) {
        tested.because.push_str(&format!(
            " The mask overlaps with the subspace by {}, random ones by {} (rank p = {}).",
            shown(&s.id("held.overlap")),
            shown(&s.id("held.overlap.random")),
            shown(&s.id("held.overlap.p")),
        ));
    }
    Ok(found)
}

/// Mean squared cosine of the mask with the truth, beside random subspaces.
fn overlap(page: &mut Page, s: &Subject<'_>, model: &Sample) -> Result<(), ExperimentError> {
    let own = model.get("held.overlap")?;
    let random = model.get_series("held.overlap-random")?;
    let as_large = random.iter().filter(|r| **r >= own).count();
    let p = (as_large + 1) as f64 / (random.len() + 1) as f64;
    let id = s.id("held.overlap");
    let what = "mean squared cosine of the mask with the true subspace";
    page.put(&id, what, own, R, &s.origin)?;
    let mean = must(what, stats::mean(random))?;
    let label = format!("{what}: random subspaces");
    page.put(&format!("{id}.random"), &label, mean, R.drawn(), &s.origin)?;
    page.put(
        &format!("{id}.p"),
        &format!("{what}: rank p"),
        p,
        P.drawn(),
        &s.origin,
    )?;
    Ok(())
}
