//! The slope across the published models, beside that of the trained ones.

use assay_experiment::ExperimentError;
use assay_experiment::page::{GAIN, Origin, Page, must};
use assay_record::{Agreement, Comparison};
use assay_stats as stats;
use serde::Deserialize;

const FILE: &str = include_str!("../../../../golden/published/h25.json");

#[derive(Deserialize)]
struct Published {
    pythia_sweep: Sweep,
}

#[derive(Deserialize)]
struct Sweep {
    source: String,
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    n_heads: f64,
    d_head: f64,
    gain_mean: f64,
}

pub(crate) fn write(page: &mut Page) -> Result<(), ExperimentError> {
    let published: Published =
        serde_json::from_str(FILE).map_err(|e| ExperimentError::Statistic {
            what: "golden/published/h25.json".to_owned(),
            reason: e.to_string(),
        })?;
    let sweep = published.pythia_sweep;
    let rho: Vec<f64> = sweep.models.iter().map(|m| m.n_heads / m.d_head).collect();
    let log_gain: Vec<f64> = sweep.models.iter().map(|m| m.gain_mean.ln()).collect();
    let what = "slope of log gain on rho across the published Pythias";
    let fit = must(what, stats::least_squares(&log_gain, &[&rho]))?;
    let slope = fit.coefficients[1].estimate;
    let source = Origin::published(&sweep.source);
    let id = page.put("crowding.published.slope", what, slope, GAIN, &source)?;
    let number = |page: &Page, id: &str| page.summary.numbers.get(id).map(|n| n.value);
    let own = "crowding.published-gain";
    let mut comparison = Comparison {
        what: "slope of log gain of the penultimate block on rho".to_owned(),
        published: id,
        as_published: None,
        audited: None,
        difference: None,
        agreement: Agreement::NotRun,
        note: "The published models differ in depth and width too (erratum E3); the trained ones do not."
            .to_owned(),
    };
    let ends = [".low", ".high"].map(|end| number(page, &format!("{own}{end}")));
    if let (Some(found), [Some(low), Some(high)]) = (number(page, own), ends) {
        let what = "measured slope less the published one";
        let origin = Origin::join([&source]);
        let difference = page.put(
            "crowding.published.difference",
            what,
            found - slope,
            GAIN,
            &origin,
        )?;
        comparison.audited = Some(own.to_owned());
        comparison.difference = Some(difference);
        comparison.agreement = if low <= slope && slope <= high {
            Agreement::SameWithinSampling
        } else {
            Agreement::Contradicted
        };
    }
    page.summary.comparisons.push(comparison);
    Ok(())
}
