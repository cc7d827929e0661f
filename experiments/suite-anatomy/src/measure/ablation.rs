//! Counterfactuals: what the model loses when a site's activation is replaced.
//!
//! The mean activation VECTOR at an aligned position: every text of a length
//! tag is stretched to the median length of that tag's texts, averaged within
//! its set, and the sets are averaged with equal weights; at a token the mean
//! is read back at the token's relative position. On a part of each set with
//! length tags, by site and, in the series, at the blocks of `ablation.layers`:
//!
//! - `ablation.<site>.<kind>.kl` mean over positions of KL in nats of the plain
//!   next-token distribution from the changed one; `.loss` change of the mean
//!   next-token loss. Kinds: `subtract` a - mean, `subtract-others` a - mean of
//!   the other sets (the set's own influence alone), `mean` the mean, `zero`
//!   nothing, `resample` another text's activation, stretched
//! - `ablation.embedding.<kind>` the same, what enters block 0 replaced by the
//!   mean over all tokens of all texts (`mean`) or reduced by it (`subtract`)
//! - `ablation.scalar.<site>`, `ablation.vector.<site>` mean over tokens of
//!   ||a| - mean of |a|| and of |a - mean of a| (E12), at those blocks

use std::collections::{BTreeMap, BTreeSet};

use assay_decoder::{NoHooks, Pack};
use assay_experiment::{ExperimentError, Session};
use assay_geometry::Rows;
use assay_hook_site::{BlockSite, HookSite};
use assay_record::Sample;
use assay_trace::{Edit, Stage, Trace, record, record_blocks};
use candle_core::{DType, Device, Tensor};

use super::outcome::Outcome;
use super::{Measuring, SITES, Texts, failed, ids_of, median, part};

/// Tokens of each set whose activations are replaced.
const TOKENS: usize = 64;

const KINDS: [&str; 5] = ["subtract", "subtract-others", "mean", "zero", "resample"];

/// Sums over a set's texts of one length, stretched: vectors and norms.
type Key = (String, String, BlockSite, usize);

/// Mean activation vectors of every set, by length tag, site and layer.
pub(super) struct Means {
    /// Positions of each length tag.
    lengths: BTreeMap<String, usize>,
    /// [positions, d_model + 1]: the vector and, last, its norm.
    sums: BTreeMap<Key, (Tensor, usize)>,
}

fn length(texts: &Texts, text: usize) -> Option<&str> {
    texts.prompts.prompts[text].tag("length")
}

impl Means {
    pub(super) fn new(sets: &[Texts]) -> Self {
        let mut tokens: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for texts in sets {
            for (i, ids) in texts.tokens.ids.iter().enumerate() {
                if let Some(tag) = length(texts, i) {
                    tokens
                        .entry(tag.to_owned())
                        .or_default()
                        .push(ids.ids.len());
                }
            }
        }
        Self {
            lengths: tokens.into_iter().map(|(t, n)| (t, median(n))).collect(),
            sums: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, cx: &Measuring) -> Result<(), ExperimentError> {
        for i in 0..cx.texts.tokens.ids.len() {
            let Some(tag) = length(cx.texts, i) else {
                continue;
            };
            let positions = self.lengths[tag];
            for (site, _) in SITES {
                for l in 0..cx.layers {
                    let rows = with_norm(&cx.trace.prompt(site.at(l), i)?)?;
                    let stretched =
                        weights(rows.dim(0)?, positions, rows.dtype())?.matmul(&rows)?;
                    let key = (cx.texts.name.clone(), tag.to_owned(), site, l);
                    let sum = match self.sums.remove(&key) {
                        Some((sum, n)) => ((sum + stretched)?, n + 1),
                        None => (stretched, 1),
                    };
                    self.sums.insert(key, sum);
                }
            }
        }
        Ok(())
    }

    /// Mean over sets, all or all but one, at the positions of a text of `len`
    /// tokens: [len, d_model + 1]. None if no set is left.
    fn at(
        &self,
        (tag, site, layer): (&str, BlockSite, usize),
        without: Option<&str>,
        len: usize,
    ) -> Result<Option<Tensor>, ExperimentError> {
        let fits = |key: &&Key| {
            key.1 == tag && key.2 == site && key.3 == layer && without != Some(key.0.as_str())
        };
        let mut total: Option<Tensor> = None;
        let mut sets = 0.0;
        for (_, (sum, n)) in self.sums.iter().filter(|(key, _)| fits(key)) {
            let mean = (sum / *n as f64)?;
            total = Some(match total {
                Some(total) => (total + mean)?,
                None => mean,
            });
            sets += 1.0;
        }
        let Some(total) = total else {
            return Ok(None);
        };
        let mean = (total / sets)?;
        Ok(Some(
            weights(mean.dim(0)?, len, mean.dtype())?.matmul(&mean)?,
        ))
    }
}

/// Rows with their norm as one more column.
fn with_norm(rows: &Tensor) -> candle_core::Result<Tensor> {
    let norm = rows.sqr()?.sum_keepdim(1)?.sqrt()?;
    Tensor::cat(&[rows, &norm], 1)
}

/// Reads `from` rows at `to` equally spaced places from the first to the last,
/// linearly between rows: [to, from].
fn weights(from: usize, to: usize, dtype: DType) -> candle_core::Result<Tensor> {
    let mut all = vec![0f32; from * to];
    for i in 0..to {
        let place = if to > 1 {
            i as f64 * (from - 1) as f64 / (to - 1) as f64
        } else {
            0.0
        };
        let low = (place.floor() as usize).min(from - 1);
        let share = place - low as f64;
        all[i * from + low] += (1.0 - share) as f32;
        if low + 1 < from {
            all[i * from + low + 1] += share as f32;
        }
    }
    Tensor::from_vec(all, (to, from), &Device::Cpu)?.to_dtype(dtype)
}

/// A text of a set.
struct Chosen<'a> {
    texts: &'a Texts,
    text: usize,
    tag: &'a str,
}

/// What the plain run says, and where its numbers go.
struct Plain<'a> {
    pack: &'a Pack,
    chosen: &'a [Chosen<'a>],
    /// Rows that have a next token.
    rows: Tensor,
    outcome: Outcome,
}

impl Plain<'_> {
    fn read(&self, session: &Session, resid: &Tensor) -> Result<Outcome, ExperimentError> {
        let logits = session
            .decoder()?
            .logits(&resid.index_select(&self.rows, 0)?)?;
        let first = &self.chosen[0];
        let fail = |e| failed(session.model(), first.texts, first.text, 0, e);
        Outcome::new(&logits).map_err(fail)
    }

    /// Mean KL and change of mean loss of every text.
    fn change(&self, session: &Session, resid: &Tensor) -> Result<Vec<[f64; 2]>, ExperimentError> {
        let changed = self.read(session, resid)?;
        let kl = self.outcome.kl(&changed);
        let mut row = 0;
        let mut all = Vec::new();
        for segment in self.pack.segments() {
            let n = segment.len() - 1;
            let mut sums = [0.0; 2];
            for t in 0..n {
                let next = self.pack.ids()[segment.start + t + 1];
                sums[0] += kl[row] / n as f64;
                let (new, old) = (changed.loss(row, next), self.outcome.loss(row, next));
                sums[1] += (new - old) / n as f64;
                row += 1;
            }
            all.push(sums);
        }
        Ok(all)
    }
}

pub(super) fn measure(
    session: &mut Session,
    sets: &[Texts],
    means: &Means,
    samples: &mut [Sample],
    model: &mut Sample,
) -> Result<(), ExperimentError> {
    let mut chosen = Vec::new();
    let mut ids = Vec::new();
    for texts in sets {
        for text in part(texts, TOKENS) {
            if let Some(tag) = length(texts, text) {
                chosen.push(Chosen { texts, text, tag });
                ids.extend(ids_of(texts, &[text]));
            }
        }
    }
    if chosen.is_empty() {
        return Ok(());
    }
    let pack = Pack::new(&ids)?;
    let layers = session.config().n_layers;
    let grid: BTreeSet<usize> = (0..=4).map(|q| q * (layers - 1) / 4).collect();
    let kinds = SITES.map(|s| s.0).into_iter().chain([BlockSite::ResidPre]);
    let sites: BTreeSet<HookSite> = kinds
        .flat_map(|k| (0..layers).map(move |l| k.at(l)))
        .collect();
    let trace = record(session.decoder()?, &pack, &sites, Vec::new())?;
    let rows: Vec<u32> = (pack.segments().iter())
        .flat_map(|s| s.start as u32..s.end as u32 - 1)
        .collect();
    let end = trace.rows(BlockSite::ResidPost.at(layers - 1))?;
    let rows = Tensor::new(rows, &Device::Cpu)?;
    let logits = session.decoder()?.logits(&end.index_select(&rows, 0)?)?;
    let fail = |name: &str, e: String| failed(name, chosen[0].texts, chosen[0].text, 0, e);
    let plain = Plain {
        pack: &pack,
        chosen: &chosen,
        rows,
        outcome: Outcome::new(&logits).map_err(|e| fail(session.model(), e.to_string()))?,
    };
    model.series("ablation.layers", grid.iter().map(|l| *l as f64).collect())?;
    let mut write = |name: &str, by_layer: Vec<Vec<[f64; 2]>>| -> Result<(), ExperimentError> {
        for (c, one) in chosen.iter().enumerate() {
            let sample = &mut samples[one.texts.at[one.text]];
            for (part, what) in ["kl", "loss"].iter().enumerate() {
                let values = by_layer.iter().map(|texts| texts[c][part]).collect();
                sample.series(&format!("{name}.{what}"), values)?;
            }
        }
        Ok(())
    };
    let total = (SITES.len() * KINDS.len() * grid.len()) as u64;
    let stage = "suite-anatomy: replacing activations";
    let mut done = 0;
    let none = BTreeSet::new();
    let mut distances: BTreeMap<(&str, usize), Vec<[f64; 2]>> = BTreeMap::new();
    for (site, site_name) in SITES {
        for kind in KINDS {
            let mut by_layer = Vec::new();
            for l in grid.iter().copied() {
                session.progress(stage, done, total);
                done += 1;
                let Some(new) = replaced(&trace, means, &chosen, (site, l), kind)? else {
                    break;
                };
                if kind == "subtract" {
                    let found = e12(&trace, means, &chosen, (site, l))?;
                    for (c, pair) in found.into_iter().enumerate() {
                        distances.entry((site_name, c)).or_default().push(pair);
                    }
                }
                let resid = if site == BlockSite::ResidPost {
                    let from = Stage::From(l + 1..layers, &new);
                    record_blocks(session.decoder()?, &pack, from, &none, Vec::new())?.1
                } else {
                    let edit = Edit::new(site.at(l), move |_, _| Ok(new.clone()));
                    let from = Stage::From(l..layers, trace.rows(BlockSite::ResidPre.at(l))?);
                    record_blocks(session.decoder()?, &pack, from, &none, vec![edit])?.1
                };
                by_layer.push(plain.change(session, &resid)?);
            }
            if by_layer.len() == grid.len() {
                write(&format!("ablation.{site_name}.{kind}"), by_layer)?;
            }
        }
    }
    // What enters block 0.
    let embedded = trace.rows(BlockSite::ResidPre.at(0))?;
    let mut mean: Option<Tensor> = None;
    let mut tokens = 0.0;
    for texts in sets {
        let x = session.decoder()?.embed(&texts.tokens.pack, &mut NoHooks)?;
        tokens += x.dim(0)? as f64;
        let sum = x.sum_keepdim(0)?;
        mean = Some(match mean {
            Some(mean) => (mean + sum)?,
            None => sum,
        });
    }
    if let Some(mean) = mean {
        let mean = (mean / tokens)?;
        for (kind, new) in [
            ("mean", mean.broadcast_as(embedded.shape())?.contiguous()?),
            ("subtract", embedded.broadcast_sub(&mean)?),
        ] {
            let from = Stage::From(0..layers, &new);
            let resid = record_blocks(session.decoder()?, &pack, from, &none, Vec::new())?.1;
            let change = plain.change(session, &resid)?;
            write(&format!("ablation.embedding.{kind}"), vec![change])?;
        }
    }
    session.progress(stage, total, total);
    for ((site, c), pairs) in distances {
        let one = &chosen[c];
        let sample = &mut samples[one.texts.at[one.text]];
        for (part, what) in ["scalar", "vector"].iter().enumerate() {
            let values = pairs.iter().map(|p| p[part]).collect();
            sample.series(&format!("ablation.{what}.{site}"), values)?;
        }
    }
    Ok(())
}

/// The value [tokens, d_model] to go on with; None where it has none.
fn replaced(
    trace: &Trace,
    means: &Means,
    chosen: &[Chosen],
    (site, layer): (BlockSite, usize),
    kind: &str,
) -> Result<Option<Tensor>, ExperimentError> {
    let mut all = Vec::new();
    for (c, one) in chosen.iter().enumerate() {
        let own = trace.prompt(site.at(layer), c)?;
        let (len, width) = own.dims2()?;
        let mean = |without: Option<&str>| -> Result<Option<Tensor>, ExperimentError> {
            let mean = means.at((one.tag, site, layer), without, len)?;
            Ok(mean.map(|m| m.narrow(1, 0, width)).transpose()?)
        };
        all.push(match kind {
            "zero" => own.zeros_like()?,
            "resample" => {
                let donor = trace.prompt(site.at(layer), (c + 1) % chosen.len())?;
                weights(donor.dim(0)?, len, donor.dtype())?.matmul(&donor.contiguous()?)?
            }
            _ => {
                let without = (kind == "subtract-others").then_some(one.texts.name.as_str());
                let Some(mean) = mean(without)? else {
                    return Ok(None);
                };
                if kind == "mean" {
                    mean.contiguous()?
                } else {
                    (own - mean)?
                }
            }
        });
    }
    Ok(Some(Tensor::cat(&all, 0)?))
}

/// Mean over tokens of ||a| - mean |a|| and of |a - mean a|, for every text.
fn e12(
    trace: &Trace,
    means: &Means,
    chosen: &[Chosen],
    (site, layer): (BlockSite, usize),
) -> Result<Vec<[f64; 2]>, ExperimentError> {
    let mut all = Vec::new();
    for (c, one) in chosen.iter().enumerate() {
        let own = with_norm(&trace.prompt(site.at(layer), c)?)?;
        let (len, columns) = own.dims2()?;
        let Some(mean) = means.at((one.tag, site, layer), None, len)? else {
            continue;
        };
        let rest = (own - mean)?;
        let at = |rows: Tensor| -> Result<f64, ExperimentError> {
            let rows = Rows::new(&rows.contiguous()?);
            let rows = rows.map_err(|e| ExperimentError::Measure {
                model: one.texts.name.clone(),
                prompt: one.texts.prompts.prompts[one.text].id.clone(),
                layer,
                reason: e.to_string(),
            })?;
            Ok(rows.norms().iter().sum::<f64>() / len as f64)
        };
        let scalar = at(rest.narrow(1, columns - 1, 1)?)?;
        all.push([scalar, at(rest.narrow(1, 0, columns - 1)?)?]);
    }
    Ok(all)
}
