"""Writes old-configs: the config of one case of each family, as transformers 4
wrote it, and as the published models of the family have it.

    python golden/parity/old_configs.py

It reads the cases' config.json, which transformers 5 wrote, and needs no other
library. What transformers 4 had elsewhere or under another name is moved; what
it had no name for is left out. A file must be read as the same model.
"""

import json
import pathlib

HERE = pathlib.Path(__file__).parent
# transformers 5's own, or null there and absent in published configs.
NEW = {
    "_sliding_window_pattern", "bos_token_id", "dtype", "eos_token_id", "layer_types",
    "pad_token_id", "rope_parameters", "transformers_version", "use_bidirectional_attention",
}

# case -> (fields that transformers 4 had besides, fields that it left out).
# tie_word_embeddings is left out where it is true and the family's default.
CASES = {
    "neox-parallel": (dict(rotary_pct=0.25, rotary_emb_base=10000), {"is_decoder", "attention_bias"}),
    "gpt2": (dict(n_ctx=24, model_type="gpt2"), {"tie_word_embeddings", "add_cross_attention"}),
    "llama3-scaled-bf16": (
        dict(rope_theta=500.0, rope_scaling={
            "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 16, "rope_type": "llama3"}), set()),
    "gptj": (dict(gradient_checkpointing=False, rotary=True, scale_attn_weights=True), set()),
    "gpt-neo": (dict(gradient_checkpointing=False), {"tie_word_embeddings", "classifier_dropout"}),
    "opt-post-norm-projected": (
        dict(prefix="</s>"),
        {"tie_word_embeddings", "enable_bias", "layer_norm_elementwise_affine"}),
    "bloom": (
        dict(attention_softmax_in_fp32=True, bias_dropout_fusion=True, masked_softmax_fusion=True,
             n_inner=None, offset_alibi=100, skip_bias_add=True, skip_bias_add_qkv=False),
        {"tie_word_embeddings"}),
    "mistral-window": (dict(rope_theta=10000.0), set()),
    "qwen2-window-bf16": (dict(rope_theta=1000000.0), set()),
    "qwen3": (dict(rope_scaling=None, rope_theta=10000.0), set()),
    "gemma": (dict(rope_theta=10000.0), {"tie_word_embeddings"}),
    "gemma2": (
        dict(cache_implementation="hybrid", hidden_act="gelu_pytorch_tanh", rope_theta=10000.0),
        {"tie_word_embeddings"}),
    "gemma3": (
        dict(rope_local_base_freq=10000.0, rope_theta=1000000.0, sliding_window_pattern=3,
             rope_scaling={"factor": 8.0, "rope_type": "linear"}),
        {"tie_word_embeddings"}),
    "falcon-7b-form": (
        dict(apply_residual_connection_post_layernorm=False),
        {"tie_word_embeddings", "num_kv_heads", "num_ln_in_parallel_attn", "activation"}),
    "falcon-new-one-norm-bf16": (
        dict(apply_residual_connection_post_layernorm=False, ff_factor=4, rope_scaling=None,
             rope_theta=10000.0),
        {"tie_word_embeddings"}),
    "stablelm": (dict(partial_rotary_factor=0.25, rope_theta=10000), {"qk_layernorm"}),
    "phi": (dict(partial_rotary_factor=0.5, rope_scaling=None, rope_theta=10000.0), set()),
}


def main():
    folder = HERE / "old-configs"
    folder.mkdir(exist_ok=True)
    for case, (more, less) in CASES.items():
        new = json.loads((HERE / case / "config.json").read_text())
        old = {name: value for name, value in new.items() if name not in NEW | less}
        old |= more | {"torch_dtype": new["dtype"], "transformers_version": "4.51.0"}
        text = json.dumps(old, indent=2, sort_keys=True)
        (folder / f"{case}.json").write_text(text + "\n")
        print(f"old-configs/{case}.json: {new['model_type']}")


if __name__ == "__main__":
    main()
