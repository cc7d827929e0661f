"""Writes gemma-3-270m.reference.json: masks, log p of answers, patches and
updates of Gemma-3-270M as Hugging Face transformers and NumPy compute them,
independently of assay.

    python golden/z-causality/generate.py PATH/gemma-3-270m.gguf

Weights dequantised by transformers' own GGUF reader (the gguf package), f32,
one prompt at a time, eager attention. Masks by the definition: K_h as a whole
[d, d] matrix, its singular vectors by NumPy, stacked and decomposed again.
Patches by a hook on the input of the layer that replaces the residual stream.
Pairs: the first of each category.

    pip install torch==2.15.0 transformers==5.23.0 gguf numpy accelerate
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
import torch
import transformers

PINNED = {"torch": "2.15.0", "transformers": "5.23.0"}
HERE = pathlib.Path(__file__).parent
BANK = HERE / "../../prompts/zh-en/problems.jsonl"
MODEL = "gemma-3-270m"


def bank():
    """(id, category, answer, {language: text}) in order, and partners."""
    pairs = {}
    for line in BANK.read_text().splitlines():
        p = json.loads(line)
        t = p["tags"]
        pair = pairs.setdefault(t["pair"], {"category": p["category"], "answer": t["answer"], "id": t["pair"]})
        pair[t["language"]] = p["text"]
    pairs = list(pairs.values())
    n = len(pairs)
    for i, pair in enumerate(pairs):
        others = (pairs[(i + k) % n] for k in range(1, n))
        pair["cross"] = next(o for o in others if o["category"] == pair["category"] and o["answer"] != pair["answer"])
    return pairs


def main():
    found = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    if found != PINNED:
        raise SystemExit(f"made with {PINNED}, and here is {found}")
    torch.set_num_threads(2)
    path = pathlib.Path(sys.argv[1])
    load = dict(gguf_file=path.name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **load)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, dtype=torch.float32, attn_implementation="eager", **load).eval()
    layers = model.model.layers
    config = model.config
    n, d, heads, kv = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads,
                       config.num_key_value_heads)
    l1 = min(32 * n // 36, n - 3)

    def k_h(layer, head):
        attn = layers[layer].self_attn
        q = attn.q_proj.weight.detach().double().numpy().reshape(heads, -1, d)[head]
        k = attn.k_proj.weight.detach().double().numpy().reshape(kv, -1, d)[head // (heads // kv)]
        return q.T @ k

    def mask(layer, k):
        stack = [np.linalg.svd(k_h(layer, h))[2][:k] for h in range(heads)]
        return np.linalg.svd(np.concatenate(stack))[2][:k]

    def rank(layer, head):
        s = np.linalg.svd(k_h(layer, head), compute_uv=False)
        p = s / s.sum()
        p = p[p > 0]
        return float(np.exp(-(p * np.log(p)).sum()))

    z = torch.tensor(mask(l1, 50), dtype=torch.float32)
    kept = {}
    patch = {}

    def before(layer):
        def hook(module, args, kwargs):
            x = args[0] if args else kwargs["hidden_states"]
            kept[layer] = x[0].detach().double()
            if layer == l1 and "f" in patch:
                x = patch["f"](x)
                return ((x,) + args[1:], kwargs) if args else (args, kwargs | {"hidden_states": x})
        return hook

    for l, layer in enumerate(layers):
        layer.register_forward_pre_hook(before(l), with_kwargs=True)
    layers[-1].register_forward_hook(
        lambda m, i, o: kept.__setitem__(n, (o[0] if isinstance(o, tuple) else o)[0].detach().double()))

    def ids_of(text):
        return tokenizer(text).input_ids

    def logp(text, answer):
        """Sum over the answer's tokens, under the patch that is set."""
        start, whole = ids_of(text), ids_of(text + answer)
        assert whole[:len(start)] == start
        with torch.no_grad():
            logits = model(torch.tensor([whole[:-1]])).logits[0].double()
        rows = logits[len(start) - 1:].log_softmax(-1)
        return float(sum(rows[i, t] for i, t in enumerate(whole[len(start):])))

    def mean(text):
        patch.clear()
        with torch.no_grad():
            model(torch.tensor([ids_of(text)]))
        return kept[l1].mean(0).float()

    def part(name, source):
        inside = lambda v: (v @ z.T) @ z
        return {"z": lambda x: x + inside(source - x),
                "z-perp": lambda x: source - inside(source - x),
                "full": lambda x: x * 0 + source}[name]

    pairs = bank()
    seen = set()
    token_ids, values = {}, {}
    for pair in pairs:
        if pair["category"] in seen:
            continue
        seen.add(pair["category"])
        out = values.setdefault(f"pair.{pair['id']}", {})
        space = {"en": " ", "zh": ""}
        for language in ["en", "zh"]:
            text = pair[language]
            patch.clear()
            own = logp(text, space[language] + pair["answer"])
            other = logp(text, space[language] + pair["cross"]["answer"])
            unit = f"{pair['id']}.{language}"
            token_ids[unit] = ids_of(text)
            with torch.no_grad():
                model(torch.tensor([ids_of(text)]))
            inside, outside = [], []
            for b in range(n):
                step = (kept[b + 1] - kept[b]).mean(0)
                p = z.double() @ step
                inside.append(float(p.norm()))
                outside.append(float((step - z.double().T @ p).norm()))
            values[unit] = {"logp-answer": own, "logp-cross": other,
                            "update.z.by-block": inside, "update.perp.by-block": outside}
            out[f"prefers.{language}"] = own - other
            if language == "en":
                text_en, own_en, other_en = text, own, other
        cell = "in.l1.k50.en-zh"
        for name in ["z", "z-perp", "full"]:
            source = mean(pair["cross"]["zh"])
            patch["f"] = part(name, source)
            own, other = (logp(text_en, " " + a) for a in [pair["answer"], pair["cross"]["answer"]])
            patch.clear()
            out[f"cross.{cell}.{name}"] = (other - own) - (other_en - own_en)
            source = mean(pair["zh"])
            patch["f"] = part(name, source)
            out[f"same.{cell}.{name}.mean"] = logp(text_en, " " + pair["answer"]) - own_en
            patch.clear()
    values["model"] = {"layers": [float(l1), float(l1 + 1)]}
    for layer in [0, l1, n - 1]:
        values["model"][f"mask.rank.{layer}"] = [rank(layer, h) for h in range(heads)]
    reference = {
        "source": f"torch {found['torch']}, transformers {found['transformers']}, gguf dequantisation, "
                  f"NumPy {np.__version__}; golden/z-causality/generate.py",
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "token_ids": token_ids,
        "values": values,
    }
    target = HERE / f"{MODEL}.reference.json"
    target.write_text(json.dumps(reference, indent=1, sort_keys=True) + "\n")
    print(f"written: {target.name}, {len(seen)} pairs")


if __name__ == "__main__":
    main()
