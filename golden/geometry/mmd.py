"""Reference values for the discrepancy and its gradient, by PyTorch's autograd.

    pip install torch==2.15.0
    python golden/geometry/mmd.py > golden/geometry/mmd.json
"""

import json

import torch

torch.manual_seed(36)
torch.set_default_dtype(torch.float64)


def mmd2(x, y, log_lengths):
    def kernel(a, b):
        scaled = (a[:, None, :] - b[None, :, :]) / log_lengths.exp()
        return (-0.5 * scaled.square().sum(-1)).exp()

    n, m = len(x), len(y)
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    return (
        (xx.sum() - xx.trace()) / (n * (n - 1))
        + (yy.sum() - yy.trace()) / (m * (m - 1))
        - 2 * xy.mean()
    )


cases = []
for n, m, d in [(5, 7, 3), (12, 9, 20), (6, 6, 1)]:
    x, y = torch.randn(n, d), torch.randn(m, d) + 0.3
    log_lengths = (0.5 * torch.randn(d) + 0.5).requires_grad_()
    value = mmd2(x, y, log_lengths)
    value.backward()
    cases.append(
        {
            "x": x.tolist(),
            "y": y.tolist(),
            "log_lengths": log_lengths.tolist(),
            "mmd2": value.item(),
            "gradient": log_lengths.grad.tolist(),
        }
    )
print(json.dumps({"made_by": f"PyTorch {torch.__version__}", "cases": cases}))
