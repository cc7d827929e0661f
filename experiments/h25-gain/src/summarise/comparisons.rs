//! Published numbers beside those of this run.

use assay_experiment::ExperimentError;
use assay_record::{Agreement, Comparison, NotRun};
use assay_stats as stats;

use super::models::{Measured, ModelGains};
use super::relation::Settings;
use crate::published::{BlockOutputHooks, Published, SixteenModels};
use assay_experiment::page::{GAIN, NOISE, Origin, Page, RECORDED, slug};

/// Relative rounding of a published gain: two norms, each rounded to the
/// eleven significant bits of fp16, so half a unit of the last place twice.
const FP16_GAIN: f64 = 1.0 / 1024.0;

/// Digits of a statistic that a recomputation from the printed table can keep:
/// the table has 16 digits, and sums of eight lose few of them.
const RECOMPUTED: f64 = 1e-10;

/// Half a unit of the last digit of the first run's four printed digits.
const FOUR_DIGITS: f64 = 0.5e-4;

/// The records and reasons that comparisons look up.
pub(crate) struct Looked<'m> {
    pub(crate) measured: &'m [Measured<'m>],
    pub(crate) not_run: &'m [NotRun],
    pub(crate) set: Settings,
}

impl Looked<'_> {
    fn find(&self, published: &str) -> Option<&Measured<'_>> {
        self.measured
            .iter()
            .find(|m| same_model(published, &m.record.key.model))
    }

    fn why_not(&self, published: &str) -> String {
        let reason = self
            .not_run
            .iter()
            .find(|n| same_model(published, &n.model));
        reason.map_or_else(
            || "the model was not asked for".to_owned(),
            |n| n.reason.clone(),
        )
    }

    /// Half length of the t-interval of a mean over prompts.
    fn half_length(&self, values: &[f64]) -> Option<f64> {
        let test = stats::one_sample_t(values, 0.0, self.set.level()).ok()?;
        Some(test.interval.high - test.estimate)
    }
}

/// Whether a published name means a registry name. Names differ in case, and
/// the publication leaves the version of one out.
fn same_model(published: &str, registry: &str) -> bool {
    let (published, registry) = (published.to_lowercase(), registry.to_lowercase());
    published == registry || (published == "mistral-7b" && registry == "mistral-7b-v0.1")
}

/// What is compared, and how near counts as equal.
struct Pair {
    what: String,
    published: String,
    as_published: String,
    audited: Option<String>,
    /// Distance that rounding explains.
    rounding: f64,
    /// Distance that the choice of prompts explains.
    sampling: Option<f64>,
    note: &'static str,
}

/// Writes every comparison.
pub(crate) fn write(
    page: &mut Page,
    published: &Published,
    sweep: &[ModelGains],
    looked: &Looked<'_>,
) -> Result<(), ExperimentError> {
    recomputed(page)?;
    for model in sweep {
        of_sweep(page, model, looked)?;
    }
    hooks(page, &published.block_output_hooks, looked)?;
    sixteen(page, &published.sixteen_models, looked)
}

/// The printed statistics against those of the printed table.
fn recomputed(page: &mut Page) -> Result<(), ExperimentError> {
    for (run, words, rounding) in [
        ("sweep", "the sweep", RECOMPUTED),
        ("first-run", "the first run", FOUR_DIGITS),
    ] {
        for statistic in ["r", "p"] {
            let audited = format!("h25.across.published.log.{statistic}");
            let pair = Pair {
                what: format!("{statistic} of {words}, from its table"),
                published: format!("h25.rule.{run}.printed-{statistic}"),
                as_published: format!("h25.rule.{run}.{statistic}"),
                audited: (run == "sweep").then_some(audited),
                rounding,
                sampling: None,
                note: "Recomputed from the published means, no model was run.",
            };
            compare(page, pair)?;
        }
    }
    Ok(())
}

/// Mean, SD, final-norm mean and growth of one model of the sweep.
fn of_sweep(page: &mut Page, p: &ModelGains, looked: &Looked<'_>) -> Result<(), ExperimentError> {
    let found = looked.find(&p.name);
    for (words, published, measured, measure, audited, note) in [
        (
            "mean gain of block L-2",
            "gain.as-published.mean",
            "gain.as-published.mean",
            "gain.as-published",
            Some("gain.as-published.geometric-mean"),
            "",
        ),
        (
            "population SD of that gain",
            "gain.as-published.sd-population",
            "gain.as-published.sd-population",
            "gain.as-published",
            Some("gain.as-published.sd-sample"),
            // SE(SD) = SD / sqrt(2n) < SE(mean) where gains are about normal.
            "The sampling error is that of the mean, which bounds that of the SD.",
        ),
        (
            "mean gain with the final norm",
            "gain.with-final-norm.mean",
            "gain.with-final-norm.mean",
            "gain.with-final-norm",
            Some("gain.last-block.mean"),
            "",
        ),
        (
            "growth over blocks 1..L-2",
            "growth.published-range.total",
            "growth.published-range.product-of-means",
            "growth.published-range",
            Some("growth.measured-range.total"),
            "",
        ),
    ] {
        let what = format!("{words}, {}", p.name);
        let published = p.id(published);
        let Some(m) = found else {
            not_run(page, what, published, looked.why_not(&p.name));
            continue;
        };
        if m.recorded() && !m.has(measure) {
            not_run(page, what, published, RECORDED.to_owned());
            continue;
        }
        let scale = page.summary.numbers.get(&p.id(measure_scale(measure)));
        let pair = Pair {
            what,
            rounding: FP16_GAIN * scale.map_or(1.0, |n| n.value.abs()),
            sampling: looked.half_length(&m.scalars(measure)?),
            published,
            as_published: m.gains.id(measured),
            audited: audited.map(|id| m.gains.id(id)),
            note,
        };
        compare(page, pair)?;
    }
    Ok(())
}

/// Published number by whose size fp16 rounds a measure.
fn measure_scale(measure: &str) -> &'static str {
    match measure {
        "gain.with-final-norm" => "gain.with-final-norm.mean",
        "growth.published-range" => "growth.published-range.total",
        _ => "gain.as-published.mean",
    }
}

/// Gains of the last block by hooks.
fn hooks(
    page: &mut Page,
    hooks: &BlockOutputHooks,
    looked: &Looked<'_>,
) -> Result<(), ExperimentError> {
    let origin = Origin::published(&hooks.source);
    for h in &hooks.models {
        let found = looked.find(&h.model);
        for (part, words, measured, value) in [
            ("mean", "mean", "gain.last-block.mean", h.gain_mean),
            (
                "sd",
                "SD of the",
                // The published t of GPT-J is (mean - 1) / (sd / 5): the sample's.
                "gain.last-block.sd-sample",
                h.gain_sd,
            ),
        ] {
            let id = format!("h25.published.{}.hooks.last-block.{part}", slug(&h.model));
            let what = format!("{words} gain of block L-1 by hooks, {}", h.model);
            page.put(&id, &what, value, GAIN, &origin)?;
            let Some(m) = found else {
                not_run(page, what, id, looked.why_not(&h.model));
                continue;
            };
            let measured = m.gains.id(measured);
            let difference = difference(page, &id, &measured)?;
            page.summary.comparisons.push(Comparison {
                what,
                published: id,
                as_published: Some(measured),
                audited: (part == "mean").then(|| m.gains.id("gain.last-block.geometric-mean")),
                difference: difference.map(|(id, _)| id),
                agreement: Agreement::DifferentDefinition,
                note:
                    "The publication used other prompts of the same categories for some of these \
                       models, and does not say which for the others."
                        .to_owned(),
            });
        }
    }
    Ok(())
}

/// The author's other models: other prompts, so never the same definition.
fn sixteen(
    page: &mut Page,
    sixteen: &SixteenModels,
    looked: &Looked<'_>,
) -> Result<(), ExperimentError> {
    let origin = Origin::published(&sixteen.source);
    for other in &sixteen.models {
        let id = format!(
            "h25.published.{}.five-prompts.gain.mean",
            slug(&other.model)
        );
        let what = format!("mean gain on the author's five prompts, {}", other.model);
        page.put(&id, &what, other.gain, GAIN, &origin)?;
        let Some(m) = looked.find(&other.model) else {
            not_run(page, what, id, looked.why_not(&other.model));
            continue;
        };
        let as_published = m.gains.id("gain.as-published.mean");
        let difference = difference(page, &id, &as_published)?;
        page.summary.comparisons.push(Comparison {
            what,
            published: id,
            as_published: Some(as_published),
            audited: Some(m.gains.id("gain.as-published.geometric-mean")),
            difference: difference.map(|(id, _)| id),
            agreement: Agreement::DifferentDefinition,
            note: "The publication used five other prompts.".to_owned(),
        });
    }
    Ok(())
}

fn not_run(page: &mut Page, what: String, published: String, note: String) {
    page.summary.comparisons.push(Comparison {
        what,
        published,
        as_published: None,
        audited: None,
        difference: None,
        agreement: Agreement::NotRun,
        note,
    });
}

fn compare(page: &mut Page, pair: Pair) -> Result<(), ExperimentError> {
    let found = difference(page, &pair.published, &pair.as_published)?;
    let distance = found.as_ref().map(|(_, d)| d.abs());
    let agreement = match distance {
        None => Agreement::NotRun,
        Some(d) if d <= pair.rounding => Agreement::SameWithinRounding,
        Some(d) if pair.sampling.is_some_and(|s| d <= s) => Agreement::SameWithinSampling,
        Some(_) => Agreement::Contradicted,
    };
    let known = |id: &String| page.summary.numbers.contains_key(id);
    let comparison = Comparison {
        what: pair.what,
        published: pair.published,
        as_published: Some(pair.as_published).filter(known),
        audited: pair.audited.filter(known),
        difference: found.map(|(id, _)| id),
        agreement,
        note: pair.note.to_owned(),
    };
    page.summary.comparisons.push(comparison);
    Ok(())
}

/// Writes measured minus published, where both are there.
fn difference(
    page: &mut Page,
    published: &str,
    measured: &str,
) -> Result<Option<(String, f64)>, ExperimentError> {
    let numbers = &page.summary.numbers;
    let (Some(p), Some(m)) = (numbers.get(published), numbers.get(measured)) else {
        return Ok(None);
    };
    let value = m.value - p.value;
    let origin = Origin {
        records: m.records.clone(),
        source: p.source.clone(),
    };
    let what = format!("{} minus the published number", m.what);
    let name = published.strip_prefix("h25.").unwrap_or(published);
    let id = page.put(
        &format!("h25.difference.{name}"),
        &what,
        value,
        NOISE,
        &origin,
    )?;
    Ok(Some((id, value)))
}
