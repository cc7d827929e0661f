//! Faults of the published work, each with evidence of this run.

use assay_experiment::ExperimentError;
use assay_experiment::page::{COUNT, Origin, Page, R, shown, slug};
use assay_record::Erratum;
use assay_stats::stream;

use super::measured::{Measured, Settings};
use crate::published::Gains;

/// Pairs of random vectors that the triangle inequality is tried on.
const PAIRS: usize = 1000;

pub(crate) fn write(
    page: &mut Page,
    gains: &Gains,
    measured: &[Measured<'_>],
    set: Settings,
) -> Result<(), ExperimentError> {
    let push =
        |page: &mut Page, id: &str, claimed: &str, truth: &str, evidence: String, computed| {
            page.summary.errata.push(Erratum {
                id: id.to_owned(),
                claimed: claimed.to_owned(),
                truth: truth.to_owned(),
                evidence,
                computed,
            });
        };
    let evidence = triangle(page, measured, set)?;
    push(
        page,
        "E8",
        "|A| + |M| > |A + M| would prove that attention and MLP cancel.",
        "That is the triangle inequality: it holds of any two vectors that are not parallel.",
        evidence,
        true,
    );
    let kinds: Vec<String> = measured
        .iter()
        .filter(|m| !m.recorded())
        .map(|m| format!("{} is observed to be {}", m.name, m.record.facts.block))
        .collect();
    push(
        page,
        "E9",
        "OPT and BLOOM use parallel attention; GPT-J is GPT-NeoX based; Pythia has a single norm.",
        "OPT and BLOOM are sequential; GPT-J has one shared norm and its own code; GPT-NeoX has two norms, both applied to x.",
        format!(
            "{}. The families themselves are observed on tiny models in crates/trace/tests/observed.rs.",
            if kinds.is_empty() {
                "No model was measured".to_owned()
            } else {
                kinds.join("; ")
            }
        ),
        !kinds.is_empty(),
    );
    let evidence = contradicted(gains);
    push(
        page,
        "E10",
        "Parallel blocks dampen, sequential ones do not.",
        "The published data refute it, metric by metric.",
        evidence,
        true,
    );
    let (evidence, computed) = algebra(page, measured)?;
    push(
        page,
        "E22",
        "Cancellation between attention and MLP makes the residual shrink.",
        "It cannot by itself: with x·A = x·M = 0, |x + A + M| >= |x|. A gain below 1 needs x·(A + M) < -|A + M|²/2.",
        evidence,
        computed,
    );
    let mut evidence = String::new();
    for m in measured.iter().filter(|m| !m.recorded()) {
        evidence.push_str(&format!(
            "{}: attention \"contracts\" in {} of layers by the published ratio, and adds less than x in {}; MLP {} and {}. ",
            m.name,
            shown(&m.id("all.attn-contract")),
            shown(&m.id("all.attn-below-x")),
            shown(&m.id("all.mlp-contract")),
            shown(&m.id("all.mlp-below-x")),
        ));
    }
    let computed = !evidence.is_empty();
    push(
        page,
        "E23",
        "Attention always contracts.",
        "The published ratio divides by the output of the norm before the sublayer, whose length is that norm's own scale.",
        if computed {
            evidence.trim_end().to_owned()
        } else {
            "No model was measured.".to_owned()
        },
        computed,
    );
    Ok(())
}

/// Readings (a prompt, a block) of every model: values of the split's terms.
fn readings(m: &Measured<'_>) -> Result<Vec<[f64; 6]>, ExperimentError> {
    let mut all = Vec::new();
    for sample in &m.prompts {
        let series = ["attn", "mlp", "x-attn", "x-mlp", "attn-mlp"]
            .map(|t| sample.get_series(&format!("split.{t}.by-layer")));
        let [attn, mlp, x_attn, x_mlp, attn_mlp] = series;
        let (attn, mlp, x_attn, x_mlp, attn_mlp) = (attn?, mlp?, x_attn?, x_mlp?, attn_mlp?);
        let gains = sample.get_series("gain.by-layer")?;
        for (l, gain) in gains.iter().enumerate() {
            all.push([attn[l], mlp[l], x_attn[l], x_mlp[l], attn_mlp[l], *gain]);
        }
    }
    Ok(all)
}

fn triangle(
    page: &mut Page,
    measured: &[Measured<'_>],
    set: Settings,
) -> Result<String, ExperimentError> {
    use rand_chacha::rand_core::RngCore;
    let mut draws = stream(set.seed, "pythia-anomaly/triangle");
    let mut unit = || (draws.next_u64() >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
    let mut holds = 0;
    for _ in 0..PAIRS {
        let pair: [Vec<f64>; 2] = [(); 2].map(|()| (0..8).map(|_| unit()).collect());
        let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
        let sum: Vec<f64> = pair[0].iter().zip(&pair[1]).map(|(a, b)| a + b).collect();
        holds += usize::from(norm(&pair[0]) + norm(&pair[1]) > norm(&sum));
    }
    let origin = Origin::published("random vectors of this run, from the declared seed");
    let what = "pairs of random vectors of which |a| + |b| > |a + b| holds";
    page.put(
        "anomaly.triangle.random",
        what,
        holds as f64,
        COUNT,
        &origin,
    )?;
    page.put(
        "anomaly.triangle.pairs",
        "pairs tried",
        PAIRS as f64,
        COUNT,
        &origin,
    )?;
    let mut text = "It holds of {anomaly.triangle.random} of {anomaly.triangle.pairs} pairs of random vectors.".to_owned();
    for m in measured {
        let all = readings(m)?;
        let holds = all
            .iter()
            .filter(|r| r[0].sqrt() + r[1].sqrt() > (r[0] + r[1] + r[4]).max(0.0).sqrt());
        for (id, what, value) in [
            (
                "triangle.holds",
                "readings of which |A| + |M| > |A + M| holds",
                holds.count(),
            ),
            (
                "triangle.readings",
                "readings: a prompt at a block",
                all.len(),
            ),
        ] {
            page.put(
                &m.id(id),
                &format!("{what}, {}", m.name),
                value as f64,
                COUNT.drawn(),
                &m.origin,
            )?;
        }
        text.push_str(&format!(
            " {}, {} blocks: of {} of {} readings.",
            m.name,
            m.record.facts.block,
            shown(&m.id("triangle.holds")),
            shown(&m.id("triangle.readings"))
        ));
    }
    Ok(text)
}

/// Published gains that go against the claim.
fn contradicted(gains: &Gains) -> String {
    let at =
        |which: &str, model: &str| shown(&format!("anomaly.published.{which}.{}", slug(model)));
    let has = |model: &str| gains.sixteen_models.models.iter().any(|r| r.model == model);
    let mut text = format!(
        "Last block: parallel GPT-J {} against parallel Pythia-6.9b {}.",
        at("last", "gpt-j-6b"),
        at("last", "pythia-6.9b")
    );
    let list = |models: &[&str]| -> String {
        let found = models.iter().filter(|m| has(m));
        let found: Vec<String> = found
            .map(|m| format!("{m} {}", at("penultimate", m)))
            .collect();
        found.join(", ")
    };
    text.push_str(&format!(
        " Penultimate block: parallel and expanding {}; sequential and dampening {}.",
        list(&["gpt-j-6B", "stablelm-base-alpha-3b", "falcon-7b"]),
        list(&["gpt-neo-125M", "gpt-neo-1.3B", "gpt-neo-2.7B"]),
    ));
    text
}

fn algebra(page: &mut Page, measured: &[Measured<'_>]) -> Result<(String, bool), ExperimentError> {
    let mut text = String::new();
    for m in measured.iter().filter(|m| !m.norm_forced()) {
        let all = readings(m)?;
        let below = all.iter().filter(|r| r[5] < 1.0);
        // x·(A+M) < -|A+M|²/2, in units of |x|².
        let needed = below
            .clone()
            .filter(|r| (r[2] + r[3]) / 2.0 < -(r[0] + r[1] + r[4]) / 2.0);
        let opposed = below.clone().filter(|r| r[4] < 0.0);
        let without = all.iter().map(|r| 1.0 + r[0] + r[1] + r[4]);
        let smallest = without.fold(f64::INFINITY, f64::min);
        for (id, what, value) in [
            (
                "algebra.below",
                "readings with a gain below 1",
                below.clone().count(),
            ),
            (
                "algebra.needed",
                "of them with x·(A + M) < -|A + M|²/2",
                needed.count(),
            ),
            ("algebra.opposed", "of them with A·M < 0", opposed.count()),
        ] {
            page.put(
                &m.id(id),
                &format!("{what}, {}", m.name),
                value as f64,
                COUNT.drawn(),
                &m.origin,
            )?;
        }
        let what = format!(
            "smallest |x + A + M|² / |x|² of any reading with x·A and x·M put to 0, {}",
            m.name
        );
        page.put(&m.id("algebra.smallest"), &what, smallest, R, &m.origin)?;
        text.push_str(&format!(
            "{}: of {} readings with a gain below 1, {} have x·(A + M) < -|A + M|²/2 and {} have A·M < 0; \
             without x·A and x·M no reading would shrink (smallest {}). ",
            m.name,
            shown(&m.id("algebra.below")),
            shown(&m.id("algebra.needed")),
            shown(&m.id("algebra.opposed")),
            shown(&m.id("algebra.smallest")),
        ));
    }
    Ok(match text.is_empty() {
        true => ("No model was measured.".to_owned(), false),
        false => (text.trim_end().to_owned(), true),
    })
}
