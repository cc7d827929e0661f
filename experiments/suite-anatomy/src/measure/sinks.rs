//! Attention sinks.
//!
//! Per text, by layer, means over heads; q and k before RoPE:
//! - `sink.first` mean attention of the queries after position 0 to it;
//!   `sink.expected` what an equal share would be (one number)
//! - `sink.delimiter`, `sink.other` mean attention to one earlier key (not
//!   position 0), where that key is a delimiter and where it is not; left out
//!   of texts without delimiters that a later token could attend to
//! - `sink.norm-q`, `-k`, `-v` norm at position 0 over the mean norm elsewhere
//! - `sink.cosine-q`, `-k`, `-v` mean cosine of position 0 with the others
//!
//! Of the model, [layer][head]: `map.sink.<set>`, `map.sink-delimiter.<set>`.

use std::collections::BTreeSet;

use assay_experiment::{ExperimentError, Session};
use assay_geometry::{Rows, dot, norm};
use assay_hook_site::BlockSite;
use assay_record::{Prompt, PromptSet, Sample};

use super::Measuring;

/// What separates parts of a text.
const DELIMITERS: [&str; 8] = [".", ",", ";", ":", "?", "!", "\n", "\n\n"];

impl Measuring<'_> {
    pub(super) fn sinks(
        &self,
        session: &Session,
        samples: &mut [Sample],
        model: &mut Sample,
    ) -> Result<(), ExperimentError> {
        let delimiters = delimiters(session, &self.texts.prompts)?;
        let heads = session.config().n_heads;
        let texts = self.texts.tokens.ids.len();
        let (mut first_map, mut delimiter_map) = (Vec::new(), Vec::new());
        let mut first = vec![Vec::new(); texts];
        let mut by_key = vec![[const { Vec::new() }; 2]; texts];
        for layer in 0..self.layers {
            let mut to_first = vec![0.0; heads];
            let mut to_delimiter = (vec![0.0; heads], 0usize);
            for i in 0..texts {
                let pattern = self.trace.prompt(BlockSite::Pattern.at(layer), i)?;
                let len = pattern.dim(1)?;
                let pattern = Rows::new(&pattern).map_err(|e| self.failed(i, layer, e))?;
                let is_delimiter = |k: usize| delimiters.contains(&self.texts.tokens.ids[i].ids[k]);
                let mut sums = [0.0; 3];
                let mut counts = [0usize; 3];
                for (h, square) in pattern.iter().enumerate() {
                    let mut own = [0.0; 3];
                    let mut seen = [0usize; 3];
                    for q in 1..len {
                        for k in 0..q {
                            let kind = if k == 0 {
                                0
                            } else if is_delimiter(k) {
                                1
                            } else {
                                2
                            };
                            own[kind] += square[q * len + k];
                            seen[kind] += 1;
                        }
                    }
                    to_first[h] += own[0] / seen[0] as f64 / texts as f64;
                    if seen[1] > 0 {
                        to_delimiter.0[h] += own[1] / seen[1] as f64;
                    }
                    for kind in 0..3 {
                        sums[kind] += own[kind];
                        counts[kind] += seen[kind];
                    }
                }
                first[i].push(sums[0] / counts[0] as f64);
                if counts[1] > 0 && counts[2] > 0 {
                    by_key[i][0].push(sums[1] / counts[1] as f64);
                    by_key[i][1].push(sums[2] / counts[2] as f64);
                }
                to_delimiter.1 += usize::from(counts[1] > 0);
            }
            first_map.extend(to_first);
            let (sums, with) = to_delimiter;
            delimiter_map.extend(sums.iter().filter(|_| with > 0).map(|s| s / with as f64));
        }
        model.series(&format!("map.sink.{}", self.texts.name), first_map)?;
        if !delimiter_map.is_empty() {
            let name = format!("map.sink-delimiter.{}", self.texts.name);
            model.series(&name, delimiter_map)?;
        }
        for (i, (first, [delimiter, other])) in first.into_iter().zip(by_key).enumerate() {
            let sample = &mut samples[self.texts.at[i]];
            let len = self.texts.tokens.ids[i].ids.len();
            let equal = (1..len).map(|q| 1.0 / (q + 1) as f64).sum::<f64>();
            sample.scalar("sink.expected", equal / (len - 1) as f64)?;
            sample.series("sink.first.by-layer", first)?;
            if delimiter.len() == self.layers {
                sample.series("sink.delimiter.by-layer", delimiter)?;
                sample.series("sink.other.by-layer", other)?;
            }
        }
        self.first_against_others(samples)
    }

    /// Queries, keys and values of position 0 beside the others'.
    fn first_against_others(&self, samples: &mut [Sample]) -> Result<(), ExperimentError> {
        let segments = self.trace.pack().segments();
        for (site, name) in [
            (BlockSite::Q, "q"),
            (BlockSite::K, "k"),
            (BlockSite::V, "v"),
        ] {
            let mut norms = vec![Vec::new(); segments.len()];
            let mut cosines = vec![Vec::new(); segments.len()];
            for layer in 0..self.layers {
                let tensor = self.trace.rows(site.at(layer))?;
                let heads = tensor.dim(1)?;
                // A row a token and head.
                let rows = Rows::new(&tensor.flatten(0, 1)?);
                let rows = rows.map_err(|e| self.failed(0, layer, e))?;
                let rows: Vec<&[f64]> = rows.iter().collect();
                for (i, segment) in segments.iter().enumerate() {
                    let (mut ratio, mut cosine) = (0.0, 0.0);
                    for h in 0..heads {
                        let at = |t: usize| rows[t * heads + h];
                        let first = at(segment.start);
                        let rest = segment.clone().skip(1);
                        let n = rest.len() as f64;
                        let size: f64 = rest.clone().map(|t| norm(at(t))).sum::<f64>() / n;
                        ratio += norm(first) / size;
                        for t in rest {
                            let along = dot(first, at(t)).map_err(|e| self.failed(i, layer, e))?;
                            cosine += along / (norm(first) * norm(at(t))) / n;
                        }
                    }
                    for (series, value) in [(&mut norms, ratio), (&mut cosines, cosine)] {
                        if !value.is_finite() {
                            let why = format!("{name} of some head is zero");
                            return Err(self.failed(i, layer, why));
                        }
                        series[i].push(value / heads as f64);
                    }
                }
            }
            for (i, (norms, cosines)) in norms.into_iter().zip(cosines).enumerate() {
                let sample = &mut samples[self.texts.at[i]];
                sample.series(&format!("sink.norm-{name}.by-layer"), norms)?;
                sample.series(&format!("sink.cosine-{name}.by-layer"), cosines)?;
            }
        }
        Ok(())
    }
}

/// Ids that stand for a delimiter alone; of a recording none are known.
fn delimiters(session: &Session, prompts: &PromptSet) -> Result<BTreeSet<u32>, ExperimentError> {
    // Recorded ids are known by no text of their own.
    if !session.has_model() {
        return Ok(BTreeSet::new());
    }
    // Behind a letter, as in a text: some tokenizers put a space before a first word.
    let of = |text: String| PromptSet {
        prompts: vec![Prompt {
            id: text.clone(),
            category: String::new(),
            text,
            tags: Default::default(),
        }],
        sha256: prompts.sha256.clone(),
    };
    let letter = session.tokenise(&of("a".to_owned()))?.ids;
    let mut found = BTreeSet::new();
    for delimiter in DELIMITERS {
        let both = session.tokenise(&of(format!("a{delimiter}")))?.ids;
        let (Some(letter), Some(both)) = (letter.first(), both.first()) else {
            continue;
        };
        if let Some([id]) = both.ids.strip_prefix(&letter.ids[..]) {
            found.insert(*id);
        }
    }
    Ok(found)
}
