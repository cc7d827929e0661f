//! What late values carry: those of a recursive prompt are put in place of a
//! plain one's, at the last W positions, and the model runs on.
//!
//! Per topic (unit "patch.TOPIC", set "patch"):
//! - `patch.kl.unpatched` KL in nats of the plain prompt's next-token
//!   distribution from the recursive one's, and `patch.kl.*` after each patch
//! - `patch.rv-downstream.*` mean participation ratio (A) of the layers behind
//!   the late one over that of the early one; the patched layer itself would
//!   say nothing but what was put there

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use assay_decoder::Pack;
use assay_experiment::{ExperimentError, Session, Tokenised};
use assay_geometry::{Rows, kl_divergence};
use assay_hook_site::BlockSite;
use assay_record::{PromptSet, Sample};
use assay_stats::stream;
use assay_trace::{Edit, Stage, Trace, record_blocks};
use candle_core::{D, Device, Error, Tensor};
use rand_chacha::rand_core::RngCore;

use crate::bank::{self, PLAIN};
use crate::values::{Layers, WINDOW, spread};

/// Layers that are patched: the late one, and two that are wrong.
pub(crate) fn places(layers: Layers) -> [usize; 3] {
    [layers.late, layers.early, (layers.early + layers.late) / 2]
}

/// Where the values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The same topic's recursive prompt.
    Recursive,
    /// The next topic's plain prompt.
    OtherText,
    /// Normal deviates of the recursive values' root mean square.
    Noise,
    /// Random directions with the norm of each recursive row and head.
    SameNorms,
    /// The plain prompt itself: must change no bit.
    Itself,
}

/// The conditions: name, which of [`places`], source.
const CONDITIONS: [(&str, usize, Source); 7] = [
    ("right", 0, Source::Recursive),
    ("wrong-early", 1, Source::Recursive),
    ("wrong-middle", 2, Source::Recursive),
    ("other-text", 0, Source::OtherText),
    ("noise", 0, Source::Noise),
    ("noise-same-norms", 0, Source::SameNorms),
    ("itself", 0, Source::Itself),
];

/// Placebos that the right patch is held against.
pub(crate) const PLACEBOS: [&str; 5] = [
    "wrong-early",
    "wrong-middle",
    "other-text",
    "noise",
    "noise-same-norms",
];

/// Runs every condition over all topics at once. `trace` is of the matched set.
pub(crate) fn measure(
    session: &mut Session,
    seed: u64,
    set: &PromptSet,
    tokens: &Tokenised,
    layers: Layers,
    trace: &Trace,
) -> Result<Vec<Sample>, ExperimentError> {
    let groups = bank::groups(set);
    let strongest = groups.iter().rfind(|g| bank::is_recursive(g));
    // Plain prose first: it is the control nearest in form.
    let plain = PLAIN.iter().rev().find(|g| groups.contains(g));
    let (Some(strongest), Some(plain)) = (strongest, plain) else {
        return Ok(Vec::new());
    };
    let of_group = |group: &str| -> BTreeMap<&str, usize> {
        let prompts = set.prompts.iter().enumerate();
        prompts
            .filter(|(_, p)| p.tag("group") == Some(group))
            .map(|(i, p)| (p.category.as_str(), i))
            .collect()
    };
    let (recursive, plain) = (of_group(strongest), of_group(plain));
    let topics: Vec<&str> = plain.keys().copied().collect();
    let sources: Vec<usize> = recursive.values().copied().collect();
    let targets: Vec<usize> = plain.values().copied().collect();
    let ids: Vec<Vec<u32>> = targets.iter().map(|i| tokens.ids[*i].ids.clone()).collect();
    let pack = Pack::new(&ids)?;

    let n_layers = session.config().n_layers;
    let last = BlockSite::ResidPost.at(n_layers - 1);
    let next = |session: &Session, rows: &Tensor| -> Result<Rows, ExperimentError> {
        let logits = session.decoder()?.logits(rows)?;
        Rows::new(&logits).map_err(|e| session.unsuitable(e.to_string()))
    };
    let last_rows = |prompts: &[usize]| -> Result<Tensor, ExperimentError> {
        let ends: Vec<u32> = (prompts.iter())
            .map(|i| tokens.pack.segments()[*i].end as u32 - 1)
            .collect();
        Ok(trace
            .rows(last)?
            .index_select(&Tensor::new(ends, &Device::Cpu)?, 0)?)
    };
    let wanted = next(session, &last_rows(&sources)?)?;
    let unpatched = next(session, &last_rows(&targets)?)?;

    let mut samples: Vec<Sample> = (topics.iter().zip(&ids))
        .map(|(topic, ids)| Sample {
            unit: format!("patch.{topic}"),
            cluster: (*topic).to_owned(),
            text: String::new(),
            token_ids: ids.clone(),
            special_tokens: tokens.ids[targets[0]].special,
            tags: BTreeMap::from([("set".to_owned(), "patch".to_owned())]),
            measures: BTreeMap::new(),
        })
        .collect();
    let moved = |session: &Session, found: &Rows| -> Result<Vec<f64>, ExperimentError> {
        let pairs = wanted.iter().zip(found.iter()).zip(&topics);
        pairs
            .map(|((p, q), topic)| {
                kl_divergence(p, q).map_err(|e| ExperimentError::Measure {
                    model: session.model().to_owned(),
                    prompt: format!("patch.{topic}"),
                    layer: layers.late,
                    reason: e.to_string(),
                })
            })
            .collect()
    };
    for (sample, kl) in samples.iter_mut().zip(moved(session, &unpatched)?) {
        sample.scalar("patch.kl.unpatched", kl)?;
    }
    let early = downstream_base(session, trace, layers, &targets)?;
    for (done, (name, place, source)) in CONDITIONS.into_iter().enumerate() {
        session.progress(
            "value-contraction: patching",
            done as u64,
            CONDITIONS.len() as u64,
        );
        let layer = places(layers)[place];
        let at = Place { trace, layer };
        let mut pieces = Vec::new();
        for (i, target) in targets.iter().enumerate() {
            let from = match source {
                Source::OtherText => targets[(i + 1) % targets.len()],
                Source::Itself => *target,
                _ => sources[i],
            };
            let name = format!("value-contraction/{name}/{}", topics[i]);
            pieces.push(at.patched(*target, from, source, &mut stream(seed, &name))?);
        }
        let patched = Tensor::cat(&pieces, 0)?;
        let x: Vec<Tensor> = (targets.iter())
            .map(|i| trace.prompt(BlockSite::ResidPre.at(layer), *i))
            .collect::<Result<_, _>>()?;
        let x = Tensor::cat(&x, 0)?;
        let (resid, behind) = run_on(session, &pack, (layer, layers.late), &x, &patched)?;
        let ends = Tensor::new(pack.last_rows(), &Device::Cpu)?;
        let resid = resid.index_select(&ends, 0)?;
        if source == Source::Itself {
            let bits = |x: &Tensor| -> Result<Vec<f32>, ExperimentError> {
                Ok(x.flatten_all()?.to_vec1()?)
            };
            if bits(&resid)? != bits(&last_rows(&targets)?)? {
                return Err(session.unsuitable(
                    "changes when a prompt's own values are put back: the patch is not exact",
                ));
            }
            continue;
        }
        let found = next(session, &resid)?;
        for (i, (sample, kl)) in samples.iter_mut().zip(moved(session, &found)?).enumerate() {
            sample.scalar(&format!("patch.kl.{name}"), kl)?;
            if let Some(spread) = behind.get(i).filter(|b| !b.is_empty()) {
                let mean = spread.iter().sum::<f64>() / spread.len() as f64;
                sample.scalar(&format!("patch.rv-downstream.{name}"), mean / early[i])?;
            }
        }
    }
    let all = CONDITIONS.len() as u64;
    session.progress("value-contraction: patching", all, all);
    Ok(samples)
}

/// Participation ratio of the early layer of each target.
fn downstream_base(
    session: &Session,
    trace: &Trace,
    layers: Layers,
    targets: &[usize],
) -> Result<Vec<f64>, ExperimentError> {
    let n_heads = session.config().n_heads;
    (targets.iter())
        .map(|i| {
            let v = trace.prompt(BlockSite::V.at(layers.early), *i)?;
            let spread = spread(&v, n_heads).map_err(|e| session.unsuitable(e.to_string()))?;
            Ok(spread.a.naive)
        })
        .collect()
}

/// The residual stream that leaves the last block when `patched` are the values
/// of `layer`, and the participation ratios behind `late`: [prompt][layer].
fn run_on(
    session: &Session,
    pack: &Pack,
    (layer, late): (usize, usize),
    x: &Tensor,
    patched: &Tensor,
) -> Result<(Tensor, Vec<Vec<f64>>), ExperimentError> {
    let config = session.config();
    let (n_layers, n_heads) = (config.n_layers, config.n_heads);
    let behind = RefCell::new(vec![Vec::new(); pack.segments().len()]);
    let mut edits = vec![Edit::new(
        BlockSite::V.at(layer),
        |_, _| Ok(patched.clone()),
    )];
    for l in late + 1..n_layers {
        let behind = &behind;
        edits.push(Edit::new(BlockSite::V.at(l), move |_, v| {
            for (i, segment) in pack.segments().iter().enumerate() {
                let v = v.narrow(0, segment.start, segment.len())?;
                let spread = spread(&v, n_heads).map_err(|e| Error::Msg(e.to_string()))?;
                behind.borrow_mut()[i].push(spread.a.naive);
            }
            Ok(v.clone())
        }));
    }
    let stage = Stage::From(layer..n_layers, x);
    let none = BTreeSet::new();
    let (_, resid) = record_blocks(session.decoder()?, pack, stage, &none, edits)?;
    Ok((resid, behind.into_inner()))
}

/// A layer of the matched pass.
struct Place<'a> {
    trace: &'a Trace,
    layer: usize,
}

impl Place<'_> {
    /// Values of prompt `target` with the last rows replaced.
    fn patched(
        &self,
        target: usize,
        from: usize,
        source: Source,
        draws: &mut impl RngCore,
    ) -> Result<Tensor, ExperimentError> {
        let values = |i: usize| self.trace.prompt(BlockSite::V.at(self.layer), i);
        let (own, theirs) = (values(target)?, values(from)?);
        let end =
            |v: &Tensor| -> candle_core::Result<Tensor> { v.narrow(0, v.dim(0)? - WINDOW, WINDOW) };
        let theirs = end(&theirs)?;
        let window = match source {
            Source::Recursive | Source::OtherText | Source::Itself => theirs,
            Source::Noise => {
                let noise = normal(theirs.dims(), draws)?.to_dtype(theirs.dtype())?;
                let rms = theirs.sqr()?.mean_all()?.sqrt()?;
                noise.broadcast_mul(&rms)?
            }
            Source::SameNorms => {
                let noise = normal(theirs.dims(), draws)?.to_dtype(theirs.dtype())?;
                let norms = |x: &Tensor| x.sqr()?.sum_keepdim(D::Minus1)?.sqrt();
                noise.broadcast_mul(&(norms(&theirs)? / norms(&noise)?)?)?
            }
        };
        let before = own.narrow(0, 0, own.dim(0)? - WINDOW)?;
        Ok(Tensor::cat(&[&before, &window], 0)?)
    }
}

/// Standard normal deviates by Box & Muller (1958).
fn normal(shape: &[usize], draws: &mut impl RngCore) -> candle_core::Result<Tensor> {
    // In (0, 1]: the logarithm is finite.
    let mut unit = || ((draws.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|_| (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}
