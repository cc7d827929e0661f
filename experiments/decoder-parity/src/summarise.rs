//! The table of worst errors, a row a site, a column a family.

use std::collections::{BTreeMap, BTreeSet};

use assay_experiment::ExperimentError;
use assay_hook_site::{BlockSite, HookSite};
use assay_record::{
    Cell, Column, ExperimentSpec, Format, ModelRow, NotRun, Number, Record, RecordError, Summary,
    Table, Tolerance,
};

/// Families side by side in one table: as many as a page has room for.
const ABREAST: usize = 5;

/// Worst error and the records it is the worst of.
#[derive(Default)]
struct Worst {
    error: f64,
    records: BTreeSet<String>,
}

impl Worst {
    fn take(&mut self, error: f64, record: &str) {
        self.error = self.error.max(error);
        self.records.insert(record.to_owned());
    }

    fn number(self, what: String) -> Number {
        Number {
            value: self.error,
            what,
            format: Format::Significant(2),
            // An error of rounding is itself decided by rounding.
            tolerance: Tolerance::Statistical,
            records: self.records.into_iter().collect(),
            source: None,
        }
    }
}

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    let mut summary = Summary::new("decoder-parity", spec);
    summary.not_run = not_run.to_vec();
    let mut by_site: BTreeMap<(String, String), Worst> = BTreeMap::new();
    let mut by_case = Vec::new();
    let mut families = BTreeSet::new();
    for record in records {
        let id = record.key.id().map_err(|e| RecordError::Malformed {
            path: record.key.model.clone().into(),
            kind: "record key",
            reason: e.to_string(),
        })?;
        let family = &record.facts.model_type;
        families.insert(family.clone());
        let (mut in_f32, mut in_f64) = (Worst::default(), Worst::default());
        for sample in &record.samples {
            let error = sample.get("error")?;
            let key = (family.clone(), site_kind(&sample.unit));
            by_site.entry(key).or_default().take(error, &id);
            in_f32.take(error, &id);
            in_f64.take(sample.get("error-f64")?, &id);
        }
        by_case.push((record, in_f32, in_f64));
        summary.models.push(ModelRow {
            model: record.key.model.clone(),
            revision: record.key.revision.clone(),
            record: id,
            facts: record.facts.clone(),
        });
    }
    for ((family, site), worst) in by_site {
        let what = format!("worst error of {site} over the cases of {family}, of 1 + |e|");
        summary.number(&id(&[&family, &site]), worst.number(what))?;
    }
    cases_table(&mut summary, by_case)?;
    let families: Vec<String> = families.into_iter().collect();
    for (i, group) in families.chunks(ABREAST).enumerate() {
        sites_table(&mut summary, i + 1, group);
    }
    Ok(summary)
}

fn id(parts: &[&str]) -> String {
    format!("decoder-parity.{}", parts.join("."))
}

/// A site's name without its layer.
fn site_kind(name: &str) -> String {
    let inside = name.strip_prefix("blocks.").and_then(|r| r.split_once('.'));
    inside.map_or(name, |(_, kind)| kind).to_owned()
}

/// Kinds of sites in the order of a pass.
fn site_kinds() -> Vec<String> {
    let outside = [HookSite::Embed, HookSite::PosEmbed];
    let after = [
        HookSite::FinalScale,
        HookSite::FinalNormalized,
        HookSite::Logits,
    ];
    let mut kinds: Vec<String> = outside.iter().map(HookSite::to_string).collect();
    kinds.extend(BlockSite::ALL.iter().map(|s| s.name().to_owned()));
    kinds.extend(after.iter().map(HookSite::to_string));
    kinds
}

fn column(title: &str, numeric: bool) -> Column {
    Column {
        title: title.to_owned(),
        numeric,
    }
}

/// One row a case: what it is, and its worst errors.
fn cases_table(
    summary: &mut Summary,
    cases: Vec<(&Record, Worst, Worst)>,
) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for (record, in_f32, in_f64) in cases {
        let case = &record.key.model;
        let mut add = |part: &str, worst: Worst, type_name: &str| {
            let what = format!("worst error of case {case} in {type_name}, of 1 + |e|");
            summary.number(&id(&["case", case, part]), worst.number(what))
        };
        let (f32_id, f64_id) = (add("f32", in_f32, "f32")?, add("f64", in_f64, "f64")?);
        rows.push(vec![
            Cell::Text(case.clone()),
            Cell::Number(f32_id),
            Cell::Number(f64_id),
        ]);
    }
    summary.tables.push(Table {
        id: "cases".to_owned(),
        title: "Reference cases".to_owned(),
        caption: "Worst error over all sites, |a - e| / (1 + |e|), where e is what transformers computes in f32; allowed are 5e-5. The f64 column differs from 0 by the rounding of transformers alone.".to_owned(),
        columns: vec![
            column("case", false),
            column("in f32", true),
            column("in f64", true),
        ],
        rows,
    });
    Ok(())
}

/// One row a site, one column a family.
fn sites_table(summary: &mut Summary, number: usize, families: &[String]) {
    let mut columns = vec![column("site", false)];
    columns.extend(families.iter().map(|f| column(f, true)));
    let cell = |family: &str, site: &str| match id(&[family, site]) {
        id if summary.numbers.contains_key(&id) => Cell::Number(id),
        _ => Cell::Missing("no site".to_owned()),
    };
    let mut rows = Vec::new();
    for site in site_kinds() {
        let mut row = vec![Cell::Text(site.clone())];
        row.extend(families.iter().map(|family| cell(family, &site)));
        rows.push(row);
    }
    summary.tables.push(Table {
        id: format!("sites-{number}"),
        title: format!("Worst error by site, families {}", families.join(", ")),
        caption:
            "Over all layers and cases of the family, |a - e| / (1 + |e|) in f32; allowed are 5e-5."
                .to_owned(),
        columns,
        rows,
    });
}
