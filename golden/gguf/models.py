"""The shapes of the GGUF cases and how each is stored."""

from dataclasses import dataclass

import transformers
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType


@dataclass(frozen=True)
class Case:
    arch: str
    """As `general.architecture` names it."""
    config: transformers.PretrainedConfig
    tokens: int
    """In the prompt."""
    types: tuple
    """Of the matrices, in the order of PARTS and then from the first again."""
    file_type: LlamaFileType
    output: bool = False
    """Is a tied output matrix there too?"""

    def type_of(self, stored):
        part = next(i for i, p in enumerate(PARTS) if p in stored)
        return self.types[part % len(self.types)]


# Matrices by what their GGUF names hold; all of a kind have one type.
PARTS = ["token_embd", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up",
         "ffn_down", "output"]


def rope(theta=10000.0, **more):
    return {"rope_type": "default", "rope_theta": theta, **more}


def gated(kind, **over):
    base = dict(
        vocab_size=57, hidden_size=36, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, intermediate_size=44, max_position_embeddings=64,
        rms_norm_eps=1e-6, hidden_act="silu", rope_parameters=rope(),
        bos_token_id=None, eos_token_id=None, pad_token_id=None)
    return kind(**base | over)


def llama(**over):
    return gated(transformers.LlamaConfig, **dict(head_dim=10, tie_word_embeddings=False) | over)


def gemma3(full=rope(1e6), **over):
    """Seven blocks: the sixth is global, the seventh local again. The width of
    a head is Gemma's query_pre_attn_scalar, for which GGUF has no field."""
    base = dict(
        vocab_size=59, hidden_size=28, num_hidden_layers=7, num_attention_heads=4,
        num_key_value_heads=2, head_dim=10, intermediate_size=42, max_position_embeddings=64,
        rms_norm_eps=1e-6, hidden_activation="gelu_pytorch_tanh", sliding_window=5,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, pad_token_id=None,
        rope_parameters={"full_attention": full, "sliding_attention": rope()})
    base |= over
    return transformers.Gemma3TextConfig(**base, query_pre_attn_scalar=base["head_dim"])


def gpt2(**over):
    base = dict(vocab_size=47, n_embd=30, n_layer=3, n_head=5, n_positions=24,
                activation_function="gelu_new", layer_norm_epsilon=1e-5,
                bos_token_id=None, eos_token_id=None)
    return transformers.GPT2Config(**base | over)


def neox(rotary, **over):
    base = dict(
        vocab_size=53, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=32, hidden_act="gelu", layer_norm_eps=1e-5,
        bos_token_id=None, eos_token_id=None,
        tie_word_embeddings=False, rope_parameters=rope(partial_rotary_factor=rotary))
    return transformers.GPTNeoXConfig(**base | over)


# Rows of K-quants are whole blocks of 256; all others are as few as they can be.
WIDE = dict(vocab_size=24, hidden_size=256, num_hidden_layers=1, num_attention_heads=8,
            num_key_value_heads=1, head_dim=32, intermediate_size=256)
# Blocks of the older types are of 32.
NARROW = dict(vocab_size=40, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, head_dim=16, intermediate_size=96)

F32 = ((Type.F32,), LlamaFileType.ALL_F32)
F16 = ((Type.F16,), LlamaFileType.MOSTLY_F16)
BF16 = ((Type.BF16,), LlamaFileType.MOSTLY_BF16)

OLD = (Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0)
K = (Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K)
FILE_TYPES = {
    Type.Q4_0: LlamaFileType.MOSTLY_Q4_0, Type.Q4_1: LlamaFileType.MOSTLY_Q4_1,
    Type.Q5_0: LlamaFileType.MOSTLY_Q5_0, Type.Q5_1: LlamaFileType.MOSTLY_Q5_1,
    Type.Q8_0: LlamaFileType.MOSTLY_Q8_0, Type.Q2_K: LlamaFileType.MOSTLY_Q2_K,
    Type.Q3_K: LlamaFileType.MOSTLY_Q3_K_M, Type.Q4_K: LlamaFileType.MOSTLY_Q4_K_M,
    Type.Q5_K: LlamaFileType.MOSTLY_Q5_K_M, Type.Q6_K: LlamaFileType.MOSTLY_Q6_K,
}


def mixed(types, arch, config):
    file_type = LlamaFileType.MOSTLY_Q4_K_M if types is K else LlamaFileType.MOSTLY_Q5_1
    return Case(arch, config, 8, types, file_type)


CASES = {
    "llama": Case("llama", llama(), 9, *F32),
    "llama-tied-linear-rope-f16": Case("llama", llama(
        tie_word_embeddings=True, num_key_value_heads=3, head_dim=6,
        rope_parameters=rope(500.0, rope_type="linear", factor=4.0)), 12, *F16),
    "llama-biases": Case("llama", llama(attention_bias=True, mlp_bias=True), 9, *F32),
    "llama-frequencies": Case("llama", llama(num_hidden_layers=1, rope_parameters=rope(
        500.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=16)), 20, *F32),
    "qwen2": Case("qwen2", gated(transformers.Qwen2Config, tie_word_embeddings=True), 9, *F32),
    "qwen3": Case("qwen3", gated(
        transformers.Qwen3Config, head_dim=14, tie_word_embeddings=False), 8, *F32),
    "qwen3-bf16": Case("qwen3", gated(
        transformers.Qwen3Config, head_dim=8, num_key_value_heads=1, num_hidden_layers=3,
        tie_word_embeddings=True), 9, *BF16),
    "gemma3": Case("gemma3", gemma3(), 13, *F32),
    "gemma3-linear-rope-f16": Case("gemma3", gemma3(
        rope(1e6, rope_type="linear", factor=8.0), num_key_value_heads=1), 11, *F16),
    "gpt2": Case("gpt2", gpt2(), 7, *F32),
    "gpt2-f16": Case("gpt2", gpt2(n_head=3, n_layer=2), 10, *F16),
    # Some converters wrote a tied output matrix a second time.
    "gpt2-output-f16": Case("gpt2", gpt2(n_embd=40), 7, *F16, output=True),
    "gptneox-parallel": Case("gptneox", neox(0.25, use_parallel_residual=True), 7, *F32),
    "gptneox-sequential": Case("gptneox", neox(1.0, use_parallel_residual=False), 6, *F32),
} | {
    f"llama-{kind.name.lower()}": Case("llama", llama(**WIDE), 8, (kind,), FILE_TYPES[kind])
    for kind in OLD + K
} | {
    # Published files mix types: all five older ones here, and all five K types.
    "qwen2-mixed-k": mixed(K, "qwen2", gated(
        transformers.Qwen2Config, **WIDE, tie_word_embeddings=True)),
    "qwen2-mixed-old": mixed(OLD, "qwen2", gated(
        transformers.Qwen2Config, **NARROW, tie_word_embeddings=True)),
    "gemma3-mixed-k": mixed(K, "gemma3", gemma3(**WIDE)),
    "gemma3-mixed-old": mixed(OLD, "gemma3", gemma3(**NARROW)),
    "gpt2-mixed-k": mixed(K, "gpt2", gpt2(
        vocab_size=24, n_embd=256, n_layer=1, n_head=8, n_inner=256)),
    "gpt2-mixed-old": mixed(OLD, "gpt2", gpt2(n_embd=64, n_head=4, n_inner=96)),
    "gptneox-mixed-k": mixed(K, "gptneox", neox(
        0.25, vocab_size=24, hidden_size=256, num_hidden_layers=1, num_attention_heads=8,
        intermediate_size=256)),
    "gptneox-mixed-old": mixed(OLD, "gptneox", neox(
        0.5, hidden_size=64, num_attention_heads=4, intermediate_size=96)),
}
