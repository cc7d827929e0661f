"""Writes nano_sort_bias.json: the biases of attention's first projection that
the file of the letter-sorting GPT-2 lacks, read off its recorded activations.

    python crates/decoder/tests/reference/nano_sort_bias.py SHARED

SHARED is the folder with models/gpt2-nano-sort. model.safetensors there has no
transformer.h.*.attn.c_attn.bias, and the activations that the other
implementation recorded are those of a model with biases. In block 0 they are
what `qkv - ln1 W` leaves over, the same at all 33 positions to 1e-7. In blocks 1
and 2 only input and output are recorded: the biases of Q and V are the least
squares solution of 1584 equations for 96 unknowns (the bias of K adds the same
number to every score of a row, which softmax does not see; it is left at 0).
The largest residual, printed, is at the rounding of f32: the fit is no fit but a
reading.

Made with torch 2.15.0 and scipy 1.17.1; the versions are checked.
"""

import base64
import json
import pathlib
import sys

import numpy as np
import scipy
import torch
from safetensors.numpy import load_file
from scipy.optimize import least_squares
from torch.nn import functional as F

PINNED = {"torch": "2.15.0", "scipy": "1.17.1"}
HERE = pathlib.Path(__file__).parent
D, HEADS, EPS = 48, 3, 1e-5


def main():
    found = {"torch": torch.__version__.split("+")[0], "scipy": scipy.__version__}
    if found != PINNED:
        raise SystemExit(f"made with {PINNED}, and here is {found}")
    torch.set_default_dtype(torch.float64)
    folder = pathlib.Path(sys.argv[1]) / "models/gpt2-nano-sort"
    recorded = json.loads((folder / "gpt-nano-sort-t0-partials.json").read_text())

    def value(key):
        entry = recorded[key]
        data = np.frombuffer(base64.b64decode(entry["data"]), dtype="<f4")
        return torch.tensor(data.reshape(entry["shape"]).astype(np.float64))

    stored = load_file(folder / "model.safetensors")
    weights = {k: torch.tensor(v.astype(np.float64)) for k, v in stored.items()}

    def block(layer, x, bias):
        w = lambda name: weights[f"transformer.h.{layer}.{name}"]
        batch, pos, _ = x.shape
        h = F.layer_norm(x, (D,), w("ln_1.weight"), w("ln_1.bias"), EPS)
        qkv = (h @ w("attn.c_attn.weight") + bias).split(D, 2)
        q, k, v = (t.view(batch, pos, HEADS, -1).transpose(1, 2) for t in qkv)
        scores = q @ k.transpose(2, 3) / (D // HEADS) ** 0.5
        mask = torch.ones(pos, pos).triu(1).bool()
        pattern = scores.masked_fill(mask, float("-inf")).softmax(-1)
        z = (pattern @ v).transpose(1, 2).reshape(batch, pos, D)
        x = x + z @ w("attn.c_proj.weight") + w("attn.c_proj.bias")
        h = F.layer_norm(x, (D,), w("ln_2.weight"), w("ln_2.bias"), EPS)
        h = F.gelu(h @ w("mlp.c_fc.weight") + w("mlp.c_fc.bias"), approximate="tanh")
        return x + h @ w("mlp.c_proj.weight") + w("mlp.c_proj.bias")

    first = value("qkv") - value("ln1") @ weights["transformer.h.0.attn.c_attn.weight"]
    spread = (first.amax((0, 1)) - first.amin((0, 1))).max().item()
    biases = [first.mean((0, 1))]
    print(f"block 0: spread over positions {spread:.1e}")
    for layer in (1, 2):
        before, after = value(f"block{layer - 1}"), value(f"block{layer}")
        full = lambda u: torch.cat([u[:D], torch.zeros(D), u[D:]])
        residual = lambda u: (block(layer, before, full(u)) - after).flatten()
        fit = least_squares(
            lambda u: residual(torch.tensor(u)).numpy(),
            np.zeros(2 * D),
            lambda u: torch.autograd.functional.jacobian(residual, torch.tensor(u)).numpy(),
            xtol=1e-15, ftol=1e-15, gtol=1e-15,
        )
        print(f"block {layer}: largest residual {abs(fit.fun).max():.1e}")
        biases.append(full(torch.tensor(fit.x)))
    rows = [json.dumps([float(str(np.float32(x))) for x in b.tolist()]) for b in biases]
    (HERE / "nano_sort_bias.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")


main()
