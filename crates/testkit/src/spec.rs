use assay_checkpoint::BlockKind;
use candle_core::DType;

/// Families with an example here; for the others, [`crate::write_config`]
/// takes a config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// GPT-NeoX.
    GptNeoX,
    /// GPT-2.
    Gpt2,
    /// LLaMA.
    Llama,
}

/// Which tokenizer lies beside the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// None: the model takes token ids only.
    None,
    /// GPT-2's byte-level split.
    Gpt2,
    /// Every digit by itself, then GPT-2's byte-level split (SmolLM2).
    SmolLm,
}

/// A model to be written. Start from a family's small example and change what
/// a test is about:
/// `TinyModel { tied: true, ..TinyModel::llama(7) }`.
#[derive(Debug, Clone, PartialEq)]
pub struct TinyModel {
    /// Family.
    pub architecture: Architecture,
    /// Seed of the weights.
    pub seed: u64,
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream; a multiple of `n_heads`.
    pub d_model: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads; `n_heads` unless the family is LLaMA.
    pub n_kv_heads: usize,
    /// Width of the MLP's hidden layer.
    pub d_mlp: usize,
    /// Rows of the embedding; at least the tokenizer's size if there is one.
    pub vocab: usize,
    /// Longest prompt, tokens.
    pub context: usize,
    /// Is the unembedding the embedding?
    pub tied: bool,
    /// Parallel or sequential; GPT-NeoX only, the others are sequential.
    pub block: BlockKind,
    /// Storage of the weights: F32, F16 or BF16 (Hugging Face layout only).
    pub storage: DType,
    /// Number of safetensors files; an index is written for more than one.
    pub shards: usize,
    /// Tokenizer.
    pub text: Text,
}

impl TinyModel {
    /// Two parallel blocks, 4 heads of 8, untied, as Pythia is laid out.
    #[must_use]
    pub fn gpt_neox(seed: u64) -> Self {
        Self {
            architecture: Architecture::GptNeoX,
            seed,
            n_layers: 2,
            d_model: 32,
            n_heads: 4,
            n_kv_heads: 4,
            d_mlp: 64,
            vocab: 512,
            context: 128,
            tied: false,
            block: BlockKind::Parallel,
            storage: DType::F32,
            shards: 1,
            text: Text::Gpt2,
        }
    }

    /// Two blocks, 4 heads of 8, tied, learned positions.
    #[must_use]
    pub fn gpt2(seed: u64) -> Self {
        Self {
            architecture: Architecture::Gpt2,
            tied: true,
            block: BlockKind::Sequential,
            ..Self::gpt_neox(seed)
        }
    }

    /// Two blocks, 4 query heads of 8 over 2 key/value heads, tied, as
    /// SmolLM2 is laid out. Every row is whole blocks of 32, so that all of
    /// it can be quantized.
    #[must_use]
    pub fn llama(seed: u64) -> Self {
        Self {
            architecture: Architecture::Llama,
            n_kv_heads: 2,
            tied: true,
            block: BlockKind::Sequential,
            text: Text::SmolLm,
            ..Self::gpt_neox(seed)
        }
    }

    /// Width of one head.
    #[must_use]
    pub fn d_head(&self) -> usize {
        self.d_model / self.n_heads.max(1)
    }
}
