//! Generated texts under patches that hold for the prompt and for every token
//! decoded after it (METHODS §5 A).

use std::collections::BTreeMap;

use assay_decoder::{DecoderError, Hooks, Pack, StepHooks, greedy_with};
use assay_experiment::{ExperimentError, Session};
use assay_geometry::Subspace;
use assay_hook_site::{BlockSite, HookSite};
use assay_problems::{Language, Pair, Scripts, extract_answer, first_number, language_of};
use assay_record::{PromptSet, Sample};
use assay_stats::stream;
use candle_core::Tensor;

use crate::cells::{DIRECTIONS, Direction, Place, Sides};
use crate::masks::{Masks, Shape};
use crate::patch::{Basis, Part};

/// Tokens decoded at most: an answer to a problem that was shown two worked
/// ones is a token or two, and the rest shows the language that goes on.
pub(crate) const TOKENS: usize = 16;
/// Random subspaces whose texts are decoded in the primary cell.
const RANDOM: usize = 20;
/// Texts that are decoded side by side: their keys and values stay within a
/// gigabyte at the widths of models that fit here.
const BATCH: usize = 240;

/// A patch that is held while texts are decoded.
struct Condition {
    /// Begins the names of its samples, after `text.{pair}.`.
    name: String,
    tags: BTreeMap<String, String>,
    target: Language,
    patch: Option<Patch>,
}

struct Patch {
    site: HookSite,
    part: Part,
    /// The source of each pair, [pairs, d_model].
    sources: Tensor,
}

/// Decodes every condition on every pair, or none but the unpatched ones.
pub(crate) fn measure(
    session: &mut Session,
    (set, pairs): (&PromptSet, &[Pair]),
    (masks, shape, seed): (&Masks, &Shape, u64),
    (sides, patched): (&Sides, bool),
) -> Result<Vec<Sample>, ExperimentError> {
    let mut conditions = conditions(session, (masks, shape, seed), sides)?;
    conditions.retain(|c| patched || c.patch.is_none());
    let tokenizer = session.tokenizer()?;
    let ends = tokenizer.ends();
    let mut ids = BTreeMap::new();
    for language in [Language::Zh, Language::En] {
        for (i, pair) in pairs.iter().enumerate() {
            let text = &set.prompts[pair.side(language)].text;
            ids.insert((language.code(), i), tokenizer.encode(text)?.ids);
        }
    }
    let all: Vec<(usize, usize)> = (0..conditions.len())
        .flat_map(|c| (0..pairs.len()).map(move |p| (c, p)))
        .collect();
    let mut samples = Vec::with_capacity(all.len());
    for (batch, texts) in all.chunks(BATCH).enumerate() {
        let done = (batch * BATCH) as u64;
        session.progress("z-causality: texts", done, all.len() as u64);
        let prompts: Vec<Vec<u32>> = texts
            .iter()
            .map(|(c, p)| ids[&(conditions[*c].target.code(), *p)].clone())
            .collect();
        let mut steering = Steering {
            conditions: &conditions,
            texts,
            going: Vec::new(),
            pack: None,
        };
        let out = greedy_with(session.decoder()?, &prompts, (TOKENS, &ends), &mut steering)?;
        for ((condition, pair), ids) in texts.iter().zip(out) {
            samples.push(text_sample(
                session,
                &conditions[*condition],
                &pairs[*pair],
                (ids, &ends),
            )?);
        }
    }
    Ok(samples)
}

fn conditions(
    session: &Session,
    (masks, shape, seed): (&Masks, &Shape, u64),
    sides: &Sides,
) -> Result<Vec<Condition>, ExperimentError> {
    let mut all = Vec::new();
    for direction in DIRECTIONS {
        let tag = |more: &[(&str, &str)]| {
            let direction = direction.name();
            let own = [("direction", direction.as_str())];
            let both = own.iter().chain(more);
            both.map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        all.push(Condition {
            name: format!("{}.none", direction.name()),
            tags: tag(&[("condition", "none")]),
            target: direction.target,
            patch: None,
        });
        for place in Place::BOTH {
            for (layer_name, layer) in shape.layers() {
                let before = place.before(layer);
                let site = match place {
                    Place::In => BlockSite::ResidPre.at(layer),
                    Place::Out => BlockSite::ResidPost.at(layer),
                };
                let sources = sides.of_language(direction.source).means(before, false)?;
                let ks = if session.more() {
                    shape.ks.clone()
                } else {
                    shape.published_ks()
                };
                for k in ks {
                    let cell = cell(place, layer_name, k, direction);
                    let z = masks.z(session, layer, k)?;
                    let basis = Basis::new(&z, &sources)?;
                    let mut parts = vec![
                        (Part::In(basis.clone()), None),
                        (Part::Outside(basis), None),
                    ];
                    // Everything needs no k: it stands with the primary one.
                    if k == shape.primary {
                        parts.push((Part::All, None));
                    }
                    // Texts under random subspaces: the primary cell, where it
                    // is and where it was published.
                    let primary = layer_name == "l1"
                        && k == shape.primary
                        && direction.target == Language::En;
                    if primary || session.more() {
                        for n in 0..RANDOM {
                            let name = format!("z-causality/text/{cell}/{n}");
                            let random = Subspace::random(z.k(), z.d(), &mut stream(seed, &name));
                            let random = random.map_err(|e| ExperimentError::Statistic {
                                what: "a random subspace".to_owned(),
                                reason: e.to_string(),
                            })?;
                            let basis = Basis::new(&random, &sources)?;
                            parts.push((Part::In(basis.clone()), Some(n)));
                            parts.push((Part::Outside(basis), Some(n)));
                        }
                    }
                    for (part, random) in parts {
                        let condition = part.name();
                        let mut tags: BTreeMap<String, String> =
                            tag(&[("condition", condition), ("cell", cell.as_str())]);
                        let mut name = format!("{cell}.{condition}");
                        if let Some(n) = random {
                            tags.insert("random".to_owned(), n.to_string());
                            name = format!("{name}.random-{n}");
                        }
                        all.push(Condition {
                            name,
                            tags,
                            target: direction.target,
                            patch: Some(Patch {
                                site,
                                part,
                                sources: sources.clone(),
                            }),
                        });
                    }
                }
            }
        }
    }
    Ok(all)
}

fn cell(place: Place, layer: &str, k: usize, direction: Direction) -> String {
    format!("{}.{layer}.k{k}.{}", place.name(), direction.name())
}

fn text_sample(
    session: &Session,
    condition: &Condition,
    pair: &Pair,
    (mut ids, ends): (Vec<u32>, &[u32]),
) -> Result<Sample, ExperimentError> {
    if ids.last().is_some_and(|last| ends.contains(last)) {
        ids.pop();
    }
    let text = if ids.is_empty() {
        String::new()
    } else {
        session.tokenizer()?.decode(&ids)?
    };
    let mut tags = condition.tags.clone();
    tags.insert("pair".to_owned(), pair.id.clone());
    tags.insert("answer".to_owned(), pair.answer.to_string());
    let mut sample = Sample {
        unit: format!("text.{}.{}", pair.id, condition.name),
        cluster: pair.category.clone(),
        token_ids: ids,
        special_tokens: 0,
        tags,
        measures: BTreeMap::new(),
        text,
    };
    if let Some(answer) = extract_answer(&sample.text) {
        sample.scalar("answer", answer as f64)?;
    }
    if let Some(number) = first_number(&sample.text) {
        sample.scalar("first-number", number as f64)?;
    }
    sample.scalar("lo-share", Scripts::of(&sample.text).lo_share())?;
    if let Some(language) = language_of(&sample.text) {
        let chinese = if language == Language::Zh { 1.0 } else { 0.0 };
        sample.scalar("language", chinese)?;
    }
    Ok(sample)
}

/// Puts each text's patch into the passes that decode it.
struct Steering<'a> {
    conditions: &'a [Condition],
    /// (condition, pair) of each text of the batch.
    texts: &'a [(usize, usize)],
    going: Vec<usize>,
    pack: Option<Pack>,
}

impl Steering<'_> {
    fn patch(&self, text: usize) -> Option<&Patch> {
        self.conditions[self.texts[text].0].patch.as_ref()
    }
}

impl Hooks for Steering<'_> {
    fn wants(&self, site: HookSite) -> bool {
        let mut going = self.going.iter();
        going.any(|text| self.patch(*text).is_some_and(|p| p.site == site))
    }

    fn at(
        &mut self,
        site: HookSite,
        _: Option<usize>,
        value: &Tensor,
    ) -> Result<Option<Tensor>, DecoderError> {
        let Some(pack) = &self.pack else {
            return Ok(None);
        };
        // Texts of one condition lie side by side: one product for them all.
        let mut parts = Vec::new();
        let mut at = 0;
        while at < self.going.len() {
            let condition = self.texts[self.going[at]].0;
            let same = self.going[at..].iter();
            let count = same.take_while(|t| self.texts[**t].0 == condition).count();
            let rows = pack.segments()[at].start..pack.segments()[at + count - 1].end;
            let x = value.narrow(0, rows.start, rows.len())?;
            let patch = self.conditions[condition].patch.as_ref();
            parts.push(match patch.filter(|p| p.site == site) {
                None => x,
                Some(patch) => {
                    let texts = self.going[at..at + count].iter();
                    let segments = texts.zip(&pack.segments()[at..at + count]);
                    let pairs: Vec<u32> = segments
                        .flat_map(|(t, s)| vec![self.texts[*t].1 as u32; s.len()])
                        .collect();
                    let pairs = Tensor::new(pairs, patch.sources.device())?;
                    let source = patch.sources.index_select(&pairs, 0)?;
                    patch.part.replaced(&x, &source)?
                }
            });
            at += count;
        }
        Ok(Some(Tensor::cat(&parts, 0)?))
    }
}

impl StepHooks for Steering<'_> {
    fn step(&mut self, going: &[usize], pack: &Pack) {
        self.going = going.to_vec();
        self.pack = Some(pack.clone());
    }
}
