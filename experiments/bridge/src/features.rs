//! Pooled activations of pairs of prompts.

use std::collections::BTreeSet;

use assay_decoder::Pack;
use assay_experiment::{ExperimentError, Session};
use assay_geometry::QueryKey;
use assay_hook_site::{BlockSite, HookSite};
use assay_problems::{Language, Pair, pairs};
use assay_record::PromptSet;
use assay_trace::{Stage, record_blocks};
use candle_core::{DType, Tensor};
use nalgebra::DMatrix;

/// Tokens of a batch of prompts.
pub(crate) const BATCH_TOKENS: usize = 4096;

/// Where bridges are looked at.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    /// min(floor(32 L/36), L - 3): the layer whose input the primary bridge
    /// spans.
    pub(crate) l1: usize,
    /// Others, for bridges across layers.
    pub(crate) all: Vec<usize>,
}

impl Layers {
    pub(crate) fn of(session: &Session) -> Result<Self, ExperimentError> {
        let n = session.config().n_layers;
        if n < 3 {
            return Err(session.unsuitable(format!(
                "has {n} layers, and Z is looked for in one with two behind it"
            )));
        }
        let l1 = (32 * n / 36).min(n - 3);
        let mut all = vec![n / 4, n / 2, l1, l1 + 1];
        all.sort_unstable();
        all.dedup();
        Ok(Self { l1, all })
    }
}

/// Both sides of some pairs, a row each.
#[derive(Debug, Clone)]
pub(crate) struct Sides {
    pub(crate) zh: DMatrix<f64>, // [pairs, d_model]
    pub(crate) en: DMatrix<f64>, // [pairs, d_model]
}

impl Sides {
    /// Some of the pairs.
    pub(crate) fn some(&self, rows: &[usize]) -> Self {
        Self {
            zh: self.zh.select_rows(rows),
            en: self.en.select_rows(rows),
        }
    }
}

/// Of each layer: means over positions, and last positions.
pub(crate) type Pooled = Vec<(usize, [Sides; 2])>;

/// The prompts with a tag `set`, and their pairs.
pub(crate) fn bank(
    session: &Session,
    prompts: &PromptSet,
    set: &str,
) -> Result<(PromptSet, Vec<Pair>), ExperimentError> {
    let set = prompts.with_tag("set", set);
    let pairs = pairs(&set).map_err(|e| session.unsuitable(e.to_string()))?;
    Ok((set, pairs))
}

/// Runs the prompts of some pairs as far as the layers go, batch by batch.
pub(crate) fn pooled(
    session: &mut Session,
    (set, pairs): (&PromptSet, &[Pair]),
    layers: &Layers,
) -> Result<Pooled, ExperimentError> {
    let ids: Vec<Vec<u32>> = session
        .tokenise(set)?
        .ids
        .into_iter()
        .map(|i| i.ids)
        .collect();
    let last = layers.all.last().copied().unwrap_or(layers.l1);
    let d = session.config().d_model;
    let empty = || [DMatrix::zeros(ids.len(), d), DMatrix::zeros(ids.len(), d)];
    let mut rows: Vec<[DMatrix<f64>; 2]> = layers.all.iter().map(|_| empty()).collect();
    let mut from = 0;
    while from < ids.len() {
        session.progress("bridge: prompts", from as u64, ids.len() as u64);
        let mut to = from;
        let mut tokens = 0;
        while to < ids.len() && (to == from || tokens + ids[to].len() <= BATCH_TOKENS) {
            tokens += ids[to].len();
            to += 1;
        }
        let pack = Pack::new(&ids[from..to])?;
        let sites: BTreeSet<HookSite> = layers
            .all
            .iter()
            .map(|l| BlockSite::ResidPre.at(*l))
            .collect();
        let decoder = session.decoder()?;
        let x = decoder.embed(&pack, &mut assay_decoder::NoHooks)?;
        let stage = Stage::From(0..last + 1, &x);
        let (trace, _) = record_blocks(decoder, &pack, stage, &sites, Vec::new())?;
        for (rows, layer) in rows.iter_mut().zip(&layers.all) {
            for i in from..to {
                let own = matrix(&trace.prompt(BlockSite::ResidPre.at(*layer), i - from)?)?;
                rows[0].set_row(i, &own.row_mean());
                rows[1].set_row(i, &own.row(own.nrows() - 1));
            }
        }
        from = to;
    }
    let places =
        |language: Language| -> Vec<usize> { pairs.iter().map(|p| p.side(language)).collect() };
    let (zh, en) = (places(Language::Zh), places(Language::En));
    let sides = |rows: &DMatrix<f64>| Sides {
        zh: rows.select_rows(&zh),
        en: rows.select_rows(&en),
    };
    let layers = layers.all.iter().zip(rows);
    Ok(layers
        .map(|(layer, [mean, last])| (*layer, [sides(&mean), sides(&last)]))
        .collect())
}

/// Rows [n, d] as an f64 matrix.
pub(crate) fn matrix(rows: &Tensor) -> Result<DMatrix<f64>, ExperimentError> {
    let (n, d) = rows.dims2()?;
    let values: Vec<f64> = rows.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    Ok(DMatrix::from_row_slice(n, d, &values))
}

/// What the queries and keys of a layer are made of.
pub(crate) fn query_key(session: &Session, layer: usize) -> Result<QueryKey, ExperimentError> {
    let readers = session.decoder()?.readers(layer)?.ok_or_else(|| {
        session.unsuitable("has no query and key matrices of their own behind a norm without bias")
    })?;
    Ok(QueryKey {
        q: matrix(&readers.q)?,
        k: matrix(&readers.k)?,
        d_head: session.config().d_head,
    })
}
