//! Patching, teacher-forced: what each patch does to log p of answers and to
//! the next token (METHODS §5 A).

use std::collections::BTreeMap;

use assay_experiment::{ExperimentError, Session};
use assay_geometry::{Moment, Subspace, barycentric, sinkhorn};
use assay_problems::{Language, Pair};
use assay_record::{PromptSet, Sample};
use assay_stats::stream;
use candle_core::Tensor;
use rayon::prelude::*;

use crate::masks::{Masks, Shape};
use crate::patch::{Basis, Part, matrix, tensor};
use crate::questions::{Ask, Questions, Reading, kl_by_row};
use crate::streams::massive;

/// Random subspaces of each kind in the primary cell.
pub(crate) const DRAWS: usize = 199;
/// Entropy against cost in the transport of tokens, relative to the mean cost.
const EPSILON: f64 = 0.05;

/// A direction of patching.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Direction {
    pub(crate) target: Language,
    pub(crate) source: Language,
}

pub(crate) const DIRECTIONS: [Direction; 2] = [
    Direction {
        target: Language::En,
        source: Language::Zh,
    },
    Direction {
        target: Language::Zh,
        source: Language::En,
    },
];

impl Direction {
    /// "en-zh": Chinese sources into English prompts.
    pub(crate) fn name(self) -> String {
        format!("{}-{}", self.target.code(), self.source.code())
    }
}

/// Where a mask of a layer is put: at the layer's input, or at its output as
/// published (E14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    In,
    Out,
}

impl Place {
    pub(crate) const BOTH: [Place; 2] = [Place::In, Place::Out];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Place::In => "in",
            Place::Out => "out",
        }
    }

    /// The block before which the residual stream is edited.
    pub(crate) fn before(self, layer: usize) -> usize {
        match self {
            Place::In => layer,
            Place::Out => layer + 1,
        }
    }
}

/// Prompts of one language with both answers, their residual streams, and what
/// the model says of them by itself.
pub(crate) struct Side {
    pub(crate) questions: Questions,
    streams: BTreeMap<usize, Tensor>,
    pub(crate) plain: Reading,
}

/// Both languages.
pub(crate) struct Sides {
    zh: Side,
    en: Side,
}

impl Sides {
    /// `wanted` pairs with their partners' answers.
    pub(crate) fn of(
        session: &mut Session,
        (set, pairs): (&PromptSet, &[Pair]),
        partners: &[Option<usize>],
        shape: &Shape,
        wanted: &[usize],
    ) -> Result<Self, ExperimentError> {
        let mut side = |language| {
            let ask = |i: &usize| {
                let partner = partners[*i].map(|j| pairs[j].answer);
                let own = pairs[*i].answer;
                Ask {
                    pair: *i,
                    answers: std::iter::once(own).chain(partner).collect(),
                }
            };
            let asks = wanted.iter().map(ask).collect();
            let questions = Questions::new(session, (set, pairs), language, asks)?;
            let layers = [shape.l1 / 2, shape.l1, shape.l1 + 1, shape.l1 + 2];
            let mut layers = layers.to_vec();
            layers.dedup();
            let streams = questions.residuals(session, &layers)?;
            let plain = questions.read(session, shape.l1, &streams[&shape.l1])?;
            Ok::<_, ExperimentError>(Side {
                questions,
                streams,
                plain,
            })
        };
        Ok(Self {
            zh: side(Language::Zh)?,
            en: side(Language::En)?,
        })
    }

    pub(crate) fn of_language(&self, language: Language) -> &Side {
        match language {
            Language::Zh => &self.zh,
            Language::En => &self.en,
        }
    }
}

impl Side {
    /// Mean over the positions of each prompt, those wanted: [asks, d_model].
    pub(crate) fn means(&self, before: usize, bare: bool) -> Result<Tensor, ExperimentError> {
        let x = &self.streams[&before];
        let rows = matrix(x)?;
        let prompts = &self.questions.prompts;
        let skip = if bare {
            massive(&rows, prompts)
        } else {
            vec![false; rows.nrows()]
        };
        let means: Vec<_> = prompts
            .iter()
            .map(|prompt| {
                let kept: Vec<usize> = prompt.clone().filter(|r| !skip[*r]).collect();
                rows.select_rows(&kept).row_mean()
            })
            .collect();
        tensor(&nalgebra::DMatrix::from_rows(&means), x)
    }

    /// A row of `sources` [asks, d_model] for every row of the pack.
    fn spread(&self, sources: &Tensor) -> Result<Tensor, ExperimentError> {
        let rows = Tensor::new(self.questions.ask_of_row.as_slice(), sources.device())?;
        Ok(sources.index_select(&rows, 0)?)
    }

    /// Per row of the pack: on a prompt's own tokens the barycentre of the
    /// source prompt's tokens under entropic transport, on answers the mean.
    fn transported(&self, from: &Side, before: usize) -> Result<Tensor, ExperimentError> {
        let (x, y) = (&self.streams[&before], &from.streams[&before]);
        let means = matrix(&self.spread(&from.means(before, false)?)?)?;
        let (x_rows, y_rows) = (matrix(x)?, matrix(y)?);
        let asks: Vec<usize> = (0..self.questions.asks.len()).collect();
        let moved: Vec<nalgebra::DMatrix<f64>> = asks
            .par_iter()
            .map(|ask| {
                let part = |rows: &nalgebra::DMatrix<f64>, range: &std::ops::Range<usize>| {
                    rows.rows(range.start, range.len()).into_owned()
                };
                let target = part(&x_rows, &self.questions.prompts[*ask]);
                let source = part(&y_rows, &from.questions.prompts[*ask]);
                let transport = sinkhorn(&target, &source, EPSILON)?;
                barycentric(&transport.plan, &source)
            })
            .collect::<Result<_, assay_geometry::GeometryError>>()
            .map_err(|e| ExperimentError::Statistic {
                what: format!("transport of tokens before block {before}"),
                reason: e.to_string(),
            })?;
        let mut rows = means;
        // Every sequence of an ask begins with its prompt.
        for segment in self.questions.pack.segments() {
            let ask = self.questions.ask_of_row[segment.start] as usize;
            let own = &moved[ask];
            rows.rows_mut(segment.start, own.nrows()).copy_from(own);
        }
        tensor(&rows, x)
    }

    fn read(
        &self,
        session: &Session,
        before: usize,
        part: &Part,
        source: &Tensor,
    ) -> Result<Reading, ExperimentError> {
        let x = part.replaced(&self.streams[&before], source)?;
        self.questions.read(session, before, &x)
    }

    /// Change of log p of each ask's own answer.
    fn own(&self, patched: &Reading) -> Vec<f64> {
        let both = patched.logp.iter().zip(&self.plain.logp);
        both.map(|(p, q)| p[0] - q[0]).collect()
    }

    /// Change of log p(a_j) - log p(a_i), where there is a partner.
    pub(crate) fn crossed(&self, patched: &Reading) -> Vec<Option<f64>> {
        let both = patched.logp.iter().zip(&self.plain.logp);
        both.map(|(p, q)| Some((p.get(1)? - p[0]) - (q.get(1)? - q[0])))
            .collect()
    }
}

/// Rows of `means` [asks, d] of the partners, own where a pair has none: such a
/// pair has no effect of design `cross`.
///
/// A partner that is not asked is an error: another source in its place would
/// go unnoticed.
fn of_partners(
    means: &Tensor,
    asks: &[Ask],
    partners: &[Option<usize>],
) -> Result<Tensor, ExperimentError> {
    let row = |(i, ask): (usize, &Ask)| match partners[ask.pair] {
        None => Ok(i as u32),
        Some(partner) => {
            let place = asks.iter().position(|a| a.pair == partner);
            let place = place.ok_or_else(|| ExperimentError::Statistic {
                what: format!("source of pair {}", ask.pair),
                reason: format!("its partner, pair {partner}, is not among those asked"),
            });
            place.map(|p| p as u32)
        }
    };
    let rows: Vec<u32> = asks.iter().enumerate().map(row).collect::<Result<_, _>>()?;
    Ok(means.index_select(&Tensor::new(rows, means.device())?, 0)?)
}

/// All cells of both designs, into the samples of the pairs.
pub(crate) fn measure(
    session: &mut Session,
    (masks, shape): (&Masks, &Shape),
    sides: &Sides,
    partners: &[Option<usize>],
    samples: &mut [Sample],
) -> Result<(), ExperimentError> {
    // Of each direction, place and layer: full twice, and per k two parts of
    // three kinds of source.
    let steps = (8 * (3 + 6 * shape.ks.len())) as u64;
    let mut done = 0;
    let mut tell = |session: &mut Session| {
        session.progress("z-causality: patching", done, steps);
        done += 1;
    };
    for direction in DIRECTIONS {
        let target = sides.of_language(direction.target);
        let from = sides.of_language(direction.source);
        let asks = &target.questions.asks;
        let mut write = |name: String, values: &[Option<f64>]| -> Result<(), ExperimentError> {
            for (ask, value) in asks.iter().zip(values) {
                if let Some(value) = value {
                    samples[ask.pair].scalar(&name, *value)?;
                }
            }
            Ok(())
        };
        let some = |values: Vec<f64>| values.into_iter().map(Some).collect::<Vec<_>>();
        for place in Place::BOTH {
            for (layer_name, layer) in shape.layers() {
                let before = place.before(layer);
                let means = from.means(before, false)?;
                let same = target.spread(&means)?;
                let cross = target.spread(&of_partners(&means, asks, partners)?)?;
                let transported = target.transported(from, before)?;
                let x = &target.streams[&before];
                tell(session);
                let full_same = target.read(session, before, &Part::All, &same)?;
                tell(session);
                let full_ot = target.read(session, before, &Part::All, &transported)?;
                tell(session);
                let full_cross = target.read(session, before, &Part::All, &cross)?;
                for k in &shape.ks {
                    let cell = format!("{}.{layer_name}.k{k}.{}", place.name(), direction.name());
                    let basis = Basis::new(&masks.z(session, layer, *k)?, x)?;
                    let mut by_part = Vec::new();
                    for part in [Part::In(basis.clone()), Part::Outside(basis)] {
                        tell(session);
                        let reading = target.read(session, before, &part, &same)?;
                        tell(session);
                        let ot = target.read(session, before, &part, &transported)?;
                        tell(session);
                        let crossed = target.read(session, before, &part, &cross)?;
                        by_part.push((part.name(), reading, ot, crossed));
                    }
                    let full = [("full", &full_same, &full_ot, &full_cross)];
                    let parts = by_part.iter().map(|(n, a, b, c)| (*n, a, b, c));
                    for (part, same, ot, cross) in full.into_iter().chain(parts) {
                        for (source, reading) in [("mean", same), ("ot", ot)] {
                            write(
                                format!("same.{cell}.{part}.{source}"),
                                &some(target.own(reading)),
                            )?;
                            let kl = kl_by_row(&target.plain.next, &reading.next)?;
                            write(format!("same-kl.{cell}.{part}.{source}"), &some(kl))?;
                        }
                        write(format!("cross.{cell}.{part}"), &target.crossed(cross))?;
                    }
                    let like = |i: usize| kl_by_row(&full_same.next, &by_part[i].1.next);
                    let (z, perp) = (like(0)?, like(1)?);
                    let difference = perp.iter().zip(&z).map(|(p, z)| p - z).collect();
                    write(format!("full-like.{cell}"), &some(difference))?;
                }
            }
        }
    }
    Ok(())
}

/// The placebos of the primary cell, on the `able` pairs; `sides` holds their
/// partners too, which are sources.
pub(crate) fn placebos(
    session: &mut Session,
    (masks, shape, seed): (&Masks, &Shape, u64),
    (sides, able): (&Sides, &[usize]),
    partners: &[Option<usize>],
    (samples, model): (&mut [Sample], &mut Sample),
) -> Result<(), ExperimentError> {
    let primary = Primary::of(session, (masks, shape), sides, partners)?;
    model.series("source-norms", primary.norms()?)?;
    let mut kinds: Vec<(&str, Vec<Subspace>)> = Vec::new();
    let d = primary.z.d();
    session.progress("z-causality: drawing random subspaces", 0, 3);
    let draw = |kind: &'static str, make: &(dyn Fn(usize) -> Drawn + Sync)| {
        let drawn: Drawn = (0..DRAWS)
            .into_par_iter()
            .map(make)
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.concat());
        drawn
            .map(|all| (kind, all))
            .map_err(|e| session_error(kind, &e))
    };
    let rng = |kind: &str, n: usize| stream(seed, &format!("z-causality/{kind}/{n}"));
    let (z, moment) = (&primary.z, &primary.moment);
    let haar = |n| Ok(vec![Subspace::random(z.k(), d, &mut rng("haar", n))?]);
    let matched = |n| {
        Ok(vec![
            z.random_of_equal_size(moment, &mut rng("matched", n))?,
        ])
    };
    let perp = |n| {
        Ok(vec![
            z.random_in_complement(z.k(), &mut rng("perp-part", n))?,
        ])
    };
    kinds.push(draw("haar", &haar)?);
    session.progress("z-causality: drawing random subspaces", 1, 3);
    kinds.push(draw("matched", &matched)?);
    session.progress("z-causality: drawing random subspaces", 2, 3);
    if 2 * z.k() <= d {
        kinds.push(draw("perp-part", &perp)?);
    }
    let steps = (kinds.len() * DRAWS) as u64;
    let mut done = 0;
    for (kind, subspaces) in kinds {
        let mut effects = vec![Vec::with_capacity(DRAWS); primary.target.questions.asks.len()];
        for subspace in &subspaces {
            session.progress("z-causality: random subspaces", done, steps);
            done += 1;
            let basis = Basis::new(subspace, primary.x)?;
            for (effects, effect) in effects.iter_mut().zip(primary.effect(session, &basis)?) {
                effects.extend(effect);
            }
        }
        let asks = primary.target.questions.asks.iter().zip(effects);
        for (ask, effects) in asks.filter(|(ask, _)| able.contains(&ask.pair)) {
            samples[ask.pair].series(&format!("placebo.{kind}"), effects)?;
        }
    }
    primary.others(session, shape, (sides, able), partners, samples)?;
    Ok(model.scalar("draws", DRAWS as f64)?)
}

type Drawn = Result<Vec<Subspace>, assay_geometry::GeometryError>;

fn session_error(kind: &str, reason: &assay_geometry::GeometryError) -> ExperimentError {
    ExperimentError::Statistic {
        what: format!("random subspaces of kind {kind}"),
        reason: reason.to_string(),
    }
}

/// The primary cell: input of block l1, Chinese means into English prompts,
/// design `cross`.
struct Primary<'a> {
    target: &'a Side,
    x: &'a Tensor,
    source: Tensor,
    z: Subspace,
    basis: Basis,
    moment: Moment,
    before: usize,
}

impl<'a> Primary<'a> {
    fn of(
        session: &Session,
        (masks, shape): (&Masks, &Shape),
        sides: &'a Sides,
        partners: &[Option<usize>],
    ) -> Result<Self, ExperimentError> {
        let [Direction { target, source }, _] = DIRECTIONS;
        let (target, from) = (sides.of_language(target), sides.of_language(source));
        let before = Place::In.before(shape.l1);
        let x = &target.streams[&before];
        let means = of_partners(
            &from.means(before, false)?,
            &target.questions.asks,
            partners,
        )?;
        let source = target.spread(&means)?;
        let z = masks.z(session, shape.l1, shape.primary)?;
        let difference = matrix(&(&source - x)?)?;
        Ok(Self {
            target,
            x,
            basis: Basis::new(&z, x)?,
            moment: Moment::of(&difference).map_err(|e| session_error("matched", &e))?,
            z,
            source,
            before,
        })
    }

    /// Mean norms of the residual stream and of the source.
    fn norms(&self) -> Result<Vec<f64>, ExperimentError> {
        let mean = |t: &Tensor| -> Result<f64, ExperimentError> {
            let rows = matrix(t)?;
            Ok(rows.row_iter().map(|r| r.norm()).sum::<f64>() / rows.nrows() as f64)
        };
        Ok(vec![mean(self.x)?, mean(&self.source)?])
    }

    fn effect(
        &self,
        session: &Session,
        basis: &Basis,
    ) -> Result<Vec<Option<f64>>, ExperimentError> {
        let part = Part::In(basis.clone());
        let reading = self
            .target
            .read(session, self.before, &part, &self.source)?;
        Ok(self.target.crossed(&reading))
    }

    /// Placebos of other sources and places, the split of the patch by what is
    /// read, and the patch without massive positions.
    fn others(
        &self,
        session: &mut Session,
        shape: &Shape,
        (sides, able): (&Sides, &[usize]),
        partners: &[Option<usize>],
        samples: &mut [Sample],
    ) -> Result<(), ExperimentError> {
        let (target, asks) = (self.target, &self.target.questions.asks);
        let z = Part::In(self.basis.clone());
        let mut write = |name: &str, reading: &Reading| -> Result<(), ExperimentError> {
            for (ask, value) in asks.iter().zip(target.crossed(reading)) {
                if let Some(value) = value.filter(|_| able.contains(&ask.pair)) {
                    samples[ask.pair].scalar(name, value)?;
                }
            }
            Ok(())
        };
        let own = of_partners(&target.means(self.before, false)?, asks, partners)?;
        let own = target.spread(&own)?;
        write(
            "placebo.same-language",
            &target.read(session, self.before, &z, &own)?,
        )?;
        write(
            "placebo.itself",
            &target.read(session, self.before, &z, self.x)?,
        )?;
        let wrong = shape.l1 / 2;
        let from = sides.of_language(DIRECTIONS[0].source);
        let means = of_partners(&from.means(wrong, false)?, asks, partners)?;
        let source = target.spread(&means)?;
        write(
            "placebo.wrong-layer",
            &target.read(session, wrong, &z, &source)?,
        )?;

        let patch = self.basis.inside(&(&self.source - self.x)?)?;
        let read = Basis::new(&Masks::read_from(session, shape.l1)?, self.x)?.inside(&patch)?;
        let ignored = (&patch - &read)?;
        for (name, part) in [("dormant.read", &read), ("dormant.ignored", &ignored)] {
            let x = (self.x + part)?;
            write(name, &target.questions.read(session, self.before, &x)?)?;
        }

        let means = of_partners(&from.means(self.before, true)?, asks, partners)?;
        let source = target.spread(&means)?;
        let rows = matrix(self.x)?;
        let massive = massive(&rows, target.questions.pack.segments());
        let keep: Vec<f64> = massive.iter().map(|m| if *m { 0.0 } else { 1.0 }).collect();
        let keep = Tensor::from_vec(keep, (massive.len(), 1), self.x.device())?;
        let keep = keep.to_dtype(self.x.dtype())?;
        let patch = self.basis.inside(&(source - self.x)?)?;
        let x = (self.x + patch.broadcast_mul(&keep)?)?;
        write("bare", &target.questions.read(session, self.before, &x)?)?;
        Ok(())
    }
}
