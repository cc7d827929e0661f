//! The shape of activations over texts and sets.
//!
//! Per text: `influence.own.by-layer`, `influence.others.by-layer` at
//! resid_post: the text's mean vector without position 0, less the mean over
//! sets, and its cosine with its own set's vector (made without the text, less
//! that mean) and the mean of its cosines with the other sets'; texts with a
//! length tag where at least two sets have them, else all.
//! `warping.<site>.own`, `.others` mean normalised warping distance
//! (distance / sqrt of the path's steps) of its profile, the log norms of all
//! layers by token, to the texts of its own set and of the others, band a
//! quarter of the longer text.
//!
//! Of the model: `map.barycentre.<site>.<set>` the DTW barycentre of the set's
//! profiles, mean over layers, by position; `map.aligned.<site>.<set>` the plain
//! mean of stretched profiles, and `.gain` the share of the warping inertia that
//! the barycentre saves. `spectrum.<site>.rank` effective rank by layer of the
//! covariance over a sample of tokens (position 0 left out),
//! `spectrum.<site>.<quarter>` the leading shares of variance at five depths,
//! `spectrum.first.rank` that of resid_post with the first tokens in;
//! `cka.resid-post` CKA of all layer pairs, `cka.attn-mlp` of both at a layer.

use assay_experiment::ExperimentError;
use assay_geometry::{
    Gram, Rows, barycentre, covariance_spectrum, dot, dtw, effective_rank, linear_cka, norm,
    stretch,
};
use assay_hook_site::BlockSite;
use assay_record::Sample;
use candle_core::{Device, Tensor};

use super::{Measuring, SITES, Texts, failed, median};

/// Tokens whose covariance is taken, over all sets.
const TOKENS: usize = 192;

/// Leading shares of variance that are kept.
const SHARES: usize = 48;

/// Most texts of a set whose profiles are warped on one another.
const WARPED: usize = 24;

/// Rounds of barycentre averaging.
const ROUNDS: usize = 10;

/// A text's log norms: [token][layer], by site.
type Profile = Vec<Vec<f64>>;

/// What one text leaves behind.
struct Kept {
    set: usize,
    text: usize,
    profiles: Vec<Profile>,
    /// [layer][d_model], resid_post.
    mean: Vec<Vec<f64>>,
}

/// Gathered set by set.
#[derive(Default)]
pub(super) struct Shape {
    sets: usize,
    kept: Vec<Kept>,
    /// [site][layer] rows of single tokens, then those with first tokens.
    rows: Vec<Vec<Vec<Vec<f64>>>>,
    with_first: Vec<Vec<Vec<f64>>>,
}

impl Shape {
    pub(super) fn add(&mut self, cx: &Measuring) -> Result<(), ExperimentError> {
        let segments = cx.trace.pack().segments();
        let first = self.kept.len();
        for text in 0..segments.len() {
            self.kept.push(Kept {
                set: self.sets,
                text,
                profiles: vec![Vec::new(); SITES.len()],
                mean: Vec::new(),
            });
        }
        self.rows.resize_with(SITES.len(), Vec::new);
        for (s, (site, _)) in SITES.into_iter().enumerate() {
            for l in 0..cx.layers {
                let rows = cx.rows(site, l)?;
                let rows: Vec<&[f64]> = rows.iter().collect();
                for (text, segment) in segments.iter().enumerate() {
                    let kept = &mut self.kept[first + text];
                    kept.profiles[s].resize_with(segment.len(), Vec::new);
                    for (profile, t) in kept.profiles[s].iter_mut().zip(segment.clone()) {
                        profile.push(cx.log(text, l, norm(rows[t]))?);
                    }
                    if site == BlockSite::ResidPost {
                        let own = &rows[segment.start + 1..segment.end];
                        kept.mean.push(mean_of(own));
                    }
                }
                // A quarter of the sample each, four sets being usual.
                let inner: Vec<usize> = segments.iter().flat_map(|s| s.start + 1..s.end).collect();
                let all: Vec<usize> = (0..rows.len()).collect();
                let take = |from: &[usize]| -> Vec<Vec<f64>> {
                    let n = (TOKENS / 4).min(from.len());
                    let spread = (0..n).map(|i| from[i * from.len() / n]);
                    spread.map(|t| rows[t].to_vec()).collect()
                };
                let by_layer = &mut self.rows[s];
                by_layer.resize_with(cx.layers, Vec::new);
                by_layer[l].extend(take(&inner));
                if site == BlockSite::ResidPost {
                    self.with_first.resize_with(cx.layers, Vec::new);
                    self.with_first[l].extend(take(&all));
                }
            }
        }
        self.sets += 1;
        Ok(())
    }

    pub(super) fn finish(
        &self,
        name: &str,
        sets: &[Texts],
        samples: &mut [Sample],
        model: &mut Sample,
    ) -> Result<(), ExperimentError> {
        self.influence(name, sets, samples)?;
        self.warping(name, sets, samples, model)?;
        let fail = |l: usize, e: String| failed(name, &sets[0], 0, l, e);
        let of = |rows: &[Vec<f64>], l: usize| -> Result<Rows, ExperimentError> {
            let width = rows.first().map_or(0, Vec::len);
            let tensor = Tensor::from_vec(rows.concat(), (rows.len(), width), &Device::Cpu)?;
            Rows::new(&tensor).map_err(|e| fail(l, e.to_string()))
        };
        let spectra = |rows: &[Vec<Vec<f64>>]| -> Result<Vec<Vec<f64>>, ExperimentError> {
            let one = |(l, rows): (usize, &Vec<Vec<f64>>)| {
                covariance_spectrum(&of(rows, l)?).map_err(|e| fail(l, e.to_string()))
            };
            rows.iter().enumerate().map(one).collect()
        };
        let ranks = |spectra: &[Vec<f64>]| -> Result<Vec<f64>, ExperimentError> {
            let one =
                |(l, s): (usize, &Vec<f64>)| effective_rank(s).map_err(|e| fail(l, e.to_string()));
            spectra.iter().enumerate().map(one).collect()
        };
        for (s, (_, site)) in SITES.into_iter().enumerate() {
            let found = spectra(&self.rows[s])?;
            model.series(&format!("spectrum.{site}.rank"), ranks(&found)?)?;
            for quarter in 0..=4 {
                let spectrum = &found[quarter * (found.len() - 1) / 4];
                let total: f64 = spectrum.iter().sum();
                let shares = spectrum.iter().take(SHARES).map(|v| v / total);
                model.series(&format!("spectrum.{site}.{quarter}"), shares.collect())?;
            }
        }
        model.series("spectrum.first.rank", ranks(&spectra(&self.with_first)?)?)?;
        let tokens = self.rows[0].first().map_or(0, Vec::len);
        model.scalar("spectrum.tokens", tokens as f64)?;

        let grams = |site: usize| -> Result<Vec<Gram>, ExperimentError> {
            let one = |(l, rows): (usize, &Vec<Vec<f64>>)| {
                Gram::centred(&of(rows, l)?).map_err(|e| fail(l, e.to_string()))
            };
            self.rows[site].iter().enumerate().map(one).collect()
        };
        let resid = grams(2)?;
        let mut cka = Vec::new();
        for (l, a) in resid.iter().enumerate() {
            for b in &resid {
                cka.push(linear_cka(a, b).map_err(|e| fail(l, e.to_string()))?);
            }
        }
        model.series("cka.resid-post", cka)?;
        let both = grams(0)?.into_iter().zip(grams(1)?).enumerate();
        let both: Result<Vec<f64>, ExperimentError> = both
            .map(|(l, (a, m))| linear_cka(&a, &m).map_err(|e| fail(l, e.to_string())))
            .collect();
        model.series("cka.attn-mlp", both?)?;
        Ok(())
    }

    /// Is what remains without the common mean the set's own?
    fn influence(
        &self,
        name: &str,
        sets: &[Texts],
        samples: &mut [Sample],
    ) -> Result<(), ExperimentError> {
        let tagged = |k: &Kept| sets[k.set].prompts.prompts[k.text].tag("length").is_some();
        let with: std::collections::BTreeSet<usize> = self
            .kept
            .iter()
            .filter(|k| tagged(k))
            .map(|k| k.set)
            .collect();
        let lengths = with.len() >= 2;
        let kept: Vec<&Kept> = (self.kept.iter())
            .filter(|k| !lengths || tagged(k))
            .collect();
        let layers = kept.first().map_or(0, |k| k.mean.len());
        let by_set: Vec<Vec<&Kept>> = (0..sets.len())
            .map(|s| kept.iter().copied().filter(|k| k.set == s).collect())
            .filter(|texts: &Vec<&Kept>| texts.len() >= 2)
            .collect();
        if by_set.len() < 2 {
            return Ok(());
        }
        for (own, texts) in by_set.iter().enumerate() {
            for one in texts {
                let (mut to_own, mut to_others) = (Vec::new(), Vec::new());
                for l in 0..layers {
                    // Set means, this text left out.
                    let means: Vec<Vec<f64>> = (by_set.iter())
                        .map(|texts| {
                            let rest = texts.iter().filter(|k| !std::ptr::eq(**k, *one));
                            mean_of(&rest.map(|k| &k.mean[l][..]).collect::<Vec<_>>())
                        })
                        .collect();
                    let common = mean_of(&means.iter().map(|m| &m[..]).collect::<Vec<_>>());
                    let less = |x: &[f64]| -> Vec<f64> {
                        x.iter().zip(&common).map(|(x, c)| x - c).collect()
                    };
                    let rest = less(&one.mean[l]);
                    let mut cosines = Vec::new();
                    for mean in &means {
                        let vector = less(mean);
                        let along = dot(&rest, &vector);
                        let along =
                            along.map_err(|e| failed(name, &sets[one.set], one.text, l, e))?;
                        let cosine = along / (norm(&rest) * norm(&vector));
                        if !cosine.is_finite() {
                            let why = "a set's vector is zero";
                            return Err(failed(name, &sets[one.set], one.text, l, why));
                        }
                        cosines.push(cosine);
                    }
                    let own_cosine = cosines.remove(own);
                    to_own.push(own_cosine);
                    to_others.push(cosines.iter().sum::<f64>() / cosines.len() as f64);
                }
                let sample = &mut samples[sets[one.set].at[one.text]];
                sample.series("influence.own.by-layer", to_own)?;
                sample.series("influence.others.by-layer", to_others)?;
            }
        }
        Ok(())
    }

    fn warping(
        &self,
        name: &str,
        sets: &[Texts],
        samples: &mut [Sample],
        model: &mut Sample,
    ) -> Result<(), ExperimentError> {
        let by_set: Vec<Vec<&Kept>> = (0..sets.len())
            .map(|s| {
                let own = self.kept.iter().filter(|k| k.set == s);
                own.take(WARPED).collect()
            })
            .collect();
        let all: Vec<&Kept> = by_set.iter().flatten().copied().collect();
        let band = |a: &Profile, b: &Profile| a.len().max(b.len()).div_ceil(4);
        for (s, (_, site)) in SITES.into_iter().enumerate() {
            let mut sums = vec![[(0.0, 0usize); 2]; all.len()];
            for (i, a) in all.iter().enumerate() {
                for (j, b) in all.iter().enumerate().take(i) {
                    let (x, y) = (&a.profiles[s], &b.profiles[s]);
                    let found = dtw(x, y, band(x, y));
                    let found = found.map_err(|e| failed(name, &sets[a.set], a.text, 0, e))?;
                    let distance = found.distance / (found.path.len() as f64).sqrt();
                    let kind = usize::from(a.set != b.set);
                    for k in [i, j] {
                        sums[k][kind].0 += distance;
                        sums[k][kind].1 += 1;
                    }
                }
            }
            for (one, sums) in all.iter().zip(sums) {
                let sample = &mut samples[sets[one.set].at[one.text]];
                for (what, (sum, n)) in ["own", "others"].iter().zip(sums) {
                    if n > 0 {
                        sample.scalar(&format!("warping.{site}.{what}"), sum / n as f64)?;
                    }
                }
            }
            for (texts, set) in by_set.iter().zip(sets) {
                let profiles: Vec<Profile> = texts.iter().map(|k| k.profiles[s].clone()).collect();
                let length = median(profiles.iter().map(Vec::len).collect());
                let fail = |e: assay_geometry::GeometryError| failed(name, set, 0, 0, e);
                let longest = profiles.iter().map(Vec::len).max().unwrap_or(length);
                let found = barycentre(&profiles, length, longest.div_ceil(4), ROUNDS);
                let found = found.map_err(fail)?;
                let over_layers = |rows: &[Vec<f64>]| -> Vec<f64> {
                    let mean = |row: &Vec<f64>| row.iter().sum::<f64>() / row.len() as f64;
                    rows.iter().map(mean).collect()
                };
                let mut aligned = vec![0.0; length];
                for profile in &profiles {
                    let stretched = stretch(profile, length).map_err(fail)?;
                    for (sum, v) in aligned.iter_mut().zip(over_layers(&stretched)) {
                        *sum += v / profiles.len() as f64;
                    }
                }
                let id = format!("{site}.{}", set.name);
                model.series(&format!("map.barycentre.{id}"), over_layers(&found.centre))?;
                model.series(&format!("map.aligned.{id}"), aligned)?;
                let ends = found.inertia.first().zip(found.inertia.last());
                if let Some((before, after)) = ends.filter(|(before, _)| **before > 0.0) {
                    model.scalar(&format!("map.barycentre.{id}.gain"), 1.0 - after / before)?;
                }
            }
        }
        Ok(())
    }
}

/// Mean of rows that are equally long.
fn mean_of(rows: &[&[f64]]) -> Vec<f64> {
    let mut mean = vec![0.0; rows.first().map_or(0, |r| r.len())];
    for row in rows {
        for (sum, v) in mean.iter_mut().zip(*row) {
            *sum += v / rows.len() as f64;
        }
    }
    mean
}
