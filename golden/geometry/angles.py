"""Reference values of cosines, by NumPy, and of their distribution under random
rotations, by SciPy.

    python golden/geometry/angles.py    # numpy 2.4.6, scipy 1.17.1

Writes golden/geometry/angles.json. The rows come from a formula, so that the
file holds results only.
"""

import json
from pathlib import Path

import numpy as np
import scipy.stats


def rows(n, width, common, offset):
    """Entry (i, j) = sin(offset + 3.7 i + 1.3 j + 0.11 i j) + common."""
    i, j = np.meshgrid(np.arange(n), np.arange(width), indexing="ij")
    return np.sin(offset + 3.7 * i + 1.3 * j + 0.11 * i * j) + common


def table(x, y):
    unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit(x) @ unit(y).T


cosines = []
for n, width, common in [(2, 3, 0.0), (7, 16, 0.5), (20, 64, 2.0)]:
    x, y = rows(n, width, common, 1.0), rows(n, width, common, 2.0)
    off = ~np.eye(n, dtype=bool)
    raw, removed = table(x, y), table(x - x.mean(0), y - y.mean(0))
    cosines.append(
        {
            "rows": n,
            "width": width,
            "common": common,
            "first": raw[0, 0],
            "own": np.diag(raw).mean(),
            "other": raw[off].mean(),
            "of_means": table(x.mean(0, keepdims=True), y.mean(0, keepdims=True))[0, 0],
            "own_removed": np.diag(removed).mean(),
            "other_removed": removed[off].mean(),
        }
    )

# After a random rotation of one of two vectors in d dimensions, the square of
# their cosine is Beta(1/2, (d - 1)/2).
null = [
    {"d": d, "level": level, "limit": float(np.sqrt(scipy.stats.beta.ppf(level, 0.5, (d - 1) / 2)))}
    for d in [3, 16, 576, 4096]
    for level in [0.95, 0.99]
]

out = Path(__file__).with_suffix(".json")
out.write_text(json.dumps({"cosines": cosines, "null": null}, indent=1) + "\n")
