//! Massive activations (Sun et al. 2024), of resid_post over a text's tokens
//! and dimensions, by layer:
//!
//! - `massive.top-1`, `.top-2`, `.top-3` the largest |activations|,
//!   `massive.median` the median of all
//! - `massive.dimension`, `massive.position` where the largest stands
//! - `massive.over-100-medians`, `.over-1000-medians` how many exceed the
//!   median so many times, `.sun` how many exceed 1000 medians and 100

use assay_experiment::ExperimentError;
use assay_geometry::massive;
use assay_hook_site::BlockSite;
use assay_record::Sample;

use super::Measuring;

const NAMES: [&str; 9] = [
    "top-1",
    "top-2",
    "top-3",
    "median",
    "dimension",
    "position",
    "over-100-medians",
    "over-1000-medians",
    "sun",
];

impl Measuring<'_> {
    pub(super) fn massive(&self, samples: &mut [Sample]) -> Result<(), ExperimentError> {
        let segments = self.trace.pack().segments();
        let mut series = vec![vec![Vec::new(); NAMES.len()]; segments.len()];
        for layer in 0..self.layers {
            let rows = self.rows(BlockSite::ResidPost, layer)?;
            let rows: Vec<&[f64]> = rows.iter().collect();
            for (i, segment) in segments.iter().enumerate() {
                let found = massive(&rows[segment.clone()]);
                let found = found.map_err(|reason| self.failed(i, layer, reason))?;
                let [top_1, top_2, top_3] = found.top;
                let found = [
                    top_1,
                    top_2,
                    top_3,
                    found.median,
                    found.dimension as f64,
                    found.position as f64,
                    found.over_100 as f64,
                    found.over_1000 as f64,
                    found.sun as f64,
                ];
                for (series, value) in series[i].iter_mut().zip(found) {
                    series.push(value);
                }
            }
        }
        for (i, series) in series.into_iter().enumerate() {
            for (name, values) in NAMES.iter().zip(series) {
                samples[self.texts.at[i]].series(&format!("massive.{name}.by-layer"), values)?;
            }
        }
        Ok(())
    }
}
