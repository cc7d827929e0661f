"""Writes the parity cases: tiny random models and every activation of theirs
under its TransformerLens name, computed by Hugging Face transformers.

    python golden/parity/generate.py

Made with torch 2.15.0 and transformers 5.23.0 (eager attention, f32); the
versions are checked, because another version may write other configs. Each
case is a folder with config.json and model.safetensors, as transformers writes
them, and reference.safetensors: one token row `ids` and the activations with a
batch axis of 1. All parameters are random, norm gains and biases included, so
that a wrong or missing one shows.
"""

import importlib
import json
import pathlib

import families
import torch
import transformers
from safetensors.torch import save_file
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama import modeling_llama

PINNED = {"torch": "2.15.0", "transformers": "5.23.0"}
HERE = pathlib.Path(__file__).parent


def check_versions():
    found = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    if found != PINNED:
        raise SystemExit(f"these cases are made with {PINNED}, and here is {found}")


def neox(**over):
    base = dict(
        vocab_size=53, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=32, hidden_act="gelu",
        rotary_pct=0.25, rotary_emb_base=10000, layer_norm_eps=1e-5,
        use_parallel_residual=True, tie_word_embeddings=False,
    )
    base.update(over)
    pct = base.pop("rotary_pct")
    theta = base.pop("rotary_emb_base")
    base["rope_parameters"] = {
        "rope_type": "default", "rope_theta": float(theta), "partial_rotary_factor": pct,
    }
    return transformers.GPTNeoXConfig(**base)


def gpt2(**over):
    base = dict(
        vocab_size=47, n_embd=30, n_layer=3, n_head=5, n_positions=24,
        activation_function="gelu_new", layer_norm_epsilon=1e-5,
    )
    base.update(over)
    return transformers.GPT2Config(**base)


def llama(**over):
    base = dict(
        vocab_size=61, hidden_size=36, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=10, intermediate_size=44,
        max_position_embeddings=64, rms_norm_eps=1e-5, hidden_act="silu",
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    base.update(over)
    return transformers.LlamaConfig(**base)


# name -> (config, tokens in the prompt, dtype the weights are stored in)
CASES = {
    "neox-parallel": (neox(), 7, torch.float32),
    "neox-sequential": (neox(use_parallel_residual=False, rotary_pct=1.0, num_attention_heads=2), 5, torch.float32),
    "neox-f16": (neox(num_attention_heads=4, hidden_size=32, rotary_pct=0.5), 6, torch.float16),
    "gpt2": (gpt2(), 7, torch.float32),
    "gpt2-untied-inner": (gpt2(tie_word_embeddings=False, n_inner=34, activation_function="gelu"), 4, torch.float32),
    "llama-gqa-tied": (llama(), 9, torch.float32),
    "llama-untied-bias": (llama(tie_word_embeddings=False, attention_bias=True, mlp_bias=True, num_key_value_heads=6, head_dim=6), 6, torch.float32),
    "llama3-scaled-bf16": (
        llama(
            num_key_value_heads=3, head_dim=12,
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
            },
        ), 20, torch.bfloat16,
    ),
}


def randomize(model, generator):
    """Uniform weights of a size at which attention and MLP both matter."""
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.rand(p.shape, generator=generator) * 2 - 1
            is_gain = p.dim() == 1 and name.endswith("weight")
            centre = 0 if model.config.model_type.startswith("gemma") else 1
            p.copy_(centre + 0.5 * noise if is_gain else (0.5 if p.dim() == 2 else 0.3) * noise)


class Capture:
    """Activations by name; everything is cloned as it passes."""

    def __init__(self):
        self.values = {}

    def put(self, name, tensor):
        self.values[name] = tensor.detach().clone().to(torch.float32).contiguous()

    def output(self, module, name, pick=lambda o: o[0] if isinstance(o, tuple) else o):
        module.register_forward_hook(lambda m, i, o: self.put(name, pick(o)))

    def input(self, module, name):
        module.register_forward_pre_hook(lambda m, i: self.put(name, i[0]))

    def norm(self, module, prefix, eps, centred):
        """Scale and normalized value of a norm, from its input."""

        def hook(m, i):
            x = i[0]
            if centred:
                x = x - x.mean(-1, keepdim=True)
            scale = (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()
            self.put(f"{prefix}.hook_scale", scale)
            self.put(f"{prefix}.hook_normalized", x / scale)

        module.register_forward_pre_hook(hook)


def capture_attention(cap, module_file, layer_of):
    """Wraps the eager attention: rotated q and k, scores and pattern."""
    original = module_file.eager_attention_forward

    def wrapped(module, query, key, value, attention_mask, *args, **kwargs):
        out, pattern = original(module, query, key, value, attention_mask, *args, **kwargs)
        layer = layer_of(module)
        cap.put(f"blocks.{layer}.attn.hook_rot_q", query.transpose(1, 2))
        cap.put(f"blocks.{layer}.attn.hook_rot_k", key.transpose(1, 2))
        repeated = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        scores = query @ repeated.transpose(2, 3) * query.shape[-1] ** -0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        cap.put(f"blocks.{layer}.attn.hook_attn_scores", scores.masked_fill(future, float("-inf")))
        cap.put(f"blocks.{layer}.attn.hook_pattern", pattern)
        return out, pattern

    module_file.eager_attention_forward = wrapped
    return lambda: setattr(module_file, "eager_attention_forward", original)


def result(cap, layer, heads, w_o):
    """Each head's share of attn_out; w_o is [head * d_head, d_model]."""
    z = cap.values[f"blocks.{layer}.attn.hook_z"]
    w = w_o.detach().to(torch.float32).reshape(heads, z.shape[-1], -1)
    cap.put(f"blocks.{layer}.attn.hook_result", torch.einsum("bthd,hdm->bthm", z, w))


def split_heads(cap, layer, names, tensors, d_head):
    for name, t in zip(names, tensors):
        cap.put(f"blocks.{layer}.attn.hook_{name}", t.reshape(*t.shape[:2], -1, d_head))


def run_neox(model, cap, ids):
    config = model.config
    body = model.gpt_neox
    cap.output(body.embed_in, "hook_embed")
    d_head = config.hidden_size // config.num_attention_heads
    for l, block in enumerate(body.layers):
        b = f"blocks.{l}"
        cap.norm(block.input_layernorm, f"{b}.ln1", config.layer_norm_eps, True)
        cap.norm(block.post_attention_layernorm, f"{b}.ln2", config.layer_norm_eps, True)

        def qkv(m, i, o, l=l):
            t = o.reshape(*o.shape[:2], config.num_attention_heads, 3 * d_head)
            for name, part in zip("qkv", t.chunk(3, dim=-1)):
                cap.put(f"blocks.{l}.attn.hook_{name}", part)

        block.attention.query_key_value.register_forward_hook(qkv)
        block.attention.dense.register_forward_pre_hook(
            lambda m, i, l=l: cap.put(f"blocks.{l}.attn.hook_z", i[0].reshape(*i[0].shape[:2], -1, d_head)))
        cap.output(block.attention.dense, f"{b}.hook_attn_out")
        if not config.use_parallel_residual:
            cap.input(block.post_attention_layernorm, f"{b}.hook_resid_mid")
        cap.output(block.mlp.dense_h_to_4h, f"{b}.mlp.hook_pre")
        cap.input(block.mlp.dense_4h_to_h, f"{b}.mlp.hook_post")
        cap.output(block.mlp.dense_4h_to_h, f"{b}.hook_mlp_out")
        cap.input(block.input_layernorm, f"{b}.hook_resid_pre")
        cap.output(block, f"{b}.hook_resid_post")
    cap.norm(body.final_layer_norm, "ln_final", config.layer_norm_eps, True)
    logits = model(ids).logits
    for l, block in enumerate(body.layers):
        result(cap, l, config.num_attention_heads, block.attention.dense.weight.T)
    return logits


def run_gpt2(model, cap, ids):
    config = model.config
    body = model.transformer
    cap.output(body.wte, "hook_embed")
    body.wpe.register_forward_hook(
        lambda m, i, o: cap.put("hook_pos_embed", o.expand(1, ids.shape[1], -1)))
    d_head = config.n_embd // config.n_head
    for l, block in enumerate(body.h):
        b = f"blocks.{l}"
        cap.norm(block.ln_1, f"{b}.ln1", config.layer_norm_epsilon, True)
        cap.norm(block.ln_2, f"{b}.ln2", config.layer_norm_epsilon, True)
        block.attn.c_attn.register_forward_hook(
            lambda m, i, o, l=l: split_heads(cap, l, "qkv", o.chunk(3, dim=-1), d_head))
        block.attn.c_proj.register_forward_pre_hook(
            lambda m, i, l=l: cap.put(f"blocks.{l}.attn.hook_z", i[0].reshape(*i[0].shape[:2], -1, d_head)))
        cap.output(block.attn.c_proj, f"{b}.hook_attn_out")
        cap.input(block.ln_2, f"{b}.hook_resid_mid")
        cap.output(block.mlp.c_fc, f"{b}.mlp.hook_pre")
        cap.input(block.mlp.c_proj, f"{b}.mlp.hook_post")
        cap.output(block.mlp.c_proj, f"{b}.hook_mlp_out")
        cap.input(block.ln_1, f"{b}.hook_resid_pre")
        cap.output(block, f"{b}.hook_resid_post")
    cap.norm(body.ln_f, "ln_final", config.layer_norm_epsilon, True)
    logits = model(ids).logits
    for l, block in enumerate(body.h):
        result(cap, l, config.n_head, block.attn.c_proj.weight)
        # Learned positions: nothing is rotated, and the sites do not exist.
        del cap.values[f"blocks.{l}.attn.hook_rot_q"], cap.values[f"blocks.{l}.attn.hook_rot_k"]
    return logits


def run_llama(model, cap, ids):
    config = model.config
    body = model.model
    cap.output(body.embed_tokens, "hook_embed")
    for l, block in enumerate(body.layers):
        b = f"blocks.{l}"
        cap.norm(block.input_layernorm, f"{b}.ln1", config.rms_norm_eps, False)
        cap.norm(block.post_attention_layernorm, f"{b}.ln2", config.rms_norm_eps, False)
        for name in "qkv":
            getattr(block.self_attn, f"{name}_proj").register_forward_hook(
                lambda m, i, o, l=l, name=name: split_heads(cap, l, name, [o], config.head_dim))
        block.self_attn.o_proj.register_forward_pre_hook(
            lambda m, i, l=l: cap.put(f"blocks.{l}.attn.hook_z", i[0].reshape(*i[0].shape[:2], -1, config.head_dim)))
        cap.output(block.self_attn.o_proj, f"{b}.hook_attn_out")
        cap.input(block.post_attention_layernorm, f"{b}.hook_resid_mid")
        cap.output(block.mlp.gate_proj, f"{b}.mlp.hook_pre")
        cap.output(block.mlp.up_proj, f"{b}.mlp.hook_pre_linear")
        cap.input(block.mlp.down_proj, f"{b}.mlp.hook_post")
        cap.output(block.mlp.down_proj, f"{b}.hook_mlp_out")
        cap.input(block.input_layernorm, f"{b}.hook_resid_pre")
        cap.output(block, f"{b}.hook_resid_post")
    cap.norm(body.norm, "ln_final", config.rms_norm_eps, False)
    logits = model(ids).logits
    for l, block in enumerate(body.layers):
        result(cap, l, config.num_attention_heads, block.self_attn.o_proj.weight.T)
    return logits


FAMILIES = {
    "gpt_neox": (run_neox, modeling_gpt_neox),
    "gpt2": (run_gpt2, modeling_gpt2),
    "llama": (run_llama, modeling_llama),
}


def record(model, ids):
    """Every site of one pass, by name."""
    cap = Capture()
    kind = model.config.model_type
    with torch.no_grad():
        if kind in FAMILIES:
            run, module_file = FAMILIES[kind]
            restore = capture_attention(cap, module_file, lambda m: m.layer_idx)
            cap.put("logits", run(model, cap, ids))
            restore()
        else:
            folder = kind.removesuffix("_text")
            name = f"transformers.models.{folder}.modeling_{folder}"
            cap.put("logits", families.run(model, cap, ids, importlib.import_module(name)))
    return cap.values


def main():
    check_versions()
    for number, (name, (config, tokens, dtype)) in enumerate((CASES | families.CASES).items()):
        config._attn_implementation = "eager"
        generator = torch.Generator().manual_seed(1000 + number)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        randomize(model, generator)
        model.to(dtype)
        folder = HERE / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        # The reference is computed in f32 from the stored (rounded) weights,
        # read back: model.to() would have rounded RoPE's frequencies as well.
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").eval()
        ids = torch.randint(0, config.vocab_size, (1, tokens), generator=generator)
        values = record(model, ids)
        values["ids"] = ids.to(torch.int64)
        save_file(values, folder / "reference.safetensors")
        print(f"{name}: {len(values) - 1} sites, {config.model_type}")


if __name__ == "__main__":
    main()
