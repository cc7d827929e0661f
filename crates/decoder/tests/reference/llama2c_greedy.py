"""Writes llama2c_greedy.json: what transformers continues the prompt with,
greedily, on the 260K-parameter LLaMA.

    python crates/decoder/tests/reference/llama2c_greedy.py SHARED

SHARED is the folder with models/llama2c-260k. Made with torch 2.15.0 and
transformers 5.23.0 (eager attention, f32, CPU); the versions are checked. Every
step is a full pass, without a cache of keys and values, as the test does it.
`smallest_margin` is the least distance between the best and the second logit:
where it is far above rounding, the ids do not depend on the implementation.
"""

import json
import pathlib
import sys

import torch
import transformers

PINNED = {"torch": "2.15.0", "transformers": "5.23.0"}
HERE = pathlib.Path(__file__).parent
PROMPT = [1, 403, 407, 261, 378]
STEPS = 200


def main():
    found = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    if found != PINNED:
        raise SystemExit(f"made with {PINNED}, and here is {found}")
    folder = pathlib.Path(sys.argv[1]) / "models/llama2c-260k"
    model = transformers.LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids, margins = list(PROMPT), []
    with torch.no_grad():
        for _ in range(STEPS):
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            best, second = logits.topk(2).values.tolist()
            margins.append(best - second)
            ids.append(int(logits.argmax()))
    out = {
        "prompt": PROMPT,
        "smallest_margin": min(margins),
        "continuation": ids[len(PROMPT):],
    }
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in out.items())
    (HERE / "llama2c_greedy.json").write_text("{\n" + lines + "\n}\n")
    print(out["smallest_margin"])


main()
