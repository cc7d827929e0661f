//! What was published, and what follows from it.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding};
use assay_experiment::page::{COUNT, Origin, PLAIN, Page, R, Style, must, shown};
use assay_experiment::subject::Subject;
use assay_record::{Agreement, Cell, Comparison, Erratum, NotRun, Verdict};
use assay_stats as stats;

use crate::published::Published;

pub(crate) fn write(
    page: &mut Page,
    published: &Published,
) -> Result<Vec<Candidate>, ExperimentError> {
    let origin = Origin::published(&published.source);
    let h = &published.headline;
    for (id, what, value) in [
        ("pairs", "published number of pairs", published.pairs),
        ("k", "published number of dimensions", h.k),
        ("in", "published in-sample R2, k = 50", h.in_sample),
        ("out", "published left-out R2, k = 50", h.left_out),
        (
            "nonzero",
            "published number of non-zero singular values",
            h.nonzero_singular_values,
        ),
        (
            "orthogonality",
            "published orthogonality error",
            h.orthogonality_error,
        ),
    ] {
        page.put(
            &format!("bridge.published.{id}"),
            what,
            value,
            Style::declared(value),
            &origin,
        )?;
    }
    let mut rows = Vec::new();
    for row in &published.by_k {
        let mut cells = Vec::new();
        for (id, what, value) in [
            ("k", "published k", row.k),
            ("in", "published in-sample R2", row.in_sample),
            ("out", "published left-out R2", row.left_out),
        ] {
            let id = format!("bridge.published.k{}.{id}", row.k);
            let what = format!("{what}, k = {}", row.k);
            cells.push(Cell::Number(page.put(
                &id,
                &what,
                value,
                Style::declared(value),
                &origin,
            )?));
        }
        rows.push(cells);
    }
    page.table(
        "bridge-published",
        &format!("Published bridges, {}", published.model),
        "Twenty pairs. From k = 20 on the in-sample R2 is 1 by construction, and the left-out one says \
         nothing about bridges.",
        &["#k", "#R2 in-sample", "#R2 left out"],
        rows,
    );
    let because = format!(
        "{} pairs and {} dimensions: N < 5 k, so nothing follows, neither from the in-sample R2 of {} nor \
         from the left-out one of {} (E19).",
        shown("bridge.published.pairs"),
        shown("bridge.published.k"),
        shown("bridge.published.in"),
        shown("bridge.published.out")
    );
    Ok(["bridge.predicts", "bridge.rotation"]
        .into_iter()
        .map(|claim| Candidate {
            claim,
            body: "published",
            data: format!("published: {}", published.model),
            as_published: "strong by the in-sample R2".to_owned(),
            finding: Finding::Settled(Verdict::Inconclusive, because.clone()),
        })
        .collect())
}

/// Published beside measured: the note's own case.
pub(crate) fn compare(
    page: &mut Page,
    published: &Published,
    subjects: &[Subject<'_>],
    not_run: &[NotRun],
) -> Result<(), ExperimentError> {
    let h = &published.headline;
    let rows = [
        (
            0,
            "in",
            "in-sample R2, 20 pairs, k = 50",
            h.in_sample,
            PLAIN,
        ),
        (1, "out", "left-out R2, 20 pairs, k = 50", h.left_out, PLAIN),
        (
            2,
            "nonzero",
            "non-zero singular values",
            h.nonzero_singular_values,
            COUNT,
        ),
        (
            3,
            "orthogonality",
            "orthogonality error",
            h.orthogonality_error,
            R,
        ),
    ];
    for (at, id, what, value, style) in rows {
        for s in subjects {
            let found = s.model()?.get_series("note")?[at];
            let own = s.id(&format!("note.{id}"));
            page.put(
                &own,
                &format!("{what}, {}", s.name),
                found,
                style,
                &s.origin,
            )?;
            let difference = s.id(&format!("note.{id}.difference"));
            let said = format!("{what}: measured minus published, {}", s.name);
            page.put(&difference, &said, found - value, PLAIN.drawn(), &s.origin)?;
            let same = s.record.key.model == published.model;
            page.summary.comparisons.push(Comparison {
                what: format!("{what}, {}", s.name),
                published: format!("bridge.published.{id}"),
                as_published: Some(own),
                audited: None,
                difference: Some(difference),
                agreement: if same {
                    Agreement::DifferentDefinition
                } else {
                    Agreement::DifferentModel
                },
                note: format!(
                    "Published for {}; an intercept is fitted here, other problems.",
                    published.model
                ),
            });
        }
        if subjects.is_empty() {
            let reason = not_run.iter().find(|n| n.model == published.model);
            let reason = reason.map_or("it was not asked for", |n| n.reason.as_str());
            page.summary.comparisons.push(Comparison {
                what: what.to_owned(),
                published: format!("bridge.published.{id}"),
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

pub(crate) fn erratum(
    page: &mut Page,
    published: &Published,
    subjects: &[Subject<'_>],
) -> Result<(), ExperimentError> {
    let mut evidence = format!(
        "Published: {} pairs, {} dimensions, {} non-zero singular values, R2 {} in-sample.",
        shown("bridge.published.pairs"),
        shown("bridge.published.k"),
        shown("bridge.published.nonzero"),
        shown("bridge.published.in")
    );
    for s in subjects {
        let random = s.model()?.get_series("null.random-in-sample")?;
        let least = random.iter().copied().fold(f64::MAX, f64::min);
        let id = s.id("note.random");
        let what = format!(
            "smallest in-sample R2 of 20 problems in random subspaces, {}",
            s.name
        );
        page.put(&id, &what, least, R.drawn(), &s.origin)?;
        let planted = s.model()?.get_series("planted.n20.k20.r0.8")?;
        let true_bridge = s.id("note.planted");
        let what = "mean left-out R2 by least squares of planted bridges of R2 .8, N = 20, k = 20";
        let value = must(what, stats::mean(&planted[2..3]))?;
        page.put(&true_bridge, what, value, PLAIN.drawn(), &s.origin)?;
        evidence.push_str(&format!(
            " {}: the same 20 problems in 100 random subspaces have an in-sample R2 of at least {}; planted \
             true bridges of R2 .8 have {} left out at N = k = 20.",
            s.name,
            shown(&id),
            shown(&true_bridge)
        ));
    }
    page.summary.errata.push(Erratum {
        id: "E19".to_owned(),
        claimed: format!("Languages of {} are linked by a bridge with R2 = 1, refuted by its left-out R2.", published.model),
        truth: "With fewer pairs than dimensions any data have an in-sample R2 of 1 and no inverse, and near \
                N = k a true bridge has a negative left-out R2 too: neither number says anything."
            .to_owned(),
        evidence,
        computed: true,
    });
    Ok(())
}
