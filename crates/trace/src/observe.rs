//! What a block is, read off what it does rather than off its config.
//!
//! Erratum E9: OPT and BLOOM were taken for parallel, and GPT-J's one norm for
//! GPT-NeoX's two. Here every answer is an experiment on one block: something
//! is changed, and what changes with it decides.

use std::collections::BTreeSet;

use assay_decoder::{Decoder, Pack};
use assay_hook_site::{BlockSite, HookSite};
use candle_core::{DType, Tensor};

use crate::record::{Edit, Stage, record_blocks};
use crate::{Trace, TraceError};

/// What the MLP reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlpReads {
    /// The residual stream that attention has written to.
    AfterAttention,
    /// What attention reads, through a norm of its own.
    SameThroughOwnNorm,
    /// What attention reads, through attention's norm.
    SameThroughAttentionsNorm,
}

/// Where norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormsStand {
    /// Before attention and MLP.
    Before,
    /// After the sums.
    AfterSums,
    /// Before attention and MLP, and after each before it is added.
    BeforeAndAfter,
}

/// Kind of the norm, by what it cannot see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormSees {
    /// A constant added to its input changes nothing: LayerNorm.
    NoConstant,
    /// It changes the output: RMSNorm.
    Everything,
}

/// How a token's position enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionEnters {
    /// Queries and keys of equal inputs differ between positions.
    QueriesAndKeys,
    /// Scores of equal queries and keys differ between positions.
    Scores,
    /// A vector is added to the embedding.
    Embedding,
    /// Not at all.
    Nowhere,
}

/// One block, as observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockFacts {
    /// What the MLP reads: parallel or sequential, one norm or two.
    pub mlp_reads: MlpReads,
    /// Where norms stand.
    pub norms_stand: NormsStand,
    /// Kind of the norms.
    pub norm_sees: NormSees,
    /// How positions enter.
    pub position: PositionEnters,
}

/// Tokens of the probe: enough for a query with several keys.
const TOKENS: usize = 6;

/// Observes block `layer` on a made-up residual stream.
///
/// # Errors
/// A block that the model does not have; whatever a pass can say.
pub fn observe(decoder: &Decoder, layer: usize) -> Result<BlockFacts, TraceError> {
    let probe = Probe::new(decoder, layer)?;
    Ok(BlockFacts {
        mlp_reads: probe.mlp_reads()?,
        norms_stand: probe.norms_stand()?,
        norm_sees: probe.norm_sees()?,
        position: probe.position()?,
    })
}

/// A change of an activation.
type Change<'a> = (
    BlockSite,
    &'a dyn Fn(&Tensor) -> candle_core::Result<Tensor>,
);

struct Probe<'a> {
    decoder: &'a Decoder,
    layer: usize,
    pack: Pack,
    /// [TOKENS, d_model], rows all different.
    x: Tensor,
    plain: Trace,
}

const SEEN: [BlockSite; 7] = [
    BlockSite::Ln1Normalized,
    BlockSite::Q,
    BlockSite::Z,
    BlockSite::AttnOut,
    BlockSite::MlpPre,
    BlockSite::MlpOut,
    BlockSite::ResidPost,
];

impl<'a> Probe<'a> {
    fn new(decoder: &'a Decoder, layer: usize) -> Result<Self, TraceError> {
        let pack = Pack::new(&[vec![0; TOKENS]])?;
        let d = decoder.config().d_model;
        // Any stream will do whose rows differ and are not constant.
        let values: Vec<f64> = (0..TOKENS * d)
            .map(|i| ((i * i) as f64 * 0.37 + i as f64).sin())
            .collect();
        // The dtype and device of the model, as its own embedding has them.
        let embedded = decoder.embed(&pack, &mut assay_decoder::NoHooks)?;
        let x = Tensor::from_vec(values, (TOKENS, d), &candle_core::Device::Cpu)?
            .to_dtype(embedded.dtype())?
            .to_device(embedded.device())?;
        let plain = run(decoder, &pack, layer, &x, &SEEN, &[])?;
        Ok(Self {
            decoder,
            layer,
            pack,
            x,
            plain,
        })
    }

    fn run(&self, x: &Tensor, sites: &[BlockSite], edits: &[Change]) -> Result<Trace, TraceError> {
        run(self.decoder, &self.pack, self.layer, x, sites, edits)
    }

    fn at<'t>(&self, trace: &'t Trace, site: BlockSite) -> Result<&'t Tensor, TraceError> {
        trace.rows(site.at(self.layer))
    }

    fn mlp_reads(&self) -> Result<MlpReads, TraceError> {
        let plain = self.at(&self.plain, BlockSite::MlpPre)?;
        let attn_out = self.at(&self.plain, BlockSite::AttnOut)?;
        let moved = self.run(
            &self.x,
            &[BlockSite::MlpPre],
            &[(BlockSite::AttnOut, &ramp)],
        )?;
        if differ(plain, self.at(&moved, BlockSite::MlpPre)?)? {
            return Ok(MlpReads::AfterAttention);
        }
        // Attention's norm is changed and attention's output held.
        let held = |_: &Tensor| attn_out.copy();
        let edits: [Change; 2] = [
            (BlockSite::Ln1Normalized, &ramp),
            (BlockSite::AttnOut, &held),
        ];
        let moved = self.run(&self.x, &[BlockSite::MlpPre], &edits)?;
        Ok(if differ(plain, self.at(&moved, BlockSite::MlpPre)?)? {
            MlpReads::SameThroughAttentionsNorm
        } else {
            MlpReads::SameThroughOwnNorm
        })
    }

    fn norms_stand(&self) -> Result<NormsStand, TraceError> {
        let edits: [Change; 1] = [(BlockSite::Ln1Normalized, &ramp)];
        let moved = self.run(&self.x, &[BlockSite::Q], &edits)?;
        let q = self.at(&self.plain, BlockSite::Q)?;
        if !differ(q, self.at(&moved, BlockSite::Q)?)? {
            return Ok(NormsStand::AfterSums);
        }
        // Without a norm behind it, attn_out is an affine function of z:
        // f(2z) - f(z) = f(z) - f(0).
        let scaled = |factor: f64| -> Result<Tensor, TraceError> {
            let scale = move |z: &Tensor| z * factor;
            let trace = self.run(&self.x, &[BlockSite::AttnOut], &[(BlockSite::Z, &scale)])?;
            Ok(self.at(&trace, BlockSite::AttnOut)?.clone())
        };
        let (none, once, twice) = (scaled(0.0)?, scaled(1.0)?, scaled(2.0)?);
        let bend = ((twice - &once)? - (&once - none)?)?;
        Ok(if differ(&once, &(&once + bend)?)? {
            NormsStand::BeforeAndAfter
        } else {
            NormsStand::Before
        })
    }

    fn norm_sees(&self) -> Result<NormSees, TraceError> {
        let sites = [BlockSite::Ln1Normalized];
        let plain = self.at(&self.plain, BlockSite::Ln1Normalized)?;
        // A norm after the sum is shown a constant through attn_out.
        let shift = |x: &Tensor| x + 3.0;
        let moved = match self.norms_stand()? {
            NormsStand::AfterSums => self.run(&self.x, &sites, &[(BlockSite::AttnOut, &shift)])?,
            _ => self.run(&(&self.x + 3.0)?, &sites, &[])?,
        };
        Ok(
            if differ(plain, self.at(&moved, BlockSite::Ln1Normalized)?)? {
                NormSees::Everything
            } else {
                NormSees::NoConstant
            },
        )
    }

    fn position(&self) -> Result<PositionEnters, TraceError> {
        let sites: BTreeSet<HookSite> = self.decoder.sites().into_iter().collect();
        let same = self.x.narrow(0, 0, 1)?.broadcast_as(self.x.shape())?;
        let same = same.contiguous()?;
        let first_and_last =
            |t: &Tensor| -> Result<bool, TraceError> { differ(&t.get(0)?, &t.get(TOKENS - 1)?) };
        if sites.contains(&BlockSite::RotQ.at(self.layer)) {
            let trace = self.run(&same, &[BlockSite::RotQ], &[])?;
            if first_and_last(self.at(&trace, BlockSite::RotQ)?)? {
                return Ok(PositionEnters::QueriesAndKeys);
            }
        }
        let trace = self.run(&same, &[BlockSite::AttnScores], &[])?;
        let scores = trace.prompt(BlockSite::AttnScores.at(self.layer), 0)?;
        // The last query's scores of the key before it and of its own.
        let row = scores.narrow(1, TOKENS - 1, 1)?;
        if differ(
            &row.narrow(2, TOKENS - 2, 1)?,
            &row.narrow(2, TOKENS - 1, 1)?,
        )? {
            return Ok(PositionEnters::Scores);
        }
        Ok(if sites.contains(&HookSite::PosEmbed) {
            PositionEnters::Embedding
        } else {
            PositionEnters::Nowhere
        })
    }
}

fn run(
    decoder: &Decoder,
    pack: &Pack,
    layer: usize,
    x: &Tensor,
    sites: &[BlockSite],
    edits: &[Change],
) -> Result<Trace, TraceError> {
    let sites = sites.iter().map(|site| site.at(layer)).collect();
    let edits = edits
        .iter()
        .map(|(site, f)| Edit::new(site.at(layer), move |_, value| f(value)))
        .collect();
    let stage = Stage::From(layer..layer + 1, x);
    Ok(record_blocks(decoder, pack, stage, &sites, edits)?.0)
}

/// Not a mere scaling or shift, which a norm would undo.
fn ramp(value: &Tensor) -> candle_core::Result<Tensor> {
    let n = value.elem_count();
    let ramp = Tensor::arange(0f32, n as f32, value.device())?.affine(1.0 / n as f64, 0.5)?;
    value + ramp.reshape(value.shape())?.to_dtype(value.dtype())?
}

/// Do two activations differ by more than rounding: by a thousandth of the
/// larger norm, which every change made here exceeds by far?
fn differ(a: &Tensor, b: &Tensor) -> Result<bool, TraceError> {
    let norm = |t: &Tensor| -> candle_core::Result<f64> {
        t.to_dtype(DType::F64)?
            .sqr()?
            .sum_all()?
            .sqrt()?
            .to_scalar()
    };
    let (size, difference) = (norm(a)?.max(norm(b)?), norm(&(a - b)?)?);
    Ok(difference > 1e-3 * size)
}
