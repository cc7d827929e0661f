//! What stands before the first block and after the last one.

use std::sync::OnceLock;

use assay_checkpoint::{DecoderConfig, Position, Weights};
use candle_core::{DType, Device, Tensor};

use crate::DecoderError;
use crate::arch;
use crate::decoder::{Arithmetic, Placement, Residency};
use crate::parts::linear::{Linear, Matrix};
use crate::parts::load::{Load, Stored, TensorKind};
use crate::parts::norm::Norm;

/// Embeddings, final norm and unembedding.
pub(crate) struct Ends {
    stored: Stored,
    embed: Table,
    embed_scale: f64,
    embed_norm: Option<Norm>,
    project_in: Option<Linear>,  // d_embed -> d_model
    project_out: Option<Linear>, // d_model -> d_embed
    pos_embed: Option<(Table, usize)>,
    pub(crate) final_norm: Option<Norm>,
    unembed: Unembed,
    dtype: DType,
    first: Device,
    last: Device,
}

/// A matrix that stays in its file and is read by row.
struct Table {
    name: String,
    shape: [usize; 2],
}

/// The unembedding: [vocab, d_embed] in the file.
struct Unembed {
    table: Table,
    bias: Option<Tensor>, // [vocab]
    /// In memory once it was asked for, unless it is streamed.
    loaded: OnceLock<Linear>,
    streamed: bool,
    as_stored: bool,
}

/// Rows of a streamed unembedding that are in memory at a time.
pub(crate) const VOCAB_CHUNK: usize = 8192;

impl Ends {
    pub(crate) fn load(
        stored: &Stored,
        config: &DecoderConfig,
        placement: &Placement,
        (first, last): (&Device, &Device),
    ) -> Result<Self, DecoderError> {
        let from = |device| Load {
            source: stored.source(),
            dtype: placement.dtype,
            device,
            as_stored: false,
            in_file_order: false,
        };
        let parts = Parts::load(&from(first), &from(last), config)?;
        Ok(Self {
            stored: stored.clone(),
            embed: parts.embed,
            embed_scale: config.embed_scale,
            embed_norm: parts.embed_norm,
            project_in: parts.project_in,
            project_out: parts.project_out,
            pos_embed: parts.pos_embed,
            final_norm: parts.final_norm,
            unembed: Unembed {
                table: parts.unembed,
                bias: parts.unembed_bias,
                loaded: OnceLock::new(),
                streamed: placement.residency == Residency::Streamed,
                as_stored: placement.arithmetic == Arithmetic::AsStored,
            },
            dtype: placement.dtype,
            first: first.clone(),
            last: last.clone(),
        })
    }

    /// Names the tensors to a listing.
    pub(crate) fn list(from: &Load, config: &DecoderConfig) -> Result<(), DecoderError> {
        let parts = Parts::load(from, from, config)?;
        let tables = [Some(&parts.embed), parts.pos_embed.as_ref().map(|p| &p.0)];
        for table in tables.into_iter().flatten() {
            from.tensor(&table.name, &table.shape, TensorKind::Embedding)?;
        }
        if !config.tied {
            from.tensor(&parts.unembed.name, &parts.unembed.shape, TensorKind::OutIn)?;
        }
        Ok(())
    }

    /// `x` where the end of the model is, in its type.
    pub(crate) fn here(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        Ok(x.to_dtype(self.dtype)?.to_device(&self.last)?)
    }

    /// What the model computes in.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Are its weights variables?
    pub(crate) fn of_variables(&self) -> bool {
        matches!(self.stored, Stored::Variables(_))
    }

    /// Embeddings of some tokens as they enter the residual stream:
    /// [ids, d_model].
    pub(crate) fn embed(&self, ids: &[u32]) -> Result<Tensor, DecoderError> {
        let mut x = self.rows(&self.embed, ids)?;
        if self.embed_scale != 1.0 {
            x = (x * self.embed_scale)?;
        }
        if let Some(norm) = &self.embed_norm {
            x = norm.forward(&x)?;
        }
        match &self.project_in {
            Some(projection) => projection.forward(&x),
            None => Ok(x),
        }
    }

    /// Learned embeddings of some positions: [positions, d_model].
    pub(crate) fn positions(&self, positions: &[u32]) -> Result<Option<Tensor>, DecoderError> {
        let Some((table, offset)) = &self.pos_embed else {
            return Ok(None);
        };
        let rows: Vec<u32> = positions.iter().map(|p| p + *offset as u32).collect();
        self.rows(table, &rows).map(Some)
    }

    fn rows(&self, table: &Table, rows: &[u32]) -> Result<Tensor, DecoderError> {
        let Table { name, shape } = table;
        match &self.stored {
            Stored::Files(weights) => {
                Ok(weights.rows(name, *shape, rows, self.dtype, &self.first)?)
            }
            Stored::Variables(variables) => {
                let rows = Tensor::new(rows, &self.first)?;
                Ok(variables.get(name, shape)?.index_select(&rows, 0)?)
            }
        }
    }

    /// x [rows, d_model], normed -> logits [rows, vocab] before any cap.
    pub(crate) fn unembed(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let x = match &self.project_out {
            Some(projection) => projection.forward(x)?,
            None => x.clone(),
        };
        if let Stored::Files(weights) = &self.stored
            && self.unembed.streamed
        {
            return self.unembed_in_chunks(weights, &x);
        }
        if let Some(linear) = self.unembed.loaded.get() {
            return linear.forward(&x);
        }
        let Table { name, shape } = &self.unembed.table;
        let from = Load {
            source: self.stored.source(),
            dtype: self.dtype,
            device: &self.last,
            as_stored: self.unembed.as_stored,
            in_file_order: false,
        };
        let w = from.matrix(name, (shape[1], shape[0]), TensorKind::OutIn)?;
        let linear = Linear::new(w, self.unembed.bias.clone());
        self.unembed.loaded.get_or_init(|| linear).forward(&x)
    }

    /// The product with a part of the vocabulary at a time, read from the file.
    fn unembed_in_chunks(&self, weights: &Weights, x: &Tensor) -> Result<Tensor, DecoderError> {
        let Table { name, shape } = &self.unembed.table;
        let mut logits = Vec::new();
        for start in (0..shape[0]).step_by(VOCAB_CHUNK) {
            let end = shape[0].min(start + VOCAB_CHUNK);
            let rows = weights.row_range(name, *shape, start..end, self.dtype, &self.last)?;
            let b = match &self.unembed.bias {
                Some(b) => Some(b.narrow(0, start, end - start)?.contiguous()?),
                None => None,
            };
            logits.push(Linear::new(Matrix::Dense(rows.t()?), b).forward(x)?);
        }
        Ok(Tensor::cat(&logits, 1)?)
    }
}

/// c tanh(x / c), where there is a c.
pub(crate) fn cap(x: Tensor, c: Option<f64>) -> Result<Tensor, DecoderError> {
    Ok(match c {
        Some(c) => ((x / c)?.tanh()? * c)?,
        None => x,
    })
}

/// The pieces, as the config calls for them.
struct Parts {
    embed: Table,
    pos_embed: Option<(Table, usize)>,
    embed_norm: Option<Norm>,
    project_in: Option<Linear>,
    project_out: Option<Linear>,
    final_norm: Option<Norm>,
    unembed: Table,
    unembed_bias: Option<Tensor>,
}

impl Parts {
    /// Reads the small ones: those before the blocks through `first`, those
    /// after them through `last`.
    fn load(first: &Load, last: &Load, config: &DecoderConfig) -> Result<Self, DecoderError> {
        let names = arch::outside(config.architecture);
        let (d, d_embed) = (config.d_model, config.d_embed);
        let table = |name: &str, shape| Table {
            name: format!("{name}.weight"),
            shape,
        };
        let narrower = d_embed != d;
        let (into, out_of) = names.project;
        let projection = |from: &Load, name: &str, shape| match narrower {
            true => from.linear(name, shape, false).map(Some),
            false => Ok(None),
        };
        let norm = |from: &Load, name: &str, there: bool| match there {
            true => Norm::load(from, name, config).map(Some),
            false => Ok(None),
        };
        let unembed = if config.tied {
            names.embed
        } else {
            names.unembed
        };
        let unembed_bias = match config.unembed_bias {
            true => {
                let name = format!("{}.bias", names.unembed);
                Some(last.tensor(&name, &[config.vocab], TensorKind::Bias)?)
            }
            false => None,
        };
        Ok(Self {
            embed: table(names.embed, [config.vocab, d_embed]),
            pos_embed: match config.position {
                Position::Learned { offset } => {
                    let shape = [config.context + offset, d];
                    Some((table(names.pos_embed, shape), offset))
                }
                Position::Rotary(_) | Position::Alibi => None,
            },
            embed_norm: norm(first, names.embed_norm, config.embed_norm)?,
            project_in: projection(first, into, (d_embed, d))?,
            project_out: projection(last, out_of, (d, d_embed))?,
            final_norm: norm(last, names.final_norm, config.final_norm)?,
            unembed: table(unembed, [config.vocab, d_embed]),
            unembed_bias,
        })
    }
}
