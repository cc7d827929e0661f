//! What is measured on one model. x is the residual entering a block, A and M
//! what attention and MLP add to it; series have an entry a block.
//!
//! Per prompt:
//! - `gain.by-layer` |x + A + M| / |x| at the last token
//! - `split.*.by-layer` the terms of |x + A + M|² / |x|² there
//! - `ratio.attn.by-layer`, `ratio.mlp.by-layer` mean over tokens of |A|/|x|, |M|/|x|
//! - `norm.*.by-layer` mean over tokens of |A|, |M| and of what either is fed
//!   behind its norm (erratum E23)
//! - `cos.attn-mlp.by-layer`, `cos.x-attn.by-layer`, `cos.x-mlp.by-layer` mean
//!   over tokens from position 1 on
//! - `removed.own.by-layer`, `removed.other.by-layer` cos(A, M) less the means
//!   over all prompts' tokens: of the same token, and of different ones
//! - `surgery.*` see [`crate::surgery`]
//!
//! Of recorded activations there is neither surgery nor what a sublayer is fed
//! behind its norm; a set of which the recording has no prompt is left out.
//!
//! The set as a whole (unit "SET.all"): `null-sd.by-layer` standard deviation of
//! the mean cos(A, M) over all tokens when A is turned by a random rotation.

use std::collections::BTreeMap;

use assay_experiment::{ExperimentError, Session, Tokenised, blank_samples};
use assay_geometry::{
    GeometryError, Rows, cosine, dot, matched_cosines, mean_row, norm, ratio, split,
};
use assay_hook_site::BlockSite;
use assay_record::{PromptSet, Sample};
use assay_trace::Trace;
use candle_core::Tensor;

use crate::surgery;

/// Tokens that a prompt needs: two beyond position 0 have an angle to others.
const MIN_TOKENS: usize = 3;

pub(crate) fn plan(session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
    let mut sites = vec![
        "blocks.*.hook_resid_pre",
        "blocks.*.hook_resid_post",
        "blocks.*.hook_attn_out",
        "blocks.*.hook_mlp_out",
    ];
    if session.has_model() {
        sites.push("blocks.*.hook_mlp_in");
    }
    for set in held_sets(session, prompts)? {
        let tokens = session.tokenise(&set)?;
        if let Some(i) = tokens.ids.iter().position(|t| t.ids.len() < MIN_TOKENS) {
            return Err(session.unsuitable(format!(
                "cuts prompt {} into {} tokens, and angles between tokens need {MIN_TOKENS}",
                set.prompts[i].id,
                tokens.ids[i].ids.len()
            )));
        }
        session.plan(&tokens.pack, &sites)?;
    }
    Ok(())
}

/// The sets of prompts that can be measured.
fn held_sets(session: &Session, prompts: &PromptSet) -> Result<Vec<PromptSet>, ExperimentError> {
    let sets = prompts.values_of("set");
    let sets = sets.into_iter().map(|name| prompts.with_tag("set", name));
    let held: Vec<PromptSet> = sets.filter(|set| session.holds(set)).collect();
    if held.is_empty() && !session.has_model() {
        return Err(session.unsuitable("has none of this experiment's prompts"));
    }
    Ok(held)
}

pub(crate) fn measure(
    session: &mut Session,
    prompts: &PromptSet,
) -> Result<Vec<Sample>, ExperimentError> {
    let mut samples = Vec::new();
    for set in held_sets(session, prompts)? {
        let name = set.prompts.first().and_then(|p| p.tags.get("set"));
        let name = name.cloned().unwrap_or_default();
        let tokens = session.tokenise(&set)?;
        let trace = session.trace(&tokens.pack)?;
        let mut measured = blank_samples(&set, &tokens);
        let null = blocks(session, &set, &tokens, &trace, &mut measured)?;
        if session.has_model() {
            surgery::measure(session, &tokens, &trace, &mut measured)?;
        }
        samples.extend(measured);
        let mut all = Sample {
            unit: format!("{name}.all"),
            cluster: String::new(),
            text: String::new(),
            token_ids: Vec::new(),
            special_tokens: 0,
            tags: BTreeMap::from([("set".to_owned(), format!("{name}.all"))]),
            measures: BTreeMap::new(),
        };
        all.series("null-sd.by-layer", null)?;
        samples.push(all);
    }
    Ok(samples)
}

/// Rows of one site of a prompt.
type Part<'a> = Vec<&'a [f64]>;

/// Measures every block; gives the null's standard deviation by block.
fn blocks(
    session: &mut Session,
    set: &PromptSet,
    tokens: &Tokenised,
    trace: &Trace,
    samples: &mut [Sample],
) -> Result<Vec<f64>, ExperimentError> {
    let n_layers = session.config().n_layers;
    let model = session.model().to_owned();
    let mut series: Vec<BTreeMap<&'static str, Vec<f64>>> = vec![BTreeMap::new(); samples.len()];
    let mut null = Vec::new();
    for layer in 0..n_layers {
        session.progress("pythia-anomaly: angles", layer as u64, n_layers as u64);
        let failed = |prompt: usize, e: GeometryError| ExperimentError::Measure {
            model: model.clone(),
            prompt: set
                .prompts
                .get(prompt)
                .map_or_else(String::new, |p| p.id.clone()),
            layer,
            reason: e.to_string(),
        };
        let rows = |site: BlockSite| -> Result<Rows, ExperimentError> {
            Rows::new(trace.rows(site.at(layer))?).map_err(|e| failed(0, e))
        };
        let [x, post, a, m] = [
            rows(BlockSite::ResidPre)?,
            rows(BlockSite::ResidPost)?,
            rows(BlockSite::AttnOut)?,
            rows(BlockSite::MlpOut)?,
        ];
        let fed = if session.has_model() {
            let fed = fed(session, trace, layer)?;
            let [attn, mlp] = fed.map(|f| Rows::new(&f).map_err(|e| failed(0, e)));
            Some([attn?, mlp?])
        } else {
            None
        };
        let (all_a, all_m) = (later(&a, tokens, None), later(&m, tokens, None));
        let centres = (
            mean_row(&all_a).map_err(|e| failed(0, e))?,
            mean_row(&all_m).map_err(|e| failed(0, e))?,
        );
        null.push(rotation_sd(&all_a, &all_m).map_err(|e| failed(0, e))?);
        for (i, series) in series.iter_mut().enumerate() {
            let block = Block {
                x: part(&x, tokens, i),
                post: part(&post, tokens, i),
                a: part(&a, tokens, i),
                m: part(&m, tokens, i),
            };
            let mut values = block.values().map_err(|e| failed(i, e))?;
            let own = (later(&a, tokens, Some(i)), later(&m, tokens, Some(i)));
            let removed = matched_cosines((&own.0, &centres.0), (&own.1, &centres.1));
            let removed = removed.map_err(|e| failed(i, e))?;
            values.push(("removed.own.by-layer", removed.own));
            values.push(("removed.other.by-layer", removed.other));
            if let Some([attn, mlp]) = &fed {
                values.push(("norm.attn-in.by-layer", mean_norm(&part(attn, tokens, i))));
                values.push(("norm.mlp-in.by-layer", mean_norm(&part(mlp, tokens, i))));
            }
            for (name, value) in values {
                series.entry(name).or_default().push(value);
            }
        }
    }
    for (sample, series) in samples.iter_mut().zip(series) {
        for (name, values) in series {
            sample.series(name, values)?;
        }
        sample.scalar("tokens", sample.token_ids.len() as f64)?;
    }
    Ok(null)
}

/// What attention and MLP are fed behind their norms.
fn fed(session: &Session, trace: &Trace, layer: usize) -> Result<[Tensor; 2], ExperimentError> {
    let found = session.decoder()?.sublayer_inputs(
        layer,
        trace.rows(BlockSite::ResidPre.at(layer))?,
        trace.rows(BlockSite::MlpIn.at(layer))?,
    )?;
    found.ok_or_else(|| session.unsuitable(format!("has no block {layer}")))
}

/// The rows of a prompt.
fn part<'a>(rows: &'a Rows, tokens: &Tokenised, prompt: usize) -> Part<'a> {
    let segment = tokens.pack.segments()[prompt].clone();
    segment.filter_map(|i| rows.get(i)).collect()
}

/// The rows from position 1 on, of one prompt or of all.
fn later<'a>(rows: &'a Rows, tokens: &Tokenised, prompt: Option<usize>) -> Part<'a> {
    let segments = tokens.pack.segments().iter().enumerate();
    let chosen = segments.filter(|(i, _)| prompt.is_none_or(|p| p == *i));
    chosen
        .flat_map(|(_, s)| s.start + 1..s.end)
        .filter_map(|i| rows.get(i))
        .collect()
}

fn mean_norm(rows: &[&[f64]]) -> f64 {
    rows.iter().map(|r| norm(r)).sum::<f64>() / rows.len() as f64
}

/// One block on one prompt.
struct Block<'a> {
    x: Part<'a>,
    post: Part<'a>,
    a: Part<'a>,
    m: Part<'a>,
}

impl Block<'_> {
    fn values(&self) -> Result<Vec<(&'static str, f64)>, GeometryError> {
        let last = self.x.len() - 1;
        let what = || "the residual's norm".to_owned();
        let split = split(self.x[last], self.a[last], self.m[last])?;
        let gain = ratio(norm(self.post[last]), norm(self.x[last]), what)?;
        let n = self.x.len() as f64;
        let over_x = |part: &Part| -> Result<f64, GeometryError> {
            let mut sum = 0.0;
            for (row, x) in part.iter().zip(&self.x) {
                sum += ratio(norm(row), norm(x), what)?;
            }
            Ok(sum / n)
        };
        let angle = |left: &Part, right: &Part| -> Result<f64, GeometryError> {
            let mut sum = 0.0;
            for (l, r) in left.iter().zip(right).skip(1) {
                sum += cosine(l, r)?;
            }
            Ok(sum / (n - 1.0))
        };
        Ok(vec![
            ("gain.by-layer", gain),
            ("split.attn.by-layer", split.attn),
            ("split.mlp.by-layer", split.mlp),
            ("split.x-attn.by-layer", split.x_attn),
            ("split.x-mlp.by-layer", split.x_mlp),
            ("split.attn-mlp.by-layer", split.attn_mlp),
            ("ratio.attn.by-layer", over_x(&self.a)?),
            ("ratio.mlp.by-layer", over_x(&self.m)?),
            ("norm.attn-out.by-layer", mean_norm(&self.a)),
            ("norm.mlp-out.by-layer", mean_norm(&self.m)),
            ("cos.attn-mlp.by-layer", angle(&self.a, &self.m)?),
            ("cos.x-attn.by-layer", angle(&self.x, &self.a)?),
            ("cos.x-mlp.by-layer", angle(&self.x, &self.m)?),
        ])
    }
}

/// Standard deviation of the mean of cos(Q a_t, m_t) over a random rotation Q:
/// ‖(1/n) Σ m̂_t â_tᵀ‖_F / √d, since the entries of Q are uncorrelated with
/// variance 1/d.
fn rotation_sd(a: &[&[f64]], m: &[&[f64]]) -> Result<f64, GeometryError> {
    let unit = |rows: &[&[f64]]| -> Result<Vec<Vec<f64>>, GeometryError> {
        rows.iter()
            .map(|row| {
                let length = norm(row);
                let what = || "the norm of what a block adds".to_owned();
                row.iter().map(|v| ratio(*v, length, what)).collect()
            })
            .collect()
    };
    let (a, m) = (unit(a)?, unit(m)?);
    let mut square = 0.0;
    for (i, (a_i, m_i)) in a.iter().zip(&m).enumerate() {
        square += 1.0;
        for (a_j, m_j) in a[..i].iter().zip(&m) {
            square += 2.0 * dot(a_i, a_j)? * dot(m_i, m_j)?;
        }
    }
    let (n, d) = (a.len() as f64, a.first().map_or(1, Vec::len) as f64);
    Ok((square.max(0.0) / d).sqrt() / n)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::rotation_sd;

    /// One pair in d dimensions: a random direction's cosine has variance 1/d.
    /// n equal pairs are one; n orthogonal ones average.
    #[test]
    fn the_null_of_random_rotations() {
        let axis =
            |i: usize| -> Vec<f64> { (0..9).map(|j| f64::from(u8::from(i == j)) * 3.0).collect() };
        let rows: Vec<Vec<f64>> = (0..4).map(axis).collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let third = 1.0 / 3.0;
        assert!((rotation_sd(&rows[..1], &rows[1..2]).unwrap() - third).abs() < 1e-15);
        let same = [rows[0]; 4];
        assert!((rotation_sd(&same, &same).unwrap() - third).abs() < 1e-15);
        assert!((rotation_sd(&rows, &rows).unwrap() - third / 2.0).abs() < 1e-15);
    }
}
