//! Where the truth is known: a model that was trained to hold its answers in a
//! subspace (`subspace.json`, organisms/README.md).
//!
//! Here one position is patched, the last of the prompt, by the partner's last
//! in the other language: that is what the model was trained for.

use std::collections::BTreeMap;

use assay_experiment::{ExperimentError, Session};
use assay_geometry::Subspace;
use assay_record::Sample;
use assay_stats::stream;
use assay_train::HeldSubspace;
use candle_core::Tensor;

use crate::cells::{DIRECTIONS, Sides};
use crate::masks::Masks;
use crate::patch::{Basis, Part};

/// Random subspaces.
pub(crate) const DRAWS: usize = 99;

/// Patches the last position in the subspace, in the mask of its size, outside
/// of each, and in random subspaces.
pub(crate) fn measure(
    session: &mut Session,
    (masks, seed): (&Masks, u64),
    (sides, able): (&Sides, &[usize]),
    partners: &[Option<usize>],
    (samples, model): (&mut [Sample], &mut Sample),
) -> Result<(), ExperimentError> {
    let config = session.config();
    let (d, layers) = (config.d_model, config.n_layers);
    let held = HeldSubspace::read(session.folder()?, d);
    let Some((block, held)) = held.map_err(|e| session.unsuitable(e.to_string()))? else {
        return Ok(());
    };
    if block >= layers {
        return Err(session.unsuitable(format!(
            "has {layers} blocks, and its subspace.json is of block {block}"
        )));
    }
    let k = held.k();
    let failed = |e: assay_geometry::GeometryError| ExperimentError::Statistic {
        what: "the subspace that answers are held in".to_owned(),
        reason: e.to_string(),
    };
    let mask = masks.z(session, block, k)?;
    let random: Vec<Subspace> = (0..DRAWS)
        .map(|n| Subspace::random(k, d, &mut stream(seed, &format!("z-causality/held/{n}"))))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    model.scalar("held.block", block as f64)?;
    model.scalar("held.k", k as f64)?;
    model.scalar("held.overlap", mask.similarity(&held).map_err(failed)?)?;
    let overlaps: Result<Vec<f64>, _> = random.iter().map(|r| r.similarity(&held)).collect();
    model.series("held.overlap-random", overlaps.map_err(failed)?)?;

    let [direction, _] = DIRECTIONS;
    let target = sides.of_language(direction.target);
    let from = sides.of_language(direction.source);
    let questions = &target.questions;
    let stream_of = |session: &mut Session, of: &crate::questions::Questions| {
        let streams: BTreeMap<usize, Tensor> = of.residuals(session, &[block])?;
        streams
            .into_values()
            .next()
            .ok_or_else(|| session.unsuitable(format!("has no block {block}")))
    };
    let x = stream_of(session, questions)?;
    let y = stream_of(session, &from.questions)?;
    // The last row of the prompt in every sequence of an ask whose partner is
    // asked too.
    let (mut rows, mut sources) = (Vec::new(), Vec::new());
    for segment in questions.pack.segments() {
        let ask = questions.ask_of_row[segment.start] as usize;
        let partner = partners[questions.asks[ask].pair];
        let place = partner.and_then(|p| from.questions.asks.iter().position(|a| a.pair == p));
        if let Some(place) = place {
            rows.push((segment.start + questions.prompts[ask].len() - 1) as u32);
            sources.push((from.questions.prompts[place].end - 1) as u32);
        }
    }
    let rows = Tensor::new(rows, x.device())?;
    let sources = Tensor::new(sources, x.device())?;
    let (own, other) = (x.index_select(&rows, 0)?, y.index_select(&sources, 0)?);
    let effect = |session: &Session, part: &Part| -> Result<Vec<Option<f64>>, ExperimentError> {
        let change = (part.replaced(&own, &other)? - &own)?;
        let patched = x.index_add(&rows, &change, 0)?;
        Ok(target.crossed(&questions.read(session, block, &patched)?))
    };
    let basis = |s: &Subspace| Basis::new(s, &x);
    for (name, part) in [
        ("truth", Part::In(basis(&held)?)),
        ("truth-perp", Part::Outside(basis(&held)?)),
        ("z", Part::In(basis(&mask)?)),
        ("z-perp", Part::Outside(basis(&mask)?)),
        ("full", Part::All),
    ] {
        let effects = effect(session, &part)?;
        for (ask, effect) in questions.asks.iter().zip(effects) {
            if let Some(effect) = effect.filter(|_| able.contains(&ask.pair)) {
                samples[ask.pair].scalar(&format!("held.{name}"), effect)?;
            }
        }
    }
    let mut by_ask = vec![Vec::with_capacity(DRAWS); questions.asks.len()];
    for (n, subspace) in random.iter().enumerate() {
        session.progress("z-causality: held", n as u64, DRAWS as u64);
        let effects = effect(session, &Part::In(basis(subspace)?))?;
        by_ask
            .iter_mut()
            .zip(effects)
            .for_each(|(all, e)| all.extend(e));
    }
    for (ask, effects) in questions.asks.iter().zip(by_ask) {
        if able.contains(&ask.pair) && effects.len() == DRAWS {
            samples[ask.pair].series("held.random", effects)?;
        }
    }
    Ok(())
}
