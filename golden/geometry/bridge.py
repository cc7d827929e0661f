"""Reference values for linear bridges, by NumPy and SciPy.

    pip install numpy==2.4.6 scipy==1.17.1
    python golden/geometry/bridge.py > golden/geometry/bridge.json
"""

import json

import numpy as np
import scipy
from scipy.linalg import orthogonal_procrustes

rng = np.random.default_rng(36)


def fit(x, y, kind):
    xm, ym = x.mean(0), y.mean(0)
    if kind == "ols":
        w = np.linalg.lstsq(x - xm, y - ym, rcond=None)[0]
    else:
        w = orthogonal_procrustes(x - xm, y - ym)[0]
    return w, ym - xm @ w


def measures(x, y, kind):
    w, b = fit(x, y, kind)
    error = whole = 0.0
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        wi, bi = fit(x[rest], y[rest], kind)
        error += np.sum((y[i] - x[i] @ wi - bi) ** 2)
        whole += np.sum((y[i] - y[rest].mean(0)) ** 2)
    k = w.shape[1]
    return {
        "r2": 1 - np.sum((y - x @ w - b) ** 2) / np.sum((y - y.mean(0)) ** 2),
        "loo": 1 - error / whole,
        "orthogonality": np.linalg.norm(w.T @ w - np.eye(k)) / k,
        "singular_sum": np.linalg.svd(w, compute_uv=False).sum(),
    }


cases = []
for n, k, noise in [(30, 4, 0.3), (12, 8, 1.0), (60, 10, 0.1)]:
    x = rng.normal(size=(n, k)) + 1
    q = np.linalg.qr(rng.normal(size=(k, k)))[0]
    y = 1.3 * x @ q + noise * rng.normal(size=(n, k)) - 2
    cases.append(
        {
            "x": x.tolist(),
            "y": y.tolist(),
            "ols": measures(x, y, "ols"),
            "procrustes": measures(x, y, "procrustes"),
        }
    )
print(json.dumps({"made_by": f"NumPy {np.__version__}, SciPy {scipy.__version__}", "cases": cases}))
