//! Faults of the published work, each with evidence of this run.

use assay_experiment::ExperimentError;
use assay_experiment::page::{COUNT, GAIN, Origin, Page, R, shown};
use assay_record::Erratum;
use assay_stats as stats;

use super::groups::AS_PUBLISHED;
use super::measured::Measured;
use crate::bank::MATCHED;
use crate::values::view_counts;

/// Heads of the published model.
const HEADS: usize = 32;

pub(crate) fn write(page: &mut Page, measured: &[Measured<'_>]) -> Result<(), ExperimentError> {
    let evidence = view(page, measured)?;
    page.summary.errata.push(Erratum {
        id: "E5".to_owned(),
        claimed: "V of a GPT-NeoX model is what view(batch, seq, 3, heads, d_head)[:, :, 2] takes \
                  from query_key_value."
            .to_owned(),
        truth:
            "The rows are (head, qkv, d_head), so the view takes a mixture of Q, K and V of the \
                last third of the heads."
                .to_owned(),
        evidence,
        computed: true,
    });
    let evidence = length(page, measured)?;
    page.summary.errata.push(Erratum {
        id: "E6".to_owned(),
        claimed: "Recursive prompts have a smaller R_V than baselines.".to_owned(),
        truth:
            "The baselines are shorter than the window, so that their windows are smaller and hold \
                position 0; length alone gives most of the difference."
                .to_owned(),
        evidence,
        computed: true,
    });
    let (evidence, computed) = grouped(page, measured)?;
    page.summary.errata.push(Erratum {
        id: "E7".to_owned(),
        claimed: "R_V of Mistral is a mean over 32 heads.".to_owned(),
        truth: "Its V has 8 heads; it was cut into 32 pieces that are no heads.".to_owned(),
        evidence,
        computed,
    });
    Ok(())
}

fn view(page: &mut Page, measured: &[Measured<'_>]) -> Result<String, ExperimentError> {
    let none = Origin::published("arithmetic of the view at the published model's 32 heads");
    for (name, count) in ["q", "k", "v"].iter().zip(view_counts(HEADS)) {
        let what = format!("heads of which the view takes {}", name.to_uppercase());
        page.put(
            &format!("rv.view.{name}"),
            &what,
            count as f64,
            COUNT,
            &none,
        )?;
    }
    let mut text = "Of what the view takes at 32 heads, {rv.view.v} are V, {rv.view.k} K and \
                    {rv.view.q} Q."
        .to_owned();
    let mut any = false;
    for m in measured {
        let (right, wrong) = (m.id("rebuilt.v"), m.id("rebuilt.view"));
        if page.summary.numbers.contains_key(&wrong) {
            any = true;
            text.push_str(&format!(
                " {}: z rebuilt from V is off by {}, from the view by {}.",
                m.name,
                shown(&right),
                shown(&wrong)
            ));
        }
    }
    if !any {
        text.push_str(
            " No model of this run stores them so; the tests rebuild z on a GPT-NeoX model.",
        );
    }
    Ok(text)
}

fn length(page: &mut Page, measured: &[Measured<'_>]) -> Result<String, ExperimentError> {
    let mut text = "Published groups: r(words, R_V) = {rv.published.r-words}, \
                    {rv.published.r-words-long} among the long ones, and a long plain control shows \
                    {rv.published.long-share} of the fall."
        .to_owned();
    for m in measured {
        for (set, words) in [
            (AS_PUBLISHED, "texts of the published lengths"),
            (MATCHED, "texts of one length"),
        ] {
            let (mut tokens, mut rv) = (Vec::new(), Vec::new());
            for group in &m.groups {
                for sample in m.of_group(set, group) {
                    tokens.push(sample.get("tokens")?);
                    rv.push(sample.get("rv.a")?);
                }
            }
            if let Ok(r) = stats::pearson(&tokens, &rv) {
                let id = m.id(&format!("{set}.r-tokens"));
                let what = format!("r of R_V on tokens over prompts, {words}, {}", m.name);
                page.put(&id, &what, r.r, R, &m.origin)?;
                text.push_str(&format!(
                    " {}, {words}: r(tokens, R_V) = {}.",
                    m.name,
                    shown(&id)
                ));
            }
        }
        let mean = |set: &str, group: &str| {
            let id = m.id(&format!("{set}.{group}.a"));
            page.summary.numbers.get(&id).map(|n| n.value)
        };
        let of = |set: &str| {
            let recursive = mean(set, m.strongest())?;
            Some(1.0 - recursive / mean(set, "factual")?)
        };
        if let (Some(published), Some(matched)) = (of(AS_PUBLISHED), of(MATCHED)) {
            for (set, value) in [(AS_PUBLISHED, published), (MATCHED, matched)] {
                let what = format!(
                    "relative contraction, strongest grade against factual, set {set}, {}",
                    m.name
                );
                page.put(
                    &m.id(&format!("{set}.contraction")),
                    &what,
                    value,
                    GAIN,
                    &m.origin,
                )?;
            }
            text.push_str(&format!(
                " Relative contraction there: {} at the published lengths, {} at one length.",
                shown(&m.id("as-published.contraction")),
                shown(&m.id("matched.contraction")),
            ));
        }
    }
    Ok(text)
}

fn grouped(page: &mut Page, measured: &[Measured<'_>]) -> Result<(String, bool), ExperimentError> {
    let mut text = String::new();
    for m in measured.iter().filter(|m| m.has("rv.a-pseudo")) {
        let mut values = Vec::new();
        for group in &m.groups {
            for sample in m.of_group(MATCHED, group) {
                values.push((sample.get("rv.a")?, sample.get("rv.a-pseudo")?));
            }
        }
        let n = values.len().max(1) as f64;
        let heads = values.iter().map(|v| v.0).sum::<f64>() / n;
        let pseudo = values.iter().map(|v| v.1).sum::<f64>() / n;
        for (id, what, value) in [
            (
                "grouped.heads",
                "mean R_V over kv heads, matched set",
                heads,
            ),
            (
                "grouped.pseudo",
                "mean R_V over pseudo-heads, matched set",
                pseudo,
            ),
        ] {
            page.put(
                &m.id(id),
                &format!("{what}, {}", m.name),
                value,
                GAIN,
                &m.origin,
            )?;
        }
        text.push_str(&format!(
            "{}: mean R_V is {} over its {} kv heads and {} over {} pseudo-heads. ",
            m.name,
            shown(&m.id("grouped.heads")),
            m.record.facts.n_kv_heads,
            shown(&m.id("grouped.pseudo")),
            m.record.facts.n_heads,
        ));
    }
    for m in measured.iter().filter(|m| !m.has("rv.a-pseudo")) {
        let facts = &m.record.facts;
        if facts.n_kv_heads != facts.n_heads {
            text.push_str(&format!(
                "{}: its V of {} heads of {} cannot be cut into {} equal pieces. ",
                m.name, facts.n_kv_heads, facts.d_head, facts.n_heads
            ));
        }
    }
    Ok(match text.is_empty() {
        true => ("No model of this run groups its heads.".to_owned(), false),
        false => (text.trim_end().to_owned(), true),
    })
}
