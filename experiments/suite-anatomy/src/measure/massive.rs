//! Massive activations (Sun et al. 2024), of resid_post over a text's tokens
//! and dimensions, by layer:
//!
//! - `massive.top-1`, `.top-2`, `.top-3` the largest |activations|,
//!   `massive.median` the median of all
//! - `massive.dimension`, `massive.position` where the largest stands
//! - `massive.over-100-medians`, `.over-1000-medians` how many exceed the
//!   median so many times, `.sun` how many exceed 1000 medians and 100

use assay_experiment::ExperimentError;
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

/// The measures of [`NAMES`] over rows [token][dimension].
fn massive(rows: &[&[f64]]) -> Result<[f64; 9], String> {
    let mut all = Vec::new();
    for (position, row) in rows.iter().enumerate() {
        for (dimension, value) in row.iter().enumerate() {
            if !value.is_finite() {
                return Err(format!("an activation is {value}"));
            }
            all.push((value.abs(), position, dimension));
        }
    }
    if all.len() < 3 {
        return Err("there are fewer than three activations".to_owned());
    }
    let largest_first = |a: &(f64, usize, usize), b: &(f64, usize, usize)| b.0.total_cmp(&a.0);
    all.sort_unstable_by(|a, b| largest_first(a, b).then((a.1, a.2).cmp(&(b.1, b.2))));
    // Of an even number the mean of the two in the middle.
    let half = all.len() / 2;
    let median = if all.len().is_multiple_of(2) {
        (all[half - 1].0 + all[half].0) / 2.0
    } else {
        all[half].0
    };
    if median <= 0.0 {
        return Err("the median activation is 0".to_owned());
    }
    let over = |times: f64| all.iter().take_while(|v| v.0 > times * median).count() as f64;
    let sun = all
        .iter()
        .take_while(|v| v.0 > 1000.0 * median && v.0 > 100.0);
    Ok([
        all[0].0,
        all[1].0,
        all[2].0,
        median,
        all[0].2 as f64,
        all[0].1 as f64,
        over(100.0),
        over(1000.0),
        sun.count() as f64,
    ])
}
