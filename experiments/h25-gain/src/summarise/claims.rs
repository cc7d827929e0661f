//! The evidence for each claim on each body of data, before correction.

use assay_record::Verdict;
use assay_stats::Interval;

use super::across::Body;
use super::models::ModelGains;
use super::relation::{Partial, Relation, Scale};
use super::rule::{is_high, model_word, published_rule};
use super::within::{Within, log_gain_id};
use assay_experiment::judge::{Candidate, Finding, RECORDINGS, SMALL, Tested, of_recording};
use assay_experiment::page::{Origin, Stat, shown};

/// What the publication says of claims that it never tested.
const NOT_STATED: &str = "not stated";

/// The claim on the author's other models, of which only means were printed:
/// r of log gain, its interval and its permutation p.
pub(crate) fn other_models(
    as_published: String,
    evidence: Stat<(f64, Interval, f64)>,
    origin: &Origin,
) -> Candidate {
    let because = "r = {h25.sixteen.log.r} on the log of the mean gain, interval \
                   {h25.sixteen.log.low} to {h25.sixteen.log.high}, permutation p = \
                   {h25.sixteen.log.permutation-p}; {h25.sixteen.log.n} models without post-LN \
                   could have shown |r| of {h25.sixteen.log.detectable}.";
    Candidate {
        claim: "h25.rho-predicts-gain",
        body: "sixteen",
        data: "published: the author's other models".to_owned(),
        as_published,
        finding: correlation(
            "h25.sixteen.log".to_owned(),
            evidence,
            because.to_owned(),
            origin,
        ),
    }
}

/// The two claims across models on one body of data.
pub(crate) fn across(body: &Body<'_>) -> Vec<Candidate> {
    let rho: Vec<f64> = body.models.iter().map(|m| m.rho).collect();
    let gain: Vec<f64> = body.models.iter().map(|m| m.mean).collect();
    let candidate = |claim, as_published: String, finding| Candidate {
        claim,
        body: body.id,
        data: body.data.to_owned(),
        as_published,
        finding,
    };
    let printed = published_rule(&rho, &gain).verdict.to_string();
    let printed = if body.models.is_empty() {
        Verdict::NotRun.to_string()
    } else {
        printed
    };
    let [unconditional, at_depth] = match &body.log {
        Some(relation) => [
            pearson_finding(body, relation),
            partial_finding(body, &relation.given_layers),
        ],
        None => [(); 2].map(|()| Finding::Settled(Verdict::NotRun, sentence(&body.reason))),
    };
    vec![
        candidate("h25.rho-predicts-gain", printed, unconditional),
        candidate("h25.rho-at-fixed-depth", NOT_STATED.to_owned(), at_depth),
    ]
}

fn pearson_finding(body: &Body<'_>, relation: &Relation) -> Finding {
    let id = |s: &str| shown(&body.number_id(Scale::Log, s));
    let because = format!(
        "r = {} on log gain, interval {} to {}, permutation p = {}; {} models could have shown \
         |r| of {}.",
        id("r"),
        id("low"),
        id("high"),
        id("permutation-p"),
        id("n"),
        id("detectable"),
    );
    let evidence = (|| -> Stat<_> {
        relation.detectable.clone()?;
        Ok((
            relation.pearson.clone()?.r,
            relation.interval.clone()?,
            relation.permutation.clone()?.p,
        ))
    })();
    let id = body
        .number_id(Scale::Log, "")
        .trim_end_matches('.')
        .to_owned();
    correlation(id, evidence, because, &body.origin)
}

fn partial_finding(body: &Body<'_>, partial: &Partial) -> Finding {
    let id = |s: &str| shown(&body.number_id(Scale::Log, &format!("given-layers.{s}")));
    let because = format!(
        "Given L, partial r = {} on log gain, interval {} to {}, Freedman-Lane p = {}; the data \
         could have shown |r| of {}.",
        id("r"),
        id("low"),
        id("high"),
        id("permutation-p"),
        id("detectable"),
    );
    let evidence = (|| -> Stat<_> {
        partial.detectable.clone()?;
        Ok((
            partial.r.clone()?.r,
            partial.interval.clone()?,
            partial.permutation.clone()?.p,
        ))
    })();
    let id = body.number_id(Scale::Log, "given-layers");
    correlation(id, evidence, because, &body.origin)
}

/// A correlation with its interval and p, or why there is none.
fn correlation(
    id: String,
    evidence: Stat<(f64, Interval, f64)>,
    because: String,
    origin: &Origin,
) -> Finding {
    match evidence {
        Ok((estimate, interval, p)) => Finding::Tested(Tested {
            id,
            estimate,
            interval,
            p,
            because,
            origin: origin.clone(),
        }),
        Err(reason) => Finding::Settled(
            Verdict::Inconclusive,
            sentence(&format!("the data are too few for a test: {reason}")),
        ),
    }
}

/// A post-LN model shows nothing about the gain of its blocks.
fn unless_forced(model: &ModelGains, finding: Finding) -> Finding {
    if model.post_norm {
        let why = "The model's norm is forced after every block (post-LN).";
        return Finding::Settled(Verdict::NotApplicable, why.to_owned());
    }
    finding
}

/// Whether one model stands on the side of 1 that its rho predicts.
pub(crate) fn by_rho(model: &ModelGains, test: &Within) -> Vec<Candidate> {
    let id = log_gain_id(model);
    let claims = [
        ("h25.high-rho-dampens", true, "below"),
        ("h25.low-rho-expands", false, "at or above"),
    ];
    claims
        .into_iter()
        .map(|(claim, high, other_side)| {
            let finding = if is_high(model.rho) == high {
                unless_forced(model, mean_finding(model, test, &id, "mean log gain"))
            } else {
                let rho = shown(&model.id("rho"));
                Finding::Settled(
                    Verdict::NotApplicable,
                    format!("rho = {rho} is {other_side} {{h25.rule.high-rho}}."),
                )
            };
            let word = match &finding {
                Finding::Settled(Verdict::NotApplicable, _) => NOT_STATED.to_owned(),
                _ => model_word(model.mean).to_owned(),
            };
            of_model(claim, model, word, finding)
        })
        .collect()
}

/// Whether the whole stack of a measured model dampens; `test` is of the log
/// growth and stands under `id`.
pub(crate) fn stack(model: &ModelGains, test: &Within, id: &str) -> Candidate {
    let finding = mean_finding(model, test, id, "mean log growth");
    let finding = unless_forced(model, finding);
    of_model("h25.stack-dampens", model, NOT_STATED.to_owned(), finding)
}

/// Whether clamping the gain matters; `test` is of the KL against the smallest
/// effect and stands under `id`.
///
/// A KL is never negative, so that a test against 0 could not fail; only a
/// mean above the smallest effect of interest counts for the claim.
pub(crate) fn clamp(model: &ModelGains, test: &Within, smallest: f64, id: &str) -> Candidate {
    let mut finding = mean_finding(model, test, id, "mean KL in nats");
    if let Finding::Tested(tested) = &mut finding {
        if tested.estimate <= smallest {
            tested.p = 1.0;
        }
        tested.because.push_str(
            " The test is against {h25.settings.inert}, since a KL is never negative, and \
             counts only above it.",
        );
    }
    of_model("h25.gain-matters", model, NOT_STATED.to_owned(), finding)
}

/// Recorded activations cannot be clamped.
pub(crate) fn clamp_of_recording(model: &ModelGains) -> Candidate {
    of_model(
        "h25.gain-matters",
        model,
        NOT_STATED.to_owned(),
        of_recording(),
    )
}

fn of_model(
    claim: &'static str,
    model: &ModelGains,
    as_published: String,
    finding: Finding,
) -> Candidate {
    let (body, data) = match (model.published, model.recorded, model.small) {
        (true, _, _) => ("published", "published"),
        (false, true, _) => (RECORDINGS, "recorded"),
        (false, false, true) => (SMALL, "measured"),
        (false, false, false) => ("measured", "measured"),
    };
    Candidate {
        claim,
        body,
        data: format!("{data}: {}", model.name),
        as_published,
        finding,
    }
}

fn mean_finding(model: &ModelGains, test: &Within, id: &str, what: &str) -> Finding {
    let at = |s: &str| shown(&format!("{id}.{s}"));
    match (&test.test, &test.bca, &test.detectable) {
        (Ok(t), Ok(bca), Ok(_)) => Finding::Tested(Tested {
            id: id.to_owned(),
            estimate: t.estimate,
            interval: bca.interval,
            p: t.p,
            because: format!(
                "{} = {}, interval {} to {}, t = {}, p = {}; a distance of {} could have been \
                 shown.",
                capital(what),
                at("mean"),
                at("low"),
                at("high"),
                at("t"),
                at("p"),
                at("detectable"),
            ),
            origin: model.origin.clone(),
        }),
        (Err(reason), _, _) | (_, Err(reason), _) | (_, _, Err(reason)) => Finding::Settled(
            Verdict::Inconclusive,
            sentence(&format!("the prompts allow no test: {reason}")),
        ),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

fn sentence(text: &str) -> String {
    format!("{}.", capital(text).trim_end_matches('.'))
}
