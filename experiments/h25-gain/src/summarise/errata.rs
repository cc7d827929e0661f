//! The faults E1 to E4 of the published work, each with evidence computed here.

use assay_experiment::ExperimentError;
use assay_record::Erratum;
use assay_stats as stats;

use super::across::Body;
use super::growth;
use super::models::{Measured, ModelGains};
use super::printed::Applied;
use super::relation::{Settings, critical_r};
use super::rule::{PrintedVerdict, published_rule};
use super::within::log_gain_id;
use crate::published::{Published, SweepModel};
use assay_experiment::page::{COUNT, NOISE, Origin, PLAIN, Page, R, must, shown, slug};

/// Writes all four; the numbers of all sections must have been written.
pub(crate) fn write(
    page: &mut Page,
    published: &Published,
    sweep: &Body<'_>,
    measured: &[Measured<'_>],
    applied: &Applied,
    near: f64,
    set: Settings,
) -> Result<(), ExperimentError> {
    let errata = [
        e1(page, published, measured)?,
        e2(applied, sweep),
        e3(page, sweep, set)?,
        e4(page, sweep, near)?,
    ];
    page.summary.errata.extend(errata);
    Ok(())
}

fn erratum(id: &str, claimed: &str, truth: &str, evidence: String) -> Erratum {
    Erratum {
        id: id.to_owned(),
        claimed: claimed.to_owned(),
        truth: truth.to_owned(),
        evidence,
        computed: true,
    }
}

/// Which block the published gain is of.
fn e1(
    page: &mut Page,
    published: &Published,
    measured: &[Measured<'_>],
) -> Result<Erratum, ExperimentError> {
    let models = &published.pythia_sweep.models;
    let from_end = |short: usize, mean: fn(&SweepModel) -> f64| {
        let gaps = models.iter().filter_map(|m| {
            let layer = m.gain_by_layer.len().checked_sub(short)?;
            Some((m.gain_by_layer.get(layer)? - mean(m)).abs())
        });
        gaps.fold(0.0, f64::max)
    };
    let origin = Origin::published(&published.pythia_sweep.source);
    let inner = from_end(2, |m| m.gain_mean);
    let outer = from_end(1, |m| m.gain_with_final_norm_mean);
    let inner = page.put(
        "h25.errata.e1.penultimate-gap",
        "largest distance of a printed gain from entry L-2 of its series by layer",
        inner,
        NOISE,
        &origin,
    )?;
    let outer = page.put(
        "h25.errata.e1.final-norm-gap",
        "largest distance of a printed gain with the final norm from entry L-1",
        outer,
        NOISE,
        &origin,
    )?;
    let mut evidence = format!(
        "In every published series by layer, entry L-2 is the printed gain (within {}) and entry \
         L-1 the gain with the final norm (within {}); the last block before that norm is in \
         neither.",
        shown(&inner),
        shown(&outer)
    );
    let hooks = &published.block_output_hooks;
    for hooked in &hooks.models {
        let id = format!(
            "h25.published.{}.hooks.last-block.mean",
            slug(&hooked.model)
        );
        if let Some(swept) = models.iter().find(|m| m.model == hooked.model) {
            let key = slug(&swept.model);
            evidence.push_str(&format!(
                " {}: {} in the sweep, {} by hooks on the last two blocks' outputs, {} with the \
                 final norm.",
                hooked.model,
                shown(&format!("h25.published.{key}.gain.as-published.mean")),
                shown(&id),
                shown(&format!("h25.published.{key}.gain.with-final-norm.mean")),
            ));
        }
    }
    for m in measured {
        let at = |what: &str| shown(&m.gains.id(&format!("gain.{what}.mean")));
        evidence.push_str(&format!(
            " Measured on {}: block L-2 {}, block L-1 {}",
            m.gains.name,
            at("as-published"),
            at("last-block"),
        ));
        if !m.recorded() {
            let normed = at("with-final-norm");
            evidence.push_str(&format!(", with the final norm {normed}"));
        }
        evidence.push('.');
    }
    Ok(erratum(
        "E1",
        "The gain is that of the last layer without the final norm.",
        "It is that of the penultimate block: the last of the hidden states is taken after the \
         final norm, and the raw output of the last block is not among them.",
        evidence,
    ))
}

/// What the published rule calls validated.
fn e2(applied: &Applied, sweep: &Body<'_>) -> Erratum {
    // The rule on one model alone, wherever that validates.
    let alone = sweep
        .models
        .iter()
        .find(|m| published_rule(&[m.rho], &[m.mean]).verdict == PrintedVerdict::Validated);
    let alone = alone.map_or_else(String::new, |m| {
        format!(
            " Given {} alone it says {}.",
            m.name,
            PrintedVerdict::Validated
        )
    });
    erratum(
        "E2",
        "The sweep validates the hypothesis.",
        "The rule prints VALIDATED before it looks at a correlation's p, or at whether there \
         are models enough for one.",
        format!(
            "On the first run, with r = {{h25.rule.first-run.r}} and p = \
             {{h25.rule.first-run.p}} (printed {{h25.rule.first-run.printed-p}}), the same rule \
             says {}, as it does on the sweep ({}): {{h25.rule.first-run.high-dampening}} of \
             the high-rho models dampened.{alone}",
            applied.first_run.verdict, applied.sweep.verdict
        ),
    )
}

/// rho and depth.
fn e3(page: &mut Page, sweep: &Body<'_>, set: Settings) -> Result<Erratum, ExperimentError> {
    let n = sweep.models.len();
    for (id, what, df) in [
        (
            "critical-r",
            "|r| that is significant at n models",
            n.saturating_sub(2),
        ),
        (
            "critical-partial-r",
            "|partial r| given one covariate that is significant at n models",
            n.saturating_sub(3),
        ),
    ] {
        let value = critical_r(df, set.alpha);
        let id = format!("h25.across.published.{id}");
        page.try_put(&id, what, value, R, &sweep.origin)?;
    }
    let at = |what: &str| shown(&format!("h25.across.published.{what}"));
    Ok(erratum(
        "E3",
        "rho predicts the gain.",
        "In these models rho cannot be told from depth, and on other families it predicts \
         nothing.",
        format!(
            "r of L and gain is {}, stronger than that of rho and gain, {}; r of L and rho is \
             {}. Partial r of rho and gain given L is {}, of L and gain given rho {}; at {} \
             models a partial r needs |r| of {} (a plain r {}). Over the author's \
             {{h25.rule.sixteen.n}} other models r = {{h25.rule.sixteen.r}}, p = \
             {{h25.rule.sixteen.p}}; on log gain and without the post-LN model r = \
             {{h25.sixteen.log.r}}, interval {{h25.sixteen.log.low}} to \
             {{h25.sixteen.log.high}}.",
            at("raw.layers-r"),
            at("raw.r"),
            at("raw.layers-rho-r"),
            at("raw.given-layers.r"),
            at("raw.layers-given-rho.r"),
            at("raw.n"),
            at("critical-partial-r"),
            at("critical-r"),
        ),
    ))
}

/// What "dampening" describes.
fn e4(page: &mut Page, sweep: &Body<'_>, near: f64) -> Result<Erratum, ExperimentError> {
    let close: Vec<&&ModelGains> = (sweep.models.iter())
        .filter(|m| (m.mean - 1.0).abs() < near)
        .collect();
    let totals: Vec<f64> = (sweep.models.iter())
        .filter_map(|m| page.summary.numbers.get(&growth::total_id(m)))
        .map(|n| n.value)
        .collect();
    for (id, what, value, style) in [
        (
            "close",
            "models whose mean gain lies within the smallest effect of 1",
            close.len() as f64,
            COUNT,
        ),
        (
            "growth-low",
            "smallest growth over blocks 1..L-2",
            must("growth", stats::quantile(&totals, 0.0))?,
            PLAIN,
        ),
        (
            "growth-high",
            "largest growth over blocks 1..L-2",
            must("growth", stats::quantile(&totals, 1.0))?,
            PLAIN,
        ),
    ] {
        page.put(
            &format!("h25.errata.e4.{id}"),
            what,
            value,
            style,
            &sweep.origin,
        )?;
    }
    let one = |m: &&&ModelGains| {
        let log = log_gain_id(m);
        format!(
            "{} {} (p = {}, Holm p = {}; interval of the mean log gain with prompts drawn within \
             categories {} to {})",
            m.name,
            shown(&m.id("gain.as-published.mean")),
            shown(&format!("{log}.p")),
            shown(&format!("{log}.holm-p")),
            shown(&format!("{log}.low")),
            shown(&format!("{log}.high")),
        )
    };
    let models: Vec<String> = close.iter().map(one).collect();
    Ok(erratum(
        "E4",
        "High-rho models dampen, low-rho models expand.",
        "Some models lie nearer to 1 than the smallest effect of interest, and every stack grows: \"dampening\" \
         describes single blocks.",
        format!(
            "{{h25.errata.e4.close}} of {{h25.across.published.raw.n}} models lie within \
             {{h25.settings.near}} of 1; tests of log gain against 0: {}. Over blocks 1..L-2 the \
             published stacks grow {{h25.errata.e4.growth-low}} to \
             {{h25.errata.e4.growth-high}} times.",
            models.join(", ")
        ),
    ))
}
