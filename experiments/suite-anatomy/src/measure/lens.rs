//! Logit lens (nostalgebraist 2020), the note's "softmax inverse": resid_post
//! of each layer read through final norm and unembedding, on a part of each
//! set. Per text, by layer, means over the positions that have a next token:
//!
//! - `lens.kl` KL in nats of the final distribution from the layer's
//! - `lens.log-rank` log10 of the true next token's rank (0: the likeliest)
//! - `lens.hit` share of positions where it is the likeliest
//! - `lens.first-kl`, `lens.last-kl` the KL at the first and last such position
//!
//! Of the model: `map.lens-kl.<set>` mean KL over texts, [layer][position].

use assay_experiment::{ExperimentError, Session};
use assay_hook_site::BlockSite;
use assay_record::Sample;
use candle_core::{Device, Tensor};

use super::outcome::Outcome;
use super::{Measuring, PART_TOKENS, median, part};

impl Measuring<'_> {
    pub(super) fn lens(
        &self,
        session: &mut Session,
        samples: &mut [Sample],
        model: &mut Sample,
    ) -> Result<(), ExperimentError> {
        let chosen = part(self.texts, PART_TOKENS);
        let segments = self.trace.pack().segments();
        // Rows of the trace that have a next token, text by text.
        let spans: Vec<(usize, usize)> = (chosen.iter())
            .map(|i| (segments[*i].start, segments[*i].len() - 1))
            .collect();
        let rows: Vec<u32> = (spans.iter())
            .flat_map(|(start, len)| (*start..start + len).map(|r| r as u32))
            .collect();
        let rows = Tensor::new(rows, &Device::Cpu)?;
        let read = |session: &Session, layer: usize| -> Result<Outcome, ExperimentError> {
            let resid = self.trace.rows(BlockSite::ResidPost.at(layer))?;
            let logits = session.decoder()?.logits(&resid.index_select(&rows, 0)?)?;
            Outcome::new(&logits).map_err(|e| self.failed(chosen[0], layer, e))
        };
        let last = read(session, self.layers - 1)?;
        let positions = median(spans.iter().map(|s| s.1).collect());
        let mut map = Vec::new();
        let mut series = vec![[const { Vec::new() }; 5]; chosen.len()];
        let stage = format!("suite-anatomy: logit lens on {}", self.texts.name);
        for layer in 0..self.layers {
            session.progress(&stage, layer as u64, self.layers as u64);
            let lens = read(session, layer)?;
            let kl = last.kl(&lens);
            let mut start = 0;
            let mut sums = vec![(0.0, 0usize); positions];
            for (c, text) in chosen.iter().enumerate() {
                let ids = &self.texts.tokens.ids[*text].ids;
                let own = &kl[start..start + spans[c].1];
                let ranks: Vec<usize> = (0..own.len())
                    .map(|t| lens.rank(start + t, ids[t + 1]))
                    .collect();
                let n = own.len() as f64;
                let values = [
                    own.iter().sum::<f64>() / n,
                    ranks.iter().map(|r| (*r as f64).log10()).sum::<f64>() / n,
                    ranks.iter().filter(|r| **r == 1).count() as f64 / n,
                    own[0],
                    own[own.len() - 1],
                ];
                for (series, value) in series[c].iter_mut().zip(values) {
                    series.push(value);
                }
                for (sum, kl) in sums.iter_mut().zip(own) {
                    *sum = (sum.0 + kl, sum.1 + 1);
                }
                start += own.len();
            }
            map.extend(sums.iter().map(|(sum, n)| sum / *n as f64));
        }
        session.progress(&stage, self.layers as u64, self.layers as u64);
        let set = &self.texts.name;
        model.scalar(&format!("map.lens-positions.{set}"), positions as f64)?;
        model.series(&format!("map.lens-kl.{set}"), map)?;
        let names = ["kl", "log-rank", "hit", "first-kl", "last-kl"];
        for (text, series) in chosen.iter().zip(series) {
            for (name, values) in names.iter().zip(series) {
                let sample = &mut samples[self.texts.at[*text]];
                sample.series(&format!("lens.{name}.by-layer"), values)?;
            }
        }
        Ok(())
    }
}
