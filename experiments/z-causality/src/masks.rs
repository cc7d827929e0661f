//! Masks of Z, what they look like, and how far the two languages are apart in
//! them (METHODS §5).

use assay_decoder::{Decoder, Readers};
use assay_experiment::{ExperimentError, Session};
use assay_geometry::{HeadMasks, QueryKey, Subspace, avoidance};
use assay_record::Sample;
use assay_stats::stream;
use candle_core::Tensor;
use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::patch::matrix;

/// Random subspaces that a measure on weights or pooled activations is set
/// beside.
pub(crate) const RANDOM: usize = 100;
/// Published sizes of Z, and the width of the model that they were used on.
const PUBLISHED: [usize; 3] = [20, 50, 78];
const PUBLISHED_WIDTH: usize = 2048;

/// Where masks are taken, and their sizes.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) n_layers: usize,
    pub(crate) l1: usize,
    /// Sizes that are patched, ascending.
    pub(crate) ks: Vec<usize>,
    /// The size of the primary cell.
    pub(crate) primary: usize,
    /// Most dimensions that the keys of a layer read.
    pub(crate) span: usize,
    d_head: usize,
}

impl Shape {
    /// The layer rule, and k in {20, 50} beside the same fractions of d_model,
    /// as far as the keys read that many dimensions (E13).
    pub(crate) fn of(session: &Session) -> Result<Self, ExperimentError> {
        let config = session.config();
        let n_layers = config.n_layers;
        if n_layers < 3 {
            return Err(session.unsuitable(format!(
                "has {n_layers} layers, and Z is looked for in one with two behind it"
            )));
        }
        let span = (config.n_kv_heads * config.d_head).min(config.d_model);
        let scaled = |k: usize| {
            let exact = (k * config.d_model) as f64 / PUBLISHED_WIDTH as f64;
            (exact.round() as usize).max(1)
        };
        let mut ks: Vec<usize> = (PUBLISHED[..2].iter())
            .flat_map(|k| [*k, scaled(*k)])
            // A mask of everything has no complement.
            .filter(|k| *k <= span && *k < config.d_model)
            .collect();
        ks.sort_unstable();
        ks.dedup();
        let Some(largest) = ks.last() else {
            return Err(session.unsuitable("has keys that read fewer dimensions than any mask has"));
        };
        Ok(Self {
            n_layers,
            l1: (32 * n_layers / 36).min(n_layers - 3),
            primary: if ks.contains(&PUBLISHED[1]) {
                PUBLISHED[1]
            } else {
                *largest
            },
            ks,
            span,
            d_head: config.d_head,
        })
    }

    /// Published sizes that the keys read, or the primary one.
    pub(crate) fn published_ks(&self) -> Vec<usize> {
        let published = PUBLISHED[..2].iter().copied();
        let mut ks: Vec<usize> = published.filter(|k| self.ks.contains(k)).collect();
        if !ks.contains(&self.primary) {
            ks.push(self.primary);
        }
        ks
    }

    /// The two layers by the names that samples give them.
    pub(crate) fn layers(&self) -> [(&'static str, usize); 2] {
        [("l1", self.l1), ("l2", self.l1 + 1)]
    }
}

/// The masks of every layer.
pub(crate) struct Masks(Vec<HeadMasks>);

fn failed(session: &Session, layer: usize, what: impl ToString) -> ExperimentError {
    ExperimentError::Measure {
        model: session.model().to_owned(),
        prompt: "(weights)".to_owned(),
        layer,
        reason: what.to_string(),
    }
}

fn readers(decoder: &Decoder, session: &Session, layer: usize) -> Result<Readers, ExperimentError> {
    decoder.readers(layer)?.ok_or_else(|| {
        session.unsuitable("has no query and key matrices of their own behind a norm without bias")
    })
}

impl Masks {
    /// Factorizes the query-key products of every layer.
    pub(crate) fn of(session: &mut Session) -> Result<Self, ExperimentError> {
        let n_layers = session.config().n_layers;
        let mut layers = Vec::with_capacity(n_layers);
        for layer in 0..n_layers {
            session.progress("z-causality: masks", layer as u64, n_layers as u64);
            let r = readers(session.decoder()?, session, layer)?;
            let factors = QueryKey {
                q: matrix(&r.q)?,
                k: matrix(&r.k)?,
                d_head: session.config().d_head,
            };
            let masks = factors.factorize().map_err(|e| failed(session, layer, e))?;
            layers.push(masks);
        }
        Ok(Self(layers))
    }

    /// Z of a layer: all heads, k dimensions.
    pub(crate) fn z(
        &self,
        session: &Session,
        layer: usize,
        k: usize,
    ) -> Result<Subspace, ExperimentError> {
        let z = self.0[layer].of_all_heads(k);
        z.map_err(|e| failed(session, layer, e))
    }

    fn head_0(
        &self,
        session: &Session,
        layer: usize,
        k: usize,
    ) -> Result<Subspace, ExperimentError> {
        let z = self.0[layer].of_head(0, k);
        z.map_err(|e| failed(session, layer, e))
    }

    /// Effective ranks, similarities of all layer pairs, what the gate avoids,
    /// and masks with gains folded in.
    pub(crate) fn describe(
        &self,
        session: &mut Session,
        shape: &Shape,
        seed: u64,
        sample: &mut Sample,
    ) -> Result<(), ExperimentError> {
        for (layer, heads) in self.0.iter().enumerate() {
            let ranks = heads.effective_ranks();
            let ranks = ranks.map_err(|e| failed(session, layer, e))?;
            sample.series(&format!("mask.rank.{layer}"), ranks)?;
        }
        for k in &shape.ks {
            let n = shape.n_layers as u64;
            session.progress("z-causality: masks compared", 0, n);
            let all: Vec<Subspace> = (0..shape.n_layers)
                .into_par_iter()
                .map(|l| self.0[l].of_all_heads(*k).map_err(|e| (l, e)))
                .collect::<Result<_, _>>()
                .map_err(|(l, e)| failed(session, l, e))?;
            sample.series(&format!("mask.similarity.all.k{k}"), similarities(&all)?)?;
            if *k <= shape.d_head {
                let heads = (0..shape.n_layers).map(|l| self.head_0(session, l, *k));
                let heads: Vec<Subspace> = heads.collect::<Result<_, _>>()?;
                let name = format!("mask.similarity.head-0.k{k}");
                sample.series(&name, similarities(&heads)?)?;
            }
            self.gates(session, (shape, *k, seed), &all, sample)?;
            for (name, layer) in shape.layers() {
                let audited = self.audited(session, layer, *k, &all[layer])?;
                sample.series(&format!("mask.audited.{name}.k{k}"), audited.to_vec())?;
            }
        }
        Ok(())
    }

    fn gates(
        &self,
        session: &mut Session,
        (shape, k, seed): (&Shape, usize, u64),
        masks: &[Subspace],
        sample: &mut Sample,
    ) -> Result<(), ExperimentError> {
        let mut by_block = Vec::with_capacity(masks.len());
        for (layer, mask) in masks.iter().enumerate() {
            session.progress("z-causality: gates", layer as u64, shape.n_layers as u64);
            let gate = matrix(&readers(session.decoder()?, session, layer)?.gate)?;
            // Only the product with itself matters: |W P|² = tr(B WᵀW Bᵀ).
            let value = avoidance(&gate, mask).map_err(|e| failed(session, layer, e))?;
            by_block.push(value);
            if layer == shape.l1 {
                let random: Vec<f64> = (0..RANDOM)
                    .into_par_iter()
                    .map(|n| {
                        let name = format!("z-causality/gate/k{k}/{n}");
                        let p = Subspace::random(k, mask.d(), &mut stream(seed, &name))?;
                        avoidance(&gate, &p)
                    })
                    .collect::<Result<_, _>>()
                    .map_err(|e| failed(session, layer, e))?;
                sample.series(&format!("mask.ffn-random.k{k}"), random)?;
            }
        }
        Ok(sample.series(&format!("mask.ffn.k{k}.by-block"), by_block)?)
    }

    /// Similarity of the published mask with the one that has the gains of the
    /// norms folded in, and with the one of the query side.
    fn audited(
        &self,
        session: &Session,
        layer: usize,
        k: usize,
        published: &Subspace,
    ) -> Result<[f64; 2], ExperimentError> {
        let r = readers(session.decoder()?, session, layer)?;
        let config = session.config();
        let (n_heads, d_head) = (config.n_heads, config.d_head);
        let columns = |m: &Tensor| -> Result<DMatrix<f64>, ExperimentError> {
            matrix(&m.broadcast_mul(&r.attn_gain)?)
        };
        let (mut q, mut k_side) = (columns(&r.q)?, columns(&r.k)?);
        if let Some([q_gain, k_gain]) = &r.qk_gains {
            for (side, gain) in [(&mut q, q_gain), (&mut k_side, k_gain)] {
                let gain = matrix(&gain.reshape((1, d_head))?)?;
                for (i, mut row) in side.row_iter_mut().enumerate() {
                    row *= gain[(0, i % d_head)];
                }
            }
        }
        let of = |q: DMatrix<f64>, k_side: DMatrix<f64>| {
            let masks = QueryKey {
                q,
                k: k_side,
                d_head,
            }
            .factorize()?;
            masks.of_all_heads(k)?.similarity(published)
        };
        let folded = of(q, k_side).map_err(|e| failed(session, layer, e))?;
        // The query side: what is a key there is each query head, and each has
        // the key head of its group against it.
        let (q, k_side) = (matrix(&r.q)?, matrix(&r.k)?);
        let group = n_heads / config.n_kv_heads;
        let rows = (0..n_heads * d_head).map(|i| (i / d_head / group) * d_head + i % d_head);
        let rows: Vec<usize> = rows.collect();
        let query = of(k_side.select_rows(&rows), q).map_err(|e| failed(session, layer, e))?;
        Ok([folded, query])
    }

    /// An orthonormal basis of what the blocks from `from` on read, with the
    /// norms' gains: the directions that hold 99 % of the squares of all their
    /// reading matrices, each matrix counted alike.
    pub(crate) fn read_from(
        session: &mut Session,
        from: usize,
    ) -> Result<Subspace, ExperimentError> {
        let n_layers = session.config().n_layers;
        let d = session.config().d_model;
        let mut total = DMatrix::zeros(d, d);
        for layer in from..n_layers {
            session.progress("z-causality: readers", layer as u64, n_layers as u64);
            let r = readers(session.decoder()?, session, layer)?;
            let attn = [&r.q, &r.k, &r.v].map(|w| (w, &r.attn_gain));
            let mlp = [&r.gate, &r.up].map(|w| (w, &r.mlp_gain));
            for (w, gain) in attn.into_iter().chain(mlp) {
                let w = w.broadcast_mul(gain)?;
                let product = matrix(&w.t()?.matmul(&w)?)?;
                let trace = product.trace();
                if trace > 0.0 {
                    total += product / trace;
                }
            }
        }
        let eigen = nalgebra::SymmetricEigen::new(total);
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
        let whole: f64 = eigen.eigenvalues.iter().sum();
        let mut held = 0.0;
        let enough = order.iter().position(|i| {
            held += eigen.eigenvalues[*i];
            held >= READ * whole
        });
        order.truncate(enough.map_or(d, |e| e + 1));
        let basis = eigen.eigenvectors.select_columns(&order).transpose();
        Subspace::spanning(&basis).map_err(|e| failed(session, from, e))
    }

    /// Ratios of distances and energies in every configuration. `pooled` gives
    /// (zh, en) rows [pairs, d_model] by layer and pooling.
    pub(crate) fn distances(
        &self,
        session: &mut Session,
        shape: &Shape,
        seed: u64,
        pooled: &[Pooled],
        sample: &mut Sample,
    ) -> Result<(), ExperimentError> {
        let mut ks = shape.ks.clone();
        ks.extend(
            PUBLISHED
                .iter()
                .filter(|k| **k <= shape.span && !shape.ks.contains(k)),
        );
        let steps = (pooled.len() * ks.len()) as u64;
        let mut done = 0;
        for p in pooled {
            let d = p.zh.ncols();
            for k in ks.iter().copied().filter(|k| *k < d) {
                session.progress("z-causality: distances", done, steps);
                done += 1;
                let mut masks = vec![("all", self.z(session, p.layer, k)?)];
                if k <= shape.d_head {
                    masks.push(("head-0", self.head_0(session, p.layer, k)?));
                }
                for (heads, mask) in masks {
                    let name = format!("{}.{heads}.k{k}.{}", p.layer_name, p.pooling);
                    let (each, triple) = p.distances(&mask);
                    // Prompts that do not differ there at all have no ratio.
                    if triple.iter().chain(&each).any(|v| !v.is_finite()) {
                        continue;
                    }
                    sample.series(&format!("distance.{name}"), triple.to_vec())?;
                    sample.series(&format!("distance-by-pair.{name}"), each)?;
                    let random: Vec<[f64; 3]> = (0..RANDOM)
                        .into_par_iter()
                        .map(|n| {
                            let stream_name = format!("z-causality/distance/{name}/{n}");
                            let mut draws = stream(seed, &stream_name);
                            Ok(p.distances(&Subspace::random(k, d, &mut draws)?).1)
                        })
                        .collect::<Result<_, assay_geometry::GeometryError>>()
                        .map_err(|e| failed(session, p.layer, e))?;
                    sample.series(&format!("distance-random.{name}"), random.concat())?;
                }
            }
        }
        Ok(())
    }
}

/// Share of the squares of the reading matrices that "read" directions hold.
const READ: f64 = 0.99;

fn similarities(masks: &[Subspace]) -> Result<Vec<f64>, ExperimentError> {
    let pairs = masks.iter().flat_map(|a| masks.iter().map(move |b| (a, b)));
    pairs
        .map(|(a, b)| a.similarity(b))
        .collect::<Result<_, _>>()
        .map_err(|e| ExperimentError::Statistic {
            what: "similarity of two layers' masks".to_owned(),
            reason: e.to_string(),
        })
}

/// Prompts of both languages, a row each, in the order of the pairs.
pub(crate) struct Pooled {
    pub(crate) layer_name: &'static str,
    pub(crate) layer: usize,
    pub(crate) pooling: &'static str,
    pub(crate) zh: DMatrix<f64>,
    pub(crate) en: DMatrix<f64>,
}

impl Pooled {
    /// Of a subspace: per pair the ratios in it and in its complement, one
    /// after the other; and [ratio_Z, ratio_⊥, energy] over all.
    fn distances(&self, mask: &Subspace) -> (Vec<f64>, [f64; 3]) {
        let inside = |rows: &DMatrix<f64>| rows * mask.basis().transpose();
        let (zh, en) = (inside(&self.zh), inside(&self.en));
        let n = zh.nrows();
        let norms = |whole: f64, part: f64| (part.sqrt(), (whole - part).max(0.0).sqrt());
        let mut same = Vec::with_capacity(n);
        let mut energy = 0.0;
        for i in 0..n {
            let whole = (self.zh.row(i) - self.en.row(i)).norm_squared();
            let part = (zh.row(i) - en.row(i)).norm_squared();
            energy += part / whole / n as f64;
            same.push(norms(whole, part));
        }
        let (mut other_z, mut other_perp, mut count) = (0.0, 0.0, 0.0);
        for (whole_rows, part_rows) in [(&self.zh, &zh), (&self.en, &en)] {
            for i in 0..n {
                for j in i + 1..n {
                    let whole = (whole_rows.row(i) - whole_rows.row(j)).norm_squared();
                    let part = (part_rows.row(i) - part_rows.row(j)).norm_squared();
                    let (z, perp) = norms(whole, part);
                    other_z += z;
                    other_perp += perp;
                    count += 1.0;
                }
            }
        }
        let (other_z, other_perp) = (other_z / count, other_perp / count);
        let mean = |get: fn(&(f64, f64)) -> f64| same.iter().map(get).sum::<f64>() / n as f64;
        let triple = [mean(|s| s.0) / other_z, mean(|s| s.1) / other_perp, energy];
        let each = same
            .iter()
            .flat_map(|(z, perp)| [z / other_z, perp / other_perp]);
        (each.collect(), triple)
    }
}
