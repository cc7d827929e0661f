"""Records a model's activations with TransformerLens, for assay to read.

    python docs/record_activations.py MODEL prompts/h25.jsonl FOLDER
    cargo xtask run h25-gain --models ./FOLDER

MODEL is a folder or a name that transformers knows. FOLDER gets the model's
config.json and a file a prompt. Made with transformer-lens 4.3.0, transformers
5.23.0, torch 2.15.0 and safetensors 0.8.
"""

import json
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

# The sites that are kept; assay names those that it misses.
SITES = re.compile(r"blocks\.\d+\.hook_(resid_pre|resid_post|attn_out|mlp_out|mlp_in)")


def main(model, prompts, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    hf = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    hf.config.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    bridge = TransformerBridge.boot_transformers(model, hf_model=hf, device="cpu")
    for line in Path(prompts).read_text().splitlines():
        prompt = json.loads(line)
        tokens = tokenizer(prompt["text"], return_tensors="pt").input_ids
        with torch.no_grad():
            _, cache = bridge.run_with_cache(tokens)
        tensors = {n: t.clone().contiguous() for n, t in cache.items() if SITES.fullmatch(n)}
        tensors["tokens"] = tokens
        save_file(tensors, folder / f"{prompt['id']}.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
