//! What was published, and what follows from it.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding};
use assay_experiment::page::{COUNT, GAIN, Origin, P, Page, R, Style, must, shown, words};
use assay_experiment::subject::Subject;
use assay_record::{Agreement, Cell, Comparison, NotRun, Verdict};
use assay_stats as stats;

use crate::published::Published;

/// D of one cell by the published counts.
fn dissociation(published: &Published, row: &crate::published::Patching) -> f64 {
    let n = published.problems;
    (row.changed.z - row.changed.z_perp) / n + (row.switched.z_perp - row.switched.z) / n
}

pub(crate) fn write(
    page: &mut Page,
    published: &Published,
) -> Result<Vec<Candidate>, ExperimentError> {
    let origin = Origin::published(&published.source);
    let mut rows = Vec::new();
    for row in &published.patching {
        let slug = row.cell.to_lowercase().replace(' ', "-");
        let mut cells = vec![words(row.cell.as_str())];
        for (kind, counts) in [("changed", row.changed), ("switched", row.switched)] {
            for (part, value) in [
                ("z", counts.z),
                ("z-perp", counts.z_perp),
                ("full", counts.full),
            ] {
                let id = format!("z.published.{slug}.{kind}.{part}");
                let what = format!("published texts of 20 {kind}, {part}, {}", row.cell);
                cells.push(Cell::Number(page.put(&id, &what, value, COUNT, &origin)?));
            }
        }
        let id = format!("z.published.{slug}.d");
        let what = format!("D from the published counts, {}", row.cell);
        let d = dissociation(published, row);
        cells.push(Cell::Number(page.put(&id, &what, d, GAIN, &origin)?));
        rows.push(cells);
    }
    let random: Vec<f64> = (published.random.z_changed.iter())
        .zip(&published.random.perp_changed)
        .map(|(z, perp)| (z - perp) / published.problems)
        .collect();
    for (end, value) in [
        ("low", random.iter().copied().fold(f64::MAX, f64::min)),
        ("high", random.iter().copied().fold(f64::MIN, f64::max)),
    ] {
        let id = format!("z.published.random.answers.{end}");
        let what = format!(
            "{end} end of a_Z - a_perp of the {} published random subspaces, {}",
            random.len(),
            published.random.cell
        );
        page.put(&id, &what, value, GAIN, &origin)?;
    }
    let real = published
        .patching
        .iter()
        .find(|r| r.cell == published.random.cell);
    if let Some(real) = real {
        let value = (real.changed.z - real.changed.z_perp) / published.problems;
        let what = format!("published a_Z - a_perp, {}", real.cell);
        page.put("z.published.answers", &what, value, GAIN, &origin)?;
        let what = format!("D from the published counts, {}", real.cell);
        page.put(
            "z.published.d",
            &what,
            dissociation(published, real),
            GAIN,
            &origin,
        )?;
    }
    page.table(
        "z-published",
        &format!("Published counts of patched texts, {}", published.model),
        "Texts of twenty of which the answer changed and of which the output switched to Chinese; D follows \
         from them. D above 0 is what the claim needs.",
        &[
            "cell", "#answers, Z", "#complement", "#all", "#switched, Z", "#complement", "#all", "#D",
        ],
        rows,
    );
    for (id, what, value, style) in [
        (
            "update.max",
            "published largest R",
            published.update.max_r,
            Style::declared(published.update.max_r),
        ),
        (
            "update.chance",
            "published chance level of R",
            published.update.chance,
            Style::declared(published.update.chance),
        ),
        (
            "rank",
            "published mean effective rank",
            published.effective_rank_mean,
            Style::declared(published.effective_rank_mean),
        ),
        (
            "similarity",
            "published mean similarity of two layers' masks",
            published.similarity.off_diagonal_mean,
            Style::declared(published.similarity.off_diagonal_mean),
        ),
        (
            "similarity.neighbours",
            "published similarity of L32 and L33, head 0, k = 20",
            published.similarity.neighbours,
            Style::declared(published.similarity.neighbours),
        ),
        (
            "similarity.chance",
            "published chance level of the similarity",
            published.similarity.chance,
            Style::declared(published.similarity.chance),
        ),
        (
            "distance.z",
            "published relative distance in Z",
            published.distance.ratio_z,
            Style::declared(published.distance.ratio_z),
        ),
        (
            "distance.perp",
            "published relative distance outside",
            published.distance.ratio_perp,
            Style::declared(published.distance.ratio_perp),
        ),
        (
            "energy",
            "published share of the difference of languages in Z",
            published.distance.energy,
            Style::declared(published.distance.energy),
        ),
        (
            "energy.chance",
            "published chance level of that share",
            published.distance.chance,
            Style::declared(published.distance.chance),
        ),
    ] {
        page.put(&format!("z.published.{id}"), what, value, style, &origin)?;
    }
    for row in &published.ffn_over_chance {
        let id = format!("z.published.ffn.{}", row.layer.to_lowercase());
        let what = format!("published gate in Z over chance, {}", row.layer);
        page.put(&id, &what, row.value, Style::declared(row.value), &origin)?;
    }
    for row in &published.effective_rank {
        let id = format!("z.published.rank.{}", row.layer.to_lowercase());
        let what = format!("published effective rank, {}", row.layer);
        page.put(&id, &what, row.mean, Style::declared(row.mean), &origin)?;
        let what = format!("{what}: standard deviation over heads");
        page.put(
            &format!("{id}.sd"),
            &what,
            row.sd,
            Style::declared(row.sd),
            &origin,
        )?;
    }
    if let Some(real) = real {
        // Under the complement every answer changed and under Z no language
        // did, so the counts say which pairs are discordant.
        let n = published.problems as u64;
        let only = |a: f64, b: f64| (a - b).max(0.0) as u64;
        let fixed = real.changed.z_perp as u64 == n && real.switched.z == 0.0;
        if fixed {
            for (id, what, counts) in [
                ("answers", "answers changed", real.changed),
                ("languages", "languages switched", real.switched),
            ] {
                let p = must(
                    what,
                    stats::mcnemar_exact(
                        only(counts.z, counts.z_perp),
                        only(counts.z_perp, counts.z),
                    ),
                )?;
                let id = format!("z.published.mcnemar.{id}");
                let what = format!("exact McNemar p of published {what}, Z against its complement");
                page.put(&id, &what, p, P, &origin)?;
            }
        }
    }
    let settled = |claim, said: &str, verdict, because: String| Candidate {
        claim,
        body: "published",
        data: format!("published: {}", published.model),
        as_published: said.to_owned(),
        finding: Finding::Settled(verdict, because),
    };
    Ok(vec![
        settled(
            "z.dissociation",
            "answers live in Z",
            Verdict::Reversed,
            format!(
                "By the published counts D = {}: the complement destroys answers (exact McNemar p = {}); \
                 random subspaces give the same (a_Z - a_perp from {} to {}, Z {}).",
                shown("z.published.d"),
                shown("z.published.mcnemar.answers"),
                shown("z.published.random.answers.low"),
                shown("z.published.random.answers.high"),
                shown("z.published.answers"),
            ),
        ),
        settled(
            "z.nearer-inside",
            "languages are nearer inside Z",
            Verdict::Inconclusive,
            format!(
                "Published ratios are {} inside and {} outside, without a spread or a random subspace.",
                shown("z.published.distance.z"),
                shown("z.published.distance.perp")
            ),
        ),
        settled(
            "z.mlp-avoids",
            "the MLP avoids Z",
            Verdict::Inconclusive,
            format!(
                "Published: {} of chance in L32, without the spread of random subspaces.",
                shown("z.published.ffn.l32")
            ),
        ),
        settled(
            "z.written",
            "emergent: R never exceeds 1",
            Verdict::Refuted,
            format!(
                "The largest published R is {}; chance is {}, which the note did not draw.",
                shown("z.published.update.max"),
                shown("z.published.update.chance")
            ),
        ),
    ])
}

/// Published beside measured.
pub(crate) fn compare(
    page: &mut Page,
    published: &Published,
    subjects: &[Subject<'_>],
    not_run: &[NotRun],
) -> Result<(), ExperimentError> {
    let rows = [
        ("largest R", "update.max", "update.max"),
        ("effective rank of K_h", "rank", "rank"),
        (
            "relative distance in Z, k = 50",
            "distance.z",
            "distance.l1.all.k50.mean.z",
        ),
        (
            "relative distance outside, k = 50",
            "distance.perp",
            "distance.l1.all.k50.mean.perp",
        ),
        (
            "share of the difference in Z, k = 50",
            "energy",
            "distance.l1.all.k50.mean.energy",
        ),
        ("gate in Z over chance, k = 50", "ffn.l32", "ffn.k50"),
        ("D, k = 50, output of l1", "d", "d.out.l1.k50.en-zh"),
    ];
    for (what, id, measured) in rows {
        let published_id = format!("z.published.{id}");
        let value = page.summary.numbers.get(&published_id).map(|n| n.value);
        let mut any = false;
        for s in subjects {
            let own = s.id(measured);
            let found = page.summary.numbers.get(&own).map(|n| n.value);
            let (Some(value), Some(found)) = (value, found) else {
                continue;
            };
            any = true;
            let same = s.record.key.model == published.model;
            let difference = format!("z.difference.{}.{id}", s.key);
            let said = format!("{what}: measured minus published, {}", s.name);
            page.put(&difference, &said, found - value, R.drawn(), &s.origin)?;
            page.summary.comparisons.push(Comparison {
                what: format!("{what}, {}", s.name),
                published: published_id.clone(),
                as_published: Some(own),
                audited: None,
                difference: Some(difference),
                agreement: if same {
                    Agreement::DifferentDefinition
                } else {
                    Agreement::DifferentModel
                },
                note: format!("Published for {}; other problems.", published.model),
            });
        }
        if !any {
            let reason = not_run.iter().find(|n| n.model == published.model);
            let reason = reason.map_or("it was not asked for", |n| n.reason.as_str());
            page.summary.comparisons.push(Comparison {
                what: what.to_owned(),
                published: published_id,
                as_published: None,
                audited: None,
                difference: None,
                agreement: Agreement::NotRun,
                note: format!("{}: {reason}", published.model),
            });
        }
    }
    Ok(())
}
