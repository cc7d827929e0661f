"""What llama.cpp's converter (convert_hf_to_gguf.py) makes of a transformers
model: names, fields, and how values are laid out."""

import math

import gguf
import numpy as np

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "gpt2": gguf.MODEL_ARCH.GPT2,
    "gpt_neox": gguf.MODEL_ARCH.GPTNEOX,
}


class Layout:
    def __init__(self, config):
        self.config = config
        arch = ARCHITECTURES[config.model_type]
        self.architecture = gguf.MODEL_ARCH_NAMES[arch]
        self.names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)

    def name(self, name):
        found = self.names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert found, f"gguf has no name for {name}"
        return found

    def head_width(self):
        config = self.config
        width = getattr(config, "head_dim", None)
        return width or config.hidden_size // config.num_attention_heads

    def heads(self, name):
        """Heads whose rows the converter interleaves, or None."""
        if self.config.model_type != "llama":
            return None
        if ".q_proj." in name:
            return self.config.num_attention_heads
        return self.config.num_key_value_heads if ".k_proj." in name else None

    def transposed(self, name):
        return self.config.model_type == "gpt2" and ".c_" in name and name.endswith("weight")

    def adds_one(self, name):
        return self.config.model_type == "gemma3_text" and name.endswith("norm.weight")

    def fused(self, name):
        return ".query_key_value." in name

    def to_gguf(self, name, values):
        if heads := self.heads(name):
            # Of each head first one half of the pairs, then the other; in the
            # file a pair's two rows are neighbours.
            parts = values.reshape(heads, 2, -1, *values.shape[1:])
            values = parts.swapaxes(1, 2).reshape(values.shape)
        if self.fused(name):
            parts = values.reshape(self.config.num_attention_heads, 3, -1, *values.shape[1:])
            values = parts.swapaxes(0, 1).reshape(values.shape)
        if self.transposed(name):
            values = values.T
        if self.adds_one(name):
            values = values + np.float32(1)
        return np.ascontiguousarray(values)

    def from_gguf(self, name, values):
        if heads := self.heads(name):
            parts = values.reshape(heads, -1, 2, *values.shape[1:])
            values = parts.swapaxes(1, 2).reshape(values.shape)
        if self.fused(name):
            parts = values.reshape(3, self.config.num_attention_heads, -1, *values.shape[1:])
            values = parts.swapaxes(0, 1).reshape(values.shape)
        if self.transposed(name):
            values = values.T
        if self.adds_one(name):
            values = values - np.float32(1)
        return values

    def metadata(self, writer):
        """The fields that the converter's class of this family writes."""
        config = self.config
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_head_count(config.num_attention_heads)
        if config.model_type == "gpt2":
            writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
            writer.add_layer_norm_eps(config.layer_norm_epsilon)
            return
        writer.add_feed_forward_length(config.intermediate_size)
        if config.model_type == "gpt_neox":
            share = config.rope_parameters["partial_rotary_factor"]
            writer.add_rope_dimension_count(int(share * self.head_width()))
            writer.add_parallel_residual(config.use_parallel_residual)
            writer.add_layer_norm_eps(config.layer_norm_eps)
            return
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        rope = config.rope_parameters
        if config.model_type == "gemma3_text":
            rope = rope["full_attention"]
            writer.add_sliding_window(config.sliding_window)
        writer.add_rope_freq_base(rope["rope_theta"])
        if rope["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["factor"])
        if config.model_type != "qwen2":
            writer.add_key_length(self.head_width())
            writer.add_value_length(self.head_width())
        if config.model_type == "llama":
            writer.add_vocab_size(config.vocab_size)
            writer.add_rope_dimension_count(self.head_width())

    def rope_factors(self):
        """What LLaMA 3.1's scaling divides each frequency by; None without it."""
        rope = getattr(self.config, "rope_parameters", None) or {}
        if rope.get("rope_type") != "llama3":
            return None
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        context = rope["original_max_position_embeddings"]
        factors = []
        for pair in range(self.head_width() // 2):
            turns = context / (2 * math.pi * rope["rope_theta"] ** (2 * pair / self.head_width()))
            kept = min(max((turns - low) / (high - low), 0.0), 1.0)
            factors.append(1 / ((1 - kept) / rope["factor"] + kept))
        return np.array(factors, dtype=np.float32)
