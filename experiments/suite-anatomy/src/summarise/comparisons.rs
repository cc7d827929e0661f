//! Published numbers beside measured ones.

use assay_experiment::ExperimentError;
use assay_experiment::page::{Origin, PLAIN, Page, slug};
use assay_record::{Agreement, Comparison, NotRun};

use super::measured::Measured;
use crate::published::published;

/// Writes every published number; the tables of the measured must have been
/// written.
pub(crate) fn write(
    page: &mut Page,
    measured: &[Measured<'_>],
    not_run: &[NotRun],
) -> Result<(), ExperimentError> {
    let massive = published()?.massive_activations;
    let origin = Origin::published(&massive.source);
    for top in &massive.models {
        let at = top.revision.as_ref();
        let name = at.map_or_else(|| top.model.clone(), |r| format!("{} at {r}", top.model));
        let what = format!("largest activation, {name}");
        let id = format!("anatomy.published.{}.top-1", slug(&top.model));
        let published = page.put(&id, &what, top.top_1, PLAIN, &origin)?;
        let same = |m: &&Measured<'_>| {
            m.record.key.model == top.model && at.is_none_or(|r| m.record.key.revision == *r)
        };
        let found = measured.iter().find(same);
        let own = found.and_then(|m| {
            m.sets()
                .first()
                .map(|s| m.id(&format!("massive.{s}.value")))
        });
        let why = || {
            let why = not_run.iter().find(|n| n.model == top.model);
            why.map_or_else(|| format!("{name} was not measured"), |n| n.reason.clone())
        };
        page.summary.comparisons.push(Comparison {
            what,
            published,
            agreement: if own.is_some() {
                Agreement::DifferentDefinition
            } else {
                Agreement::NotRun
            },
            note: if own.is_some() {
                "Measured on other texts, as a median over them.".to_owned()
            } else {
                why()
            },
            as_published: None,
            audited: own,
            difference: None,
        });
    }
    Ok(())
}
