"""Reference values of KL divergences between next-token distributions.

    python golden/geometry/kl.py    # numpy 2.4.6, scipy 1.17.1

Writes golden/geometry/kl.json. Logits come from a formula, so that the file
holds results only.
"""

import json
from pathlib import Path

import numpy as np
from scipy.special import log_softmax, rel_entr

cases = []
for n, scale, shift in [(2, 1.0, 0.3), (50, 4.0, 1.0), (5000, 12.0, 0.05), (300, 200.0, 2.0)]:
    j = np.arange(n)
    p, q = scale * np.sin(1 + 1.7 * j), scale * np.sin(1 + 1.7 * j + shift)
    kl = rel_entr(np.exp(log_softmax(p)), np.exp(log_softmax(q))).sum()
    cases.append({"n": n, "scale": scale, "shift": shift, "kl": float(kl)})

path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(cases, indent=1) + "\n")
