"""Writes smollm2-135m.reference.json: the H25 gains of SmolLM2-135M as Hugging
Face transformers computes them, independently of assay.

    python golden/h25-gain/generate.py PATH/SmolLM2-135M-Instruct.Q4_1.gguf

Made with torch 2.15.0, transformers 5.23.0 and gguf 0.17.1. The weights are
dequantised by the gguf package (not by candle), put into a LlamaForCausalLM
and run in f32, one prompt at a time, eager attention. Token ids come from
transformers' own reading of the GGUF's tokenizer. Prompts: the experiment's
prompt file.
"""

import hashlib
import json
import pathlib
import sys

import gguf
import numpy
import torch
import transformers
from gguf.quants import dequantize

PINNED = {"torch": "2.15.0", "transformers": "5.23.0"}
HERE = pathlib.Path(__file__).parent
PROMPTS = HERE / "../../prompts/h25.jsonl"

OUTSIDE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
INSIDE = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def half_split(w, heads):
    """Rows (head, pair, half) of llama.cpp to (head, half, pair) of Hugging Face."""
    rows, columns = w.shape
    return w.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def load(path):
    reader = gguf.GGUFReader(path)
    field = lambda name: reader.fields[name].contents()
    heads, kv = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    config = transformers.LlamaConfig(
        vocab_size=field("llama.vocab_size"), hidden_size=field("llama.embedding_length"),
        intermediate_size=field("llama.feed_forward_length"), num_hidden_layers=field("llama.block_count"),
        num_attention_heads=heads, num_key_value_heads=kv,
        max_position_embeddings=field("llama.context_length"),
        rms_norm_eps=float(f"{field('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        rope_parameters={"rope_type": "default", "rope_theta": float(field("llama.rope.freq_base"))},
        tie_word_embeddings=True,
    )
    config._attn_implementation = "eager"
    state = {}
    for tensor in reader.tensors:
        w = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        name = tensor.name
        if name in OUTSIDE:
            state[OUTSIDE[name]] = torch.from_numpy(w.copy())
            continue
        _, layer, kind, _ = name.split(".")
        if kind == "attn_q":
            w = half_split(w, heads)
        if kind == "attn_k":
            w = half_split(w, kv)
        state[f"model.layers.{layer}.{INSIDE[kind]}.weight"] = torch.from_numpy(w.copy())
    model = transformers.LlamaForCausalLM(config).eval()
    left = model.load_state_dict(state, strict=False)
    if left.unexpected_keys or left.missing_keys != ["lm_head.weight"]:
        raise SystemExit(f"weights do not fit: {left}")
    model.tie_weights()
    return model


def main():
    found = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    if found != PINNED:
        raise SystemExit(f"made with {PINNED}, and here is {found}")
    path = pathlib.Path(sys.argv[1])
    model = load(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    posts = {}
    for l, layer in enumerate(model.model.layers):
        layer.register_forward_hook(
            lambda m, i, o, l=l: posts.__setitem__(l, (o[0] if isinstance(o, tuple) else o)[0]))
    ids_by_unit, values = {}, {}
    for line in PROMPTS.read_text().splitlines():
        prompt = json.loads(line)
        ids = tokenizer(prompt["text"]).input_ids
        ids_by_unit[prompt["id"]] = ids
        with torch.no_grad():
            hidden = model.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        norm = lambda x: float(x[-1].double().norm())
        post = [norm(posts[l]) for l in range(len(posts))]
        pre = [norm(hidden[0][0])] + post[:-1]
        last = len(post) - 1
        values[prompt["id"]] = {
            "gain.as-published": norm(hidden[-2][0]) / norm(hidden[-3][0]),
            "gain.with-final-norm": norm(hidden[-1][0]) / norm(hidden[-2][0]),
            "gain.last-block": post[last] / post[last - 1],
            "gain.by-layer": [b / a for a, b in zip(pre, post)],
            "growth.measured-range": post[last] / post[0],
        }
    out = {
        "source": f"torch {found['torch']}, transformers {found['transformers']}, "
                  f"gguf dequantisation; golden/h25-gain/generate.py",
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "token_ids": ids_by_unit,
        "values": values,
    }
    target = HERE / "smollm2-135m.reference.json"
    target.write_text(json.dumps(out, indent=1, sort_keys=True) + "\n")
    print(f"written: {target.name}, {len(values)} prompts")


if __name__ == "__main__":
    main()
