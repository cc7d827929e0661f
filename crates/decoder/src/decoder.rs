use std::ops::Range;
use std::sync::{Arc, Mutex};

use assay_checkpoint::{BlockKind, Checkpoint, DecoderConfig, Position, Weights};
use assay_hook_site::{BlockSite, HookSite};
use candle_core::{DType, Device, Tensor};

use crate::arch::{self, Readers};
use crate::blocks::Blocks;
use crate::cache::KvCache;
use crate::ends::{Ends, VOCAB_CHUNK, cap};
use crate::pack::pad_rows;
use crate::parts::load::{Load, Source, Stored, TensorKind, TensorSpec};
use crate::parts::rotary::Rotary;
use crate::pass::{Hooks, NoHooks, Pass, brought_out};
use crate::{DecoderError, Pack, Variables};

/// Where the blocks' weights are between passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residency {
    /// In memory, all of them.
    Resident,
    /// In their files: a pass takes all prompts through block after block,
    /// reading each as its turn comes and dropping it. Two blocks are in
    /// memory at a time, one at work and one on its way.
    Streamed,
}

/// How products with quantised matrices are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// With the widened weights.
    Exact,
    /// Matrices keep the blocks of the file: less memory, and faster one token
    /// at a time. A product with a single row uses the blocks as they are and
    /// rounds the row to eight bits; with more rows they are widened on the
    /// way, and the product is the exact one. In f64 everything is exact.
    AsStored,
}

/// How a decoder is to be held.
#[derive(Debug, Clone, Copy)]
pub struct Placement<'a> {
    /// F32 or F64; F16 or BF16, in which norms, activations and attention's
    /// scores are still computed in f32.
    pub dtype: DType,
    /// Blocks are spread over these in order, in equal shares; what stands
    /// before and after them lies on the first and the last.
    pub devices: &'a [Device],
    /// Where the weights are between passes.
    pub residency: Residency,
    /// How products with quantised matrices are done.
    pub arithmetic: Arithmetic,
}

/// A decoder-only transformer.
///
/// Whatever it computes in and wherever it lies, it takes and gives residual
/// streams, logits and weights as f32 on the CPU (f64 of a model that computes
/// in f64), and shows hooks the same. Only a decoder of variables gives its own
/// tensors.
pub struct Decoder {
    config: DecoderConfig,
    ends: Ends,
    blocks: Blocks,
}

/// Names, shapes and kinds of all tensors that a config calls for, without
/// any file: embeddings first, the others outside the blocks, then block by
/// block.
///
/// # Errors
/// The tensor library refuses.
pub fn tensors(config: &DecoderConfig) -> Result<Vec<TensorSpec>, DecoderError> {
    let mut specs = listed(|from| Ends::list(from, config))?;
    specs.sort_by_key(|spec| spec.kind != TensorKind::Embedding);
    for layer in 0..config.n_layers {
        specs.extend(block_tensors(config, layer)?);
    }
    Ok(specs)
}

/// Bytes of weights that a decoder held so has in memory at a time, logits
/// asked for; activations come on top.
///
/// # Errors
/// The tensor library refuses.
pub fn memory(
    config: &DecoderConfig,
    dtype: DType,
    residency: Residency,
) -> Result<u64, DecoderError> {
    let bytes = |specs: &[TensorSpec]| -> u64 {
        let elements = |s: &TensorSpec| s.shape.iter().product::<usize>() as u64;
        specs.iter().map(elements).sum::<u64>() * dtype.size_in_bytes() as u64
    };
    let block = bytes(&block_tensors(config, 0)?);
    let vocab = |rows: usize| (rows * config.d_embed * dtype.size_in_bytes()) as u64;
    Ok(match residency {
        Residency::Resident => block * config.n_layers as u64 + vocab(config.vocab),
        // One at work, one on its way; a part of the vocabulary comes after.
        Residency::Streamed => 2 * block + vocab(VOCAB_CHUNK.min(config.vocab)),
    })
}

fn block_tensors(config: &DecoderConfig, layer: usize) -> Result<Vec<TensorSpec>, DecoderError> {
    listed(|from| arch::load_block(from, config, layer).map(|_| ()))
}

/// What loading notes in a listing.
fn listed(
    load: impl FnOnce(&Load) -> Result<(), DecoderError>,
) -> Result<Vec<TensorSpec>, DecoderError> {
    let list = Mutex::new(Vec::new());
    load(&Load {
        source: Source::Listing(&list),
        dtype: DType::F32,
        device: &Device::Cpu,
        as_stored: false,
        in_file_order: false,
    })?;
    let list = list.into_inner();
    Ok(list.unwrap_or_else(std::sync::PoisonError::into_inner))
}

impl Decoder {
    /// Reads every block's weights into memory, widened to `dtype`. `progress`
    /// is told the number of blocks read and their total.
    ///
    /// # Errors
    /// As [`Decoder::load_with`].
    pub fn load(
        checkpoint: &Checkpoint,
        dtype: DType,
        device: &Device,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DecoderError> {
        let placement = Placement {
            dtype,
            devices: std::slice::from_ref(device),
            residency: Residency::Resident,
            arithmetic: Arithmetic::Exact,
        };
        Self::load_with(checkpoint, &placement, progress)
    }

    /// Makes a decoder held as `placement` says. The embedding stays in its
    /// file, of which a pass reads the rows it needs; the unembedding is read
    /// when logits are first asked for.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape than the config says, not
    /// finite, or left over; no device.
    pub fn load_with(
        checkpoint: &Checkpoint,
        placement: &Placement,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DecoderError> {
        let config = checkpoint.config.clone();
        check(&checkpoint.weights, &config)?;
        let stored = Stored::Files(Arc::clone(&checkpoint.weights));
        Self::of(config, &stored, placement, progress)
    }

    /// A decoder whose weights are variables: it computes with what they hold
    /// at the time, and a function of its logits has gradients with respect to
    /// them.
    ///
    /// # Errors
    /// Variables that were made for another config.
    pub fn of_variables(
        config: &DecoderConfig,
        variables: &Arc<Variables>,
    ) -> Result<Self, DecoderError> {
        let first = variables.iter().next();
        let (_, first) = first.ok_or_else(|| DecoderError::Variables {
            reason: "are none".to_owned(),
        })?;
        let placement = Placement {
            dtype: first.dtype(),
            devices: std::slice::from_ref(first.device()),
            residency: Residency::Resident,
            arithmetic: Arithmetic::Exact,
        };
        let stored = Stored::Variables(Arc::clone(variables));
        Self::of(config.clone(), &stored, &placement, &mut |_, _| ())
    }

    fn of(
        config: DecoderConfig,
        stored: &Stored,
        placement: &Placement,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DecoderError> {
        let (Some(first), Some(last)) = (placement.devices.first(), placement.devices.last())
        else {
            return Err(DecoderError::NoDevice);
        };
        let ends = Ends::load(stored, &config, placement, (first, last))?;
        let blocks = Blocks::load(stored, &config, placement, progress)?;
        Ok(Self {
            config,
            ends,
            blocks,
        })
    }

    /// What it computes in.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.ends.dtype()
    }

    /// What was loaded.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Rows that the neurons of a block write into the residual stream, scaled
    /// by `mlp.hook_post`: [d_mlp, d_model]. None beyond the last block.
    ///
    /// # Errors
    /// The block's weights cannot be read.
    pub fn mlp_out_weight(&self, layer: usize) -> Result<Option<Tensor>, DecoderError> {
        if layer >= self.config.n_layers {
            return Ok(None);
        }
        let w = self.blocks.with(layer, |block| block.mlp_out_weight())?;
        self.out(&w).map(Some)
    }

    /// The matrices through which a block reads the residual stream. None
    /// beyond the last block, and in families that fuse Q, K and V or norm with
    /// a bias.
    ///
    /// # Errors
    /// The block's weights cannot be read.
    pub fn readers(&self, layer: usize) -> Result<Option<Readers>, DecoderError> {
        if layer >= self.config.n_layers {
            return Ok(None);
        }
        let found = self.blocks.with(layer, |block| block.readers())?;
        let out = |x: Tensor| self.out(&x);
        let Some(r) = found else {
            return Ok(None);
        };
        Ok(Some(Readers {
            attn_gain: out(r.attn_gain)?,
            q: out(r.q)?,
            k: out(r.k)?,
            v: out(r.v)?,
            qk_gains: match r.qk_gains {
                Some([q, k]) => Some([out(q)?, out(k)?]),
                None => None,
            },
            mlp_gain: out(r.mlp_gain)?,
            gate: out(r.gate)?,
            up: out(r.up)?,
        }))
    }

    /// What attention of a block reads of the residual stream `x` and its MLP
    /// of `mlp_in`, both [tokens, d_model]: each behind the norm before it, with
    /// gain and bias; the streams themselves where the norms stand after the
    /// sums. None beyond the last block.
    ///
    /// # Errors
    /// The block's weights cannot be read; streams of another width.
    pub fn sublayer_inputs(
        &self,
        layer: usize,
        x: &Tensor,
        mlp_in: &Tensor,
    ) -> Result<Option<[Tensor; 2]>, DecoderError> {
        if layer >= self.config.n_layers {
            return Ok(None);
        }
        let device = self.blocks.device(layer);
        let here = |x: &Tensor| x.to_dtype(self.dtype())?.to_device(device);
        let (x, mlp_in) = (here(x)?, here(mlp_in)?);
        let inputs = |block: &dyn arch::Block| block.sublayer_inputs(&x, &mlp_in);
        let [attn, mlp] = self.blocks.with(layer, inputs)?;
        Ok(Some([self.out(&attn)?, self.out(&mlp)?]))
    }

    /// Every site that a pass of this model goes through, in order.
    #[must_use]
    pub fn sites(&self) -> Vec<HookSite> {
        let config = &self.config;
        let exists = |site: BlockSite| match site {
            BlockSite::ResidMid => config.block == BlockKind::Sequential,
            BlockSite::Ln2Scale | BlockSite::Ln2Normalized => !config.shared_norm,
            BlockSite::RotQ | BlockSite::RotK => matches!(config.position, Position::Rotary(_)),
            BlockSite::MlpPreLinear => arch::gated(config.architecture),
            _ => true,
        };
        let mut sites = vec![HookSite::Embed];
        if matches!(config.position, Position::Learned { .. }) {
            sites.push(HookSite::PosEmbed);
        }
        for layer in 0..config.n_layers {
            let block = BlockSite::ALL.iter().filter(|s| exists(**s));
            sites.extend(block.map(|s| s.at(layer)));
        }
        if config.final_norm {
            sites.extend([HookSite::FinalScale, HookSite::FinalNormalized]);
        }
        sites.push(HookSite::Logits);
        sites
    }

    /// One pass over all prompts. The final norm and the logits are computed
    /// only if a hook wants their sites.
    ///
    /// # Errors
    /// A prompt longer than the context or with a token beyond the vocabulary;
    /// whatever a hook says.
    pub fn forward(&self, pack: &Pack, hooks: &mut dyn Hooks) -> Result<(), DecoderError> {
        let x = self.embedded(pack, hooks)?;
        let x = self.run_uncached(pack, 0..self.config.n_layers, &x, hooks)?;
        self.finish(pack, &x, hooks)
    }

    /// What is handed to the outside; see [`Decoder`].
    fn out(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        match self.ends.of_variables() {
            true => Ok(x.clone()),
            false => brought_out(x),
        }
    }

    fn pass<'a>(&self, pack: &'a Pack, hooks: &'a mut dyn Hooks) -> Pass<'a> {
        Pass::outside(pack, hooks, self.ends.of_variables())
    }

    /// Residual stream entering block 0, [tokens, d_model].
    ///
    /// # Errors
    /// As [`Decoder::forward`].
    pub fn embed(&self, pack: &Pack, hooks: &mut dyn Hooks) -> Result<Tensor, DecoderError> {
        self.out(&self.embedded(pack, hooks)?)
    }

    fn embedded(&self, pack: &Pack, hooks: &mut dyn Hooks) -> Result<Tensor, DecoderError> {
        pack.check(self.config.vocab, self.config.context)?;
        let mut pass = self.pass(pack, hooks);
        let x = pack.pad(&self.ends.embed(pack.ids())?)?;
        let x = pass.at(HookSite::Embed, x)?;
        let x = match self.ends.positions(&pack.positions())? {
            Some(p) => (x + pass.at(HookSite::PosEmbed, pack.pad(&p)?)?)?,
            None => x,
        };
        Ok(x.narrow(0, 0, pack.tokens())?)
    }

    /// Takes a residual stream [tokens, d_model] through some of the blocks.
    ///
    /// # Errors
    /// A range beyond the model, a residual stream of another length than the
    /// pack, a pack that continues a cache; as [`Decoder::forward`].
    pub fn run_blocks(
        &self,
        pack: &Pack,
        range: Range<usize>,
        x: &Tensor,
        hooks: &mut dyn Hooks,
    ) -> Result<Tensor, DecoderError> {
        self.out(&self.run_uncached(pack, range, x, hooks)?)
    }

    fn run_uncached(
        &self,
        pack: &Pack,
        range: Range<usize>,
        x: &Tensor,
        hooks: &mut dyn Hooks,
    ) -> Result<Tensor, DecoderError> {
        if pack.past().iter().any(|p| *p > 0) {
            return Err(DecoderError::Cache {
                reason: "is needed for a pack that continues prompts".to_owned(),
            });
        }
        self.run(pack, range, x, hooks, None)
    }

    /// One decoding step: takes the tokens of `pack`, which continue those in
    /// the cache, through all blocks; gives the residual stream that leaves
    /// the last one, [tokens, d_model]. The cache grows by the pack.
    ///
    /// # Errors
    /// A pack whose pasts are not the cache's; as [`Decoder::forward`]. After
    /// an error the cache is of no more use.
    pub fn extend(
        &self,
        pack: &Pack,
        cache: &mut KvCache,
        hooks: &mut dyn Hooks,
    ) -> Result<Tensor, DecoderError> {
        self.out(&self.extended(pack, cache, hooks)?)
    }

    fn extended(
        &self,
        pack: &Pack,
        cache: &mut KvCache,
        hooks: &mut dyn Hooks,
    ) -> Result<Tensor, DecoderError> {
        let lengths = cache.lengths();
        if lengths != pack.past() {
            let past = pack.past();
            let reason =
                format!("holds {lengths:?} tokens of each prompt, and the pack continues {past:?}");
            return Err(DecoderError::Cache { reason });
        }
        let x = self.embedded(pack, hooks)?;
        self.run(pack, 0..self.config.n_layers, &x, hooks, Some(cache))
    }

    fn run<'a>(
        &'a self,
        pack: &'a Pack,
        range: Range<usize>,
        x: &Tensor,
        hooks: &'a mut dyn Hooks,
        cache: Option<&'a mut KvCache>,
    ) -> Result<Tensor, DecoderError> {
        let n_layers = self.config.n_layers;
        if range.start > range.end || range.end > n_layers {
            return Err(DecoderError::Blocks {
                start: range.start,
                end: range.end,
                n_layers,
            });
        }
        let rows = x.dim(0)?;
        if rows != pack.tokens() {
            return Err(DecoderError::Rows {
                rows,
                tokens: pack.tokens(),
            });
        }
        let mut pass = Pass {
            cache,
            ..self.pass(pack, hooks)
        };
        let mut x = pack.pad(&x.to_dtype(self.dtype())?)?;
        let mut at: Option<Device> = None;
        self.blocks.each(range, &mut |layer, device, block| {
            // Positions are looked up again where the blocks change device.
            if at.as_ref().is_none_or(|d| !d.same_device(device)) {
                x = x.to_device(device)?;
                let table = |rope| Rotary::new(pack, rope, x.dtype(), device);
                pass.rotary = match &self.config.position {
                    Position::Rotary(rope) => Some(table(rope)?),
                    Position::Learned { .. } | Position::Alibi => None,
                };
                pass.local_rotary = self.config.local_rope.as_ref().map(table).transpose()?;
                at = Some(device.clone());
            }
            x = block.forward(&mut pass, layer, x.clone())?;
            Ok(())
        })?;
        Ok(x.narrow(0, 0, pack.tokens())?)
    }

    /// The sites after the last block, where hooks want them.
    ///
    /// # Errors
    /// As [`Decoder::forward`].
    pub fn finish(
        &self,
        pack: &Pack,
        x: &Tensor,
        hooks: &mut dyn Hooks,
    ) -> Result<(), DecoderError> {
        let after = [
            HookSite::FinalScale,
            HookSite::FinalNormalized,
            HookSite::Logits,
        ];
        if !after.into_iter().any(|site| hooks.wants(site)) {
            return Ok(());
        }
        let mut pass = self.pass(pack, hooks);
        let x = pack.pad(&self.ends.here(x)?)?;
        let x = match &self.ends.final_norm {
            Some(norm) => norm.hooked(
                &mut pass,
                &x,
                HookSite::FinalScale,
                HookSite::FinalNormalized,
            )?,
            None => x,
        };
        if pass.hooks.wants(HookSite::Logits) {
            let logits = self.ends.unembed(&x)?;
            pass.at(HookSite::Logits, cap(logits, self.config.logit_cap)?)?;
        }
        Ok(())
    }

    /// The final norm of some rows, gain and bias included: [n, d_model]. In a
    /// model without one, the rows.
    ///
    /// # Errors
    /// A width other than the model's.
    pub fn final_norm(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        self.out(&self.normed(x)?)
    }

    fn normed(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let x = self.ends.here(x)?;
        match &self.ends.final_norm {
            Some(norm) => norm.forward(&x.contiguous()?),
            None => Ok(x),
        }
    }

    /// Next-token logits of some rows of the residual stream [n, d_model]
    /// through final norm and unembedding: [n, vocab].
    ///
    /// # Errors
    /// A width other than the model's.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let n = x.dim(0)?;
        let normed = pad_rows(&self.normed(x)?, Pack::MIN_ROWS)?;
        let logits = self.ends.unembed(&normed)?.narrow(0, 0, n)?;
        self.out(&cap(logits, self.config.logit_cap)?)
    }

    /// Next-token logits [prompts, vocab] after a pack's last tokens, going on
    /// from `cache`; see [`Decoder::extend`].
    ///
    /// # Errors
    /// As [`Decoder::extend`].
    pub fn next_logits(&self, pack: &Pack, cache: &mut KvCache) -> Result<Tensor, DecoderError> {
        self.next_logits_with(pack, cache, &mut NoHooks)
    }

    /// As [`Decoder::next_logits`] under hooks, which see the blocks.
    ///
    /// # Errors
    /// As [`Decoder::extend`].
    pub fn next_logits_with(
        &self,
        pack: &Pack,
        cache: &mut KvCache,
        hooks: &mut dyn Hooks,
    ) -> Result<Tensor, DecoderError> {
        let x = self.extended(pack, cache, hooks)?;
        let last = Tensor::new(pack.last_rows(), x.device())?;
        let normed = self.normed(&x.index_select(&last, 0)?)?;
        self.out(&cap(self.ends.unembed(&normed)?, self.config.logit_cap)?)
    }
}

/// Checks, before anything is read, that the files hold exactly the tensors
/// that the config calls for.
fn check(weights: &Weights, config: &DecoderConfig) -> Result<(), DecoderError> {
    for spec in tensors(config)? {
        weights.expect(&spec.name, &spec.shape)?;
    }
    if config.tied {
        // Some files store it a second time.
        let unembed = arch::outside(config.architecture).unembed;
        weights.skip(&format!("{unembed}.weight"));
    }
    Ok(weights.check_all_used()?)
}
