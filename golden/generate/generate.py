"""Writes what transformers decodes greedily from parity cases.

    python golden/generate/generate.py

Made with torch 2.15.0 and transformers 5.23.0, in f32, eager attention, from
the models in golden/parity. One file per case. A prompt runs alone, without
padding, with a key/value cache; no token ends it. `ids` are the new ids only.

`smallest_margin` is the least distance, over the steps of a run, between the
highest logit and the next; where it is far above rounding, another
implementation must choose the same ids. `uncached_margin_error` is the largest
difference of a step's two highest logits from those of one pass over the whole
row without a cache: rounding, as large as it is in transformers itself.
"""

import importlib.metadata
import json
import pathlib

import torch
import transformers

PINNED = {"torch": "2.15.0", "transformers": "5.23.0"}
HERE = pathlib.Path(__file__).parent
NEW_TOKENS = 24
# Lengths of the prompts: shorter and longer than every window of these models.
LENGTHS = (1, 4, 11)
# Prompts drawn for each length; the one of the most different ids is kept, for
# a tiny model that repeats itself tells little of its positions.
DRAWN = 40
LEAST_MARGIN = 1e-3
# The contexts of GPT-Neo, Falcon and GPT-NeoX are of 32 tokens: 24 after at most 8.
CASES = {
    "qwen2": LENGTHS,
    "qwen2-window-bf16": LENGTHS,
    "gemma3": LENGTHS,
    "gpt-neo": (1, 4, 8),
    "bloom": LENGTHS,
    "mistral-window": LENGTHS,
    "falcon-7b-form": (1, 4, 8),
    "falcon-new": (1, 4, 8),
    "neox-parallel": (1, 4, 8),
}


def check_versions():
    found = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
    if found != PINNED:
        raise SystemExit(f"these cases are made with {PINNED}, and here is {found}")


def decode(model, prompt):
    """One run, and what it can be compared with."""
    row = torch.tensor([prompt])
    out = model.generate(
        row, attention_mask=torch.ones_like(row), do_sample=False, use_cache=True,
        max_new_tokens=NEW_TOKENS, output_logits=True, return_dict_in_generate=True,
        eos_token_id=None, pad_token_id=0)
    ids = out.sequences[0, len(prompt):]
    assert len(ids) == NEW_TOKENS
    steps = torch.cat(out.logits).float()
    assert steps.argmax(-1).equal(ids)
    best = steps.topk(2)
    margins = best.values[:, 0] - best.values[:, 1]
    with torch.no_grad():
        whole = model(out.sequences[:, :-1]).logits[0, len(prompt) - 1:]
    error = (whole.gather(1, best.indices) - best.values).abs().max()
    # The cache is no approximation, so the whole row chooses the same.
    assert whole.argmax(-1).equal(ids) or margins.min() < 2 * error
    return {
        "prompt": prompt,
        "ids": ids.tolist(),
        "smallest_margin": float(margins.min()),
        "uncached_margin_error": float(error),
    }


def main():
    check_versions()
    torch.set_num_threads(2)
    for number, (case, lengths) in enumerate(CASES.items()):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            HERE.parent / "parity" / case, dtype=torch.float32, attn_implementation="eager").eval()
        model.generation_config = transformers.GenerationConfig()
        generator = torch.Generator().manual_seed(4000 + number)
        vocab = model.config.vocab_size
        runs = []
        for length in lengths:
            drawn = torch.randint(0, vocab, (DRAWN, length), generator=generator).tolist()
            tried = [decode(model, prompt) for prompt in drawn]
            clear = [run for run in tried if run["smallest_margin"] > LEAST_MARGIN]
            runs.append(max(clear, key=lambda run: len(set(run["ids"]))))
        written = {"case": case, "made_with": PINNED, "runs": runs}
        (HERE / f"{case}.json").write_text(json.dumps(written, indent=1) + "\n")
        for run in runs:
            print(f"{case}: margin {run['smallest_margin']:.2e}, rounding"
                  f" {run['uncached_margin_error']:.1e}, {len(set(run['ids']))} different ids")


if __name__ == "__main__":
    main()
