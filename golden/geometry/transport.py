"""Reference values for transport between clouds, by Python Optimal Transport.

    pip install POT==0.9.7 numpy==2.4.6
    python golden/geometry/transport.py > golden/geometry/transport.json
"""

import json

import numpy as np
import ot

rng = np.random.default_rng(36)
cases = []
for n, m, d, epsilon in [(5, 5, 3, 0.05), (4, 7, 2, 0.1), (8, 6, 5, 0.5), (12, 9, 20, 0.05)]:
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5
    cost = ot.dist(x, y)
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    plan = ot.sinkhorn(
        a, b, cost, epsilon * cost.mean(), method="sinkhorn_log", stopThr=1e-13, numItermax=200_000
    )
    cases.append(
        {
            "x": x.tolist(),
            "y": y.tolist(),
            "epsilon": epsilon,
            "exact_cost": float(ot.emd2(a, b, cost)),
            "sinkhorn_cost": float((plan * cost).sum()),
            "plan": plan.tolist(),
        }
    )
print(json.dumps({"made_by": f"POT {ot.__version__}, NumPy {np.__version__}", "cases": cases}))
