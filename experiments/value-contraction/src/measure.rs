//! What is measured on one model. Layers are 0-based; series have an entry a
//! layer; W is the last min(16, T) positions.
//!
//! Per prompt:
//! - `tokens`, `distinct` (tokens in W), `window`
//! - `pr-a.by-layer`, `pr-b.by-layer` participation ratio of V over W: mean over
//!   kv heads, and of all of V
//! - `pr-a-row-only.by-layer` the same as a U-statistic over different rows
//! - `pr-a-pseudo.by-layer` over n_heads pseudo-heads, in grouped models (E7)
//! - `neighbours.by-layer` mean cosine of neighbouring rows of V
//! - `rv.a`, `rv.b`, `rv.a-row-only`, `rv.a-pseudo` late over early layer, and
//!   `rv.a-view` of what the published view takes for V, in fused models (E5)
//!
//! The strongest recursive prompt of each topic also with its tokens shuffled
//! and with random ones (set "controls"). The model as a whole (unit "model"):
//! `layers` early, late; `rebuilt.*` error of z rebuilt from either view.
//!
//! Of recorded activations there are no controls, no patches and no views; a
//! set of which the recording lacks a prompt is left out, the matched one is
//! needed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use assay_decoder::Pack;
use assay_experiment::{ExperimentError, Session, Tokenised, blank_samples};
use assay_hook_site::{BlockSite, HookSite};
use assay_record::{PromptSet, Record, Sample};
use assay_stats::stream;
use assay_trace::{Edit, Trace};
use candle_core::{Error, Tensor};
use rand_chacha::rand_core::RngCore;

use crate::bank::{self, MATCHED};
use crate::patch;
use crate::values::{Layers, Layout, Spread, WINDOW, published_view, rebuilding_error, spread};

/// Spreads of the prompts of a pass: [prompt][layer].
pub(crate) type Spreads = Vec<Vec<Spread>>;

pub(crate) fn plan(session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
    let n_layers = session.config().n_layers;
    Layers::of(n_layers).map_err(|reason| session.unsuitable(reason))?;
    let matched = prompts.with_tag("set", MATCHED);
    if matched.prompts.is_empty() {
        return Err(session.unsuitable(format!(
            "cannot be asked with this bank: no prompt has the tag set = {MATCHED}"
        )));
    }
    let tokens = session.tokenise(&matched)?;
    bank::check(session, &matched, &tokens)?;
    if !session.has_model() {
        for set in held(session, prompts) {
            let tokens = session.tokenise(&set)?;
            session.plan(&tokens.pack, &["blocks.*.attn.hook_v"])?;
        }
        return Ok(());
    }
    for (set, tokens) in shared(session, prompts)? {
        if let Some(short) = tokens.ids.iter().position(|t| t.ids.len() < 2) {
            let prompt = &set.prompts[short].id;
            return Err(session.unsuitable(format!("cuts prompt {prompt} into one token")));
        }
        session.plan(&tokens.pack, &["blocks.*.attn.hook_v"])?;
    }
    Ok(())
}

/// The sets of which a recording has every prompt.
fn held(session: &Session, prompts: &PromptSet) -> Vec<PromptSet> {
    let sets = prompts.values_of("set").into_iter();
    let sets = sets.map(|set| prompts.with_tag("set", set));
    sets.filter(|set| session.holds(set)).collect()
}

/// Sets without groups, which other experiments may look at too.
fn shared(
    session: &Session,
    prompts: &PromptSet,
) -> Result<Vec<(PromptSet, Tokenised)>, ExperimentError> {
    let sets = prompts.values_of("set").into_iter();
    let sets = sets.map(|set| prompts.with_tag("set", set));
    sets.filter(|set| set.prompts.iter().all(|p| p.tag("group").is_none()))
        .map(|set| {
            let tokens = session.tokenise(&set)?;
            Ok((set, tokens))
        })
        .collect()
}

pub(crate) fn measure(
    session: &mut Session,
    seed: u64,
    prompts: &PromptSet,
) -> Result<Vec<Sample>, ExperimentError> {
    let config = session.config();
    let (n_layers, n_heads) = (config.n_layers, config.n_heads);
    let layers = Layers::of(n_layers).map_err(|reason| session.unsuitable(reason))?;
    let mut samples = Vec::new();
    if !session.has_model() {
        for set in held(session, prompts) {
            let tokens = session.tokenise(&set)?;
            samples.extend(traced(session, &set, &tokens, layers)?);
        }
        samples.push(of_model(layers)?);
        return Ok(samples);
    }
    for (set, tokens) in shared(session, prompts)? {
        samples.extend(traced(session, &set, &tokens, layers)?);
    }
    for set in prompts.values_of("set") {
        let set = prompts.with_tag("set", set);
        if set.prompts.iter().all(|p| p.tag("group").is_none()) {
            continue;
        }
        let matched = set.prompts.iter().any(|p| p.tag("set") == Some(MATCHED));
        let tokens = session.tokenise(&set)?;
        let keep = if matched {
            kept(layers, n_layers)
        } else {
            views(session, layers)
        };
        let names: Vec<&str> = set.prompts.iter().map(|p| p.id.as_str()).collect();
        let (spreads, trace) = observe(session, &tokens.pack, &names, &keep)?;
        let seen = by_view(session, &trace, layers, n_heads, &names)?;
        samples.extend(written(&set, &tokens, &spreads, layers, seen.as_deref())?);
        if matched {
            samples.extend(controls(session, seed, &set, &tokens, layers)?);
            samples.extend(patch::measure(
                session, seed, &set, &tokens, layers, &trace,
            )?);
            samples.push(model(session, layers, &set, &tokens)?);
        }
    }
    Ok(samples)
}

/// Samples of a set from the values of a planned pass.
fn traced(
    session: &mut Session,
    set: &PromptSet,
    tokens: &Tokenised,
    layers: Layers,
) -> Result<Vec<Sample>, ExperimentError> {
    let trace = session.trace(&tokens.pack)?;
    let config = session.config();
    let mut spreads = vec![Vec::new(); set.prompts.len()];
    for layer in 0..config.n_layers {
        for (i, spreads) in spreads.iter_mut().enumerate() {
            let v = trace.prompt(BlockSite::V.at(layer), i)?;
            let measured = spread(&v, config.n_heads);
            spreads.push(measured.map_err(|e| failed(session, &set.prompts[i].id, layer, e))?);
        }
    }
    written(set, tokens, &spreads, layers, None)
}

/// The sample of the model as a whole, with the layers that are compared.
fn of_model(layers: Layers) -> Result<Sample, ExperimentError> {
    let mut sample = Sample {
        unit: Record::MODEL.to_owned(),
        cluster: String::new(),
        text: String::new(),
        token_ids: Vec::new(),
        special_tokens: 0,
        tags: BTreeMap::new(),
        measures: BTreeMap::new(),
    };
    let layer = |l: usize| l as f64;
    sample.series("layers", vec![layer(layers.early), layer(layers.late)])?;
    Ok(sample)
}

fn failed(session: &Session, prompt: &str, layer: usize, reason: impl ToString) -> ExperimentError {
    ExperimentError::Measure {
        model: session.model().to_owned(),
        prompt: prompt.to_owned(),
        layer,
        reason: reason.to_string(),
    }
}

/// Sites that the published view needs, where there is one that is wrong.
fn views(session: &Session, layers: Layers) -> BTreeSet<HookSite> {
    if Layout::of(session) != Layout::HeadMajor {
        return BTreeSet::new();
    }
    let at = |l: usize| [BlockSite::Q, BlockSite::K, BlockSite::V].map(|s| s.at(l));
    [at(layers.early), at(layers.late)]
        .concat()
        .into_iter()
        .collect()
}

/// Sites that patching needs of the matched set, beside the views'.
fn kept(layers: Layers, n_layers: usize) -> BTreeSet<HookSite> {
    let mut sites = BTreeSet::from([BlockSite::ResidPost.at(n_layers - 1)]);
    for layer in patch::places(layers) {
        sites.insert(BlockSite::ResidPre.at(layer));
        sites.extend([BlockSite::Q, BlockSite::K, BlockSite::V].map(|s| s.at(layer)));
    }
    sites
}

/// Measures every layer's values on their way, without keeping them, and
/// records some sites.
fn observe(
    session: &mut Session,
    pack: &Pack,
    names: &[&str],
    keep: &BTreeSet<HookSite>,
) -> Result<(Spreads, Trace), ExperimentError> {
    let config = session.config();
    let (n_layers, n_heads) = (config.n_layers, config.n_heads);
    let model = session.model().to_owned();
    let seen = RefCell::new(vec![Vec::new(); pack.segments().len()]);
    let failure = RefCell::new(None);
    let edits = (0..n_layers)
        .map(|layer| {
            let (seen, failure, model) = (&seen, &failure, &model);
            Edit::new(BlockSite::V.at(layer), move |_, v| {
                for (i, segment) in pack.segments().iter().enumerate() {
                    match spread(&v.narrow(0, segment.start, segment.len())?, n_heads) {
                        Ok(spread) => seen.borrow_mut()[i].push(spread),
                        Err(e) => {
                            *failure.borrow_mut() = Some(ExperimentError::Measure {
                                model: model.clone(),
                                prompt: names.get(i).copied().unwrap_or_default().to_owned(),
                                layer,
                                reason: e.to_string(),
                            });
                            return Err(Error::Msg(e.to_string()));
                        }
                    }
                }
                Ok(v.clone())
            })
        })
        .collect();
    let stage = format!("value-contraction: pass of {} tokens", pack.tokens());
    let trace = session.record(&stage, pack, keep, edits);
    if let Some(failure) = failure.into_inner() {
        return Err(failure);
    }
    Ok((seen.into_inner(), trace?))
}

/// R_V of each prompt by the published view, where it takes something else
/// than V.
fn by_view(
    session: &Session,
    trace: &Trace,
    layers: Layers,
    n_heads: usize,
    names: &[&str],
) -> Result<Option<Vec<f64>>, ExperimentError> {
    if Layout::of(session) != Layout::HeadMajor {
        return Ok(None);
    }
    let spread_at = |i: usize, layer: usize| -> Result<f64, ExperimentError> {
        let at = |site: BlockSite| trace.prompt(site.at(layer), i);
        let view = published_view(&at(BlockSite::Q)?, &at(BlockSite::K)?, &at(BlockSite::V)?)?;
        let spread = spread(&view, n_heads).map_err(|e| failed(session, names[i], layer, e))?;
        Ok(spread.a.naive)
    };
    (0..names.len())
        .map(|i| Ok(spread_at(i, layers.late)? / spread_at(i, layers.early)?))
        .collect::<Result<_, ExperimentError>>()
        .map(Some)
}

fn written(
    set: &PromptSet,
    tokens: &Tokenised,
    spreads: &Spreads,
    layers: Layers,
    views: Option<&[f64]>,
) -> Result<Vec<Sample>, ExperimentError> {
    let mut samples = blank_samples(set, tokens);
    for (i, (sample, spreads)) in samples.iter_mut().zip(spreads).enumerate() {
        write(sample, spreads, layers)?;
        if let Some(view) = views.and_then(|v| v.get(i)) {
            sample.scalar("rv.a-view", *view)?;
        }
    }
    Ok(samples)
}

fn write(sample: &mut Sample, spreads: &[Spread], layers: Layers) -> Result<(), ExperimentError> {
    let ids = &sample.token_ids;
    let window = WINDOW.min(ids.len());
    let last: BTreeSet<u32> = ids[ids.len() - window..].iter().copied().collect();
    let (tokens, distinct) = (ids.len(), last.len());
    sample.scalar("tokens", tokens as f64)?;
    sample.scalar("distinct", distinct as f64)?;
    sample.scalar("window", window as f64)?;
    let series = |get: fn(&Spread) -> f64| spreads.iter().map(get).collect::<Vec<f64>>();
    let (a, b, row) = (
        series(|s| s.a.naive),
        series(|s| s.b.naive),
        series(|s| s.a.row_only),
    );
    sample.scalar("rv.a", a[layers.late] / a[layers.early])?;
    sample.scalar("rv.a-row-only", row[layers.late] / row[layers.early])?;
    if let Some(late) = layers.late_b {
        sample.scalar("rv.b", b[late] / b[layers.early])?;
    }
    let pseudo: Option<Vec<f64>> = spreads.iter().map(|s| s.pseudo).collect();
    if let Some(pseudo) = pseudo {
        sample.scalar("rv.a-pseudo", pseudo[layers.late] / pseudo[layers.early])?;
        sample.series("pr-a-pseudo.by-layer", pseudo)?;
    }
    sample.series("pr-a.by-layer", a)?;
    sample.series("pr-b.by-layer", b)?;
    sample.series("pr-a-row-only.by-layer", row)?;
    sample.series("neighbours.by-layer", series(|s| s.neighbours))?;
    Ok(())
}

/// The strongest recursive prompt of each topic with its tokens in random
/// order, and with tokens drawn from all of the set's.
fn controls(
    session: &mut Session,
    seed: u64,
    set: &PromptSet,
    tokens: &Tokenised,
    layers: Layers,
) -> Result<Vec<Sample>, ExperimentError> {
    let Some(strongest) = bank::groups(set)
        .into_iter()
        .rfind(|g| bank::is_recursive(g))
    else {
        return Ok(Vec::new());
    };
    let all: Vec<u32> = (tokens.ids.iter())
        .flat_map(|t| t.ids.iter().skip(t.special).copied())
        .collect();
    let mut ids = Vec::new();
    let mut samples = Vec::new();
    for (prompt, cut) in set.prompts.iter().zip(&tokens.ids) {
        if prompt.tag("group") != Some(strongest) {
            continue;
        }
        let topic = &prompt.category;
        let mut shuffled = cut.ids.clone();
        let mut draws = stream(seed, &format!("value-contraction/shuffled/{topic}"));
        let free = shuffled.get_mut(cut.special..).unwrap_or_default();
        for last in (1..free.len()).rev() {
            free.swap(last, below(&mut draws, last + 1));
        }
        let mut random = cut.ids.clone();
        let mut draws = stream(seed, &format!("value-contraction/random/{topic}"));
        for id in random.iter_mut().skip(cut.special) {
            *id = all[below(&mut draws, all.len())];
        }
        for (group, row) in [("shuffled-tokens", shuffled), ("random-tokens", random)] {
            samples.push(Sample {
                unit: format!("{topic}.{group}"),
                cluster: topic.clone(),
                text: String::new(),
                token_ids: row.clone(),
                special_tokens: cut.special,
                tags: BTreeMap::from([
                    ("set".to_owned(), "controls".to_owned()),
                    ("group".to_owned(), group.to_owned()),
                ]),
                measures: BTreeMap::new(),
            });
            ids.push(row);
        }
    }
    let pack = Pack::new(&ids)?;
    let names: Vec<String> = samples.iter().map(|s| s.unit.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (spreads, _) = observe(session, &pack, &names, &BTreeSet::new())?;
    for (sample, spreads) in samples.iter_mut().zip(&spreads) {
        write(sample, spreads, layers)?;
    }
    Ok(samples)
}

/// A number below `bound`; the bias of the remainder is below 2^-50.
pub(crate) fn below(draws: &mut impl RngCore, bound: usize) -> usize {
    (draws.next_u64() % bound as u64) as usize
}

/// Which view is V: the one whose rows, mixed by the pattern, give z.
fn model(
    session: &mut Session,
    layers: Layers,
    set: &PromptSet,
    tokens: &Tokenised,
) -> Result<Sample, ExperimentError> {
    let first = tokens.ids.first().map_or_else(Vec::new, |t| t.ids.clone());
    let pack = Pack::new(&[first])?;
    let sites = [
        BlockSite::Q,
        BlockSite::K,
        BlockSite::V,
        BlockSite::Pattern,
        BlockSite::Z,
    ]
    .map(|s| s.at(layers.late));
    let trace = session.record("value-contraction: views", &pack, &sites.into(), Vec::new())?;
    let at = |site: BlockSite| trace.prompt(site.at(layers.late), 0);
    let (v, pattern, z) = (
        at(BlockSite::V)?,
        at(BlockSite::Pattern)?,
        at(BlockSite::Z)?,
    );
    let mut sample = of_model(layers)?;
    let first = set.prompts.first();
    sample.text = first.map_or_else(String::new, |p| p.text.clone());
    sample.token_ids = pack.ids().to_vec();
    sample.special_tokens = tokens.ids.first().map_or(0, |t| t.special);
    sample.scalar("rebuilt.v", rebuilding_error(&pattern, &v, &z)?)?;
    if Layout::of(session) == Layout::HeadMajor {
        let view: Tensor = published_view(&at(BlockSite::Q)?, &at(BlockSite::K)?, &v)?;
        sample.scalar(
            "rebuilt.view",
            rebuilding_error(&pattern, &view.contiguous()?, &z)?,
        )?;
    }
    Ok(sample)
}
