"""Logits of the project's own models by Hugging Face transformers.

Loads each folder with AutoModelForCausalLM and PreTrainedTokenizerFast, which
takes tokenizer.json as it is (AutoTokenizer puts Qwen2's own pre-tokenizer in
place of the one in the file for every model of that type), and prints JSON: token ids of a text, and of its last
token the eight largest logits with their tokens, computed in float32.

    pip install torch==2.15.0 transformers==5.23.0
    python golden/organisms/logits.py > golden/organisms/logits.json
"""

import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

ROOT = pathlib.Path(__file__).resolve().parents[2] / "organisms"
STORY = "Mara has a red lamp. Mara gives the red lamp to Oren. Who has the lamp now?"
PROBLEM = "What is 4 plus 9? Answer: 13\nWhat is 7 plus 5? Answer:"
CHINESE = "4加9等于几？答案：13\n7加5等于几？答案："
CASES = [
    ("crowding/parallel-L4-H8-s1", STORY),
    ("crowding/parallel-L8-H1-s2", STORY),
    ("crowding/sequential-L4-H1-s1", STORY),
    ("crowding/learned-L4-H8-s1", STORY),
    ("crowding/free-L4-H2x8-s1", STORY),
    ("crowding/free-L4-H8x32-s1", STORY),
    ("crowding/parallel-L4-H8-s1@step50", STORY),
    ("bilingual/bilingual-s1", PROBLEM),
    ("bilingual/bilingual-s1", CHINESE),
    ("bilingual/held-s1", CHINESE),
]


def case(folder: str, text: str) -> dict:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(ROOT / folder)
    model = AutoModelForCausalLM.from_pretrained(ROOT / folder, dtype=torch.float32)
    ids = tokenizer(text)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    top = torch.topk(logits, 8)
    return {
        "model": folder,
        "text": text,
        "ids": ids,
        "tokens": top.indices.tolist(),
        "logits": [float(v) for v in top.values],
    }


print(json.dumps([case(*c) for c in CASES], ensure_ascii=False, indent=1))
