//! What was published, and what the note's own rules say of it.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding};
use assay_experiment::page::{GAIN, Origin, Page, RECORDED, SHARE, Style, shown, slug, words};
use assay_record::{Agreement, Cell, Comparison, NotRun, Verdict};
use assay_stats as stats;

use super::measured::{Measured, Settings, Test, write_test};
use crate::published::{Gains, HookRow, Published};

/// Prompts behind a published mean.
const PROMPTS: usize = 25;

/// The published passes ran in half precision, which keeps 11 bits: a ratio of
/// two means is good to a few of their last ones.
const HALF_PRECISION: f64 = 4.0 / 2048.0;

/// The model that the note's decision tree asks.
const DECIDES: &str = "gpt-j-6b";

fn hook_id(model: &str) -> String {
    format!("anomaly.published.last.{}", slug(model))
}

fn sixteen_id(model: &str) -> String {
    format!("anomaly.published.penultimate.{}", slug(model))
}

pub(crate) fn write(
    page: &mut Page,
    published: &Published,
    gains: &Gains,
    set: Settings,
) -> Result<Vec<Candidate>, ExperimentError> {
    let hooks = Origin::published(&gains.block_output_hooks.source);
    let kinds = &published.block_kinds;
    let mut candidates = Vec::new();
    for row in &gains.block_output_hooks.models {
        let id = hook_id(&row.model);
        let what = format!("published gain of the last block, {}", row.model);
        page.put(
            &id,
            &what,
            row.gain_mean,
            Style::declared(row.gain_mean),
            &hooks,
        )?;
        let Some((parallel, _)) = kinds.of(&row.model) else {
            continue;
        };
        let values = of_moments(row);
        let finding = match stats::one_sample_t(&values, 0.0, 1.0 - set.alpha) {
            Ok(t) => {
                let test = Test {
                    mean: t.estimate,
                    interval: t.interval,
                    p: t.p,
                };
                let what = format!("published gain of the last block less 1, {}", row.model);
                let id = format!("{id}.less-one");
                Finding::Tested(write_test(page, &id, &what, &test, &hooks)?)
            }
            Err(e) => Finding::Settled(Verdict::Inconclusive, format!("There is no test: {e}.")),
        };
        candidates.push(Candidate {
            claim: match parallel {
                true => "anomaly.parallel-dampens",
                false => "anomaly.sequential-expands",
            },
            body: "published",
            data: format!("published: {}", row.model),
            as_published: if row.gain_mean < 1.0 {
                "DAMPENING"
            } else {
                "EXPANSION"
            }
            .to_owned(),
            finding,
        });
    }
    let sixteen = Origin::published(&gains.sixteen_models.source);
    for row in &gains.sixteen_models.models {
        let what = format!("published gain of the penultimate block, {}", row.model);
        let id = sixteen_id(&row.model);
        page.put(&id, &what, row.gain, Style::declared(row.gain), &sixteen)?;
    }
    let last = gains.block_output_hooks.models.iter();
    let last: Vec<(&str, f64)> = last.map(|r| (r.model.as_str(), r.gain_mean)).collect();
    let penultimate = gains.sixteen_models.models.iter();
    let penultimate: Vec<(&str, f64)> = penultimate.map(|r| (r.model.as_str(), r.gain)).collect();
    for (body, words, rows, origin) in [
        ("last", "last block", last, &hooks),
        ("penultimate", "penultimate block", penultimate, &sixteen),
    ] {
        let id = format!("anomaly.published.families.{body}");
        let finding = across(page, published, &id, words, &rows, origin, set)?;
        candidates.push(Candidate {
            claim: "anomaly.parallel-below-sequential",
            body,
            data: format!("published: {words}"),
            as_published: match body {
                "last" => "parallel attention is the leading hypothesis",
                _ => "not stated",
            }
            .to_owned(),
            finding,
        });
    }
    let source = Origin::published(&published.sublayer_gains.source);
    for row in &published.sublayer_gains.models {
        let id = |what: &str| format!("anomaly.published.sublayer.{}.{what}", slug(&row.model));
        for (name, what, value, style) in [
            (
                "attn-contract",
                "share of layers whose attention contracts",
                row.attn_contract,
                SHARE,
            ),
            (
                "mlp-contract",
                "share of layers whose MLP contracts",
                row.mlp_contract,
                SHARE,
            ),
            (
                "last-attn",
                "last attention gain",
                row.last_attn_gain,
                Style::declared(row.last_attn_gain),
            ),
            (
                "last-mlp",
                "last MLP gain",
                row.last_mlp_gain,
                Style::declared(row.last_mlp_gain),
            ),
        ] {
            let what = format!("published {what}, {}", row.model);
            page.put(&id(name), &what, value, style, &source)?;
        }
    }
    Ok(candidates)
}

/// Values, as many as there were prompts, with the published mean and sample
/// standard deviation, less 1: a t-test depends on nothing else. That the
/// published deviations are the sample's is seen from t, which was published
/// too for some models and is (mean - 1) / (sd / 5).
fn of_moments(row: &HookRow) -> Vec<f64> {
    let half = PROMPTS / 2;
    // 2 * half of them lie one step off the mean, and the divisor is n - 1.
    let step = row.gain_sd * ((PROMPTS - 1) as f64 / (2 * half) as f64).sqrt();
    let centre = row.gain_mean - 1.0;
    let mut values = vec![centre; PROMPTS - 2 * half];
    values.extend(std::iter::repeat_n(centre + step, half));
    values.extend(std::iter::repeat_n(centre - step, half));
    values
}

/// Log gain of parallel families less that of sequential ones.
fn across(
    page: &mut Page,
    published: &Published,
    id: &str,
    words: &str,
    rows: &[(&str, f64)],
    origin: &Origin,
    set: Settings,
) -> Result<Finding, ExperimentError> {
    let mut families: Vec<(bool, &str, Vec<f64>)> = Vec::new();
    let forced = &published.block_kinds.norm_forced;
    for (model, gain) in rows.iter().filter(|(m, _)| !forced.iter().any(|f| f == m)) {
        let Some((parallel, family)) = published.block_kinds.of(model) else {
            continue;
        };
        match families.iter_mut().find(|(_, f, _)| *f == family) {
            Some((_, _, logs)) => logs.push(gain.ln()),
            None => families.push((parallel, family, vec![gain.ln()])),
        }
    }
    let of = |kind: bool| -> Vec<f64> {
        let kept = families.iter().filter(|(parallel, ..)| *parallel == kind);
        kept.map(|(_, _, logs)| logs.iter().sum::<f64>() / logs.len() as f64)
            .collect()
    };
    Ok(
        match stats::welch_t(&of(true), &of(false), 1.0 - set.alpha) {
            Ok(t) => {
                let test = Test {
                    mean: t.estimate,
                    interval: t.interval,
                    p: t.p,
                };
                let what = format!(
                    "log gain of parallel families less sequential ones, published, {words}"
                );
                Finding::Tested(write_test(page, id, &what, &test, origin)?)
            }
            Err(e) => Finding::Settled(Verdict::Inconclusive, format!("There is no test: {e}.")),
        },
    )
}

/// The note's predictions and its decision tree, as written.
pub(crate) fn tables(
    page: &mut Page,
    published: &Published,
    gains: &Gains,
    measured: &[Measured<'_>],
) {
    let of = |model: &str| {
        let hooks = gains.block_output_hooks.models.iter();
        hooks
            .clone()
            .find(|r| r.model == model)
            .map(|r| r.gain_mean)
    };
    let number = |id: String| Cell::Number(id);
    let mut rows = Vec::new();
    let mut row = |prediction: &str, as_written: String, audited: &str, evidence: Cell| {
        rows.push(vec![
            words(prediction),
            words(as_written),
            words(audited),
            evidence,
        ]);
    };
    for model in ["opt-6.7b", "bloom-1b1"] {
        let gain = gains
            .sixteen_models
            .models
            .iter()
            .find(|r| r.model == model);
        if let Some(gain) = gain {
            row(
                &format!("1. {model} has parallel attention and dampens"),
                if gain.gain < 1.0 { "holds" } else { "fails" }.to_owned(),
                "its blocks are sequential (E9), so it says nothing of parallel ones",
                number(sixteen_id(model)),
            );
        }
    }
    row(
        "1. LLaMA is sequential and does not dampen",
        match of("llama-3.1-8b") {
            Some(gain) if gain > 1.0 => "holds",
            _ => "fails",
        }
        .to_owned(),
        "sequential GPT-Neo dampens (E10)",
        number(hook_id("llama-3.1-8b")),
    );
    let tree = match of(DECIDES) {
        Some(gain) if gain < 1.0 => "PARALLEL ARCHITECTURE HYPOTHESIS: CONFIRMED",
        Some(_) => "PARALLEL ARCHITECTURE HYPOTHESIS: REJECTED",
        None => "not run",
    };
    row(
        "2. GPT-J, parallel, dampens",
        if tree.ends_with("CONFIRMED") {
            "holds"
        } else {
            "fails"
        }
        .to_owned(),
        "its last block expands",
        number(hook_id(DECIDES)),
    );
    row(
        "3. |A| + |M| exceeds |A + M|, which would prove cancellation",
        "holds".to_owned(),
        "it holds of any two vectors that are not parallel (E8); the angle is what tells",
        match measured.first() {
            Some(m) => page.cell(&m.id("cos.last.mean"), "no model was measured"),
            None => Cell::Missing("no model was measured".to_owned()),
        },
    );
    row(
        "decision tree: is the gain of GPT-J below 1?",
        tree.to_owned(),
        "one model decides nothing; families do (claim anomaly.parallel-below-sequential)",
        number(hook_id(DECIDES)),
    );
    let here = measured.iter().find(|m| m.record.key.model == DECIDES);
    if let Some(m) = here {
        row(
            "decision tree, measured here",
            "see the number".to_owned(),
            "as above",
            page.cell(&m.id("gain.last.mean"), "no test"),
        );
    }
    page.table(
        "predictions",
        "The note's predictions and its decision tree, as written and audited",
        "Numbers are published gains of the last block (of the penultimate one for OPT and BLOOM, which \
         is what was published; E1), or the mean cos(A, M) measured here.",
        &["prediction", "as written", "audited", "#number"],
        rows,
    );
    let suspects = [
        (
            "LayerNorm",
            "cleared: GPT-2 has it and expands",
            "NOT RUN: one architecture trained with either norm would decide; GPT-2 and Pythia differ in more",
        ),
        (
            "norm placement",
            "one norm in Pythia, two in GPT-2",
            "not so: GPT-NeoX has two norms, both applied to x, and GPT-J is the one with one (crates/trace/tests/observed.rs)",
        ),
        (
            "RoPE",
            "may interact with the residual",
            "INCONCLUSIVE: GPT-J and LLaMA rotate and expand, GPT-Neo has learned positions and dampens; trained twins would decide",
        ),
        (
            "training data",
            "the Pile may make models conservative",
            "NOT RUN: pythia-6.9b against pythia-6.9b-deduped would tell; GPT-J and GPT-Neo share the Pile and differ in sign",
        ),
    ];
    let rows = suspects.map(|(what, said, audited)| vec![words(what), words(said), words(audited)]);
    page.table(
        "suspects",
        "The note's other suspects",
        &format!("Block kinds: {}.", published.block_kinds.source),
        &["suspect", "the note", "audited"],
        rows.to_vec(),
    );
    let mut rows = Vec::new();
    for r in &gains.block_output_hooks.models {
        rows.push(family_row(
            published,
            &r.model,
            "last",
            number(hook_id(&r.model)),
        ));
    }
    for r in &gains.sixteen_models.models {
        rows.push(family_row(
            published,
            &r.model,
            "penultimate",
            number(sixteen_id(&r.model)),
        ));
    }
    page.table(
        "published-gains",
        "Published gains by the kind of block",
        &format!(
            "Parallel families less sequential ones, log gain: last block {}, penultimate block {}.",
            shown("anomaly.published.families.last.mean"),
            shown("anomaly.published.families.penultimate.mean"),
        ),
        &["model", "blocks", "which block", "#gain"],
        rows,
    );
}

fn family_row(published: &Published, model: &str, block: &str, gain: Cell) -> Vec<Cell> {
    let kind = match published.block_kinds.of(model) {
        Some((true, _)) => "parallel",
        Some((false, _)) => "sequential",
        None => "unknown",
    };
    vec![words(model), words(kind), words(block), gain]
}

/// Each published sublayer gain and last-block gain beside the measured one.
pub(crate) fn compare(
    page: &mut Page,
    published: &Published,
    gains: &Gains,
    measured: &[Measured<'_>],
    not_run: &[NotRun],
) -> Result<(), ExperimentError> {
    // The sublayer gains were taken on the four prompts of the set; the last
    // blocks of GPT-J and the GPT-2s on 25 others of H25's categories, and on
    // which those of the other models is not said.
    let mut rows = Vec::new();
    for r in &published.sublayer_gains.models {
        for name in ["attn-contract", "mlp-contract", "last-attn", "last-mlp"] {
            let id = format!("anomaly.published.sublayer.{}.{name}", slug(&r.model));
            rows.push((r.model.as_str(), name, id, format!("four.{name}"), true));
        }
    }
    for r in &gains.block_output_hooks.models {
        let (id, ours) = (hook_id(&r.model), "gain.last.raw".to_owned());
        rows.push((r.model.as_str(), "gain of the last block", id, ours, false));
    }
    for (model, what, id, ours, same_prompts) in rows {
        let here = measured.iter().find(|m| m.record.key.model == model);
        let reason = not_run.iter().find(|n| n.model == model);
        let mut comparison = Comparison {
            what: format!("{what}, {model}"),
            published: id.clone(),
            as_published: None,
            audited: None,
            difference: None,
            agreement: Agreement::NotRun,
            note: match (here, reason) {
                (None, Some(n)) => n.reason.clone(),
                (None, None) => format!("{model} was not asked for in this run"),
                (Some(m), _) if same_prompts && m.recorded() => RECORDED.to_owned(),
                (Some(_), _) if same_prompts => String::new(),
                (Some(_), _) => "The publication used other prompts.".to_owned(),
            },
        };
        if let Some(m) = here {
            let value = |id: &str| page.summary.numbers.get(id).map(|n| n.value);
            let ours = m.id(&ours);
            if let (Some(found), Some(said)) = (value(&ours), value(&id)) {
                comparison.agreement = if !same_prompts {
                    Agreement::DifferentDefinition
                } else if (found - said).abs() <= HALF_PRECISION * said.abs() {
                    Agreement::SameWithinRounding
                } else {
                    Agreement::Contradicted
                };
                let what = format!("measured minus published {what}, {model}");
                let difference = format!("{id}.difference");
                let put = page.put(&difference, &what, found - said, GAIN, &m.origin)?;
                comparison.difference = Some(put);
                comparison.as_published = Some(ours);
            }
        }
        page.summary.comparisons.push(comparison);
    }
    Ok(())
}
