//! The faults E11 and E12 of the origin's script, with evidence from this run.

use assay_experiment::ExperimentError;
use assay_experiment::page::{PLAIN, Page, R, shown};
use assay_record::Erratum;
use assay_stats as stats;

use super::measured::{Measured, argmax, mean};

pub(crate) fn write(page: &mut Page, measured: &[Measured<'_>]) -> Result<(), ExperimentError> {
    let (mut e11, mut e12) = (Vec::new(), Vec::new());
    for m in measured {
        e11.extend(backward(page, m)?);
        e12.extend(scalars(page, m)?);
    }
    let erratum = |id: &str, claimed: &str, truth: &str, found: Vec<String>| Erratum {
        id: id.to_owned(),
        claimed: claimed.to_owned(),
        truth: truth.to_owned(),
        computed: !found.is_empty(),
        evidence: if found.is_empty() {
            "Not run: no record has the measures.".to_owned()
        } else {
            found.join(" ")
        },
    };
    page.summary.errata.push(erratum(
        "E11",
        "The maps show the log norm of the gradient of the sum of a token's logits with respect \
         to the output weights.",
        "The origin's script never calls backward, so no gradient was there to be shown.",
        e11,
    ));
    page.summary.errata.push(erratum(
        "E12",
        "The mean over all data is subtracted from the activations, and what remains is the \
         data's own influence.",
        "The origin subtracts mean norms from norms: scalars, which say nothing of direction.",
        e12,
    ));
    Ok(())
}

/// What the gradient as described would have been.
fn backward(page: &mut Page, m: &Measured<'_>) -> Result<Option<String>, ExperimentError> {
    let mut text = Vec::new();
    for module in ["attn", "mlp"] {
        let (Some(log), Some(positions)) = (
            m.map(&format!("published.{module}-weight.log"))?,
            m.of_model("published.positions")?,
        ) else {
            return Ok(None);
        };
        let by_layer: Vec<f64> = log.chunks(positions as usize).map(mean).collect();
        let id = m.id(&format!("errata.e11.{module}"));
        let what = format!("log norm of the gradient of a token's sum of logits, {module} weights");
        let peak = argmax(&by_layer);
        let low = by_layer.iter().copied().fold(f64::INFINITY, f64::min);
        for (part, value) in [
            ("peak-layer", peak as f64),
            ("high", by_layer[peak]),
            ("low", low),
        ] {
            let (id, what) = (
                format!("{id}.{part}"),
                format!("{part} over layers of {what}"),
            );
            page.put(&id, &what, value, PLAIN, &m.origin)?;
        }
        let norms = m.mean_series(None, &format!("norm.{module}-out.by-layer"))?;
        let mut like = String::new();
        if let Some(norms) = norms
            && let Ok(r) = stats::spearman(&norms, &by_layer)
        {
            let what = format!("rank correlation over layers of {module}_out's norm and gradient");
            page.put(&format!("{id}.norm-rho"), &what, r.r, R, &m.origin)?;
            like = format!(
                "; its rank correlation over layers with the norm map is {}",
                shown(&format!("{id}.norm-rho"))
            );
        }
        text.push(format!(
            "{module} weights from {} to {}, largest in layer {}{like}",
            shown(&format!("{id}.low")),
            shown(&format!("{id}.high")),
            shown(&format!("{id}.peak-layer")),
        ));
    }
    Ok(Some(format!(
        "With backward called, the mean log norms by layer on {} are: {}.",
        m.name,
        text.join("; ")
    )))
}

/// Scalar beside vector subtraction.
fn scalars(page: &mut Page, m: &Measured<'_>) -> Result<Option<String>, ExperimentError> {
    let mut text = Vec::new();
    for site in ["attn-out", "mlp-out", "resid-post"] {
        let (Some(scalar), Some(vector)) = (
            m.mean_series(None, &format!("ablation.scalar.{site}"))?,
            m.mean_series(None, &format!("ablation.vector.{site}"))?,
        ) else {
            return Ok(None);
        };
        let id = m.id(&format!("errata.e12.{site}"));
        let shares: Vec<f64> = scalar.iter().zip(&vector).map(|(s, v)| s / v).collect();
        let what = format!("mean |norm - mean norm| over mean norm of (a - mean a), {site}");
        page.put(&id, &what, mean(&shares), R, &m.origin)?;
        text.push(format!("{} at {site}", shown(&id)));
    }
    Ok(Some(format!(
        "On {} a norm's distance from the mean norm is this share of the activation's distance \
         from the mean activation: {}.",
        m.name,
        text.join(", ")
    )))
}
