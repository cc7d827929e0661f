"""Writes tiny random models as GGUF, as llama.cpp's converter would, and what
transformers computes with the weights that such a file holds.

    python golden/gguf/generate.py

Made with torch 2.15.0, transformers 5.23.0 and gguf 0.17.1; the versions are
checked. Each case is a folder with model.gguf and reference.safetensors: one
token row `ids` [1, pos], `logits` [1, pos, vocab] and every block's
`blocks.{l}.hook_resid_post` [1, pos, d_model], computed in f32 with eager
attention.

What the converter does to a model was read in llama.cpp's
convert_hf_to_gguf.py: the rows of LLaMA's queries and keys are reordered from
halves to neighbouring pairs, GPT-NeoX's fused rows from (head, q/k/v) to
(q/k/v, head), GPT-2's matrices are stored as [out, in], Gemma's norm gains with
their 1 added, vectors and position embeddings always as F32, and LLaMA 3's
scaling of frequencies as a tensor of divisors. The reference
model is filled from the file as written: read, dequantized by gguf-py, and
every reordering undone.
"""

import importlib.metadata
import pathlib
import zlib

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file

from models import CASES, Case
from quantized import blocks

PINNED = {"torch": "2.15.0", "transformers": "5.23.0", "gguf": "0.17.1"}
ROPE_DIVISORS = "rope_freqs.weight"
# Far below the 5e-5 that the cases are compared within.
MOST_ROUNDING = 2e-5
HERE = pathlib.Path(__file__).parent


def check_versions():
    found = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
    if found != PINNED:
        raise SystemExit(f"these cases are made with {PINNED}, and here is {found}")


def randomize(model, generator):
    """Uniform weights at which attention, MLP and norms all matter, and sums
    over wide rows stay near 1."""
    gemma = model.config.model_type.startswith("gemma")
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.rand(p.shape, generator=generator) * 2 - 1
            if p.dim() == 1:
                gain = name.endswith("weight")
                p.copy_((0 if gemma else 1) + 0.5 * noise if gain else 0.3 * noise)
            elif "embed" in name or "wte" in name or "wpe" in name:
                p.copy_(0.5 * noise)
            else:
                p.copy_(noise * 2.5 * min(p.shape) ** -0.5)


def shares(config):
    """Query heads and key/value heads."""
    return config.num_attention_heads, getattr(config, "num_key_value_heads", None)


def halves_to_pairs(x, heads):
    """[head, half, pair] rows to [head, pair, half]."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def pairs_to_halves(x, heads):
    return x.reshape(heads, x.shape[0] // heads // 2, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def fused_outside(x, heads):
    """[head, q/k/v, d] rows to [q/k/v, head, d]."""
    return x.reshape(heads, 3, x.shape[0] // heads // 3, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)


def fused_inside(x, heads):
    return x.reshape(3, heads, x.shape[0] // heads // 3, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)


def layout(arch, config, name):
    """How the converter changes transformers' tensor `name`, and the way back."""
    heads, kv = shares(config)
    if arch == "llama" and ("q_proj" in name or "k_proj" in name):
        n = heads if "q_proj" in name else kv
        return lambda x: halves_to_pairs(x, n), lambda x: pairs_to_halves(x, n)
    if arch == "gptneox" and "query_key_value" in name:
        return lambda x: fused_outside(x, heads), lambda x: fused_inside(x, heads)
    if arch == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return lambda x: x.T, lambda x: x.T
    if arch == "gemma3" and name.endswith("norm.weight"):
        return lambda x: x + np.float32(1), lambda x: x - np.float32(1)
    return lambda x: x, lambda x: x


def frequency_divisors(config):
    """The tensor that stands for LLaMA 3.1's scaling, one divisor for each pair
    of dimensions: 1 where a pair turns often within the original context,
    `factor` where it turns seldom. None without that scaling."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "llama3":
        return None
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    angles = rope["rope_theta"] ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
    turns = rope["original_max_position_embeddings"] * angles / (2 * np.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - kept) / rope["factor"] + kept)).astype(np.float32)


def stored_names(arch, config, state, output):
    """transformers' names and GGUF's; `output` is whether a tied output matrix
    is among them."""
    kind = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[arch]
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    found = {}
    for name in state:
        if name == "lm_head.weight" and config.tie_word_embeddings and not output:
            continue  # checkpoints do not hold it twice
        found[name] = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert found[name] is not None, name
    return found


def write(path, case: Case, model, noise):
    config, arch = model.config, case.arch
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(path.parent.name)
    metadata(writer, arch, config)
    writer.add_file_type(case.file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    state = model.state_dict()
    divisors = frequency_divisors(config)
    if divisors is not None:
        writer.add_tensor(ROPE_DIVISORS, divisors)
    for name, stored in stored_names(arch, config, state, case.output).items():
        there, back = layout(arch, config, name)
        x = state[name].numpy()
        assert abs(back(there(x)) - x).max() < 1e-6
        x = np.ascontiguousarray(there(x))
        kind = Type.F32 if x.ndim == 1 or stored.startswith("position_embd") else case.type_of(stored)
        if kind in (Type.F32, Type.F16):
            writer.add_tensor(stored, x.astype(np.float16 if kind == Type.F16 else np.float32))
        else:
            writer.add_tensor(stored, blocks(x, kind, noise), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def metadata(w, arch, config):
    """The fields that the converter writes for this family."""
    heads, kv = shares(config)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_block_count(config.num_hidden_layers)
    inner = getattr(config, "intermediate_size" if arch != "gpt2" else "n_inner")
    w.add_feed_forward_length(inner or 4 * config.hidden_size)
    w.add_head_count(heads)
    if arch == "gpt2":
        w.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    if arch == "gptneox":
        rotary = config.rope_parameters["partial_rotary_factor"]
        w.add_rope_dimension_count(int(rotary * (config.hidden_size // heads)))
        w.add_parallel_residual(config.use_parallel_residual)
        w.add_layer_norm_eps(config.layer_norm_eps)
        return
    w.add_head_count_kv(kv)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    width = getattr(config, "head_dim", None)
    if width is not None:
        w.add_key_length(width)
        w.add_value_length(width)
    ropes = config.rope_parameters
    rope = ropes["full_attention"] if arch == "gemma3" else ropes
    w.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if arch == "llama":
        w.add_vocab_size(config.vocab_size)
        w.add_rope_dimension_count(width)
    if arch == "gemma3":
        w.add_sliding_window(config.sliding_window)


def read(path, case: Case, model):
    """Fills `model` from the file."""
    arch, state = case.arch, model.state_dict()
    names = stored_names(arch, model.config, state, case.output)
    tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
    tensors.pop(ROPE_DIVISORS, None)  # transformers has it from the config
    assert sorted(tensors) == sorted(names.values())
    for name, stored in names.items():
        tensor = tensors[stored]
        shape = [int(n) for n in reversed(tensor.shape)]
        x = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        _, back = layout(arch, model.config, name)
        x = back(x.astype(np.float32))
        assert np.isfinite(x).all() and x.shape == tuple(state[name].shape), name
        state[name].copy_(torch.from_numpy(np.array(x, order="C")))


def reference(model, ids):
    """Logits, and every block's output before any final norm."""
    values = {"ids": ids}
    body = getattr(model, model.base_model_prefix)
    layers = body.layers if hasattr(body, "layers") else body.h

    def hook(layer):
        def put(module, inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            values[f"blocks.{layer}.hook_resid_post"] = output.clone().contiguous()
        return put

    hooks = [block.register_forward_hook(hook(layer)) for layer, block in enumerate(layers)]
    with torch.no_grad():
        values["logits"] = model(ids).logits.contiguous()
    for handle in hooks:
        handle.remove()
    assert all(v.isfinite().all() for v in values.values())
    return values


def rounding(model, ids, values):
    """Worst of |f32 - f64| / (1 + |f64|): how well conditioned the case is.
    transformers computes norms and angles in f32 even here."""
    exact = reference(model.double(), ids)
    return max(float(((values[k] - x).abs() / (1 + x.abs())).max()) for k, x in exact.items())


def main():
    check_versions()
    torch.set_num_threads(1)
    total = 0
    for name, case in CASES.items():
        seed = zlib.crc32(name.encode())
        generator = torch.Generator().manual_seed(seed)
        case.config._attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(case.config).eval()
        randomize(model, generator)
        ids = torch.randint(0, case.config.vocab_size, (1, case.tokens), generator=generator)
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        write(folder / "model.gguf", case, model, np.random.default_rng(seed))
        read(folder / "model.gguf", case, model)
        values = reference(model, ids)
        save_file(values, folder / "reference.safetensors")
        size = sum(f.stat().st_size for f in folder.iterdir())
        total += size
        spread = " ".join(f"{v.std():.2f}" for k, v in values.items() if k != "ids")
        error = rounding(model, ids, values)
        assert error < MOST_ROUNDING, f"{name}: {error}"
        print(f"{name}: {size} bytes, rounding {error:.1e}, standard deviations {spread}")
    print(f"{total} bytes in all")


if __name__ == "__main__":
    main()
