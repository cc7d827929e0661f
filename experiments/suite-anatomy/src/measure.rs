//! What is measured on one model. Layers are 0-based; a series "by layer" has L
//! entries. Sites are `attn-out`, `mlp-out`, `resid-post`. Position 0 is a
//! text's first token. Maps belong to the model: they are flattened row by row,
//! [layer][position] or [layer][head], and averaged over the texts of a set.
//!
//! - `norm.<site>.by-layer` log of the mean norm over a text's tokens;
//!   `norm.<site>.first`, `.rest` at position 0 and over the others
//! - `massive.*`, `sink.*`, `lens.*`, `gradient.*`, `ablation.*`, `influence.*`,
//!   `patch.*`: see the modules
//!
//! Of recorded activations there are norms, massive activations, shapes and the
//! sets' own influence, and sinks where pattern, queries, keys and values were
//! recorded; sets that the recording lacks and pairs are left out.

mod ablation;
mod gradients;
mod lens;
mod massive;
mod norms;
mod outcome;
mod patching;
mod shape;
mod sinks;

use std::collections::BTreeMap;
use std::rc::Rc;

use assay_experiment::{ExperimentError, Session, Tokenised, blank_samples};
use assay_geometry::Rows;
use assay_hook_site::BlockSite;
use assay_record::{Prompt, PromptSet, Record, Sample};
use assay_trace::Trace;

/// Tokens of a set that the costly measures take: lens, gradients.
pub(crate) const PART_TOKENS: usize = 160;

/// The sites that are mapped, with their names in measures.
const SITES: [(BlockSite, &str); 3] = [
    (BlockSite::AttnOut, "attn-out"),
    (BlockSite::MlpOut, "mlp-out"),
    (BlockSite::ResidPost, "resid-post"),
];

/// Sites of the plain pass over a set.
const PLAIN: [&str; 3] = [
    "blocks.*.hook_resid_post",
    "blocks.*.hook_attn_out",
    "blocks.*.hook_mlp_out",
];

/// Those that sinks are seen at.
const ATTENTION: [&str; 4] = [
    "blocks.*.attn.hook_pattern",
    "blocks.*.attn.hook_q",
    "blocks.*.attn.hook_k",
    "blocks.*.attn.hook_v",
];

/// The name of texts without a set.
const UNNAMED: &str = "texts";

/// A text set as one model's tokenizer cuts it.
struct Texts {
    name: String,
    prompts: PromptSet,
    tokens: Tokenised,
    /// Number of each text's sample in the record.
    at: Vec<usize>,
}

/// The sets to be mapped, and the pairs to be patched.
struct Suite {
    sets: Vec<Texts>,
    pairs: Vec<Texts>,
}

fn set_of(prompt: &Prompt) -> &str {
    prompt.tag("set").unwrap_or(UNNAMED)
}

fn suite(session: &Session, prompts: &PromptSet) -> Result<Suite, ExperimentError> {
    let mut names: Vec<&str> = Vec::new();
    for prompt in &prompts.prompts {
        if !names.contains(&set_of(prompt)) {
            names.push(set_of(prompt));
        }
    }
    let (mut sets, mut pairs) = (Vec::new(), Vec::new());
    for name in names {
        for paired in [false, true] {
            let fits = |p: &Prompt| set_of(p) == name && p.tag("role").is_some() == paired;
            let chosen = prompts.prompts.iter().enumerate().filter(|(_, p)| fits(p));
            let (at, chosen): (Vec<usize>, Vec<Prompt>) =
                chosen.map(|(i, p)| (i, p.clone())).unzip();
            if chosen.is_empty() {
                continue;
            }
            let prompts = PromptSet {
                prompts: chosen,
                sha256: prompts.sha256.clone(),
            };
            let texts = Texts {
                name: name.to_owned(),
                tokens: session.tokenise(&prompts)?,
                prompts,
                at,
            };
            if paired { &mut pairs } else { &mut sets }.push(texts);
        }
    }
    for texts in &sets {
        if let Some(i) = texts.tokens.ids.iter().position(|t| t.ids.len() < 2) {
            let prompt = &texts.prompts.prompts[i].id;
            return Err(session.unsuitable(format!(
                "cuts prompt {prompt} into one token, and the next-token loss needs two"
            )));
        }
    }
    Ok(Suite { sets, pairs })
}

/// The prompts that can be measured: of a recording its sets, without pairs.
fn usable(session: &Session, prompts: &PromptSet) -> PromptSet {
    let mut usable = prompts.clone();
    if !session.has_model() {
        let whole = |name: &str| {
            let of = |p: &&Prompt| set_of(p) == name && p.tag("role").is_none();
            session.holds(&PromptSet {
                prompts: prompts.prompts.iter().filter(of).cloned().collect(),
                sha256: prompts.sha256.clone(),
            })
        };
        let keep = |p: &Prompt| p.tag("role").is_none() && whole(set_of(p));
        usable.prompts.retain(keep);
    }
    usable
}

pub(crate) fn plan(session: &mut Session, prompts: &PromptSet) -> Result<(), ExperimentError> {
    let prompts = &usable(session, prompts);
    if prompts.prompts.is_empty() {
        return Err(session.unsuitable("has none of this experiment's texts"));
    }
    let suite = suite(session, prompts)?;
    if suite.sets.is_empty() {
        return Err(session.unsuitable("was given pairs only, and norm maps need texts"));
    }
    let everything = [&PLAIN[..], &ATTENTION].concat();
    for texts in &suite.sets {
        let pack = &texts.tokens.pack;
        match session.plan(pack, &everything) {
            // A recording may lack what sinks need.
            Err(_) if !session.has_model() => session.plan(pack, &PLAIN)?,
            planned => planned?,
        }
    }
    Ok(())
}

pub(crate) fn measure(
    session: &mut Session,
    prompts: &PromptSet,
) -> Result<Vec<Sample>, ExperimentError> {
    let prompts = &usable(session, prompts);
    let suite = suite(session, prompts)?;
    let mut samples = blank_samples(prompts, &session.tokenise(prompts)?);
    let mut model = model_sample();
    let mut shape = shape::Shape::default();
    let mut means = ablation::Means::new(&suite.sets);
    for texts in &suite.sets {
        let trace = session.trace(&texts.tokens.pack)?;
        let cx = Measuring::new(session, texts, trace);
        cx.norms(&mut samples, &mut model)?;
        cx.massive(&mut samples)?;
        if cx.has_attention() {
            cx.sinks(session, &mut samples, &mut model)?;
        }
        shape.add(&cx)?;
        if !session.has_model() {
            continue;
        }
        cx.lens(session, &mut samples, &mut model)?;
        means.add(&cx)?;
        drop(cx);
        gradients::measure(session, texts, &mut samples, &mut model)?;
    }
    shape.finish(session.model(), &suite.sets, &mut samples, &mut model)?;
    if !session.has_model() {
        samples.push(model);
        return Ok(samples);
    }
    gradients::published(session, &suite.sets, &mut model)?;
    ablation::measure(session, &suite.sets, &means, &mut samples, &mut model)?;
    patching::measure(session, &suite.pairs, &mut samples, &mut model)?;
    samples.push(model);
    Ok(samples)
}

fn model_sample() -> Sample {
    Sample {
        unit: Record::MODEL.to_owned(),
        cluster: Record::MODEL.to_owned(),
        text: String::new(),
        token_ids: Vec::new(),
        special_tokens: 0,
        tags: BTreeMap::new(),
        measures: BTreeMap::new(),
    }
}

/// One set's pass, looked at.
struct Measuring<'a> {
    model: String,
    layers: usize,
    texts: &'a Texts,
    trace: Rc<Trace>,
}

impl<'a> Measuring<'a> {
    fn new(session: &Session, texts: &'a Texts, trace: Rc<Trace>) -> Self {
        Self {
            model: session.model().to_owned(),
            layers: session.config().n_layers,
            texts,
            trace,
        }
    }

    /// Was what sinks are seen at recorded?
    fn has_attention(&self) -> bool {
        let pattern = BlockSite::Pattern.at(0);
        self.trace.sites().any(|site| site == pattern)
    }

    fn failed(&self, text: usize, layer: usize, reason: impl ToString) -> ExperimentError {
        failed(&self.model, self.texts, text, layer, reason)
    }

    /// A site's activations of a whole set, in f64.
    fn rows(&self, site: BlockSite, layer: usize) -> Result<Rows, ExperimentError> {
        Rows::new(self.trace.rows(site.at(layer))?).map_err(|e| self.failed(0, layer, e))
    }
}

fn failed(
    model: &str,
    texts: &Texts,
    text: usize,
    layer: usize,
    reason: impl ToString,
) -> ExperimentError {
    let prompt = texts.prompts.prompts.get(text);
    ExperimentError::Measure {
        model: model.to_owned(),
        prompt: prompt.map_or_else(String::new, |p| p.id.clone()),
        layer,
        reason: reason.to_string(),
    }
}

/// Numbers of some of a set's texts, together of at most `budget` tokens but
/// at least one: every seventh text round the set, so that subjects and lengths
/// that follow one another in the file are mixed.
fn part(texts: &Texts, budget: usize) -> Vec<usize> {
    let n = texts.tokens.ids.len();
    let step = [7, 5, 11, 1]
        .into_iter()
        .find(|s| !n.is_multiple_of(*s))
        .unwrap_or(1);
    let (mut chosen, mut tokens) = (Vec::new(), 0);
    for i in 0..n {
        let text = i * step % n;
        let len = texts.tokens.ids[text].ids.len();
        if tokens + len <= budget || chosen.is_empty() {
            chosen.push(text);
            tokens += len;
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// Token ids of some texts.
fn ids_of(texts: &Texts, chosen: &[usize]) -> Vec<Vec<u32>> {
    let ids = chosen.iter().map(|i| texts.tokens.ids[*i].ids.clone());
    ids.collect()
}

/// Median number of tokens of some lengths; 0 of none.
fn median(mut lengths: Vec<usize>) -> usize {
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied().unwrap_or_default()
}
