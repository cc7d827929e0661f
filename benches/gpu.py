"""The 25-prompt gain pass on a GPU against transformers on the same GPU.

    python benches/gpu.py target/cuda/debug/examples/on_device [--shapes 70m,12b]

For every shape of Pythia it writes a model with seeded random f16 weights to a
temporary folder, loads it twice - in `on_device` and here, in f16 - and runs,
round after round, one pass of each side:

- ours: all prompts packed, the residual stream after every block brought to
  the CPU, no logits;
- notebook: AutoModelForCausalLM on one prompt at a time with
  output_hidden_states, logits included, as the published notebook does.

The norms at the last token are compared, and every site with the CPU's in f32:
in the type of the passes, with attention prompt by prompt and side by side; in
f32, in memory up to 1.4b and streamed. What is off by more than is allowed ends
the whole, with exit status 1. Prints, as Markdown: tokens a second of both and
the ratio (medians of the rounds), the memory of the GPU that each took at its
peak, patched runs of the last three blocks a second, the distances of the
sites, and the time of 100 steps of ARD-MMD's fit, which runs on the CPU
whatever the device.

Memory is what each side's allocator had reserved at most up to its last pass,
loading included: CUDA's pool of ours, PyTorch's of theirs. Neither counts the
CUDA context with kernels and libraries; cuBLAS's workspace, 32 MiB, PyTorch
takes from its allocator, and ours lies in the context. With --device cpu
everything runs on the CPU, to try it.

Needs torch, transformers and safetensors.
"""

import argparse
import contextlib
import datetime
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Both sides alike: no products in TF32, the same results from run to run.
os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
import torch
import transformers
from safetensors.torch import save_file

transformers.utils.logging.disable_progress_bar()

# Numbers of Pythia's config.json: d_model, blocks, heads, vocabulary.
SHAPES = {
    "14m": (128, 6, 4, 50304),
    "70m": (512, 6, 8, 50304),
    "160m": (768, 12, 12, 50304),
    "410m": (1024, 24, 16, 50304),
    "1b": (2048, 16, 8, 50304),
    "1.4b": (2048, 24, 16, 50304),
    "2.8b": (2560, 32, 32, 50304),
    "6.9b": (4096, 32, 32, 50432),
    "12b": (5120, 36, 40, 50688),
}
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# One rounding, relative.
ROUNDING = {"f32": 2.0**-24, "f16": 2.0**-11, "bf16": 2.0**-8}
HERE = Path(__file__).parent


def write_model(folder, shape, device):
    """Random f16 weights, a file a block, as the hub has them."""
    d, layers, heads, vocab = SHAPES[shape]
    generator = torch.Generator(device).manual_seed(0)

    def uniform(*size):
        # With the variance that keeps a product's size.
        x = torch.rand(size, generator=generator, device=device, dtype=torch.float32)
        return ((2 * x - 1) * (3 / d) ** 0.5).half().cpu()

    def norm(name):
        return {f"{name}.weight": torch.ones(d).half(), f"{name}.bias": torch.zeros(d).half()}

    def linear(name, rows, columns):
        return {f"{name}.weight": uniform(rows, columns), f"{name}.bias": torch.zeros(rows).half()}

    where, total = {}, 0

    def save(file, tensors):
        nonlocal total
        save_file(tensors, folder / file, metadata={"format": "pt"})
        where.update({name: file for name in tensors})
        total += sum(t.numel() * t.element_size() for t in tensors.values())

    for layer in range(layers):
        p = f"gpt_neox.layers.{layer}."
        save(f"block-{layer}.safetensors", {
            **linear(p + "attention.query_key_value", 3 * d, d),
            **linear(p + "attention.dense", d, d),
            **linear(p + "mlp.dense_h_to_4h", 4 * d, d),
            **linear(p + "mlp.dense_4h_to_h", d, 4 * d),
            **norm(p + "input_layernorm"),
            **norm(p + "post_attention_layernorm"),
        })
    save("outside.safetensors", {
        "gpt_neox.embed_in.weight": uniform(vocab, d),
        "embed_out.weight": uniform(vocab, d),
        **norm("gpt_neox.final_layer_norm"),
    })
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = dict(
        architectures=["GPTNeoXForCausalLM"], model_type="gpt_neox", hidden_act="gelu",
        hidden_size=d, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * d, max_position_embeddings=2048, layer_norm_eps=1e-5,
        rotary_pct=0.25, rotary_emb_base=10000, use_parallel_residual=True,
        tie_word_embeddings=False, torch_dtype="float16", vocab_size=vocab,
        bos_token_id=0, eos_token_id=0)
    (folder / "config.json").write_text(json.dumps(config, indent=2))


class Ours:
    """A process with its model loaded."""

    def __init__(self, *command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = dict(os.environ)
        if cuda := os.environ.get("CUDA_PATH"):
            # NVIDIA's libraries that it was built with; torch has its own.
            more = [f"{cuda}/lib64", os.environ.get("LD_LIBRARY_PATH", "")]
            environment["LD_LIBRARY_PATH"] = ":".join(filter(None, more))
        command = [str(c) for c in command]
        self.process = subprocess.Popen(command, env=environment, **pipes)

    def ask(self, what):
        # One that has ended has said why.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(what + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(self.process.args)} ended without an answer to {what}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def notebook(model, prompts, device):
    """[prompt][2] norms, one prompt at a time, logits included."""
    norms = []
    for ids in prompts:
        with torch.no_grad():
            out = model(torch.tensor([ids], device=device), output_hidden_states=True)
        last = [out.hidden_states[i][0, -1].float() for i in (-3, -2)]
        norms.append([float(torch.linalg.vector_norm(h)) for h in last])
    return norms


def timed(f, *args):
    start = time.perf_counter()
    f(*args)
    return time.perf_counter() - start


def gib(size):
    return "-" if size is None else f"{size / 2**30:.2f}"


def check_norms(shape, dtype, expected, found):
    """The largest relative distance. Eight roundings of the type a block are
    allowed, as the decoder is; in f32 what two implementations differ by."""
    bound = max(8 * SHAPES[shape][1] * ROUNDING[dtype], 1e-4)
    off = [abs(a - e) / e for e, a in zip(sum(expected, []), sum(found, []))]
    # What is no number is within no bound; max() may pass it over.
    if beyond := [x for x in off if not x <= bound]:
        sys.exit(f"{shape}, {dtype}: a norm differs from PyTorch's by {beyond[0]:.1e} of itself, "
                 f"where {bound:.1e} is allowed")
    return max(off)


def check_sites(shape, forms):
    """on_device has refused what is beyond its bounds; this is a second look."""
    for form, sites in forms.items():
        for site, (off, bound) in sites.items():
            if not off <= bound:
                sys.exit(f"{shape}, {form}: {site} is {off:.1e} of its size from the CPU's, "
                         f"where {bound:.1e} is allowed")


def compare(args, shape, prompts):
    """A row of the table, and the distances of the sites by form."""
    device, dtype = args.device, args.dtype
    on_gpu = device != "cpu"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / f"pythia-{shape}"
        folder.mkdir()
        write_model(folder, shape, device)
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        ours = Ours(args.binary, folder, args.ids, device, dtype)
        found = ours.ask("pass")["norms"]
        patch = ours.ask("patch")
        load = transformers.AutoModelForCausalLM.from_pretrained
        model = load(folder, dtype=TYPES[dtype]).to(device).eval()
        off = check_norms(shape, dtype, notebook(model, prompts, device), found)
        rows = []
        for _ in range(args.rounds):
            mine = ours.ask("pass")["seconds"]
            theirs = timed(notebook, model, prompts, device)
            rows.append((mine, theirs, theirs / mine))
        peaks = [ours.ask("peak")["bytes"]]
        peaks.append(torch.cuda.max_memory_reserved(device) if on_gpu else None)
        del model
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()
        forms = ours.ask("agree")["sites"]
        ours.close()
    check_sites(shape, forms)
    ours_s, theirs_s, ratio = (statistics.median(column) for column in zip(*rows))
    tokens = sum(map(len, prompts))
    row = [
        shape, f"{tokens / ours_s:.0f}", f"{tokens / theirs_s:.0f}", f"{ratio:.1f}",
        *map(gib, peaks), f"{patch['runs'] / patch['seconds']:.1f}", f"{off:.0e}",
    ]
    return row, forms


def print_table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", help="the on_device example, built with the cuda feature")
    parser.add_argument("--ard", help="the ard_steps example")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--dtype", default="f16", choices=TYPES)
    sweep = ",".join(list(SHAPES)[1:])
    parser.add_argument("--shapes", default=sweep, help="of " + ",".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ids", default=str(HERE / "h25_ids.json"))
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    prompts = json.loads(Path(args.ids).read_text())
    on = platform.processor() or platform.machine()
    if args.device != "cpu":
        on = f"{torch.cuda.get_device_name(args.device)}, CUDA {torch.version.cuda}"
    print(
        f"{datetime.date.today()}; {on}; torch {torch.__version__}, transformers "
        f"{transformers.__version__}, Python {platform.python_version()}; {args.dtype}; "
        f"{len(prompts)} prompts, {sum(map(len, prompts))} tokens; {args.rounds} rounds.\n",
        flush=True,
    )
    rows, forms = [], {}
    for shape in args.shapes.split(","):
        row, of_shape = compare(args, shape, prompts)
        rows.append(row)
        for form, sites in of_shape.items():
            forms.setdefault(form, {})[shape] = sites
        # A line at a time, in case the machine is taken away.
        print("done:", ", ".join(row), file=sys.stderr, flush=True)
    head = ["shape", "ours, tokens/s", "notebook, tokens/s", "notebook / ours", "ours, GiB",
            "notebook, GiB", "patched runs/s", "norms agree to"]
    print_table(head, rows)
    for form, by_shape in forms.items():
        print(f"In {form} against the CPU in f32, distance of a prompt's values by site, where it "
              "is nearest to what is allowed:\n")
        names = sorted({name for sites in by_shape.values() for name in sites})
        print_table(
            ["site", *by_shape],
            [[n, *(f"{sites[n][0]:.0e}" for sites in by_shape.values())] for n in names],
        )
    if args.ard:
        ard = Ours(args.ard)
        seconds = ard.ask("100")["seconds"]
        ard.close()
        print(f"100 steps of ARD-MMD's fit, on the CPU: {seconds:.2f} s")


if __name__ == "__main__":
    main()
