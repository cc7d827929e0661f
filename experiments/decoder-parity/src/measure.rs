//! One case: every site of one pass against the reference beside the model.
//! A sample is a site:
//! - `error` worst |a - e| / (1 + |e|) over its elements, in f32; infinite
//!   values must be equal;
//! - `error-f64` the same from an f64 pass, which tells a wrong formula (both
//!   off) from rounding (f32 off);
//! - `elements` their number.

use std::collections::{BTreeMap, BTreeSet};

use assay_decoder::Pack;
use assay_experiment::{ExperimentError, Session};
use assay_hook_site::{BlockSite, HookSite};
use assay_record::Sample;
use assay_trace::{Trace, record};
use candle_core::{DType, Device, Tensor};

/// What transformers computed.
pub(crate) struct Reference {
    ids: Vec<u32>,
    pub(crate) pack: Pack,
    values: BTreeMap<String, Tensor>,
}

/// File of the reference, beside the model's own.
const FILE: &str = "reference.safetensors";

impl Reference {
    pub(crate) fn read(session: &Session) -> Result<Self, ExperimentError> {
        let path = session.folder()?.join(FILE);
        if !path.exists() {
            let reason =
                format!("has no {FILE} beside it, with which its activations could be compared");
            return Err(session.unsuitable(reason));
        }
        let mut values: BTreeMap<String, Tensor> =
            candle_core::safetensors::load(&path, &Device::Cpu)?
                .into_iter()
                .collect();
        let Some(ids) = values.remove("ids") else {
            return Err(session.unsuitable(format!("has a {FILE} without ids")));
        };
        let ids: Vec<i64> = ids.flatten_all()?.to_vec1()?;
        let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
        // What the MLP's norm reads is not written a second time: it is the
        // residual after attention, else the block's own input.
        for layer in 0..session.config().n_layers {
            let at = |site: BlockSite| site.at(layer).to_string();
            let mid = values.get(&at(BlockSite::ResidMid));
            if let Some(read) = mid.or_else(|| values.get(&at(BlockSite::ResidPre))) {
                values.insert(at(BlockSite::MlpIn), read.clone());
            }
        }
        Ok(Self {
            pack: Pack::new(std::slice::from_ref(&ids))?,
            ids,
            values,
        })
    }
}

pub(crate) fn measure(session: &mut Session) -> Result<Vec<Sample>, ExperimentError> {
    let reference = Reference::read(session)?;
    let in_f32 = session.trace(&reference.pack)?;
    let decoder = session.decoder_f64()?;
    let sites: BTreeSet<HookSite> = decoder.sites().into_iter().collect();
    let in_f64 = record(&decoder, &reference.pack, &sites, Vec::new())?;
    let ours: BTreeSet<String> = sites.iter().map(HookSite::to_string).collect();
    let theirs: BTreeSet<String> = reference.values.keys().cloned().collect();
    if let Some(site) = ours.symmetric_difference(&theirs).next() {
        let reason = format!("has site {site} on one side of the comparison only");
        return Err(session.unsuitable(reason));
    }
    let mut samples = Vec::new();
    for site in sites {
        let name = site.to_string();
        let expected = values(&reference.values[&name])?;
        let error = |trace: &Trace| -> Result<f64, ExperimentError> {
            let actual = values(&trace.prompt(site, 0)?)?;
            worst(&actual, &expected).ok_or_else(|| {
                let (ours, theirs) = (actual.len(), expected.len());
                session.unsuitable(format!(
                    "differs at {name} beyond any number: {ours} elements here, {theirs} there, or an infinity or NaN on one side only"
                ))
            })
        };
        let mut sample = Sample {
            unit: name.clone(),
            cluster: site
                .layer()
                .map_or_else(String::new, |l| format!("block {l}")),
            text: String::new(),
            token_ids: reference.ids.clone(),
            special_tokens: 0,
            tags: Default::default(),
            measures: BTreeMap::new(),
        };
        sample.scalar("error", error(&in_f32)?)?;
        sample.scalar("error-f64", error(&in_f64)?)?;
        sample.scalar("elements", expected.len() as f64)?;
        samples.push(sample);
    }
    Ok(samples)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>, ExperimentError> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

/// Worst of |a - e| / (1 + |e|); None where one side has another number of
/// elements, a NaN, or an infinity that the other lacks.
fn worst(actual: &[f64], expected: &[f64]) -> Option<f64> {
    if actual.len() != expected.len() {
        return None;
    }
    let mut worst: f64 = 0.0;
    for (a, e) in actual.iter().zip(expected) {
        if a == e {
            continue;
        }
        let error = (a - e).abs() / (1.0 + e.abs());
        if !error.is_finite() {
            return None;
        }
        worst = worst.max(error);
    }
    Some(worst)
}

#[cfg(test)]
mod tests {
    use super::worst;

    #[test]
    fn infinities_must_be_shared_and_nan_is_never_right() {
        let inf = f64::NEG_INFINITY;
        assert_eq!(worst(&[inf, 1.0], &[inf, 3.0]), Some(0.5));
        assert_eq!(worst(&[inf], &[0.0]), None);
        assert_eq!(worst(&[0.0], &[inf]), None);
        assert_eq!(worst(&[f64::NAN], &[f64::NAN]), None);
        assert_eq!(worst(&[1.0], &[1.0, 2.0]), None);
    }
}
