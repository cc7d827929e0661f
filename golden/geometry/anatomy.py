"""Writes dtw.json, cka.json and spectrum.json: reference values of the measures
of crates/geometry of the same names.

    python golden/geometry/anatomy.py

NumPy and SciPy only. DTW is computed by a memoised recursion over the cells of
the band, another program than the table that assay fills; the barycentre by
its definition on top of it. CKA is ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of centred columns,
by features where assay goes by Gram matrices. Spectra are squared singular
values of the centred matrix over n - 1; effective rank is scipy's entropy.
"""

import functools
import json
import math
import pathlib

import numpy as np
import scipy
import scipy.stats

HERE = pathlib.Path(__file__).parent
SOURCE = f"numpy {np.__version__}, scipy {scipy.__version__}; golden/geometry/anatomy.py"


def dtw(x, y, band):
    n, m = len(x), len(y)
    longer, shorter = max(n, m) - 1, min(n, m) - 1
    band = max(band, math.ceil(longer / shorter) if shorter else longer)
    place = lambda i, n: i * longer / (n - 1) if n > 1 else 0.0

    @functools.lru_cache(None)
    def cost(i, j):
        if i < 0 or j < 0 or abs(place(i, n) - place(j, m)) > band + 1e-9:
            return math.inf, ()
        here = float(np.sum((x[i] - y[j]) ** 2))
        if i == j == 0:
            return here, ((0, 0),)
        # min keeps the first of equals: the diagonal.
        before, path = min((cost(i - 1, j - 1), cost(i - 1, j), cost(i, j - 1)), key=lambda c: c[0])
        return here + before, path + ((i, j),)

    total, path = cost(n - 1, m - 1)
    return math.sqrt(total), path


def barycentre(sequences, length, band, rounds):
    centre = np.mean([
        np.stack([np.interp(np.linspace(0, len(s) - 1, length), np.arange(len(s)), s[:, c])
                  for c in range(s.shape[1])], 1)
        for s in sequences], 0)
    inertia = []
    for round in range(rounds + 1):
        fell = [[] for _ in range(length)]
        total = 0.0
        for s in sequences:
            distance, path = dtw(centre, s, band)
            total += distance**2
            for i, j in path:
                fell[i].append(s[j])
        gained = not inertia or total < inertia[-1]
        inertia.append(total)
        if not gained or round == rounds:
            break
        centre = np.stack([np.mean(f, 0) for f in fell])
    return centre, inertia


def write(name, cases):
    (HERE / f"{name}.json").write_text(json.dumps({"source": SOURCE, "cases": cases}, indent=1) + "\n")
    print(f"written: {name}.json, {len(cases)} cases")


def main():
    rng = np.random.default_rng(20)
    draw = lambda *shape: np.round(rng.normal(size=shape), 6)

    cases = []
    for n, m, width, band in [(6, 6, 1, 6), (9, 5, 2, 3), (7, 20, 3, 4), (12, 12, 1, 2), (1, 4, 2, 0), (15, 14, 2, 1)]:
        x, y = draw(n, width), draw(m, width)
        distance, path = dtw(x, y, band)
        cases.append({"x": x.tolist(), "y": y.tolist(), "band": band, "distance": distance, "path": path})
    sequences = [draw(n, 2).cumsum(0) for n in (8, 11, 9, 14)]
    centre, inertia = barycentre(sequences, 10, 5, 8)
    cases.append({"sequences": [s.tolist() for s in sequences], "length": 10, "band": 5, "rounds": 8,
                  "centre": centre.tolist(), "inertia": inertia})
    write("dtw", cases)

    cases = []
    for rows, left, right in [(8, 3, 5), (20, 6, 6), (5, 12, 9)]:
        x, y = draw(rows, left) + 3.0, draw(rows, right)
        y[:, 0] += x[:, 0]
        a, b = x - x.mean(0), y - y.mean(0)
        cka = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
        cases.append({"x": x.tolist(), "y": y.tolist(), "cka": cka})
    write("cka", cases)

    cases = []
    for rows, width in [(12, 4), (4, 12), (9, 9)]:
        x = draw(rows, width) * np.linspace(0.1, 3.0, width) + 1.0
        s = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / (rows - 1)
        cases.append({"x": x.tolist(), "spectrum": s.tolist(), "effective_rank": math.exp(scipy.stats.entropy(s))})
    write("spectrum", cases)


if __name__ == "__main__":
    main()
