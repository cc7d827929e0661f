//! Norm maps.
//!
//! - `norm.<site>.by-layer`, `.first`, `.rest`: see the parent
//! - `map.<site>.<set>` log mean norm over texts, [layer][position], positions
//!   up to the median length of the set's texts; `map.positions.<set>` that
//!   number

use assay_experiment::ExperimentError;
use assay_record::Sample;

use super::{Measuring, SITES, median};

impl Measuring<'_> {
    /// Norms of all tokens at one site: [token].
    pub(super) fn log(&self, text: usize, layer: usize, norm: f64) -> Result<f64, ExperimentError> {
        if norm > 0.0 && norm.is_finite() {
            Ok(norm.ln())
        } else {
            Err(self.failed(text, layer, format!("a mean norm is {norm}")))
        }
    }

    pub(super) fn norms(
        &self,
        samples: &mut [Sample],
        model: &mut Sample,
    ) -> Result<(), ExperimentError> {
        let segments = self.trace.pack().segments();
        let positions = median(segments.iter().map(|s| s.len()).collect());
        let set = &self.texts.name;
        model.scalar(&format!("map.positions.{set}"), positions as f64)?;
        for (site, name) in SITES {
            let mut map = Vec::new();
            let mut series = vec![[const { Vec::new() }; 3]; segments.len()];
            for layer in 0..self.layers {
                let norms = self.rows(site, layer)?.norms();
                for (i, segment) in segments.iter().enumerate() {
                    let own = &norms[segment.clone()];
                    for (series, part) in series[i].iter_mut().zip([own, &own[..1], &own[1..]]) {
                        let mean = part.iter().sum::<f64>() / part.len() as f64;
                        series.push(self.log(i, layer, mean)?);
                    }
                }
                for position in 0..positions {
                    let own = segments.iter().filter(|s| s.len() > position);
                    let own: Vec<f64> = own.map(|s| norms[s.start + position]).collect();
                    let mean = own.iter().sum::<f64>() / own.len() as f64;
                    map.push(self.log(0, layer, mean)?);
                }
            }
            model.series(&format!("map.{name}.{set}"), map)?;
            for (i, [all, first, rest]) in series.into_iter().enumerate() {
                let sample = &mut samples[self.texts.at[i]];
                sample.series(&format!("norm.{name}.by-layer"), all)?;
                sample.series(&format!("norm.{name}.first"), first)?;
                sample.series(&format!("norm.{name}.rest"), rest)?;
            }
        }
        Ok(())
    }
}
