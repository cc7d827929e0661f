"""Writes smollm2-135m.reference.json: massive activations, norms and attention
sinks of SmolLM2-135M as Hugging Face transformers computes them, independently
of assay.

    python golden/suite-anatomy/generate.py PATH/SmolLM2-135M-Instruct.Q4_1.gguf

Weights and versions as in golden/h25-gain/generate.py, whose loader is used:
dequantised by the gguf package, run in f32, one text at a time, eager
attention. Eight texts of the experiment's file.
"""

import hashlib
import importlib.util
import json
import pathlib
import sys

import numpy
import torch
import transformers

HERE = pathlib.Path(__file__).parent
TEXTS = HERE / "../../experiments/suite-anatomy/prompts/texts.jsonl"
UNITS = 8


def loader():
    spec = importlib.util.spec_from_file_location("h25", HERE / "../h25-gain/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    h25 = loader()
    found = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    if found != h25.PINNED:
        raise SystemExit(f"made with {h25.PINNED}, and here is {found}")
    torch.set_num_threads(2)
    path = pathlib.Path(sys.argv[1])
    model = h25.load(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    kept = {}
    for l, layer in enumerate(model.model.layers):
        first = lambda o: o[0] if isinstance(o, tuple) else o
        for name, module in [("resid-post", layer), ("attn-out", layer.self_attn), ("mlp-out", layer.mlp)]:
            module.register_forward_hook(
                lambda m, i, o, key=(name, l): kept.__setitem__(key, first(o)[0].detach().double().numpy()))
    ids_by_unit, values = {}, {}
    for line in TEXTS.read_text().splitlines():
        prompt = json.loads(line)
        if "role" in prompt["tags"] or len(values) == UNITS:
            continue
        ids = tokenizer(prompt["text"]).input_ids
        with torch.no_grad():
            attentions = model(torch.tensor([ids]), output_attentions=True).attentions
        layers = range(len(attentions))
        out = {f"massive.{k}.by-layer": [] for k in
               ["top-1", "top-2", "top-3", "median", "dimension", "position", "sun"]}
        for l in layers:
            x = numpy.abs(kept["resid-post", l])
            order = numpy.argsort(-x, axis=None)[:3]
            median = numpy.median(x)
            for k, i in enumerate(order):
                out[f"massive.top-{k + 1}.by-layer"].append(float(x.flat[i]))
            position, dimension = numpy.unravel_index(order[0], x.shape)
            out["massive.median.by-layer"].append(float(median))
            out["massive.dimension.by-layer"].append(float(dimension))
            out["massive.position.by-layer"].append(float(position))
            out["massive.sun.by-layer"].append(float(((x > 1000 * median) & (x > 100)).sum()))
        out["sink.first.by-layer"] = [float(attentions[l][0, :, 1:, 0].double().mean()) for l in layers]
        for site in ["attn-out", "mlp-out", "resid-post"]:
            norms = [numpy.linalg.norm(kept[site, l], axis=1) for l in layers]
            out[f"norm.{site}.by-layer"] = [float(numpy.log(n.mean())) for n in norms]
        ids_by_unit[prompt["id"]] = ids
        values[prompt["id"]] = out
    reference = {
        "source": f"torch {found['torch']}, transformers {found['transformers']}, "
                  f"gguf dequantisation; golden/suite-anatomy/generate.py",
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "token_ids": ids_by_unit,
        "values": values,
    }
    target = HERE / "smollm2-135m.reference.json"
    target.write_text(json.dumps(reference, indent=1, sort_keys=True) + "\n")
    print(f"written: {target.name}, {len(values)} texts")


if __name__ == "__main__":
    main()
