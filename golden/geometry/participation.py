"""Reference values of participation ratios, by singular values in NumPy.

    python golden/geometry/participation.py    # numpy 2.4.6

Writes golden/geometry/participation.json. The rows come from a formula, so that
the file holds results only.
"""

import json
import math
from pathlib import Path

import numpy as np


def rows(n, width, common):
    """Entry (i, j) = sin(1 + 3.7 i + 1.3 j + 0.11 i j) + common."""
    i, j = np.meshgrid(np.arange(n), np.arange(width), indexing="ij")
    return np.sin(1 + 3.7 * i + 1.3 * j + 0.11 * i * j) + common


cases = []
for n, width, common in [(16, 64, 0.0), (16, 8, 0.5), (5, 192, 2.0), (2, 3, 0.0)]:
    x = rows(n, width, common)
    s = np.linalg.svd(x, compute_uv=False)
    gram = x @ x.T
    off = ~np.eye(n, dtype=bool)
    lengths = np.diag(gram)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cases.append(
        {
            "rows": n,
            "width": width,
            "common": common,
            "naive": (s**2).sum() ** 2 / (s**4).sum(),
            "row_only": np.outer(lengths, lengths)[off].sum() / (gram[off] ** 2).sum(),
            "autocorrelation": float((unit[1:] * unit[:-1]).sum(axis=1).mean()),
        }
    )
    assert math.isfinite(cases[-1]["row_only"])

path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(cases, indent=1) + "\n")
