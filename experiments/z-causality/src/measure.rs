//! What is measured on one model, sample by sample.
//!
//! Layers l1 = min(floor(32 L/36), L - 3) and l2 = l1 + 1. A mask of layer l is
//! put at the input of block l (place `in`, what its weights read) or at its
//! output (place `out`, as published: E14). A cell is written
//! `{place}.{l1|l2}.k{k}.{direction}`, direction `en-zh` being Chinese sources
//! into English prompts; `full` needs no k: teacher-forced it stands with every
//! one, in texts, which have published sizes only, with the primary one.
//!
//! **A prompt** (its own id, e.g. `sum-1.en`):
//! - `tokens`; `logp-answer`, `logp-cross` log p of its own and of its partner's
//!   answer, nats, summed over the answer's tokens (`logp-cross` only where the
//!   pair has a partner)
//! - `update.z.by-block`, `update.perp.by-block` |P_Z Δ|, |P_⊥ Δ| of the mean
//!   over positions of what each block b = 0..L-1 adds; `update-token.….by-block`
//!   mean over positions of the norms; `update-bare.….by-block` as `update`
//!   without massive positions. Mask: the primary one.
//!
//! **A pair** (`pair.{id}`; tags answer, cross (the partner's pair id)):
//! - `prefers.en`, `prefers.zh` log p(a_i) - log p(a_j) unpatched
//! - `same.{cell}.{z|z-perp|full}.{mean|ot}` change of log p(a_i), source the
//!   same problem in the other language; `same-kl.…` KL(none || patched) of the
//!   next token; `full-like.{cell}` KL(full || z_perp) - KL(full || z), mean
//! - `cross.{cell}.{z|z-perp|full}` change of log p(a_j) - log p(a_i), source
//!   the mean of the partner in the other language
//! - the primary cell `in.l1.k50.en-zh`, or the largest k that the keys read:
//!   `placebo.haar`, `placebo.matched`, `placebo.perp-part` [draws] the `cross`
//!   effect in each random subspace (uniform; of equal patch size; k random
//!   dimensions of the complement); `placebo.same-language` source the partner
//!   in the target's own language; `placebo.wrong-layer` the same mask and
//!   patch at block l1/2; `placebo.itself` source the prompt's own rows;
//!   `dormant.read`, `dormant.ignored` the effect of the patch's part that the
//!   weights from block l1 on read, and of the rest; `bare` the effect with
//!   massive positions left out of source and target
//! - of a model that was trained to hold its answers in a subspace of block
//!   `held.block`'s input: `held.truth`, `held.truth-perp`, `held.z`,
//!   `held.z-perp`, `held.full` the `cross` effect when that part of the last
//!   position is the partner's in the other language, Z being the mask of
//!   `held.k` dimensions; `held.random` [99]. Of the model: `held.overlap` mean
//!   squared cosine of that mask with the subspace, `held.overlap-random` [99]
//!
//! **A generated text** (`text.{pair}.{direction}.none` or
//! `text.{pair}.{cell}.{z|z-perp|full}`, random subspaces
//! `text.{pair}.{cell}.{z|z-perp}.random-{n}`; tags pair, cell (absent for
//! none), condition, direction, answer, random where it is one; `text` and
//! `token_ids` are what was generated, design `same`, source mean): `answer`,
//! `first-number` where there is one; `lo-share`; `language` 1 Chinese, 0
//! English, absent if neither
//!
//! **The model** (`model`): `layers` [l1, l2], `ks`, `primary-k`, `span`
//! (dimensions that the keys of l1 read), `massive` (massive positions of all),
//! `source-norms` [mean |x|, mean |z̄|] in the primary cell;
//! `mask.rank.{block}` effective rank of each head;
//! `mask.similarity.{all|head-0}.k{k}` [L * L] row by row;
//! `mask.audited.{l1|l2}.k{k}` similarity of the published mask with [the one
//! with gains folded in, the query side's]; `mask.ffn.k{k}.by-block` avoidance,
//! `mask.ffn-random.k{k}` [100] the same of random subspaces at l1;
//! `distance.{l1|l2}.{all|head-0}.k{k}.{mean|last}` [ratio_Z, ratio_⊥, energy],
//! `distance-by-pair.…` [pairs * 2] the two ratios of each pair, one after the
//! other; `distance-random.…` [100 * 3] the same of random subspaces, one after the
//! other; `update.random` [100 * L] R of each random subspace, both languages;
//! `draws` number of placebos; of a model of the project's own
//! `training.losses`, `training.valid-loss`, `training.trigram-loss` and
//! `training.exact.{kind}.{language}` [number, share answered exactly].

use std::collections::BTreeMap;

use assay_experiment::{ExperimentError, Session, Tokenised, blank_samples};
use assay_problems::{Language, Pair, cross, pairs};
use assay_record::{PromptSet, Sample};
use assay_train::Trained;

use crate::cells::{self, Sides};
use crate::masks::{Masks, Shape};
use crate::streams::{self, Streams};
use crate::{held, texts, update};

/// Fewest pairs that must prefer their own answer in both languages for
/// anything to be patched.
pub(crate) const ENOUGH: usize = 8;

/// The tag of the prompts that this experiment reads.
const SET: &str = "problems";

pub(crate) fn plan(session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
    let shape = Shape::of(session)?;
    if session.decoder()?.readers(shape.l1)?.is_none() {
        return Err(session.unsuitable(
            "fuses its queries and keys or has norms with a bias, and masks of Z are defined for models that do neither",
        ));
    }
    let (_, _, tokens) = bank(session, prompts)?;
    let sites = streams::sites(shape.n_layers);
    session.plan(&tokens.pack, &sites.each_ref().map(String::as_str))
}

/// The problems and their pairs, tokenised.
fn bank(
    session: &Session,
    prompts: &PromptSet,
) -> Result<(PromptSet, Vec<Pair>, Tokenised), ExperimentError> {
    let set = prompts.with_tag("set", SET);
    if set.prompts.is_empty() {
        return Err(session.unsuitable(format!(
            "cannot be asked with this bank: no prompt has the tag set = {SET}"
        )));
    }
    let pairs = pairs(&set).map_err(|e| session.unsuitable(e.to_string()))?;
    let tokens = session.tokenise(&set)?;
    Ok((set, pairs, tokens))
}

pub(crate) fn measure(
    session: &mut Session,
    seed: u64,
    prompts: &PromptSet,
) -> Result<Vec<Sample>, ExperimentError> {
    let shape = Shape::of(session)?;
    let (set, pairs, tokens) = bank(session, prompts)?;
    let streams = Streams::of(session, &tokens.pack, &shape)?;
    let masks = Masks::of(session)?;
    let mut by_prompt = blank_samples(&set, &tokens);
    let partners = cross(&pairs);
    let mut by_pair = pair_samples(&pairs, &partners);
    let mut model = model_sample(&shape, &streams)?;
    training(session, &mut model)?;

    masks.describe(session, &shape, seed, &mut model)?;
    let both: Vec<(usize, usize)> = pairs.iter().map(|p| (p.zh, p.en)).collect();
    let pooled = streams.pooled(&shape, &both)?;
    masks.distances(session, &shape, seed, &pooled, &mut model)?;
    let z = masks.z(session, shape.l1, shape.primary)?;
    session.progress("z-causality: updates", 0, 1);
    update::measure(&streams, &z, seed, &mut by_prompt, &mut model)?;
    drop(streams);

    let everybody: Vec<usize> = (0..pairs.len()).collect();
    let sides = Sides::of(session, (&set, &pairs), &partners, &shape, &everybody)?;
    baseline(&sides, &pairs, &mut by_prompt, &mut by_pair)?;
    let able: Vec<usize> = everybody
        .iter()
        .copied()
        .filter(|i| prefers_its_own(&by_pair[*i]))
        .collect();
    // What a model has no answers to lose to is not patched.
    let enough = able.len() >= ENOUGH;
    if enough {
        cells::measure(session, (&masks, &shape), &sides, &partners, &mut by_pair)?;
        // With the partners' prompts, whose means are the sources, and theirs.
        let mut asked = able.clone();
        let mut next = 0;
        while let Some(pair) = asked.get(next).copied() {
            asked.extend(partners[pair].filter(|p| !asked.contains(p)));
            next += 1;
        }
        let own = Sides::of(session, (&set, &pairs), &partners, &shape, &asked)?;
        cells::placebos(
            session,
            (&masks, &shape, seed),
            (&own, &able),
            &partners,
            (&mut by_pair, &mut model),
        )?;
        held::measure(
            session,
            (&masks, seed),
            (&own, &able),
            &partners,
            (&mut by_pair, &mut model),
        )?;
    }
    let shared = (&masks, &shape, seed);
    let texts = texts::measure(session, (&set, &pairs), shared, (&sides, enough))?;

    by_prompt.extend(by_pair);
    by_prompt.extend(texts);
    by_prompt.push(model);
    Ok(by_prompt)
}

/// Does the model prefer the pair's own answer in both languages?
fn prefers_its_own(pair: &Sample) -> bool {
    let prefers = |language: Language| {
        let found = pair.get(&format!("prefers.{}", language.code()));
        found.is_ok_and(|v| v > 0.0)
    };
    prefers(Language::Zh) && prefers(Language::En)
}

fn pair_samples(pairs: &[Pair], partners: &[Option<usize>]) -> Vec<Sample> {
    let both = pairs.iter().zip(partners);
    both.map(|(pair, partner)| {
        let mut tags = BTreeMap::from([("answer".to_owned(), pair.answer.to_string())]);
        if let Some(partner) = partner {
            tags.insert("cross".to_owned(), pairs[*partner].id.clone());
        }
        blank(&format!("pair.{}", pair.id), &pair.category, tags)
    })
    .collect()
}

fn blank(unit: &str, cluster: &str, tags: BTreeMap<String, String>) -> Sample {
    Sample {
        unit: unit.to_owned(),
        cluster: cluster.to_owned(),
        text: String::new(),
        token_ids: Vec::new(),
        special_tokens: 0,
        tags,
        measures: BTreeMap::new(),
    }
}

fn model_sample(shape: &Shape, streams: &Streams) -> Result<Sample, ExperimentError> {
    let mut model = blank("model", "model", BTreeMap::new());
    let layers = shape.layers().map(|(_, layer)| layer as f64);
    model.series("layers", layers.to_vec())?;
    let ks = shape.ks.iter().map(|k| *k as f64).collect();
    model.series("ks", ks)?;
    model.scalar("primary-k", shape.primary as f64)?;
    model.scalar("span", shape.span as f64)?;
    model.scalar("massive", streams.massive_positions() as f64)?;
    Ok(model)
}

/// How a model of the project's own was trained.
fn training(session: &Session, model: &mut Sample) -> Result<(), ExperimentError> {
    let trained = Trained::read(session.folder()?);
    let Some(trained) = trained.map_err(|e| session.unsuitable(e.to_string()))? else {
        return Ok(());
    };
    model.series("training.losses", trained.losses)?;
    model.scalar("training.valid-loss", trained.valid_loss)?;
    model.scalar("training.trigram-loss", trained.trigram_loss)?;
    for (of, (n, share)) in trained.exact {
        model.series(&format!("training.exact.{of}"), vec![n as f64, share])?;
    }
    Ok(())
}

/// log p of the answers, unpatched.
fn baseline(
    sides: &Sides,
    pairs: &[Pair],
    by_prompt: &mut [Sample],
    by_pair: &mut [Sample],
) -> Result<(), ExperimentError> {
    for language in [Language::Zh, Language::En] {
        let side = sides.of_language(language);
        for (ask, logp) in side.questions.asks.iter().zip(&side.plain.logp) {
            let prompt = &mut by_prompt[pairs[ask.pair].side(language)];
            let tokens = prompt.token_ids.len();
            prompt.scalar("tokens", tokens as f64)?;
            prompt.scalar("logp-answer", logp[0])?;
            if let Some(other) = logp.get(1) {
                prompt.scalar("logp-cross", *other)?;
                let name = format!("prefers.{}", language.code());
                by_pair[ask.pair].scalar(&name, logp[0] - other)?;
            }
        }
    }
    Ok(())
}
