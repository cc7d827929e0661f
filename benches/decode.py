"""Cached greedy decoding against transformers' `generate`, in turn.

    python benches/decode.py target/debug/examples/decode [--batches 1 8 32]

Writes a model of Qwen2.5-0.5B's shape with seeded random weights to a
temporary folder, loads it here and in `decode`, and then, round after round
and for each number of prompts, lets both continue the same prompts of equal
length (so that transformers needs no padding). Only decoding is timed: the
time for one new token, the pass over the prompts, is taken off transformers'
(the median of its own one-token runs), and `decode` leaves it out itself.

Both are f32 with eager-free attention as transformers chooses it. The new ids
are compared; random weights leave small margins, so the share of equal ids is
printed and not demanded. Prints a Markdown table of medians; a ratio is the
median of the rounds' ratios.

Needs torch and transformers; the standard library does the rest.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import transformers
transformers.utils.logging.set_verbosity_error()
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

PROMPT, PAUSE_S = 24, 0.3


def write_model(folder):
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=32768,
        rms_norm_eps=1e-6, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6})
    Qwen2ForCausalLM(config).save_pretrained(folder)


def theirs(model, ids, steps):
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(ids, max_new_tokens=steps, do_sample=False, use_cache=True,
                             attention_mask=torch.ones_like(ids), pad_token_id=0)
    return time.perf_counter() - start, out[:, ids.shape[1]:].tolist()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("decode")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24)
    args = parser.parse_args()
    torch.set_num_threads(os.cpu_count())
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_model(folder)
        generator = torch.Generator().manual_seed(1)
        prompts = torch.randint(0, 151936, (max(args.batches), PROMPT), generator=generator)
        (folder / "ids.json").write_text(json.dumps(prompts.tolist()))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        command = [args.decode, str(folder), str(folder / "ids.json"), str(args.steps)]
        ours = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def ask(n):
            ours.stdin.write(f"{n}\n")
            ours.stdin.flush()
            answer = json.loads(ours.stdout.readline())
            return answer["seconds"], answer["ids"]

        print("| prompts | assay tok/s | transformers tok/s | ratio | equal ids |")
        print("|---|---|---|---|---|")
        for n in args.batches:
            ids = prompts[:n]
            theirs(model, ids, 2), ask(n)
            one = statistics.median(theirs(model, ids, 1)[0] for _ in range(3))
            rounds = []
            for _ in range(args.rounds):
                time.sleep(PAUSE_S)
                seconds, new = theirs(model, ids, args.steps + 1)
                time.sleep(PAUSE_S)
                our_seconds, our_new = ask(n)
                rounds.append((our_seconds, seconds - one))
            tokens = n * args.steps
            rates = [statistics.median(tokens / r[side] for r in rounds) for side in (0, 1)]
            ratio = statistics.median(b / a for a, b in rounds)
            pairs = [(a, b) for x, y in zip(our_new, new) for a, b in zip(x, y)]
            equal = sum(a == b for a, b in pairs) / len(pairs)
            print(f"| {n} | {rates[0]:.1f} | {rates[1]:.1f} | {ratio:.2f} | {100 * equal:.0f} % |",
                  flush=True)
        ours.stdin.close()
        ours.wait()


if __name__ == "__main__":
    main()
