/// Families that have a decoder: one file under `decoder/src/arch` each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// GPT-NeoX: Pythia, StableLM-alpha.
    GptNeoX,
    /// GPT-2.
    Gpt2,
    /// GPT-J.
    GptJ,
    /// GPT-Neo.
    GptNeo,
    /// OPT.
    Opt,
    /// BLOOM.
    Bloom,
    /// LLaMA 1 to 3, SmolLM2, Mistral, Qwen2, Qwen3, Gemma 1.
    Llama,
    /// Gemma 2 and Gemma 3 (text).
    Gemma,
    /// Falcon: 7b's form and the new one.
    Falcon,
    /// StableLM (not alpha).
    StableLm,
    /// Phi 1 to 2.
    Phi,
}

/// Non-linearity of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x) with the exact error function ("gelu" in Hugging Face configs).
    GeluErf,
    /// The tanh approximation ("gelu_new", "gelu_pytorch_tanh", "gelu_fast").
    GeluTanh,
    /// x sigmoid(x) ("silu", "swish").
    Silu,
    /// max(x, 0).
    Relu,
}

/// What the MLP reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// x + attn(ln1(x)) + mlp(ln2(x)): attention and MLP read the same x.
    Parallel,
    /// y = x + attn(ln1(x)); y + mlp(ln2(y)).
    Sequential,
}

/// Where the norms of a block stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// Before attention and MLP: x + attn(ln(x)).
    Pre,
    /// After each sum: ln(x + attn(x)). The residual's norm is forced.
    Post,
    /// Before and after attention and MLP: x + ln'(attn(ln(x))).
    Sandwich,
}

/// Kind of norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// (x - mean) / sqrt(var + eps) * gain + bias.
    LayerNorm,
    /// x / sqrt(mean(x²) + eps) * gain.
    RmsNorm,
}

/// How RoPE's frequencies are stretched beyond the trained context.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Every frequency divided by the factor.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// LLaMA 3.1: long wavelengths divided by the factor, short ones kept, a
    /// linear blend between (transformers `_compute_llama3_parameters`).
    Llama3 {
        /// Divisor of the longest wavelengths.
        factor: f64,
        /// Wavelengths above original_context / low are divided.
        low_freq_factor: f64,
        /// Wavelengths below original_context / high are kept.
        high_freq_factor: f64,
        /// Context the model was first trained with, tokens.
        original_context: f64,
    },
    /// One divisor per frequency, as GGUF stores them (`rope_freqs.weight`).
    Factors(Vec<f64>),
}

/// Which dimensions of a head RoPE turns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// i with i + dim/2 (GPT-NeoX, LLaMA as Hugging Face stores it).
    Halves,
    /// 2i with 2i + 1 (GPT-J).
    Neighbours,
}

/// Rotary positions (Su et al. 2021).
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Rotated dimensions of each head, the first ones; even, at most d_head.
    pub dim: usize,
    /// Base of the frequencies.
    pub base: f64,
    /// Stretching.
    pub scaling: RopeScaling,
    /// Which dimensions form pairs.
    pub pairs: RopePairs,
}

/// How positions enter.
#[derive(Debug, Clone, PartialEq)]
pub enum Position {
    /// Queries and keys are rotated.
    Rotary(Rope),
    /// A learned vector per position, added to the embedding; row
    /// `position + offset` of its table, which has `context + offset` rows.
    Learned {
        /// Rows of the table before position 0 (2 in OPT).
        offset: usize,
    },
    /// A slope per head times the key's position, added to the scores
    /// (Press et al. 2022).
    Alibi,
}

/// A norm of queries and keys before RoPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// One gain [d_head] for all heads (Qwen3, Gemma 3).
    Shared,
    /// A gain [d_head] for each head (StableLM 2 12b).
    PerHead,
}

/// Everything about a decoder but its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Which decoder.
    pub architecture: Architecture,
    /// `model_type` of config.json or `general.architecture` of a GGUF.
    pub model_type: String,
    /// Number of blocks, L.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads, H.
    pub n_heads: usize,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of one head.
    pub d_head: usize,
    /// Width of the MLP's hidden layer.
    pub d_mlp: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Longest prompt, tokens.
    pub context: usize,
    /// Kind of every norm.
    pub norm: NormKind,
    /// Epsilon of every norm.
    pub norm_eps: f64,
    /// Are norm gains stored as their difference from 1 (Gemma)?
    pub gain_from_one: bool,
    /// Where the norms of a block stand.
    pub norm_place: NormPlace,
    /// Does the MLP of a parallel block read the norm that attention reads?
    pub shared_norm: bool,
    /// Is there a norm after the last block?
    pub final_norm: bool,
    /// Is there a norm after the embedding (BLOOM)?
    pub embed_norm: bool,
    /// A norm of queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// Non-linearity.
    pub activation: Activation,
    /// Parallel or sequential.
    pub block: BlockKind,
    /// How positions enter.
    pub position: Position,
    /// RoPE of the blocks with a window, where it is another one (Gemma 3).
    pub local_rope: Option<Rope>,
    /// For each block, how many keys a query sees, itself counted; None where
    /// it sees all before it.
    pub windows: Vec<Option<usize>>,
    /// What products of queries and keys are multiplied by.
    pub score_scale: f64,
    /// c of c tanh(score / c) (Gemma 2).
    pub score_cap: Option<f64>,
    /// c of c tanh(logit / c) (Gemma 2).
    pub logit_cap: Option<f64>,
    /// What the token embedding is multiplied by.
    pub embed_scale: f64,
    /// Width of the token embedding, other than `d_model` in opt-350m, which
    /// projects it in and out.
    pub d_embed: usize,
    /// Is the unembedding the embedding?
    pub tied: bool,
    /// Does the unembedding have a bias?
    pub unembed_bias: bool,
    /// Do the projections to Q, K and V have biases?
    pub qkv_bias: bool,
    /// Does the projection out of attention have a bias?
    pub out_bias: bool,
    /// Do the MLP projections have biases?
    pub mlp_bias: bool,
}
