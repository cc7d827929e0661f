"""Writes neox_ids.json: the token ids that transformers gives for the 25 H25
prompts with the GPT-NeoX-20B tokenizer (Pythia's).

    python crates/checkpoint/tests/reference/neox_ids.py SHARED

SHARED is the folder with facts/h25_prompts.json and tokenizers/gpt-neox-20b.
Made with transformers 5.23.0; the version is checked.
"""

import json
import pathlib
import sys

import transformers

PINNED = "5.23.0"
HERE = pathlib.Path(__file__).parent


def main():
    if transformers.__version__ != PINNED:
        raise SystemExit(f"made with transformers {PINNED}, and here is {transformers.__version__}")
    shared = pathlib.Path(sys.argv[1])
    prompts = json.loads((shared / "facts/h25_prompts.json").read_text())["h25_sweep_25"]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(shared / "tokenizers/gpt-neox-20b/tokenizer.json")
    )
    rows = [json.dumps(tokenizer(p["prompt"])["input_ids"]) for p in prompts]
    assert len(rows) == 25
    (HERE / "neox_ids.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")


main()
