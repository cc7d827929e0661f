/// Families that have a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// GPT-NeoX: Pythia, StableLM-alpha.
    GptNeoX,
    /// GPT-2.
    Gpt2,
    /// LLaMA: LLaMA 1 to 3, SmolLM2.
    Llama,
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

/// How positions enter.
#[derive(Debug, Clone, PartialEq)]
pub enum Position {
    /// Rotary embedding of the first `dim` dimensions of each head, halves
    /// paired (dimension i with i + dim/2).
    Rotary {
        /// Rotated dimensions, even, at most d_head.
        dim: usize,
        /// Base of the frequencies.
        base: f64,
        /// Stretching.
        scaling: RopeScaling,
    },
    /// A learned vector per position, added to the embedding.
    Learned,
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
    /// Non-linearity.
    pub activation: Activation,
    /// Parallel or sequential.
    pub block: BlockKind,
    /// How positions enter.
    pub position: Position,
    /// Is the unembedding the embedding?
    pub tied: bool,
    /// Do the attention projections have biases?
    pub attention_bias: bool,
    /// Do the MLP projections have biases?
    pub mlp_bias: bool,
}
