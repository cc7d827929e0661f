"""The 25-prompt gain pass against transformers, in turn, on one machine.

    python benches/paired.py target/debug/examples/gain_pass [--shapes 160m]

Writes a model of each shape with seeded random weights to a temporary folder,
loads it three times - here twice, and in `gain_pass` - and then runs, round
after round, one pass of each side:

- ours: all prompts packed, the residual stream after every block, no logits;
- notebook: AutoModelForCausalLM on one prompt at a time with
  output_hidden_states, logits included, as the published notebook does;
- batches: the base model without its head on five batches of prompts sorted by
  length and padded, under inference_mode;
- lens: TransformerLens' run_with_cache, one prompt at a time, logits and every
  activation included, as it comes; only where it is installed.

All are f32. Each side's norms at the last token are compared first, so that
all are known to compute the same thing. Prints a Markdown table of
medians over the rounds; a ratio is the median of the rounds' ratios, so that
what else the machine does in the meantime falls out as far as it can. A round
sleeps between the sides: OpenMP's threads spin for a while after their work.

On a busy machine two threads that wait for each other measure the scheduler.
There, --one-core gives every side one thread and takes processor time.

Needs torch and transformers, and transformer-lens for its column; the standard
library does the rest.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import transformers
transformers.utils.logging.disable_progress_bar()
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

try:
    from transformer_lens.model_bridge import TransformerBridge
except ImportError:
    TransformerBridge = None

# Numbers of Pythia's config.json: d_model, blocks, heads.
SHAPES = {
    "14m": (128, 6, 4),
    "70m": (512, 6, 8),
    "160m": (768, 12, 12),
    "410m": (1024, 24, 16),
}
# Between two f32 implementations of the same norms, relative.
TOLERANCE = 1e-4
# Longer than OpenMP's threads spin.
PAUSE_S = 0.3


def write_model(folder, shape):
    d, layers, heads = SHAPES[shape]
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=d,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * d,
        max_position_embeddings=2048,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
        use_parallel_residual=True,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    # The file as Pythia has it: today's transformers writes other names for
    # the rotary numbers.
    path = Path(folder) / "config.json"
    written = json.loads(path.read_text())
    written.pop("rope_parameters", None)
    written |= {"rotary_pct": 0.25, "rotary_emb_base": 10000}
    path.write_text(json.dumps(written, indent=2))


def notebook(model, prompts):
    """[prompt][2] norms, one prompt at a time, logits included."""
    norms = []
    for ids in prompts:
        with torch.no_grad():
            out = model(torch.tensor([ids]), output_hidden_states=True)
        last = [out.hidden_states[i][0, -1] for i in (-3, -2)]
        norms.append([float(torch.linalg.vector_norm(h)) for h in last])
    return norms


def lens(bridge, prompts):
    """[prompt][2] norms by TransformerLens, one prompt at a time."""
    late = [bridge.cfg.n_layers - 3, bridge.cfg.n_layers - 2]
    norms = []
    for ids in prompts:
        with torch.no_grad():
            _, cache = bridge.run_with_cache(torch.tensor([ids]))
        last = [cache[f"blocks.{layer}.hook_resid_post"][0, -1] for layer in late]
        norms.append([float(torch.linalg.vector_norm(h)) for h in last])
    return norms


def batches(base, prompts, count=5):
    """[prompt][2] norms, base model, batches of prompts of like length."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    size = -(-len(order) // count)
    norms = [None] * len(prompts)
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        longest = max(len(prompts[i]) for i in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask = torch.zeros(len(batch), longest, dtype=torch.long)
        for row, i in enumerate(batch):
            ids[row, : len(prompts[i])] = torch.tensor(prompts[i])
            mask[row, : len(prompts[i])] = 1
        with torch.inference_mode():
            out = base(ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
            last = mask.sum(1) - 1
            rows = torch.arange(len(batch))
            pair = [out.hidden_states[i][rows, last].norm(dim=1).tolist() for i in (-3, -2)]
        for row, i in enumerate(batch):
            norms[i] = [pair[0][row], pair[1][row]]
    return norms


class Ours:
    """A `gain_pass` process with its model loaded."""

    def __init__(self, binary, folder, ids):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([binary, folder, ids], **pipes)

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("gain_pass ended without an answer")
        return json.loads(line)

    def timed(self, what, cpu):
        """Seconds and the answer."""
        start = cpu_seconds(self.process.pid)
        answer = self.ask(what)
        spent = cpu_seconds(self.process.pid) - start
        return (spent if cpu else answer["seconds"]), answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def cpu_seconds(pid):
    """Processor time of all threads of a process so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks) / 1e9


def timed(cpu, f, *args):
    clock = time.process_time if cpu else time.perf_counter
    start = clock()
    f(*args)
    return clock() - start


def check_same(shape, side, expected, norms):
    worst = max(
        abs(a - e) / abs(e) for pe, pa in zip(expected, norms) for e, a in zip(pe, pa)
    )
    if not worst <= TOLERANCE:
        sys.exit(f"{shape}: norms of {side} are off by {worst:.1e}, relative")
    return worst


def compare(binary, shape, rounds, ids, cpu):
    prompts = json.loads(Path(ids).read_text())
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder, shape)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        bridge = None
        if TransformerBridge:
            own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            bridge = TransformerBridge.boot_transformers(folder, hf_model=own, device="cpu")
        ours = Ours(binary, folder, ids)
        first = ours.ask("pass")
    base = model.gpt_neox
    expected = notebook(model, prompts)
    worst = check_same(shape, "gain_pass", expected, first["norms"])
    worst = max(worst, check_same(shape, "batches", expected, batches(base, prompts)))
    if bridge:
        worst = max(worst, check_same(shape, "lens", expected, lens(bridge, prompts)))
    rows = []
    for _ in range(rounds):
        time.sleep(PAUSE_S)
        mine, _ = ours.timed("pass", cpu)
        notebook_s = timed(cpu, notebook, model, prompts)
        time.sleep(PAUSE_S)
        again, _ = ours.timed("pass", cpu)
        batches_s = timed(cpu, batches, base, prompts)
        time.sleep(PAUSE_S)
        matmul_s, answer = ours.timed("matmul", cpu)
        last, _ = ours.timed("pass", cpu)
        lens_s = float("nan")
        if bridge:
            lens_s = timed(cpu, lens, bridge, prompts)
            time.sleep(PAUSE_S)
        rows.append(
            {
                "ours": statistics.median([mine, again, last]),
                "notebook": notebook_s,
                "batches": batches_s,
                "to_notebook": notebook_s / mine,
                "to_batches": batches_s / again,
                "lens": lens_s,
                "to_lens": lens_s / last,
                "share": matmul_s / last,
                "rate": answer["gflop"] / matmul_s,
            }
        )
    ours.close()
    medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return medians, worst


def figure(x, digits):
    """Digits, or a word where the peer is not installed."""
    return "not installed" if math.isnan(x) else f"{x:.{digits}f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", help="the gain_pass example, built")
    parser.add_argument("--shapes", default="70m,160m,410m", help="of " + ",".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=7)
    default_ids = str(Path(__file__).parent / "h25_ids.json")
    parser.add_argument("--ids", default=default_ids, help="token ids, one list a prompt")
    parser.add_argument(
        "--one-core", action="store_true", help="one thread a side, processor time"
    )
    args = parser.parse_args()
    if args.one_core:
        torch.set_num_threads(1)
        os.environ["RAYON_NUM_THREADS"] = "1"
    cores = len(os.sched_getaffinity(0))
    clock = "one thread a side, processor time" if args.one_core else "wall time"
    prompts = json.loads(Path(args.ids).read_text())
    print(
        f"{len(prompts)} prompts, {sum(map(len, prompts))} tokens; {args.rounds} rounds; "
        f"{cores} cores; {clock}; torch {torch.__version__} ({torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}), transformers "
        f"{transformers.__version__}, Python {platform.python_version()}; f32.\n"
    )
    print(
        "| shape | ours, s | notebook, s | batches, s | lens, s | notebook / ours "
        "| batches / ours | lens / ours | matmul, GFLOP/s | share of the matmul rate | norms agree to |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for shape in args.shapes.split(","):
        m, worst = compare(args.binary, shape, args.rounds, args.ids, args.one_core)
        print(
            f"| {shape} | {m['ours']:.3f} | {m['notebook']:.3f} | {m['batches']:.3f} "
            f"| {figure(m['lens'], 3)} | {m['to_notebook']:.2f} | {m['to_batches']:.2f} "
            f"| {figure(m['to_lens'], 2)} | {m['rate']:.0f} "
            f"| {100 * m['share']:.0f} % | {worst:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
