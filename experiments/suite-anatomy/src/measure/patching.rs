//! Attribution patching (Nanda 2023; Syed et al. 2023) beside true activation
//! patching (Meng et al. 2022), on pairs of texts that differ in some tokens.
//! The metric is the logit of the clean text's next word less that of the
//! corrupt one's, by their first tokens, after the last token of the clean
//! text. A patch puts the corrupt text's activation into the clean run.
//!
//! On the clean text's sample: `pair.clean`, `pair.corrupt` the metric of both
//! runs, and by layer the change of the metric by patching
//! (`patch.<where>.true`) and its estimate (a_corrupt - a_clean)·∂metric/∂a
//! (`patch.<where>.attribution`), where is `attn-out`, `mlp-out` (all
//! positions), `resid-post-changed` (the tokens that differ) or
//! `resid-post-last` (the last token); `patch.resid-post.attribution` is over
//! all positions, where patching is the corrupt run itself.
//! `pair.left-out` of the model counts the pairs that did not fit.

use std::collections::BTreeSet;

use assay_decoder::Pack;
use assay_experiment::{ExperimentError, Session};
use assay_hook_site::{BlockSite, HookSite};
use assay_record::{Prompt, PromptSet, Sample};
use assay_trace::{Edit, Stage, gradients, record, record_blocks};
use candle_core::{DType, Device, Tensor};

use super::{SITES, Texts};

/// A pair that can be patched.
struct Pair {
    /// Number of the clean text's sample.
    sample: usize,
    clean: Vec<u32>,
    corrupt: Vec<u32>,
    answer: u32,
    other: u32,
}

/// Which tokens a patch replaces.
#[derive(Clone, Copy, PartialEq)]
enum At {
    All,
    Changed,
    Last,
}

/// What is patched.
const PATCHES: [(&str, BlockSite, At); 4] = [
    ("attn-out", BlockSite::AttnOut, At::All),
    ("mlp-out", BlockSite::MlpOut, At::All),
    ("resid-post-changed", BlockSite::ResidPost, At::Changed),
    ("resid-post-last", BlockSite::ResidPost, At::Last),
];

pub(super) fn measure(
    session: &mut Session,
    sets: &[Texts],
    samples: &mut [Sample],
    model: &mut Sample,
) -> Result<(), ExperimentError> {
    let (mut pairs, mut left_out) = (Vec::new(), 0usize);
    for texts in sets {
        for pair in fitting(session, texts)? {
            match pair {
                Some(pair) => pairs.push(pair),
                None => left_out += 1,
            }
        }
    }
    model.scalar("pair.left-out", left_out as f64)?;
    model.scalar("pair.fitting", pairs.len() as f64)?;
    if pairs.is_empty() {
        return Ok(());
    }
    let layers = session.config().n_layers;
    let packed =
        |side: fn(&Pair) -> Vec<u32>| Pack::new(&pairs.iter().map(side).collect::<Vec<_>>());
    let (clean, corrupt) = (packed(|p| p.clean.clone())?, packed(|p| p.corrupt.clone())?);
    let sites = |kinds: &[BlockSite]| -> BTreeSet<HookSite> {
        let all = kinds.iter().flat_map(|k| (0..layers).map(|l| k.at(l)));
        all.collect()
    };
    let kinds = SITES.map(|s| s.0);
    let mut with_pre = kinds.to_vec();
    with_pre.push(BlockSite::ResidPre);
    let (from_clean, end) = record_to_end(session, &clean, &sites(&with_pre))?;
    let (from_corrupt, corrupt_end) = record_to_end(session, &corrupt, &sites(&kinds))?;
    let plain = metric(session, &clean, &end, &pairs)?;
    let other = metric(session, &corrupt, &corrupt_end, &pairs)?;
    for (pair, (plain, other)) in pairs.iter().zip(plain.iter().zip(&other)) {
        samples[pair.sample].scalar("pair.clean", *plain)?;
        samples[pair.sample].scalar("pair.corrupt", *other)?;
    }
    let (last, ids): (Vec<u32>, Vec<Vec<u32>>) = (clean.last_rows().into_iter())
        .zip(pairs.iter().map(|p| vec![p.answer, p.other]))
        .unzip();
    let (last, ids) = (
        Tensor::new(last, &Device::Cpu)?,
        Tensor::new(ids, &Device::Cpu)?,
    );
    let (_, slopes) = gradients(session.decoder()?, &clean, &sites(&kinds), &mut |logits| {
        let chosen = logits.index_select(&last, 0)?.gather(&ids, 1)?;
        chosen
            .narrow(1, 0, 1)?
            .sub(&chosen.narrow(1, 1, 1)?)?
            .sum_all()
    })?;

    let masks = |at: At| -> Result<Tensor, ExperimentError> {
        let mask = pairs.iter().flat_map(|p| {
            let n = p.clean.len();
            (0..n).map(move |t| match at {
                At::All => 1f32,
                At::Changed => f32::from(u8::from(p.clean[t] != p.corrupt[t])),
                At::Last => f32::from(u8::from(t + 1 == n)),
            })
        });
        let mask = Tensor::new(mask.collect::<Vec<f32>>(), &Device::Cpu)?;
        Ok(mask.to_dtype(end.dtype())?.unsqueeze(1)?)
    };
    let total = (PATCHES.len() * layers) as u64;
    let stage = "suite-anatomy: activation patching";
    let mut done = 0;
    let all = ("resid-post", BlockSite::ResidPost, At::All);
    for (name, site, at) in PATCHES.into_iter().chain([all]) {
        let mask = masks(at)?;
        let mut estimates = vec![Vec::new(); pairs.len()];
        let mut effects = vec![Vec::new(); pairs.len()];
        for l in 0..layers {
            let before = from_clean.rows(site.at(l))?;
            let change = (from_corrupt.rows(site.at(l))? - before)?.broadcast_mul(&mask)?;
            let along = (&change * slopes.rows(site.at(l))?)?.sum(1)?;
            let along = along.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            for (i, segment) in clean.segments().iter().enumerate() {
                estimates[i].push(along[segment.clone()].iter().sum::<f64>());
            }
            if at == At::All && site == BlockSite::ResidPost {
                continue;
            }
            session.progress(stage, done, total);
            done += 1;
            let patched = (before + change)?;
            let none = BTreeSet::new();
            let resid = if site == BlockSite::ResidPost {
                let stage = Stage::From(l + 1..layers, &patched);
                record_blocks(session.decoder()?, &clean, stage, &none, Vec::new())?.1
            } else {
                let edit = Edit::new(site.at(l), move |_, _| Ok(patched.clone()));
                let stage = Stage::From(l..layers, from_clean.rows(BlockSite::ResidPre.at(l))?);
                record_blocks(session.decoder()?, &clean, stage, &none, vec![edit])?.1
            };
            let found = metric(session, &clean, &resid, &pairs)?;
            for (i, (found, plain)) in found.iter().zip(&plain).enumerate() {
                effects[i].push(found - plain);
            }
        }
        for (i, (estimates, effects)) in estimates.into_iter().zip(effects).enumerate() {
            let sample = &mut samples[pairs[i].sample];
            sample.series(&format!("patch.{name}.attribution"), estimates)?;
            if !effects.is_empty() {
                sample.series(&format!("patch.{name}.true"), effects)?;
            }
        }
    }
    session.progress(stage, total, total);
    Ok(())
}

fn record_to_end(
    session: &Session,
    pack: &Pack,
    sites: &BTreeSet<HookSite>,
) -> Result<(assay_trace::Trace, Tensor), ExperimentError> {
    let trace = record(session.decoder()?, pack, sites, Vec::new())?;
    let layers = session.config().n_layers;
    let end = trace.rows(BlockSite::ResidPost.at(layers - 1))?.clone();
    Ok((trace, end))
}

/// The metric of every pair from the residual stream that leaves the last block.
fn metric(
    session: &Session,
    pack: &Pack,
    resid: &Tensor,
    pairs: &[Pair],
) -> Result<Vec<f64>, ExperimentError> {
    let last = Tensor::new(pack.last_rows(), &Device::Cpu)?;
    let logits = session.decoder()?.logits(&resid.index_select(&last, 0)?)?;
    let ids: Vec<Vec<u32>> = pairs.iter().map(|p| vec![p.answer, p.other]).collect();
    let chosen = logits.gather(&Tensor::new(ids, &Device::Cpu)?, 1)?;
    let chosen: Vec<Vec<f64>> = chosen.to_dtype(DType::F64)?.to_vec2()?;
    Ok(chosen.iter().map(|c| c[0] - c[1]).collect())
}

/// Every pair of a set, None where it cannot be patched: a side is missing,
/// token counts differ, or an answer has no first token of its own.
fn fitting(session: &Session, texts: &Texts) -> Result<Vec<Option<Pair>>, ExperimentError> {
    let prompts = &texts.prompts.prompts;
    let mut names: Vec<&str> = Vec::new();
    for prompt in prompts {
        if !names.contains(&prompt.category.as_str()) {
            names.push(&prompt.category);
        }
    }
    let side = |name: &str, role: &str| {
        let fits = |p: &Prompt| p.category == name && p.tag("role") == Some(role);
        prompts.iter().position(fits)
    };
    let mut pairs = Vec::new();
    for name in names {
        let (Some(clean), Some(corrupt)) = (side(name, "clean"), side(name, "corrupt")) else {
            pairs.push(None);
            continue;
        };
        let ids = |i: usize| texts.tokens.ids[i].ids.clone();
        let mut first = [None; 2];
        for (first, tag) in first.iter_mut().zip(["answer", "other"]) {
            *first = next_token(session, &texts.prompts, clean, tag)?;
        }
        let (clean_ids, corrupt_ids) = (ids(clean), ids(corrupt));
        let fits = clean_ids.len() == corrupt_ids.len() && clean_ids != corrupt_ids;
        pairs.push(match first {
            [Some(answer), Some(other)] if fits && answer != other => Some(Pair {
                sample: texts.at[clean],
                clean: clean_ids,
                corrupt: corrupt_ids,
                answer,
                other,
            }),
            _ => None,
        });
    }
    Ok(pairs)
}

/// First token of a word that follows a text, None if the tokenizer joins them.
fn next_token(
    session: &Session,
    set: &PromptSet,
    text: usize,
    tag: &str,
) -> Result<Option<u32>, ExperimentError> {
    let prompt = &set.prompts[text];
    let Some(word) = prompt.tag(tag) else {
        return Ok(None);
    };
    let with = |text: String| PromptSet {
        prompts: vec![Prompt {
            text,
            ..prompt.clone()
        }],
        sha256: set.sha256.clone(),
    };
    let alone = session.tokenise(&with(prompt.text.clone()))?.ids;
    let both = session
        .tokenise(&with(format!("{}{word}", prompt.text)))?
        .ids;
    let (Some(alone), Some(both)) = (alone.first(), both.first()) else {
        return Ok(None);
    };
    let rest = both.ids.strip_prefix(&alone.ids[..]);
    Ok(rest.and_then(|rest| rest.first()).copied())
}
