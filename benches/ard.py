"""A step of the published ARD-MMD fit against PyTorch's autograd, in turn.

    python benches/ard.py target/debug/examples/ard_steps [--rounds 5]

Both take the same steps on the same made-up clouds (20 pairs, 32 rows a side,
2048 dimensions, f32): the objective and its gradient over all pairs, then Adam
on the log lengths. PyTorch takes them in two ways: distances by its own cdist,
and differences of all rows written out, as the formula stands. The objectives
before the last step are compared. Prints the medians in ms a step and the
median of the rounds' ratios.

Needs torch; the standard library does the rest.
"""

import argparse
import json
import statistics
import subprocess
import time

import torch

PAIRS, ROWS, D, LAMBDA = 20, 32, 2048, 0.01


def clouds():
    at = torch.arange(PAIRS * 2 * ROWS * D, dtype=torch.float64).reshape(PAIRS, 2, ROWS, D)
    values = (at * 0.618033988749895).frac() * 2 - 1
    values[:, 1] += 0.1
    return values.float()


def by_cdist(a, b):
    return (-0.5 * torch.cdist(a, b).square()).exp()


def by_differences(a, b):
    return (-0.5 * (a[:, None] - b[None]).square().sum(-1)).exp()


def mmd2(x, y, log_lengths, kernel):
    scale = (-log_lengths).exp()
    a, b = x * scale, y * scale
    xx, yy, xy = kernel(a, a), kernel(b, b), kernel(a, b)
    n = len(x)
    off = n * (n - 1)
    return (xx.sum() - xx.trace()) / off + (yy.sum() - yy.trace()) / off - 2 * xy.mean()


def theirs(data, steps, kernel):
    log_lengths = torch.full((D,), 3.0, requires_grad=True)
    adam = torch.optim.Adam([log_lengths], lr=0.01)
    start = time.perf_counter()
    for _ in range(steps):
        adam.zero_grad()
        loss = sum(mmd2(p[0], p[1], log_lengths, kernel) for p in data)
        loss = loss + LAMBDA * (-log_lengths).exp().sum()
        loss.backward()
        adam.step()
    return time.perf_counter() - start, loss.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(2)
    data = clouds()
    ours = subprocess.Popen([args.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(steps):
        ours.stdin.write(f"{steps}\n")
        ours.stdin.flush()
        answer = json.loads(ours.stdout.readline())
        return answer["seconds"], answer["objective"]

    kernels = {"distances by cdist": by_cdist, "differences written out": by_differences}
    run(3)
    rows = {name: [] for name in kernels}
    for name, kernel in kernels.items():
        theirs(data, 3, kernel)
    for _ in range(args.rounds):
        for name, kernel in kernels.items():
            (a, loss_a), (b, loss_b) = run(args.steps), theirs(data, args.steps, kernel)
            assert abs(loss_a - loss_b) < 1e-3 * abs(loss_b), (loss_a, loss_b)
            rows[name].append((a / args.steps * 1e3, b / args.steps * 1e3))
    ours.stdin.close()
    print("| PyTorch", torch.__version__, "| ms a step | assay, ms a step | ratio |\n|---|---|---|---|")
    for name, of in rows.items():
        mine, other = (statistics.median(r[i] for r in of) for i in (0, 1))
        ratio = statistics.median(b / a for a, b in of)
        print(f"| {name} | {other:.1f} | {mine:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
