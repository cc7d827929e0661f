"""Writes pytorch_model.bin with torch, and the same tensors as safetensors.

torch 2.15, safetensors 0.8: python golden/pickle/generate.py

The file has what real ones have: all storage types of weights, two names for
one tensor, a view into another tensor's storage, a parameter, buffers that are
no weights, and the attribute _metadata, which torch's state_dict() sets.
"""

import collections
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent


def main():
    random = torch.Generator().manual_seed(11)

    def normal(*shape):
        return torch.randn(*shape, generator=random)

    embed = normal(13, 6)
    wide = normal(9, 5)
    weights = {
        "model.embed.weight": embed,
        "model.half.weight": normal(7, 5).half(),
        "model.brain.weight": normal(5, 7).bfloat16(),
        "model.double.weight": normal(3, 2).double(),
        "model.wide.weight": wide,
        "model.wide.rows": wide[2:6],
        "model.scalar": normal(1)[0],
        "model.parameter": normal(4).requires_grad_(),
        "model.cube": normal(2, 3, 4),
        "lm_head.weight": embed,
    }
    weights["model.parameter"] = torch.nn.Parameter(weights["model.parameter"].detach())
    state = collections.OrderedDict(weights)
    state["model.attn.bias"] = torch.ones(4, 4, dtype=torch.bool).tril()
    state["model.steps"] = torch.arange(3)
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    torch.save(state, HERE / "pytorch_model.bin")
    copies = {name: tensor.detach().clone() for name, tensor in weights.items()}
    save_file(copies, HERE / "reference.safetensors")


if __name__ == "__main__":
    main()
