use std::ops::Range;

use assay_checkpoint::{Architecture, BlockKind, Checkpoint, DecoderConfig, Position};
use assay_hook_site::{BlockSite, HookSite};
use candle_core::{DType, Device, Tensor};

use crate::arch::{self, Block};
use crate::pack::pad_rows;
use crate::parts::linear::Load;
use crate::parts::norm::Norm;
use crate::parts::rotary::{Rotary, frequencies};
use crate::pass::{Hooks, Pass};
use crate::{DecoderError, Pack};

/// A decoder-only transformer with its weights in memory.
pub struct Decoder {
    config: DecoderConfig,
    embed: Tensor,             // [vocab, d_model]
    pos_embed: Option<Tensor>, // [context, d_model]
    blocks: Vec<Box<dyn Block>>,
    final_norm: Norm,
    unembed: Tensor, // [d_model, vocab]
    frequencies: Option<Vec<f32>>,
}

impl Decoder {
    /// Reads every weight of a checkpoint, converted to `dtype`. `progress` is
    /// told the number of blocks read and their total.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape than the config says, not
    /// finite, or left over.
    pub fn load(
        checkpoint: &Checkpoint,
        dtype: DType,
        device: &Device,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DecoderError> {
        let config = checkpoint.config.clone();
        let weights = &checkpoint.weights;
        let from = Load {
            weights,
            dtype,
            device,
        };
        let names = arch::outside(config.architecture);
        let embed = from.tensor(names.embed, &[config.vocab, config.d_model])?;
        let pos_embed = match (names.pos_embed, &config.position) {
            (Some(name), Position::Learned) => {
                Some(from.tensor(name, &[config.context, config.d_model])?)
            }
            _ => None,
        };
        let mut blocks = Vec::new();
        for layer in 0..config.n_layers {
            blocks.push(arch::load_block(&from, &config, layer)?);
            progress(layer + 1, config.n_layers);
        }
        let final_norm = Norm::load(&from, names.final_norm, &config)?;
        let unembed = if config.tied {
            weights.skip(names.unembed);
            embed.t()?
        } else {
            from.tensor(names.unembed, &[config.vocab, config.d_model])?
                .t()?
        };
        weights.check_all_used()?;
        let frequencies = match &config.position {
            Position::Rotary { dim, base, scaling } => Some(frequencies(*dim, *base, scaling)),
            Position::Learned => None,
        };
        Ok(Self {
            config,
            embed,
            pos_embed,
            blocks,
            final_norm,
            unembed,
            frequencies,
        })
    }

    /// What was loaded.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Rows that the neurons of a block write into the residual stream, scaled
    /// by `mlp.hook_post`: [d_mlp, d_model]. None beyond the last block.
    #[must_use]
    pub fn mlp_out_weight(&self, layer: usize) -> Option<&Tensor> {
        Some(self.blocks.get(layer)?.mlp_out_weight())
    }

    /// Every site that a pass of this model goes through, in order.
    #[must_use]
    pub fn sites(&self) -> Vec<HookSite> {
        let exists = |site: BlockSite| match site {
            BlockSite::ResidMid => self.config.block == BlockKind::Sequential,
            BlockSite::RotQ | BlockSite::RotK => self.frequencies.is_some(),
            BlockSite::MlpPreLinear => self.config.architecture == Architecture::Llama,
            _ => true,
        };
        let mut sites = vec![HookSite::Embed];
        if self.pos_embed.is_some() {
            sites.push(HookSite::PosEmbed);
        }
        for layer in 0..self.config.n_layers {
            let block = BlockSite::ALL.iter().filter(|s| exists(**s));
            sites.extend(block.map(|s| s.at(layer)));
        }
        sites.extend([
            HookSite::FinalScale,
            HookSite::FinalNormalized,
            HookSite::Logits,
        ]);
        sites
    }

    /// One pass over all prompts. The final norm and the logits are computed
    /// only if a hook wants their sites.
    ///
    /// # Errors
    /// A prompt longer than the context or with a token beyond the vocabulary;
    /// whatever a hook says.
    pub fn forward(&self, pack: &Pack, hooks: &mut dyn Hooks) -> Result<(), DecoderError> {
        let x = self.embed(pack, hooks)?;
        let x = self.run_blocks(pack, 0..self.config.n_layers, &x, hooks)?;
        self.finish(pack, &x, hooks)
    }

    /// Residual stream entering block 0, [tokens, d_model].
    ///
    /// # Errors
    /// As [`Decoder::forward`].
    pub fn embed(&self, pack: &Pack, hooks: &mut dyn Hooks) -> Result<Tensor, DecoderError> {
        pack.check(self.config.vocab, self.config.context)?;
        let device = self.embed.device();
        let ids = Tensor::from_slice(pack.ids(), pack.tokens(), device)?;
        let x = self.embed.index_select(&ids, 0)?;
        let mut pass = Pass { pack, hooks };
        let x = pass.at(HookSite::Embed, pack.pad(&x)?)?;
        let x = match &self.pos_embed {
            Some(table) => {
                let positions = Tensor::new(pack.positions(), device)?;
                let p = pack.pad(&table.index_select(&positions, 0)?)?;
                (x + pass.at(HookSite::PosEmbed, p)?)?
            }
            None => x,
        };
        Ok(x.narrow(0, 0, pack.tokens())?)
    }

    /// Takes a residual stream [tokens, d_model] through some of the blocks.
    ///
    /// # Errors
    /// A range beyond the model, a residual stream of another length than the
    /// pack; as [`Decoder::forward`].
    pub fn run_blocks(
        &self,
        pack: &Pack,
        range: Range<usize>,
        x: &Tensor,
        hooks: &mut dyn Hooks,
    ) -> Result<Tensor, DecoderError> {
        let Some(blocks) = self.blocks.get(range.clone()) else {
            return Err(DecoderError::Blocks {
                start: range.start,
                end: range.end,
                n_layers: self.blocks.len(),
            });
        };
        let rows = x.dim(0)?;
        if rows != pack.tokens() {
            return Err(DecoderError::Rows {
                rows,
                tokens: pack.tokens(),
            });
        }
        let rotary = match &self.frequencies {
            Some(f) => Some(Rotary::new(pack, f, x.dtype(), x.device())?),
            None => None,
        };
        let mut pass = Pass { pack, hooks };
        let mut x = pack.pad(x)?;
        for (layer, block) in range.zip(blocks) {
            x = block.forward(&mut pass, layer, x, rotary.as_ref())?;
        }
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
        let mut pass = Pass { pack, hooks };
        let x = self.final_norm.hooked(
            &mut pass,
            &pack.pad(x)?,
            HookSite::FinalScale,
            HookSite::FinalNormalized,
        )?;
        if pass.hooks.wants(HookSite::Logits) {
            pass.at(HookSite::Logits, x.matmul(&self.unembed)?)?;
        }
        Ok(())
    }

    /// The final norm of some rows, gain and bias included: [n, d_model].
    ///
    /// # Errors
    /// A width other than the model's.
    pub fn final_norm(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        self.final_norm.forward(&x.contiguous()?)
    }

    /// Next-token logits of some rows of the residual stream [n, d_model]
    /// through final norm and unembedding: [n, vocab].
    ///
    /// # Errors
    /// A width other than the model's.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let n = x.dim(0)?;
        let normed = pad_rows(&self.final_norm(x)?, Pack::MIN_ROWS)?;
        Ok(normed.matmul(&self.unembed)?.narrow(0, 0, n)?)
    }
}
