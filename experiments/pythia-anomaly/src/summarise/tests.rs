//! The claims on one model.

use assay_experiment::ExperimentError;
use assay_experiment::judge::{Candidate, Finding, of_recording};
use assay_experiment::page::Page;
use assay_record::Verdict;

use super::measured::{Measured, Settings, over_prompts, write_test};

/// Change of loss in nats a token beyond which a rewired block's gain is not
/// read: the size below which h25-gain calls a clamp inert.
const MOST_LOSS: f64 = 0.1;

pub(crate) fn write(
    page: &mut Page,
    m: &Measured<'_>,
    set: Settings,
) -> Result<Vec<Candidate>, ExperimentError> {
    let strata = m.strata();
    let last = m.last();
    let test = |page: &mut Page, id: &str, what: &str, values: &[f64]| match over_prompts(
        values,
        &strata,
        &format!("{}/{id}", m.key),
        set,
    ) {
        Ok(test) => {
            let what = format!("{what}, {}", m.name);
            let tested = write_test(page, &m.id(id), &what, &test, &m.origin)?;
            Ok::<_, ExperimentError>(Finding::Tested(tested))
        }
        Err(e) => Ok(Finding::Settled(
            Verdict::Inconclusive,
            format!("There is no test: {e}."),
        )),
    };
    let gains: Vec<f64> = m
        .at("gain.by-layer", last)?
        .iter()
        .map(|g| g.ln())
        .collect();
    let gain = test(page, "gain.last", "mean log gain of the last block", &gains)?;
    let cosines = m.at("cos.attn-mlp.by-layer", last)?;
    let cos = test(
        page,
        "cos.last",
        "mean cos(A, M) of the last block",
        &cosines,
    )?;
    let own = m.at("removed.own.by-layer", last)?;
    let other = m.at("removed.other.by-layer", last)?;
    let more: Vec<f64> = own
        .iter()
        .zip(&other)
        .map(|(own, other)| own - other)
        .collect();
    let what = "mean-removed cos(A, M) of the last block, same token minus other tokens";
    let by_token = test(page, "cos.by-token", what, &more)?;
    let wiring = match m.rewired() {
        true => {
            // Entry 0 is alpha = 0, parallel; the last is alpha = 1, sequential.
            let parallel = m.at("surgery.gain.last", 0)?;
            let sequential = m.at("surgery.gain.last", crate::surgery::ALPHAS.len() - 1)?;
            let sign = if m.parallel() { 1.0 } else { -1.0 };
            let pairs = parallel.iter().zip(&sequential);
            let change: Vec<f64> = pairs.map(|(p, s)| sign * (s - p)).collect();
            let what = "change of the last block's log gain when it is wired the other way";
            let tested = test(page, "surgery", what, &change)?;
            let other = if m.parallel() {
                crate::surgery::ALPHAS.len() - 1
            } else {
                0
            };
            let losses = m.at("surgery.loss.last", other)?;
            let loss = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
            match loss > MOST_LOSS {
                true => Finding::Settled(
                    Verdict::Inconclusive,
                    format!(
                        "The other wiring changes the loss by {{{}}} nats, so far off what the block was \
                         trained for that its gain says nothing.",
                        m.id(&format!("surgery.loss.{other}"))
                    ),
                ),
                false => tested,
            }
        }
        false if m.recorded() => of_recording(),
        false => Finding::Settled(
            Verdict::NotApplicable,
            "The norms stand after the sums: there is no such wiring.".to_owned(),
        ),
    };
    let gain = match m.norm_forced() {
        true => Finding::Settled(
            Verdict::NotApplicable,
            "The norms stand after the sums and force the residual's length.".to_owned(),
        ),
        false => gain,
    };
    let (fits, fits_not) = match m.parallel() {
        true => (
            [
                "anomaly.parallel-dampens",
                "anomaly.parallel-cancels",
                "anomaly.sequential-wiring-raises-gain",
            ],
            [
                "anomaly.sequential-expands",
                "anomaly.sequential-cancels",
                "anomaly.parallel-wiring-lowers-gain",
            ],
        ),
        false => (
            [
                "anomaly.sequential-expands",
                "anomaly.sequential-cancels",
                "anomaly.parallel-wiring-lowers-gain",
            ],
            [
                "anomaly.parallel-dampens",
                "anomaly.parallel-cancels",
                "anomaly.sequential-wiring-raises-gain",
            ],
        ),
    };
    let candidate = |claim, finding, said: String| Candidate {
        claim,
        body: "measured",
        data: format!("measured: {}", m.name),
        as_published: said,
        finding,
    };
    let mean = gains.iter().map(|g| g.exp()).sum::<f64>() / gains.len().max(1) as f64;
    let word = if mean < 1.0 { "DAMPENING" } else { "EXPANSION" }.to_owned();
    let [claim_gain, claim_cos, claim_wiring] = fits;
    let mut candidates = vec![
        candidate(claim_gain, gain, word),
        candidate(
            claim_cos,
            cos,
            "cancellation, by the triangle inequality".to_owned(),
        ),
        candidate(
            "anomaly.cancels-token-by-token",
            by_token,
            "not tested".to_owned(),
        ),
        candidate(claim_wiring, wiring, "not tested".to_owned()),
    ];
    for claim in fits_not {
        let seen = if m.recorded() {
            "as its config says"
        } else {
            "as observed on changed activations"
        };
        let because = format!("Its blocks are {}, {seen}.", m.record.facts.block);
        let finding = Finding::Settled(Verdict::NotApplicable, because);
        candidates.push(candidate(claim, finding, "not applicable".to_owned()));
    }
    Ok(candidates)
}
